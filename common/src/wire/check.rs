//! What the controller finds abnormal in the store (`docs/api/admin.md`).
//!
//! | route | reply |
//! |---|---|
//! | `GET /v1/check?unused=` | [`Report`] |
//! | `POST /v1/check` | [`Report`], with what was mended |

use super::admin::PodName;
use crate::name::NodeName;
use crate::pool_id::PoolId;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Report {
    /// How many leases were looked at.
    pub leases: u64,
    /// What is abnormal, by kind; 10,000 of it at most.
    pub findings: Vec<Finding>,
    /// How many findings there are.
    pub found: u64,
}

/// Something that should not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// The key in the store of which it is wrong.
    pub key: String,
    /// The pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolId>,
    /// The addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Cidr>))]
    pub net: Option<IpNet>,
    /// The node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// The pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodName>,
    /// Whether it is certain that nobody needs it, so that it can be mended.
    pub certain: bool,
    /// Whether it was mended just now.
    pub mended: bool,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A node leases it that was removed, or never was registered.
    NodeGone,
    /// A node that is not alive has leases.
    NodeAway,
    /// A lease that its node does not have in its index.
    LeaseWithoutIndex,
    /// A node's index of what it does not lease, or not any more.
    IndexWithoutLease,
    /// A lease of an address that no pool has.
    LeaseOutside,
    /// An address that its node has not given to the pod it was leased for, and has not given back either.
    Unheld,
    /// An address that is nobody's, and kept for no pod.
    KeptForNobody,
    /// An address that is kept for a pod which is away for long.
    Unused,
    /// A pod's note of a fixed address that is not leased for it.
    FixedWithoutLease,
    /// A service pool of which its namespace pool says something else.
    ServiceMismatch,
    /// An order to free an address, to a node that is gone.
    OrderToNobody,
    /// A record that this version can't read.
    Unreadable,
}

impl Kind {
    /// What it means and what to do about it, for a person.
    pub fn advice(self) -> &'static str {
        match self {
            Self::NodeGone => {
                "the node was removed, or never was registered; --mend gives it back to the pool"
            }
            Self::NodeAway => {
                "the node is not alive, and its pods may still run; if the machine is gone: `coilctl node remove`"
            }
            Self::LeaseWithoutIndex => {
                "the node does not know the lease; --mend ends it if the node is gone, else `coilctl node remove` first"
            }
            Self::IndexWithoutLease => {
                "the node does not have the lease (any more); it settles this itself, and --mend does if it is gone"
            }
            Self::LeaseOutside => "no pool has these addresses; delete the pods, or `coilctl node remove`",
            Self::Unheld => {
                "the pod never got the address; its node gives it back, unless its coild is stopped or stuck: see its log"
            }
            Self::KeptForNobody => "the address is nobody's, and no pod can get it; --mend frees it",
            Self::Unused => {
                "kept for a pod that is away for long; if its StatefulSet is gone: `coilctl address free ADDRESS`"
            }
            Self::FixedWithoutLease => "the address is not leased for the pod; --mend deletes the note",
            Self::ServiceMismatch => {
                "namespace pool and service pool contradict each other; --mend gives back what is set aside for none"
            }
            Self::OrderToNobody => "the node that should free the address is gone; --mend deletes the order",
            Self::Unreadable => "this version does not understand the record; see the controller's version",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NodeGone => "node-gone",
            Self::NodeAway => "node-away",
            Self::LeaseWithoutIndex => "lease-without-index",
            Self::IndexWithoutLease => "index-without-lease",
            Self::LeaseOutside => "lease-outside",
            Self::Unheld => "unheld",
            Self::KeptForNobody => "kept-for-nobody",
            Self::Unused => "unused",
            Self::FixedWithoutLease => "fixed-without-lease",
            Self::ServiceMismatch => "service-mismatch",
            Self::OrderToNobody => "order-to-nobody",
            Self::Unreadable => "unreadable",
        })
    }
}
