//! Leases: how a unit without one is found, by reading few lease keys, and the transactions of a lease's life.
//!
//! A lease is written once for its holder, in one transaction with the holder's index of it. So the mod revision of the
//! lease is the create revision of the index: the token. Whoever writes under a lease compares it (`docs/schema.md`).
//!
//! * [`addresses`]: what is else with single addresses

pub mod addresses;

use super::record::{self, BlockMirror, Claim, Lease};
use super::{Compare, Entry, Op, Revision, Store, StoreError, Txn, keys};
use crate::ipam::{Search, Space, Step, Unit};
use crate::name::{NodeName, PoolName};
use crate::pool_id::AnyPool;
use addresses::Kept;
use bytes::Bytes;

/// The units of a pool without a lease, one after the other:
///
/// ```no_run
/// # use common::{ipam::{Space, Unit}, pool_id::AnyPool, store::{Store, StoreError, leases::FreeUnits}};
/// # async fn take(unit: Unit) -> Result<u64, StoreError> { Ok(0) }
/// # async fn example(store: &dyn Store, pool: &dyn AnyPool, space: &Space) -> Result<Option<Unit>, StoreError> {
/// let mut free = FreeUnits::new(store, pool, space, 4_711);
/// while let Some(unit) = free.next().await? {
///     match take(unit).await {
///         Ok(_) => return Ok(Some(unit)),
///         Err(StoreError::Conflict) => free.lost(unit),
///         Err(error) => return Err(error),
///     }
/// }
/// # Ok(None)
/// # }
/// ```
pub struct FreeUnits<'a> {
    store: &'a dyn Store,
    /// What the keys of taken units begin with.
    prefix: String,
    bits: u8,
    search: Search,
}

impl<'a> FreeUnits<'a> {
    /// A search from a unit of the space on, once around. Holders that start at different units seldom meet.
    pub fn new(store: &'a dyn Store, pool: &dyn AnyPool, space: &Space, start_index: u128) -> Self {
        Self::below(store, keys::leases(pool).from, space, start_index)
    }

    /// The same where a unit is taken if there is a key of its name behind this prefix.
    pub fn below(store: &'a dyn Store, prefix: String, space: &Space, start_index: u128) -> Self {
        Self { store, prefix, bits: space.bits(), search: Search::new(space, start_index) }
    }

    /// A free unit, the same one until it is [`lost`](Self::lost); `None` if every unit has a lease.
    pub async fn next(&mut self) -> Result<Option<Unit>, StoreError> {
        Ok(self.next_units(1).await?.pop())
    }

    /// Some free units, `most` of them at most and those that one read told: the same ones until they are
    /// [`lost`](Self::lost), in that order. None if every unit has a lease.
    pub async fn next_units(&mut self, most: usize) -> Result<Vec<Unit>, StoreError> {
        loop {
            match self.search.step() {
                Step::Found(_) => return Ok(self.search.found(most)),
                Step::Full => return Ok(Vec::new()),
                Step::Count { run } => {
                    let count = self.store.count(&keys::units_between(&self.prefix, run)).await?;
                    self.search.counted(count);
                }
                Step::Page { run, limit } => {
                    let range = keys::units_between(&self.prefix, run);
                    let page = self.store.list_keys(&range, limit).await?;
                    let name =
                        |key: &String| keys::parse_unit(key.strip_prefix(&self.prefix)?, |_| self.bits);
                    let taken: Vec<Unit> = page.items.iter().filter_map(name).collect();
                    self.search.page(&taken, page.more);
                }
            }
        }
    }

    /// Another holder took the unit first.
    pub fn lost(&mut self, unit: Unit) {
        self.search.lost(unit);
    }
}

/// A node takes units that have no lease, if the pool is still as it was read and no restore of the store is being
/// dealt with. The revision of this transaction is the token of every one of these leases.
pub fn acquire(node: &NodeName, pool: &PoolName, pool_revision: Revision, units: &[Unit]) -> Txn {
    let txn = Txn::new()
        .when(Compare::ModRevision(keys::pool(pool), pool_revision))
        .when(Compare::Absent(keys::RESTORED.to_owned()));
    let empty = |unit: &Unit| BlockMirror { prefix: unit.net().prefix_len(), ..BlockMirror::default() };
    units.iter().fold(txn, |txn, unit| create(txn, node, pool, *unit, None, &empty(unit)))
}

fn create(
    txn: Txn,
    node: &NodeName,
    pool: &(impl AnyPool + ?Sized),
    unit: Unit,
    pod: Option<Claim>,
    mirror: &BlockMirror,
) -> Txn {
    hold(txn.when(Compare::Absent(keys::lease(pool, unit))), node, pool, unit, pod, mirror)
}

/// Adds what makes a node the holder of a unit.
fn hold(
    txn: Txn,
    node: &NodeName,
    pool: &(impl AnyPool + ?Sized),
    unit: Unit,
    pod: Option<Claim>,
    mirror: &BlockMirror,
) -> Txn {
    let lease = Lease { node: node.to_string(), pod };
    txn.then(Op::Put(keys::lease(pool, unit), record::encode(&lease)))
        .then(Op::Put(keys::block(node, pool, unit), record::encode(mirror)))
}

