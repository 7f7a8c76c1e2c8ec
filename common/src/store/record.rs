//! What the keys hold: JSON objects with a version `v` (`docs/schema.md`). A record of a newer version is an
//! error and never guessed at; unknown fields of a known version are ignored.
//!
//! * [`lastbackend`]: the part of the platform API
//! * [`melange`]: the part of the tenants' API

pub mod lastbackend;
pub mod melange;

use crate::ipam::Segment;
use crate::name::{ContainerId, IfName, PodText, PoolName};
use crate::pool_id::{PoolId, Scoped};
use crate::pool_list::{PoolList, PoolListError};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The newest version of any record that this program understands, and the one it writes.
pub const VERSION: u32 = 1;
/// Version of the keyspace's layout.
pub const LAYOUT: u32 = 2;

/// Why a value is not a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The value is not what this key should hold.
    #[error("the value of {key} is malformed")]
    Malformed {
        /// The key.
        key: String,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Another, newer program wrote it.
    #[error("the value of {key} has version {version}, and this program knows versions up to {VERSION}")]
    Newer {
        /// The key.
        key: String,
        /// Its version.
        version: u32,
    },
}

#[derive(Serialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    body: T,
}

#[derive(Deserialize)]
struct JustVersion {
    v: u32,
}

/// The value that holds a record.
pub fn encode<T: Serialize>(body: &T) -> Bytes {
    let json = serde_json::to_vec(&Versioned { v: VERSION, body });
    Bytes::from(json.unwrap_or_else(|error| unreachable!("a record always has a JSON form: {error}")))
}

/// The record that a value holds.
pub fn decode<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, RecordError> {
    let malformed = |source| RecordError::Malformed { key: key.to_owned(), source };
    let JustVersion { v: version } = serde_json::from_slice(value).map_err(malformed)?;
    if version > VERSION {
        return Err(RecordError::Newer { key: key.to_owned(), version });
    }
    // To the record itself, the version is one of the fields that it does not know.
    serde_json::from_slice(value).map_err(malformed)
}

/// `schema`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Version of the layout: [`LAYOUT`].
    pub layout: u32,
}

/// `plan`: only its revision counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {}

/// `lease/<pool>/<unit>`: who holds a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The node; empty for a fixed address whose pod is away.
    pub node: String,
    /// Of an address of a namespace's pool: the pod that it was leased for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Claim>,
}

impl Lease {
    /// The lease of a block.
    pub fn of_node(node: impl Into<String>) -> Self {
        Self { node: node.into(), pod: None }
    }
}

/// The pod that an address of a namespace's pool was leased for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Namespace of the pod.
    pub namespace: PodText,
    /// Name of the pod.
    pub name: PodText,
    /// The service's pool that the address is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_pool: Option<PodText>,
    /// Whether the address is kept for the next pod of this name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fixed: bool,
    /// When it was given or freed last, in milliseconds since the Unix epoch.
    pub changed: u64,
}

impl Claim {
    /// The pod.
    pub fn pod(&self) -> Scoped {
        Scoped { namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// The StatefulSet that a pod of this name is of, as Kubernetes names them: the set's name, `-` and a number.
pub fn stateful_set(pod: &str) -> Option<&str> {
    let (set, ordinal) = pod.rsplit_once('-')?;
    let is_number = !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !set.is_empty()).then_some(set)
}

/// `fixed/<namespace>/<pod>/<family>`: the address that is kept for pods of this name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fixed {
    /// The pool.
    pub pool: PoolId,
    /// The address.
    pub address: IpAddr,
}

/// `nschoice/<namespace>`: what a namespace of Kubernetes chooses for those of its pods that choose nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "ChoiceForm", into = "ChoiceForm")]
pub enum NamespaceChoice {
    /// These pools.
    Pools(PoolList),
    /// Its annotation can't be understood, for this reason: its pods are given nothing.
    Wrong(String),
}

#[derive(Serialize, Deserialize)]
struct ChoiceForm {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pools: Vec<PoolName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wrong: Option<String>,
}

impl From<NamespaceChoice> for ChoiceForm {
    fn from(choice: NamespaceChoice) -> Self {
        match choice {
            NamespaceChoice::Pools(pools) => Self { pools: pools.into(), wrong: None },
            NamespaceChoice::Wrong(reason) => Self { pools: Vec::new(), wrong: Some(reason) },
        }
    }
}

impl TryFrom<ChoiceForm> for NamespaceChoice {
    type Error = PoolListError;

