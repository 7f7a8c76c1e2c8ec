//! The part of the controller's admin API that is about the pools of namespaces and services (`docs/api/admin.md`).
//! They are made and deleted by [`super::ip_pools`].
//!
//! | route | body | reply |
//! |---|---|---|
//! | `GET /v1/nspools`, `GET /v1/nspools/{namespace}` | | [`NamespacePoolSummary`]s |
//! | `GET /v1/nspools/{namespace}/{name}` | | [`NamespacePoolDetail`] |
//! | `PUT /v1/nspools/{namespace}/{name}/range` | [`NewRange`] | [`NamespacePoolSummary`] |
//! | `PUT /v1/nspools/{namespace}/{name}/disabled`, `DELETE` of it | | [`NamespacePoolSummary`] |
//! | the same with `svcpools` | | [`ServicePoolSummary`], [`ServicePoolDetail`] |

use super::admin::PodName;
use super::ip_pools::unless_empty;
use crate::ipam::RangeSpec;
use crate::name::{NodeName, PodText};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A namespace's pool, and how much of it is leased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NamespacePoolSummary {
    /// Its namespace.
    pub namespace: PodText,
    /// The pool's name.
    pub name: PodText,
    /// The subnet of the addresses.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Cidr))]
    pub subnet: IpNet,
    /// The first address.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub start: IpAddr,
    /// The last address.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub end: IpAddr,
    /// Gateway of the pods.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub gateway: IpAddr,
    /// VLAN id, 0 if untagged.
    pub vlan: u16,
    /// Whether nothing new is given.
    pub disabled: bool,
    /// How many addresses it has; 2^64 - 1 if more.
    pub total: u64,
    /// How many of them are leased, those of services too.
    pub leased: u64,
    /// How many are set aside for services; 2^64 - 1 if more.
    pub reserved: u64,
    /// The service pools in it, in the order in which they were made.
    pub services: Vec<PodText>,
}

/// A namespace's pool, address by address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NamespacePoolDetail {
    /// The pool.
    #[serde(flatten)]
    pub pool: NamespacePoolSummary,
    /// All of its range, in address order.
    pub map: Vec<Part>,
}

/// A service's pool, and how much of it is leased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServicePoolSummary {
    /// Its namespace.
    pub namespace: PodText,
    /// The pool's name.
    pub name: PodText,
    /// The namespace's pool that it is a part of.
    pub pool: PodText,
    /// The Kubernetes service.
    pub service: PodText,
    /// The first address.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub start: IpAddr,
    /// The last address.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub end: IpAddr,
    /// Whether nothing new is given.
    pub disabled: bool,
    /// How many addresses it has; 2^64 - 1 if more.
    pub total: u64,
    /// How many of them are leased.
    pub leased: u64,
}

/// A service's pool, address by address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServicePoolDetail {
    /// The pool.
    #[serde(flatten)]
    pub pool: ServicePoolSummary,
    /// All of its range, in address order.
    pub map: Vec<Part>,
}

/// Addresses that lie together and are in the same state. A leased one stands alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Part {
    /// The first address.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub start: IpAddr,
    /// The last address.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub end: IpAddr,
    /// What they are at the moment.
    pub state: PartState,
    /// The service pool that they are of; absent in the map of a service pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_pool: Option<PodText>,
    /// The pod that the address is leased or kept for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodName>,
    /// The node that leases the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
}

/// What an address of a pool is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum PartState {
    /// Nobody has it.
    Free,
    /// Nobody has it, and it is given to pods of a service only.
    Reserved,
    /// A node leases it for a pod.
    Used,
    /// A node leases it for a pod, and it will be kept for the next pod of this name.
    Fixed,
    /// It is kept for a pod that is away.
    Kept,
    /// Somebody else on its network was found to use it: nobody gets it for a while.
    Quarantined,
}

/// Body of `PUT /v1/nspools/{namespace}/{name}/range` and of the same of a service pool: by its ends or as a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(json!({"start": "192.168.1.5", "end": "192.168.1.40"}))))]
#[serde(deny_unknown_fields)]
pub struct NewRange {
    /// The first address; with `end`, or `cidr` instead.
    #[serde(default, deserialize_with = "unless_empty", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Address>))]
    pub start: Option<IpAddr>,
    /// The last address.
    #[serde(default, deserialize_with = "unless_empty", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Address>))]
    pub end: Option<IpAddr>,
    /// The addresses as a network.
    #[serde(default, deserialize_with = "unless_empty", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Cidr>))]
    pub cidr: Option<IpNet>,
}

impl NewRange {
    /// The range asked for.
    pub fn spec(&self) -> RangeSpec {
        RangeSpec { start: self.start, end: self.end, cidr: self.cidr }
    }
}
