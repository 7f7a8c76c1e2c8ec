//! Why a use case of the tenants' API does not do what it was asked.

use common::store::StoreError;
use common::store::record::RecordError;
use common::store::retry::IsConflict;
use std::fmt;

/// What kinds of things there are, as clients know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A block or subnet.
    Block,
    /// An address.
    Address,
    /// A static route.
    Route,
    /// A network: all blocks that name it.
    Network,
    /// A policy.
    Policy,
    /// A range of a policy.
    Range,
    /// An octet of a policy.
    Octet,
    /// An extension of the API.
    Extension,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Block => "IpBlock",
            Self::Address => "IpAddress",
            Self::Route => "IpRoute",
            Self::Network => "Network",
            Self::Policy => "Policy",
            Self::Range => "IpRange",
            Self::Octet => "IpOctet",
            Self::Extension => "Extension",
        })
    }
}

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum MelangeError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds something that can't be read.
    #[error("the store holds a record that this controller does not understand")]
    Record(#[from] RecordError),
    /// There is no such thing, or it is another tenant's.
    #[error("{0} Not Found")]
    NotFound(Kind),
    /// A field of the request can't be what it is.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// The address asked for can't be given, as somebody has it.
    #[error("address {address} {reason}")]
    Taken {
        /// The address.
        address: String,
        /// Who has it.
        reason: &'static str,
    },
    /// No address can be given.
    #[error("{0}")]
    Unprocessable(String),
}

impl MelangeError {
    pub(super) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, reason: reason.into() }
    }
}

impl IsConflict for MelangeError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(StoreError::Conflict))
    }
}
