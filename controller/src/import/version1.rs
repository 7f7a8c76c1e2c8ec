//! The keyspace of Coil version 1, below its prefix (`/coil/` by default):
//!
//! | key | value |
//! |---|---|
//! | `pool/<pool>` | `{"subnets": ["10.64.0.0/16"], "block_size": 5}`: IPv4; a block has 2^5 addresses |
//! | `subnet/<first address>` | nothing: the subnet is some pool's |
//! | `block/<pool>/<first address of the subnet>` | `{"free": ["10.64.0.32/27"], "nodes": {"n1": ["10.64.0.0/27"]}}` |
//! | `ip/<first address of the block>/<offset>` | `{"container_id": …, "namespace": …, "pod": …, "created_at": …}`; until 1.0.2 `<namespace>/<pod>` |
//!
//! Of an address that only a pod is written down for, the container is not known, so that its DEL could not be understood.
//! The node finds it: its blocks are in quarantine until it has looked for what is in use.
//!
//! Nothing in it is trusted: what contradicts this, or itself, is a [`Fault`].

use super::plan::{Block, Plan, Pod};
use crate::pools;
use common::ipam::{Family, Pool, Range, Unit};
use common::name::{ContainerId, IfName, NodeName, PodText, PoolName};
use common::store::Entry;
use common::store::record::Allocation;
use ipnet::{IpNet, Ipv4Net};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

/// What all of its keys begin with.
pub(super) const KINDS: [&str; 4] = ["pool/", "subnet/", "block/", "ip/"];

/// Something that version 1 did not write, or that contradicts the rest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The key.
    pub key: String,
    /// What is wrong with it or its value.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.key, self.reason)
    }
}

#[derive(Deserialize)]
struct PoolValue {
    subnets: Option<Vec<String>>,
    block_size: u8,
}

#[derive(Deserialize)]
struct BlocksValue {
    #[serde(default)]
    free: Option<Vec<String>>,
    #[serde(default)]
    nodes: Option<BTreeMap<String, Option<Vec<String>>>>,
}

#[derive(Deserialize)]
struct HolderValue {
    container_id: String,
    namespace: String,
    pod: String,
    created_at: Timestamp,
}

/// Reads all entries of the keyspace.
pub(super) fn read<'a>(entries: impl Iterator<Item = &'a Entry>) -> Result<Plan, Vec<Fault>> {
    let mut sorted: BTreeMap<&str, Vec<(&str, &Entry)>> = BTreeMap::new();
    for entry in entries {
        if let Some((kind, rest)) = KINDS.iter().find_map(|kind| Some((*kind, entry.key.strip_prefix(kind)?)))
        {
            sorted.entry(kind).or_default().push((rest, entry));
        }
    }
    let mut reader = Reader::default();
    for kind in KINDS {
        for (rest, entry) in sorted.remove(kind).unwrap_or_default() {
            let read = match kind {
                "pool/" => reader.pool(rest, entry),
                "subnet/" => reader.subnet(rest),
                "block/" => reader.blocks(rest, entry),
                _ => reader.address(rest, entry),
            };
            if let Err(reason) = read {
                reader.fault(&entry.key, reason);
            }
        }
    }
    reader.finish()
}

/// What was read so far, in the order of [`KINDS`].
#[derive(Default)]
struct Reader {
    pools: BTreeMap<PoolName, Pool>,
    /// Subnets of all pools, and whether it was told which blocks of them are whose.
    subnets: BTreeMap<Ipv4Addr, (Ipv4Net, PoolName, bool)>,
    blocks: BTreeMap<Ipv4Addr, Block>,
    /// The key that gives a container an address on a node.
    containers: BTreeMap<(NodeName, ContainerId), String>,
    faults: BTreeSet<Fault>,
}

impl Reader {
    fn fault(&mut self, key: &str, reason: String) {
        self.faults.insert(Fault { key: key.to_owned(), reason });
    }

    fn pool(&mut self, name: &str, entry: &Entry) -> Result<(), String> {
        let name = PoolName::new(name).map_err(text)?;
        let PoolValue { subnets, block_size } = json(&entry.value)?;
        let subnets = nets(subnets.unwrap_or_default().iter())?;
        let bits = block_size;
        if bits > Unit::MAX_BITS {
            let most = Unit::MAX_BITS;
            return Err(format!("block_size {bits}: a block of this version has 2^{most} addresses at most"));
        }
        let mut pool = Pool::of_subnets(subnets.iter().copied().map(IpNet::V4).collect());
        pool.block_size = Family::V4.bits() - bits;
        pool.disabled = true;
        pools::validate(&pool).map_err(text)?;
        for subnet in &subnets {
            let overlaps = |other: &&(Ipv4Net, PoolName, bool)| {
                Range::of_net(other.0.into()).overlaps(&Range::of_net((*subnet).into()))
            };
            if let Some((other, owner, _)) = self.subnets.values().find(overlaps) {
                return Err(format!("subnet {subnet} overlaps {other} of pool {owner}"));
            }
        }
        self.subnets.extend(subnets.iter().map(|subnet| (subnet.network(), (*subnet, name.clone(), false))));
        self.pools.insert(name, pool);
        Ok(())
    }

    fn subnet(&self, address: &str) -> Result<(), String> {
        let address = ipv4(address)?;
        let known = self.subnets.contains_key(&address);
        if known { Ok(()) } else { Err("no pool has a subnet that begins there".to_owned()) }
    }

