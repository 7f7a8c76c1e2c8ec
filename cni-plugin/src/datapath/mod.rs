//! Interfaces, addresses and routes. A container is attached by a veth pair and is reached by a route to its
//! address alone; there is no bridge. Only the main plugin comes here.
//!
//! * [`netns`]: network namespaces
//! * [`veth`]: names of the pair, its creation
//! * [`routed`]: attach and detach
//! * [`check`]: whether all is as it was made

pub mod check;
pub mod netns;
pub mod routed;
pub mod veth;

mod message;
mod netlink;
mod sysctl;

pub use netlink::NetlinkError;
pub use sysctl::SysctlError;

use common::ipam::Family;
use netns::NetnsError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The container's gateway: the same link-local address on the host end of every pair.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The container's gateway for IPv6.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The gateway for a family.
pub fn gateway(family: Family) -> IpAddr {
    match family {
        Family::V4 => GATEWAY_V4.into(),
        Family::V6 => GATEWAY_V6.into(),
    }
}

/// Why a container can't be attached, detached or checked.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The namespace can't be used.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The container has an interface of that name.
    #[error("CNI_IFNAME {0}: the container has an interface of that name")]
    InterfaceExists(String),
    /// All names for the host end are taken.
    #[error("the host has interfaces named {0}; remove what is left of the container that had them")]
    HostNamesTaken(String),
    /// The kernel refused, or can't be spoken to.
    #[error("can't {doing}")]
    Netlink {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: NetlinkError,
    },
    /// A setting can't be made.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// Something is not as ADD made it.
    #[error("{0}")]
    Differs(String),
}

/// Says what was being done when netlink failed.
trait Doing<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, DatapathError>;
}

impl<T, E: Into<NetlinkError>> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, DatapathError> {
        self.map_err(|error| DatapathError::Netlink { doing: doing(), source: error.into() })
    }
}

#[cfg(test)]
mod tests;
