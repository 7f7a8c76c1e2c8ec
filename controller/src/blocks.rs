//! Leased blocks, and what their mirrors show. A pool's blocks are found by its leases, a node's by its index:
//! neither reads what belongs to others.

use crate::error::Error;
use crate::paging::{PageRequest, Place, READ, read_all, start};
use crate::pools::{self, Stored};
use common::error::chain;
use common::ipam::{Family, Unit};
use common::name::{NodeName, PoolName};
use common::pool_id::PoolId;
use common::store::record::{self, BlockMirror, Lease};
use common::store::{Entry, KeyRange, Page, Pages, Store, keys};
use common::wire::admin::{BlockView, List};
use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// Which blocks are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of this pool.
    pub pool: Option<PoolName>,
    /// Those of this node.
    pub node: Option<NodeName>,
}

/// A leased block as it was read.
pub(crate) struct Leased {
    /// The key by which it was found.
    pub(crate) key: String,
    pub(crate) node: NodeName,
    pub(crate) pool: PoolId,
    pub(crate) net: IpNet,
    pub(crate) mirror: BlockMirror,
}

impl Leased {
    fn view(&self) -> BlockView {
        BlockView {
            block: self.net,
            pool: self.pool.clone(),
            node: self.node.clone(),
            allocated: self.mirror.held.len() as u64,
        }
    }
}

/// Blocks that were read together.
pub(crate) struct Part {
    pub(crate) items: Vec<Leased>,
    /// The last key that was read, if the range has more behind it.
    pub(crate) more_after: Option<String>,
}

impl Part {
    fn new(items: Vec<Leased>, page: &Page<Entry>) -> Self {
        Self { items, more_after: page.last_of_more().map(|last| last.key.clone()) }
    }
}

/// Where the blocks of a filter are found, in the order of their keys.
pub(crate) enum Source {
    /// Among the leases of a pool: by address.
    Leases(Box<Stored>),
    /// In the nodes' indexes: by node, pool and address.
    Index(KeyRange),
}

impl Source {
    /// Where to find the blocks of a filter, whose pool and node must exist.
    pub(crate) async fn of(store: &dyn Store, filter: &Filter) -> Result<Self, Error> {
        if let Some(node) = &filter.node {
            must_be_known(store, node).await?;
        }
        Ok(match (&filter.pool, &filter.node) {
            (Some(pool), None) => Self::Leases(Box::new(pools::get(store, pool).await?)),
            (Some(pool), Some(node)) => {
                pools::get(store, pool).await?;
                Self::Index(keys::blocks_of_pool(node, pool))
            }
            (None, Some(node)) => Self::Index(keys::blocks(node)),
            (None, None) => Self::Index(keys::all_blocks()),
        })
    }

    /// The range of the keys by which blocks are found.
    pub(crate) fn range(&self) -> KeyRange {
        match self {
            Self::Leases(stored) => keys::leases(&stored.name),
            Self::Index(range) => range.clone(),
        }
    }