    fn try_from(ChoiceForm { pools, wrong }: ChoiceForm) -> Result<Self, PoolListError> {
        wrong.map_or_else(|| Ok(Self::Pools(pools.try_into()?)), |reason| Ok(Self::Wrong(reason)))
    }
}

/// `node/<node>`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Id of the installation that owns the name; made once, kept in the data directory.
    pub instance: String,
    /// The kernel's boot id.
    pub boot: String,
    /// When the daemon started, in milliseconds since the Unix epoch.
    pub started: u64,
}

/// `alive/<node>`, with a TTL
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {
    /// The installation that is alive.
    pub instance: String,
}

/// `kubernetes/<node>`: a node that Kubernetes had. Only that it is there counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesNode {}

/// `block/<node>/<pool>/<unit>`: the mirror of a block's allocations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "MirrorForm", into = "MirrorForm")]
pub struct BlockMirror {
    /// Prefix length of the block.
    pub prefix: u8,
    /// Of an address of a namespace's pool: the network that it is in.
    pub segment: Option<Segment>,
    /// The allocations, in address order.
    pub held: Vec<Allocation>,
}

/// How a mirror is written: a node writes many of them, and mostly all allocations are of one network.
#[derive(Serialize, Deserialize)]
struct MirrorForm {
    prefix: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    segment: Option<Segment>,
    /// The network of the allocations that name none.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    #[serde(default)]
    held: Vec<Allocation>,
}

impl From<BlockMirror> for MirrorForm {
    fn from(BlockMirror { prefix, segment, mut held }: BlockMirror) -> Self {
        // Where one allocation is of no network, each other names its own.
        let first = held.first().and_then(|allocation| allocation.network.clone());
        let network = first.filter(|_| held.iter().all(|allocation| allocation.network.is_some()));
        for allocation in held.iter_mut().filter(|allocation| allocation.network == network) {
            allocation.network = None;
        }
        Self { prefix, segment, network, held }
    }
}

impl From<MirrorForm> for BlockMirror {
    fn from(MirrorForm { prefix, segment, network, mut held }: MirrorForm) -> Self {
        for allocation in held.iter_mut().filter(|allocation| allocation.network.is_none()) {
            allocation.network.clone_from(&network);
        }
        Self { prefix, segment, held }
    }
}

/// Where runtimes have the network namespaces of containers.
const NETNS_DIR: &str = "/var/run/netns/";

/// Paths of network namespaces; those in the usual directory are written by their name alone.
mod netns {
    use super::NETNS_DIR;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "this is how serde calls it")]
    pub(super) fn serialize<S: Serializer>(path: &Option<String>, to: S) -> Result<S::Ok, S::Error> {
        match path {
            Some(path) => {
                let name = path.strip_prefix(NETNS_DIR).filter(|name| !name.starts_with('/'));
                to.serialize_some(name.unwrap_or(path))
            }
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
        let path = Option::<String>::deserialize(from)?;
        Ok(path.map(|path| if path.starts_with('/') { path } else { format!("{NETNS_DIR}{path}") }))
    }
}

/// Container ids. Most are 64 hexadecimal digits; these are written as `=` and base64 (RFC 4648, section 5, unpadded), which
/// takes a third less. One that begins with `=` itself has another one before it.
mod container {
    use crate::hex;
    use crate::name::ContainerId;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Bytes of such an id.
    const BYTES: usize = 32;