/// Adds to a transaction that a node writes what it has allocated from a unit; `mirror` is an encoded
/// [`BlockMirror`].
#[must_use]
pub fn mirror(
    txn: Txn,
    node: &NodeName,
    pool: &impl AnyPool,
    unit: Unit,
    token: Revision,
    mirror: Bytes,
) -> Txn {
    let index = keys::block(node, pool, unit);
    txn.when(Compare::CreateRevision(index.clone(), token)).then(Op::Put(index, mirror))
}

/// A node takes over a lease of its own, which it knows by its index, with these allocations. Writing the index makes
/// a [`release`] fail that was sent before and is still on its way.
pub fn adopt(pool: &impl AnyPool, unit: Unit, index: &Entry, mirror: &BlockMirror) -> Txn {
    Txn::new()
        .when(Compare::ModRevision(keys::lease(pool, unit), index.create_revision))
        .when(Compare::ModRevision(index.key.clone(), index.mod_revision))
        .then(Op::Put(index.key.clone(), record::encode(mirror)))
}

/// A node gives a lease back, unless its index was written since it was read. An address that is kept for its pod is
/// nobody's from then on.
pub fn release(
    node: &NodeName,
    pool: &impl AnyPool,
    unit: Unit,
    token: Revision,
    index_revision: Revision,
    kept: Option<&Kept>,
) -> Txn {
    let (lease, index) = (keys::lease(pool, unit), keys::block(node, pool, unit));
    let txn = Txn::new().when(Compare::ModRevision(index.clone(), index_revision)).then(Op::Delete(index));
    end(txn, lease, token, kept)
}

/// Adds the end of a lease.
fn end(txn: Txn, lease: String, token: Revision, kept: Option<&Kept>) -> Txn {
    let txn = txn.when(Compare::ModRevision(lease.clone(), token));
    match kept {
        Some(kept) => kept.keep(txn, lease),
        None => txn.then(Op::Delete(lease)),
    }
}

/// A node gives up a unit that it knows by its index. `lease` is the unit's lease as it was read. One of another life
/// than the index is another node's: it stays, and only the index goes.
pub fn discard(index: &Entry, lease: Option<&Entry>) -> Txn {
    let txn = Txn::new()
        .when(Compare::ModRevision(index.key.clone(), index.mod_revision))
        .then(Op::Delete(index.key.clone()));
    match lease.filter(|lease| lease.mod_revision == index.create_revision) {
        Some(lease) => end(txn, lease.key.clone(), lease.mod_revision, None),
        None => txn,
    }
}

/// A node claims a unit again of which others must not give what `mirror` has as held, if it has no lease and the
/// record of its pool is still as it was read. `index` is the node's index of the unit, if there is one; `pod` who
/// holds an address of a namespace's pool.
pub fn protect(
    node: &NodeName,
    (pool, record): (&impl AnyPool, &Entry),
    unit: Unit,
    index: Option<&Entry>,
    pod: Option<Claim>,
    mirror: &BlockMirror,
) -> Txn {
    let index_revision = index.map_or(0, |index| index.mod_revision);
    let txn = Txn::new()
        .when(Compare::ModRevision(record.key.clone(), record.mod_revision))
        .when(Compare::ModRevision(keys::block(node, pool, unit), index_revision));
    create(txn, node, pool, unit, pod, mirror)
}

/// Starts a transaction by which a node that has never run gets what it had under another system: only as long as it has
/// not run, and no restore of the store is being dealt with.
pub fn before_first_start(node: &NodeName) -> Txn {
    [keys::node(node), keys::alive(node), keys::RESTORED.to_owned()]
        .into_iter()
        .fold(Txn::new(), |txn, key| txn.when(Compare::Absent(key)))
}

/// Adds to such a transaction that the node holds a unit, with these allocations; `index` is the node's index of the
/// unit, if an earlier transaction of this kind has written one. The node adopts it at its first start.
#[must_use]
pub fn import(
    txn: Txn,
    node: &NodeName,
    pool: &PoolName,
    unit: Unit,
    index: Option<&Entry>,
    mirror: &BlockMirror,
) -> Txn {
    match index {
        None => create(txn, node, pool, unit, None, mirror),
        Some(index) => txn.and(adopt(pool, unit, index, mirror)),
    }
}

/// Starts a transaction that takes something from a node: only while it is not alive, unless forced.
pub fn unless_alive(node: &NodeName, force: bool) -> Txn {
    if force { Txn::new() } else { Txn::new().when(Compare::Absent(keys::alive(node))) }
}

/// Adds to a transaction that a unit is taken from a node, known by the node's index of it. `lease` is the
/// unit's lease as it was read. One that belongs to another node stays, and only the index goes. An address that is
/// kept for its pod is nobody's from then on.
#[must_use]
pub fn reclaim(txn: Txn, node: &NodeName, index: &Entry, lease: Option<&Entry>, kept: Option<&Kept>) -> Txn {
    let txn = txn
        .when(Compare::CreateRevision(index.key.clone(), index.create_revision))
        .then(Op::Delete(index.key.clone()));
    let is_ours = |lease: &&Entry| {
        record::decode::<Lease>(&lease.key, &lease.value).is_ok_and(|lease| lease.node == node.as_str())
    };
    match lease.filter(is_ours) {
        Some(lease) => end(txn, lease.key.clone(), lease.mod_revision, kept),
        None => txn,
    }
}
