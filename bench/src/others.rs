//! The keys of nodes that don't run: what a large cluster leaves in the store.

use crate::keep_alive::container_id;
use crate::simulated;
use anyhow::{Context, Result};
use common::ipam::{Pool, Space, Unit};
use common::name::{ContainerId, IfName, NodeName, PodText, PoolName};
use common::store::record::{self, Alive, Allocation, BlockMirror, Lease, Node};
use common::store::{Op, Txn, keys};
use futures_util::stream::{self, StreamExt, TryStreamExt};

/// Name of the pool that they lease from.
pub(crate) const POOL: &str = "others";
/// Its addresses: nobody else's.
const SUBNET: &str = "100.64.0.0/10";
/// Bytes of a transaction, about.
const BYTES: usize = 500_000;
/// Transactions at the same time.
const WRITERS: usize = 16;

/// Writes the keys of so many nodes with so many blocks each, of which so many addresses are held, and the pool
/// that they are from. Answers how many keys that are.
pub(crate) fn write(endpoint: &str, nodes: usize, blocks: usize, held: u32) -> Result<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (name, pool) = (PoolName::new(POOL)?, Pool::of_subnets(vec![SUBNET.parse()?]));
    let space = pool.space(common::ipam::Family::V4)?;
    let mut txns = Txns::default();
    txns.put(keys::pool(&name), record::encode(&pool));
    for number in 0..nodes {
        write_node(&mut txns, &name, &space, number, blocks, held)?;
    }
    let (keys, txns) = (txns.keys, txns.end());
    let store = simulated::store(endpoint)?;
    runtime.block_on(async {
        let writes = txns.into_iter().map(|txn| store.txn(txn));
        stream::iter(writes).buffer_unordered(WRITERS).try_for_each(|_| async { Ok(()) }).await
    })?;
    Ok(keys)
}

fn write_node(
    txns: &mut Txns,
    pool: &PoolName,
    space: &Space,
    number: usize,
    blocks: usize,
    held: u32,
) -> Result<()> {
    let node = NodeName::new(format!("other-{number:05}.example.net"))?;
    let instance = format!("{number:032x}");
    let boot = "b1a7c6de-2a52-4f0f-9d55-0c7a1c0d2c11".to_owned();
    txns.put(keys::alive(&node), record::encode(&Alive { instance: instance.clone() }));
    txns.put(keys::node(&node), record::encode(&Node { instance, boot, started: 1_700_000_000_000 }));
    for block in number * blocks..(number + 1) * blocks {
        let unit = space.unit_at(u128::try_from(block)?).context("the pool has so many blocks")?;
        txns.put(keys::lease(pool, unit), record::encode(&Lease::of_node(node.as_str())));
        txns.put(keys::block(&node, pool, unit), record::encode(&mirror(unit, block, held)?));
    }
    Ok(())
}

fn mirror(unit: Unit, block: usize, held: u32) -> Result<BlockMirror> {
    let holder = |offset: u32| {
        let container = container_id(block, usize::try_from(offset)?);
        Ok(Allocation {
            offset,
            sequence: u64::from(offset) + 1,
            pod: PodText::new(format!("frontend-7d4b9c6f5d-{block:05}"))?,
            container: ContainerId::new(container)?,
            interface: IfName::eth0(),
            namespace: PodText::new("checkout")?,
            network: Some("pods".to_owned()),
            netns: Some(format!("/var/run/netns/cni-9f1c2d3e-4b5a-6c7d-8e9f-{block:012x}")),
            since: 1_700_000_000_000,
            conflict: false,
        })
    };
    let held = (0..held).map(holder).collect::<Result<_>>()?;
    Ok(BlockMirror { prefix: unit.net().prefix_len(), held, ..BlockMirror::default() })
}

/// Writes, gathered into transactions.
#[derive(Default)]
struct Txns {
    full: Vec<Txn>,
    last: Txn,
    bytes: usize,
    keys: usize,
}

impl Txns {
    fn put(&mut self, key: String, value: bytes::Bytes) {
        self.bytes += key.len() + value.len();
        self.keys += 1;
        self.last.ops.push(Op::Put(key, value));
        if self.last.ops.len() == Txn::MAX || self.bytes > BYTES {
            self.full.push(std::mem::take(&mut self.last));
            self.bytes = 0;
        }
    }

    fn end(mut self) -> Vec<Txn> {
        self.full.push(self.last);
        self.full.retain(|txn| !txn.ops.is_empty());
        self.full
    }
}