    pub(super) fn serialize<S: Serializer>(id: &ContainerId, to: S) -> Result<S::Ok, S::Error> {
        match hex::decode::<BYTES>(id.as_str()) {
            Some(bytes) => to.serialize_str(&format!("={}", URL_SAFE_NO_PAD.encode(bytes))),
            None if id.as_str().starts_with('=') => to.serialize_str(&format!("={id}")),
            None => id.serialize(to),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ContainerId, D::Error> {
        let text = String::deserialize(from)?;
        let text = match text.strip_prefix('=') {
            Some(id) if id.starts_with('=') => id.to_owned(),
            Some(base64) => {
                let bytes = URL_SAFE_NO_PAD.decode(base64).map_err(D::Error::custom)?;
                if bytes.len() != BYTES {
                    return Err(D::Error::custom("not an id of 64 digits"));
                }
                hex::encode(&bytes)
            }
            None => text,
        };
        ContainerId::new(text).map_err(D::Error::custom)
    }
}

/// An allocation: who holds one address of a block. Field names are short as there are many of these.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Allocation {
    /// The address's offset in its block.
    #[serde(rename = "o")]
    pub offset: u32,
    /// The node's sequence number: no two allocations of a node have the same.
    #[serde(rename = "q")]
    pub sequence: u64,
    /// Container id.
    #[serde(rename = "c", with = "container")]
    pub container: ContainerId,
    /// Interface in the container.
    #[serde(rename = "i", default = "IfName::eth0", skip_serializing_if = "IfName::is_eth0")]
    pub interface: IfName,
    /// Namespace of the pod.
    #[serde(rename = "n")]
    pub namespace: PodText,
    /// Name of the pod.
    #[serde(rename = "p")]
    pub pod: PodText,
    /// CNI network.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Path of the network namespace.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none", with = "netns")]
    pub netns: Option<String>,
    /// When it was given, in milliseconds since the Unix epoch.
    #[serde(rename = "t")]
    pub since: u64,
    /// Whether nobody holds the address, and it is set aside because a foreign host uses it.
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    pub conflict: bool,
}

/// `restored`, with a TTL: a backup of the store was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The node that noticed it.
    pub node: String,
}

/// `history`: what was noted of the store when it was first used, or restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// How far its log was ahead of its revision, at least.
    pub lead: i64,
}

/// `evict/<node>/<address>`: an operator's order to free exactly this allocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evict {
    /// The sequence number of the allocation.
    pub sequence: u64,
    /// Its container.
    pub container: ContainerId,
}

/// Why a pod got no address, in the form of the reasons of Kubernetes' Events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// All addresses that it could have are in use.
    NoFreeAddress,
    /// The pool that it is to have one of does not exist, is disabled or has none of the family.
    NoUsablePool,
    /// The very address that it is to have can't be given.
    AddressUnavailable,
    /// Another one.
    #[serde(other)]
    AddressNotGiven,
}

impl Reason {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoFreeAddress => "NoFreeAddress",
            Self::NoUsablePool => "NoUsablePool",
            Self::AddressUnavailable => "AddressUnavailable",
            Self::AddressNotGiven => "AddressNotGiven",
        }
    }
}

