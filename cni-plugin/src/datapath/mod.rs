//! Interfaces, addresses and routes. Only the main plugin comes here. A container is attached by a veth pair in one
//! of two ways: routed, where the host has a route to its address alone and there is no bridge; or into a bridge, where
//! it is in a network with other hosts.
//!
//! * [`netns`]: network namespaces
//! * [`veth`]: names of the pair, its creation
//! * [`routed`]: attach by routes
//! * [`bridge`]: attach to a bridge
//! * [`detach`]: undo either
//! * [`check`]: whether all is as it was made

pub mod bridge;
pub mod check;
pub mod detach;
pub mod netns;
pub mod routed;
pub mod veth;

mod container;
mod frame;
mod message;
mod neighbours;
mod netlink;
mod sysctl;
mod vlan;

pub use netlink::NetlinkError;
pub use sysctl::SysctlError;

use common::ipam::Family;
use message::Link;
use netns::NetnsError;
use nix::errno::Errno;
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

/// An end of the pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: String,
    /// Its MTU.
    pub mtu: u32,
}

impl From<Link> for End {
    fn from(link: Link) -> Self {
        Self { name: link.name, mac: link.mac, mtu: link.mtu }
    }
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// The end on the host.
    pub host: End,
    /// The end in the container.
    pub container: End,
}

/// A failure, and what went wrong when its traces were removed.
#[derive(Debug)]
pub struct Failed {
    /// Why the container can't be attached.
    pub first: DatapathError,
    /// What could not be undone.
    pub undo: Option<DatapathError>,
}

impl From<DatapathError> for Failed {
    fn from(first: DatapathError) -> Self {
        Self { first, undo: None }
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
    /// A link of the host is not what the configuration needs.
    #[error("{key}: {reason}")]
    HostLink {
        /// The key of the configuration that names it.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// No frame goes through the bridge.
    #[error("{0}")]
    Silent(String),
    /// A foreign host answered for an address that was to be the container's.
    #[error("{address} is in use by {mac}, a host that did not get it from coil")]
    InUse {
        /// The address.
        address: IpAddr,
        /// The host's hardware address.
        mac: String,
    },
    /// The neighbours can't be spoken to.
    #[error("can't speak to the neighbours of {0}")]
    Neighbours(String, #[source] Errno),
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