    fn blocks(&mut self, rest: &str, entry: &Entry) -> Result<(), String> {
        let (name, address) = rest.split_once('/').ok_or("not of the form block/POOL/ADDRESS")?;
        let first = ipv4(address)?;
        let name = PoolName::new(name).map_err(text)?;
        let pool =
            self.pools.get(&name).ok_or_else(|| format!("there is no pool {name} that can be read"))?;
        let size = pool.block_size;
        let (subnet, owner, told) =
            self.subnets.get_mut(&first).ok_or("no pool has a subnet that begins there")?;
        if *owner != name {
            return Err(format!("subnet {subnet} is of pool {owner}"));
        }
        let subnet = *subnet;
        *told = true;
        let BlocksValue { free, nodes } = json(&entry.value)?;
        let free: BTreeSet<Ipv4Net> = nets(free.iter().flatten())?.into_iter().collect();
        for (node, blocks) in nodes.unwrap_or_default() {
            let node = NodeName::new(node).map_err(text)?;
            for net in nets(blocks.iter().flatten())? {
                if net.prefix_len() != size || !subnet.contains(&net) {
                    return Err(format!("{net} of node {node} is no block (/{size}) of subnet {subnet}"));
                }
                if free.contains(&net) {
                    return Err(format!("{net} is free and node {node}'s at once"));
                }
                let block = Block {
                    pool: name.clone(),
                    node: node.clone(),
                    unit: Unit::containing(net.network().into(), Family::V4.bits() - size),
                    held: Vec::new(),
                    unnamed: Vec::new(),
                };
                if let Some(other) = self.blocks.insert(net.network(), block) {
                    return Err(format!("{net} is of node {} and of node {node}", other.node));
                }
            }
        }
        Ok(())
    }

    fn address(&mut self, rest: &str, entry: &Entry) -> Result<(), String> {
        let (first, offset) = rest.split_once('/').ok_or("not of the form ip/BLOCK/OFFSET")?;
        let first = ipv4(first)?;
        let number: u32 = offset.parse().map_err(|_| format!("{offset:?} is no offset"))?;
        if number.to_string() != offset {
            return Err(format!("the offset {offset:?} is not written as version 1 does"));
        }
        let block = self.blocks.get_mut(&first).ok_or("no node has a block that begins there")?;
        if block.unit.address(number).is_none() {
            return Err(format!("{} ends before", block.unit));
        }
        let Some(HolderValue { container_id, namespace, pod, created_at }) = holder(&entry.value)? else {
            block.unnamed.push((number, old_holder(&entry.value)?));
            return Ok(());
        };
        let container = ContainerId::new(container_id).map_err(text)?;
        let key = (block.node.clone(), container.clone());
        if let Some(other) = self.containers.insert(key, entry.key.clone()) {
            return Err(format!(
                "container {container} has another address on node {}: {other:?}",
                block.node
            ));
        }
        block.held.push(Allocation {
            offset: number,
            // Given when the node's blocks are together.
            sequence: 0,
            container,
            interface: IfName::eth0(),
            namespace: PodText::new(namespace).map_err(text)?,
            pod: PodText::new(pod).map_err(text)?,
            network: None,
            netns: None,
            since: created_at.as_millisecond().try_into().unwrap_or(0),
            conflict: false,
        });
        Ok(())
    }

    fn finish(mut self) -> Result<Plan, Vec<Fault>> {
        let untold = self.subnets.iter().filter(|(_, (_, _, told))| !told);
        let missing = untold.map(|(first, (subnet, pool, _))| Fault {
            key: format!("block/{pool}/{first}"),
            reason: format!("it is missing or can't be read: whose the blocks of {subnet} are is not known"),
        });
        // A key that is there and can't be read is named with its reason already.
        let missing: Vec<Fault> =
            missing.filter(|fault| !self.faults.iter().any(|other| other.key == fault.key)).collect();
        self.faults.extend(missing);
        if self.faults.is_empty() {
            Ok(Plan::new(self.pools, self.blocks.into_values()))
        } else {
            Err(self.faults.into_iter().collect())
        }
    }
}

/// Who has an address; `None` if the value is no JSON, as until 1.0.2.
fn holder(value: &[u8]) -> Result<Option<HolderValue>, String> {
    if serde_json::from_slice::<Value>(value).is_ok() { json(value).map(Some) } else { Ok(None) }
}

fn old_holder(value: &[u8]) -> Result<Pod, String> {
    let parts = std::str::from_utf8(value).ok().and_then(|value| value.split_once('/'));
    let (namespace, name) =
        parts.filter(|(_, name)| !name.contains('/')).ok_or("neither JSON nor NAMESPACE/POD")?;
    Ok(Pod { namespace: PodText::new(namespace).map_err(text)?, name: PodText::new(name).map_err(text)? })
}

fn json<T: DeserializeOwned>(value: &[u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|error| format!("its value is not what it should be: {error}"))
}

fn ipv4(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| format!("{text:?} is no IPv4 address"))
}

fn nets<'a>(texts: impl Iterator<Item = &'a String>) -> Result<Vec<Ipv4Net>, String> {
    let net = |text: &String| -> Result<Ipv4Net, String> {
        let net: Ipv4Net = text.parse().map_err(|_| format!("{text:?} is no IPv4 network"))?;
        if net.trunc() == net { Ok(net) } else { Err(format!("{text:?} has host bits set")) }
    };
    texts.map(net).collect()
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}