/// `refused/<node>/<slot>`, with a TTL: a pod that got no address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Namespace of the pod.
    pub namespace: PodText,
    /// Its name.
    pub pod: PodText,
    /// Why it got none.
    pub reason: Reason,
    /// The same as the plugin was told.
    pub message: String,
    /// How often in a row.
    pub count: u32,
    /// When this was so for the first time, in milliseconds since the Unix epoch.
    pub first: u64,
    /// When it was so for the last time.
    pub last: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons() {
        use Reason::{AddressNotGiven, AddressUnavailable, NoFreeAddress, NoUsablePool};
        for reason in [NoFreeAddress, NoUsablePool, AddressUnavailable, AddressNotGiven] {
            let text = format!("{:?}", reason.as_str());
            assert_eq!(serde_json::to_string(&reason).expect("text"), text);
            assert_eq!(serde_json::from_str::<Reason>(&text).expect("read"), reason);
        }
        assert_eq!(serde_json::from_str::<Reason>("\"OfLater\"").expect("read"), AddressNotGiven);
    }

    #[test]
    fn versions() {
        let schema = Schema { layout: 2 };
        assert_eq!(encode(&schema), r#"{"v":1,"layout":2}"#);
        assert_eq!(decode::<Schema>("schema", br#"{"v":1,"layout":2,"later":true}"#).expect("known"), schema);
        let newer = decode::<Schema>("schema", br#"{"v":2,"layout":{}}"#).expect_err("newer");
        assert!(matches!(newer, RecordError::Newer { version: 2, .. }), "{newer}");
        for bad in ["", "[]", "{}", r#"{"v":"1"}"#, r#"{"v":1}"#, r#"{"v":1,"layout":-1}"#, "{\"v\":1,"] {
            let error = decode::<Schema>("schema", bad.as_bytes()).expect_err(bad);
            assert!(matches!(error, RecordError::Malformed { .. }), "{bad}");
        }
    }

    #[test]
    fn container_ids_are_short_and_come_back_as_they_were() {
        #[derive(Serialize, Deserialize)]
        struct Only(#[serde(with = "container")] ContainerId);
        let hex = "8be55fe4f5f0".repeat(6);
        for (id, written) in [
            (&hex[..64], "=i-Vf5PXwi-Vf5PXwi-Vf5PXwi-Vf5PXwi-Vf5PXwi-U"),
            (&"F".repeat(64), &"F".repeat(64)),
            (&hex[..63], &hex[..63]),
            ("8be55fe4f5f0", "8be55fe4f5f0"),
            (&"f".repeat(66), &"f".repeat(66)),
            ("=", "=="),
            ("=i-Vf5PXwi-Vf5PXwi-Vf5PXwi-Vf5PXwi-Vf5PXwi-U", "==i-Vf5PXwi-Vf5PXwi-Vf5PXwi-Vf5PXwi-Vf5PXwi-U"),
            ("==", "==="),
            ("a/b", "a/b"),
        ] {
            let id = ContainerId::new(id).expect("valid");
            let text = serde_json::to_string(&Only(id.clone())).expect("text");
            assert_eq!(text, format!("{written:?}"));
            assert_eq!(serde_json::from_str::<Only>(&text).expect("read").0, id);
        }
        for bad in ["=", "=***", "=i", "=aaaa", ""] {
            assert!(serde_json::from_str::<Only>(&format!("{bad:?}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mirror_says_what_is_common_once() {
        let allocation = |offset: u32, network: Option<&str>, netns: Option<&str>| Allocation {
            offset,
            sequence: 7,
            container: ContainerId::new("c").expect("valid"),
            interface: IfName::eth0(),
            namespace: PodText::new("n").expect("valid"),
            pod: PodText::new("p").expect("valid"),
            network: network.map(str::to_owned),
            netns: netns.map(str::to_owned),
            since: 5,
            conflict: false,
        };
        let networks = [None, Some("pods"), Some("other")];
        let paths = [None, Some("/var/run/netns/cni-1"), Some("/proc/7/ns/net"), Some("/var/run/netns//x")];
        for (first, second) in networks.iter().flat_map(|a| networks.iter().map(move |b| (*a, *b))) {
            for path in paths {
                let held = vec![allocation(1, first, path), allocation(2, second, None)];
                let mirror = BlockMirror { prefix: 28, held, ..BlockMirror::default() };
                let text = encode(&mirror);
                assert_eq!(decode::<BlockMirror>("block", &text).expect("read"), mirror, "{text:?}");
            }
        }
        let held = vec![allocation(1, Some("pods"), paths[1]), allocation(2, Some("pods"), paths[1])];
        let text = r#"{"v":1,"prefix":28,"w":"pods","held":[{"o":1,"q":7,"c":"c","n":"n","p":"p","s":"cni-1","t":5},{"o":2,"q":7,"c":"c","n":"n","p":"p","s":"cni-1","t":5}]}"#;
        assert_eq!(encode(&BlockMirror { prefix: 28, held, ..BlockMirror::default() }), text);
    }
}