    /// The first blocks of a part of the range. What can't be understood is logged and left out.
    pub(crate) async fn read(
        &self,
        store: &dyn Store,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Part, Error> {
        match self {
            Self::Leases(stored) => read_leases(store, stored, range, limit).await,
            Self::Index(_) => Ok(indexed(&store.list(range, limit).await?)),
        }
    }
}

/// A page of leased blocks.
pub async fn list(store: &dyn Store, filter: &Filter, page: &PageRequest) -> Result<List<BlockView>, Error> {
    let source = Source::of(store, filter).await?;
    let mut range = start(&source.range(), page.after.as_deref())?;
    let mut items = Vec::new();
    loop {
        let limit = READ.min(page.limit - items.len());
        let found = source.read(store, &range, limit).await?;
        items.extend(found.items.iter().map(Leased::view));
        let Some(last) = found.more_after else {
            return Ok(List { items, next: None });
        };
        if items.len() >= page.limit {
            return Ok(List { items, next: Some(Place::after(last).token()) });
        }
        range = range.after(&last);
    }
}

/// How many addresses of each family are held in a pool: its leases tell the nodes, and then each node's
/// blocks of the pool are read together, wherever in the pool they lie.
pub(crate) async fn count_held(store: &dyn Store, stored: &Stored) -> Result<BTreeMap<Family, u64>, Error> {
    let nodes = holders(store, &stored.name).await?;
    let ranges = nodes.iter().map(|node| keys::blocks_of_pool(node, &stored.name));
    let counts = read_all(ranges.map(|range| count_mirrors(store, range))).await?;
    let mut held = BTreeMap::new();
    for (family, count) in counts.into_iter().flatten() {
        *held.entry(family).or_default() += count;
    }
    Ok(held)
}

/// Leases that are read at once to see who holds them; they are small.
const LEASES: usize = 1_000;

async fn holders(store: &dyn Store, pool: &PoolName) -> Result<BTreeSet<NodeName>, Error> {
    let (mut pages, mut nodes) = (Pages::of(store, keys::leases(pool), LEASES), BTreeSet::new());
    while let Some(page) = pages.next().await? {
        for entry in &page.items {
            let Lease { node, .. } = record::decode(&entry.key, &entry.value)?;
            nodes.extend(NodeName::new(node).ok());
        }
    }
    Ok(nodes)
}

/// A mirror of which only the number of its allocations matters.
#[derive(Deserialize)]
struct Count {
    #[serde(default)]
    held: Vec<IgnoredAny>,
}

async fn count_mirrors(store: &dyn Store, range: KeyRange) -> Result<BTreeMap<Family, u64>, Error> {
    let (mut pages, mut held) = (Pages::of(store, range, READ), BTreeMap::new());
    while let Some(page) = pages.next().await? {
        for entry in &page.items {
            let Some((_, _, first)) = keys::parse_block(&entry.key) else { continue };
            let Some(count) = understood::<Count>(&entry.key, &entry.value) else { continue };
            *held.entry(Family::of(first)).or_default() += count.held.len() as u64;
        }
    }
    Ok(held)
}

/// Blocks of the nodes' indexes.
fn indexed(found: &Page<Entry>) -> Part {
    let items = found.items.iter().filter_map(|entry| {
        let (node, pool, first) = keys::parse_block(&entry.key)?;
        let mirror = mirror(&entry.key, &entry.value)?;
        let net = IpNet::new(first, mirror.prefix).ok()?;
        Some(Leased { key: entry.key.clone(), node, pool, net, mirror })
    });
    Part::new(items.collect(), found)
}

async fn read_leases(
    store: &dyn Store,
    stored: &Stored,
    range: &KeyRange,
    limit: usize,
) -> Result<Part, Error> {
    let found = store.list(range, limit).await?;
    let mut leased = Vec::with_capacity(found.items.len());
    let mut by_node: BTreeMap<NodeName, Vec<Unit>> = BTreeMap::new();
    for entry in &found.items {
        let Some((pool, unit)) = keys::parse_lease(&entry.key, |family| stored.pool.block_bits(family))
        else {
            tracing::error!(key = entry.key, "a lease whose key is not understood");
            continue;
        };
        let Lease { node, .. } = record::decode(&entry.key, &entry.value)?;
        let Ok(node) = NodeName::new(node) else { continue };
        by_node.entry(node.clone()).or_default().push(unit);
        let mirror = BlockMirror::default();
        leased.push(Leased { key: entry.key.clone(), node, pool, net: unit.net(), mirror });
    }
    let mut mirrors = mirrors(store, stored, by_node).await?;
    for block in &mut leased {
        block.mirror = mirrors.remove(&block.net.addr()).unwrap_or_default();
    }
    Ok(Part::new(leased, &found))
}

/// The mirrors of blocks of a pool, one read for each node. The units of a node are in order.
async fn mirrors(
    store: &dyn Store,
    stored: &Stored,
    by_node: BTreeMap<NodeName, Vec<Unit>>,
) -> Result<HashMap<IpAddr, BlockMirror>, Error> {
    let reads = by_node.into_iter().filter_map(|(node, units)| {
        let (first, last) = (units.first()?, units.last()?);
        let key = |unit: &Unit| keys::block(&node, &stored.name, *unit);
        Some(KeyRange { from: key(first), to: format!("{}\0", key(last)) })
    });
    let mirrors = read_all(reads.map(|range| read_mirrors(store, range))).await?;
    Ok(mirrors.into_iter().flatten().collect())
}

async fn read_mirrors(store: &dyn Store, range: KeyRange) -> Result<Vec<(IpAddr, BlockMirror)>, Error> {
    let (mut pages, mut mirrors) = (Pages::of(store, range, READ), Vec::new());
    while let Some(page) = pages.next().await? {
        let blocks = indexed(&page).items.into_iter();
        mirrors.extend(blocks.map(|leased| (leased.net.addr(), leased.mirror)));
    }
    Ok(mirrors)
}

/// The mirror that a value holds; `None`, and a line in the log, if it is none.
pub(crate) fn mirror(key: &str, value: &[u8]) -> Option<BlockMirror> {
    understood(key, value)
}

fn understood<T: DeserializeOwned>(key: &str, value: &[u8]) -> Option<T> {
    record::decode(key, value)
        .inspect_err(|error| tracing::error!(error = %chain(error), "a block's mirror is left out"))
        .ok()
}

async fn must_be_known(store: &dyn Store, node: &NodeName) -> Result<(), Error> {
    let known = store.get(&keys::node(node)).await?.is_some()
        || !store.list_keys(&keys::blocks(node), 1).await?.items.is_empty();
    if known { Ok(()) } else { Err(Error::UnknownNode(node.clone())) }
}
