//! What an import is to bring about. Pure.

use common::ipam::{Pool, Unit};
use common::name::{NodeName, PodText, PoolName};
use common::store::record::{Allocation, BlockMirror};
use std::collections::BTreeMap;
use std::fmt;

/// A block that a node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) pool: PoolName,
    pub(super) node: NodeName,
    pub(super) unit: Unit,
    pub(super) held: Vec<Allocation>,
    /// Offsets that pods have of which the containers are not known.
    pub(super) unnamed: Vec<(u32, Pod)>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) namespace: PodText,
    pub(super) name: PodText,
}

/// Which block of a node: its pool and its addresses.
pub(super) type Place = (PoolName, Unit);

/// Pools, all of them disabled, and the blocks that nodes have of them, with what is held there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The pools.
    pub(super) pools: BTreeMap<PoolName, Pool>,
    /// The mirrors of the blocks of each node.
    pub(super) nodes: BTreeMap<NodeName, BTreeMap<Place, BlockMirror>>,
    /// What pods have of which the containers are not known: the nodes find them.
    pub(super) unnamed: BTreeMap<Place, Vec<(u32, Pod)>>,
}

impl Plan {
    /// The same blocks always make the same plan.
    pub(super) fn new(pools: BTreeMap<PoolName, Pool>, blocks: impl Iterator<Item = Block>) -> Self {
        let mut nodes: BTreeMap<NodeName, BTreeMap<Place, BlockMirror>> = BTreeMap::new();
        let mut unnamed = BTreeMap::new();
        for Block { pool, node, unit, mut held, unnamed: mut pods } in blocks {
            pods.sort_by_key(|(offset, _)| *offset);
            unnamed.insert((pool.clone(), unit), pods);
            held.sort_by_key(|allocation| allocation.offset);
            let mirror = BlockMirror { prefix: unit.net().prefix_len(), segment: None, held };
            nodes.entry(node).or_default().insert((pool, unit), mirror);
        }
        for blocks in nodes.values_mut() {
            let held = blocks.values_mut().flat_map(|mirror| &mut mirror.held);
            for (number, allocation) in (1..).zip(held) {
                allocation.sequence = number;
            }
        }
        Self { pools, nodes, unnamed }
    }

    /// How much it is.
    pub(super) fn size(&self) -> Size {
        let blocks = self.nodes.values().flat_map(BTreeMap::values);
        Size {
            pools: self.pools.len(),
            nodes: self.nodes.len(),
            blocks: blocks.clone().count(),
            held: blocks.map(|mirror| mirror.held.len()).sum::<usize>()
                + self.unnamed.values().map(Vec::len).sum::<usize>(),
        }
    }

    /// What pods have of a block whose containers are not known.
    pub(super) fn unnamed(&self, place: &Place) -> &[(u32, Pod)] {
        self.unnamed.get(place).map_or(&[], Vec::as_slice)
    }
}

/// How much a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Pools.
    pub pools: usize,
    /// Nodes that have blocks.
    pub nodes: usize,
    /// Blocks that they have.
    pub blocks: usize,
    /// Addresses that containers have.
    pub held: usize,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pools, nodes, blocks, held } = self;
        write!(f, "{pools} pools, {blocks} blocks of {nodes} nodes, {held} addresses in use")
    }
}
