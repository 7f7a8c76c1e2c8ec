//! The network configuration that the runtime writes to stdin. Read once, complete and valid ever after;
//! what only one command needs (`prevResult`, the valid attachments) is read when that command asks for it.

mod keys;
mod mode;

pub use mode::Mode;

use crate::field::{Field, FieldError};
use crate::prev_result::PrevResult;
use crate::result::Dns;
use crate::version::SpecVersion;
use common::ipam::Family;
use common::name::{IfName, NetworkName, PoolName};
use common::wire::node::{AttachmentId, Route};
use keys::Keys;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where coild listens unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/coild.sock";
/// How long the plugin waits for coild unless the configuration says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The bridge unless the configuration says otherwise.
pub const DEFAULT_BRIDGE: &str = "coil0";

/// How the main plugin makes the interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datapath {
    /// The host routes each address to its container.
    Routed,
    /// The container is in a bridge, in the same network as other hosts.
    Bridge(Bridge),
}

/// How the VLANs of a bridge are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VlanDriver {
    /// One bridge, whose ports filter by VLAN.
    Filtering,
    /// One bridge for each VLAN, with a VLAN sub-interface of the uplink.
    Subinterface,
}

/// The bridge that containers are attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: IfName,
    /// The host's interface that leads out of it.
    pub uplink: Option<IfName>,
    /// How VLANs are kept apart.
    pub vlan_driver: VlanDriver,
    /// Whether an address is used only if no other host answers for it.
    pub detect_conflicts: bool,
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not JSON.
    #[error("the network configuration on stdin is not valid JSON")]
    Json(#[from] serde_json::Error),
    /// It is in a version of the specification that the plugin does not speak.
    #[error("cniVersion {found}; supported are {}", SpecVersion::list())]
    Version {
        /// What it says.
        found: String,
    },
    /// A key that must be there is missing, or has a value that can't be used.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// It has a key that means nothing here and is most likely a mistake.
    #[error("{key}: {value} is not supported; {hint}")]
    Unsupported {
        /// The key.
        key: String,
        /// Its value, shortened.
        value: String,
        /// What would be.
        hint: String,
    },
}

/// A valid network configuration.
#[derive(Debug)]
pub struct NetworkConfig {
    /// The version in which to answer.
    pub version: SpecVersion,
    /// The network's name.
    pub network: NetworkName,
    /// Whether the plugin makes the interface, or only gives addresses.
    pub mode: Mode,
    /// The main plugin's type; the plugin's own as main plugin.
    pub main_plugin: String,
    /// coild's socket.
    pub socket: PathBuf,
    /// How long to wait for coild, all in all.
    pub timeout: Duration,
    /// Pool to ask; coild chooses if absent.
    pub pool: Option<PoolName>,
    /// Families of the addresses wanted, IPv4 first; not empty.
    pub families: Vec<Family>,
    /// How the interface is made. Main plugin only.
    pub datapath: Datapath,
    /// MTU of the interface; the kernel's default if absent. Main plugin only.
    pub mtu: Option<u32>,
    /// Routes to set instead of those of the pool; absent if the configuration has none.
    pub routes: Option<Vec<Route>>,
    /// Addresses asked for by the `ips` capability or `args.cni.ips`.
    pub ips: Vec<IpAddr>,
    /// The pod's annotations that choose its pools, by the capability `io.kubernetes.cri.pod-annotations`.
    pub annotations: BTreeMap<String, String>,
    /// Name servers and search domains, passed on.
    pub dns: Dns,
    document: Value,
}

/// The version in which an answer can be given, even to a configuration that is wrong otherwise.
pub fn version_of(document: &Value) -> Result<SpecVersion, ConfigError> {
    let root = Field::root(document);
    match root.get("cniVersion")? {
        Some(field) => SpecVersion::parse(field.text()?)
            .ok_or_else(|| ConfigError::Version { found: crate::field::shortened(field.value()) }),
        None => Err(ConfigError::Version { found: "is missing, which means 0.1.0".to_owned() }),
    }
}

impl NetworkConfig {
    /// Reads a configuration. `own_name` is the name of the program as it was called.
    pub fn parse(document: Value, own_name: &str) -> Result<Self, ConfigError> {
        let version = version_of(&document)?;
        let root = Field::root(&document);
        let network = root.require("name")?.parse()?;
        let mode = Mode::of(&root, own_name)?;
        let keys = Keys::of(&root, mode)?;
        let families = keys.families()?;
        let datapath = keys.datapath()?;
        let config = Self {
            version,
            network,
            mode,
            main_plugin: root.require("type")?.text()?.to_owned(),
            socket: keys.socket()?,
            timeout: keys.timeout()?,
            pool: keys.pool()?,
            mtu: keys.mtu(&families)?,
            routes: keys.routes(&families, &datapath)?,
            datapath,
            ips: keys::requested_ips(&root, &families)?,
            annotations: keys::pod_annotations(&root)?,
            dns: keys::dns(&root)?,
            families,
            document: Value::Null,
        };
        Ok(Self { document, ..config })
    }

    /// The result of the ADD before, which CHECK must get.
    pub fn prev_result(&self) -> Result<PrevResult, ConfigError> {
        Ok(PrevResult::parse(&Field::root(&self.document).require("prevResult")?)?)
    }

    /// The attachments that exist, which GC must get.
    pub fn valid_attachments(&self) -> Result<Vec<AttachmentId>, ConfigError> {
        const KEY: &str = "cni.dev/valid-attachments";
        // How runtimes in Go write an empty list.
        if self.document.get(KEY).is_some_and(Value::is_null) {
            return Ok(Vec::new());
        }
        let list = Field::root(&self.document).require(KEY)?;
        let attachment = |item: &Field<'_>| {
            Ok(AttachmentId {
                container_id: item.require("containerID")?.parse()?,
                interface: item.require("ifname")?.parse()?,
            })
        };
        list.items()?.iter().map(attachment).collect()
    }
}

#[cfg(test)]
mod tests;
