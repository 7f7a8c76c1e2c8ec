//! What the keys hold: JSON objects with a version `v` (`docs/schema.md`). A record of a newer version is an
//! error and never guessed at; unknown fields of a known version are ignored.

use crate::name::{ContainerId, IfName, PodText};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

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
    /// The node.
    pub node: String,
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

/// `block/<node>/<pool>/<unit>`: the mirror of a block's allocations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockMirror {
    /// Prefix length of the block.
    pub prefix: u8,
    /// The allocations, in address order.
    #[serde(default)]
    pub held: Vec<Allocation>,
}

/// An allocation: who holds one address of a block. Field names are short as there are many of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// The address's offset in its block.
    #[serde(rename = "o")]
    pub offset: u32,
    /// The node's sequence number: no two allocations of a node have the same.
    #[serde(rename = "q")]
    pub sequence: u64,
    /// Container id.
    #[serde(rename = "c")]
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
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// When it was given, in milliseconds since the Unix epoch.
    #[serde(rename = "t")]
    pub since: u64,
}

/// `restored`, with a TTL: a backup of the store was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The node that noticed it.
    pub node: String,
}

/// `evict/<node>/<address>`: an operator's order to free exactly this allocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evict {
    /// The sequence number of the allocation.
    pub sequence: u64,
    /// Its container.
    pub container: ContainerId,
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
