//! The store's side of leasing: finds blocks that have no lease, and creates and removes leases. What the node
//! holds it is told.

use super::LeaseError;
use crate::state::{BlockId, Need};
use common::ipam::{Family, Pool, Space, Unit};
use common::name::{NodeName, PoolName};
use common::store::leases::{self, FreeUnits};
use common::store::{Revision, Store, StoreError, keys, record};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The mirror may write the index of a block once or twice while it is being released.
const RELEASE_ATTEMPTS: u32 = 5;
/// Blocks that are leased in one transaction at most: two keys each, and a compare.
const AT_ONCE: usize = 32;

/// A lease that was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leased {
    /// The block.
    pub unit: Unit,
    /// The revision that made the node its holder.
    pub token: Revision,
}

/// Creates and removes the leases of a node.
pub struct Leaser {
    node: NodeName,
    store: Arc<dyn Store>,
    /// The pools as they were read last. A lease is created only while its pool is the same, so that an old one
    /// here costs a read and nothing else.
    pools: BTreeMap<PoolName, Known>,
    /// The block of each pool and family that was leased last: the search goes on behind it.
    last: BTreeMap<Need, Unit>,
}

#[derive(Clone)]
struct Known {
    pool: Pool,
    revision: Revision,
}

impl Leaser {
    /// A leaser that has read nothing yet.
    pub fn new(node: NodeName, store: Arc<dyn Store>) -> Self {
        Self { node, store, pools: BTreeMap::new(), last: BTreeMap::new() }
    }

    /// Leases one block that has no holder, or several in one transaction if `count` asks for them and they are
    /// found at once. `held` are the pool's blocks that the node holds: one of them that is fenced may be free
    /// in the store, and must not be given before its holders are gone. Returns the pool too, as it was when the
    /// leases were made.
    pub async fn lease_any(
        &mut self,
        need: &Need,
        count: usize,
        held: &BTreeSet<Unit>,
    ) -> Result<(Pool, Vec<Leased>), LeaseError> {
        loop {
            let known = self.known(&need.pool).await?;
            let leased = match open_space(&known.pool, need.family) {
                Some(space) => self.search(need, &known, &space, count, held).await,
                None => Err(LeaseError::NoPool(need.pool.clone())),
            };
            match leased {
                Ok(leased) => {
                    self.last.extend(leased.last().map(|last| (need.clone(), last.unit)));
                    return Ok((known.pool, leased));
                }
                Err(_) if self.changed(&need.pool, known.revision).await? => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Leases this block, with `adopt` of a disabled pool too. Returns its pool as well, as it was when the lease was made.
    pub async fn lease_exactly(
        &mut self,
        pool: &PoolName,
        unit: Unit,
        adopt: bool,
    ) -> Result<(Pool, Leased), LeaseError> {
        loop {
            let known = self.known(pool).await?;
            let open = adopt || open_space(&known.pool, unit.family()).is_some();
            if open && let Some(token) = self.create(pool, known.revision, &[unit]).await? {
                return Ok((known.pool, Leased { unit, token }));
            }
            if !self.changed(pool, known.revision).await? {
                let taken = || LeaseError::BlockTaken(unit, pool.clone());
                return Err(if open { taken() } else { LeaseError::NoPool(pool.clone()) });
            }
        }
    }

    async fn search(
        &self,
        need: &Need,
        known: &Known,
        space: &Space,
        count: usize,
        held: &BTreeSet<Unit>,
    ) -> Result<Vec<Leased>, LeaseError> {
        let full = || LeaseError::PoolFull { pool: need.pool.clone(), family: need.family };
        let start = match self.last.get(need).and_then(|unit| space.index_of(*unit)) {
            Some(index) => index.saturating_add(1),
            None => start_index(&self.node, space.last_index().ok_or_else(full)?),
        };
        let mut most = count.clamp(1, AT_ONCE);
        let mut free = FreeUnits::new(self.store.as_ref(), &need.pool, space, start);
        loop {
            let found = free.next_units(most).await?;
            let Some(first) = found.first() else { return Err(full()) };
            let wanted: Vec<Unit> = found.iter().copied().take_while(|unit| !held.contains(unit)).collect();
            if wanted.is_empty() {
                free.lost(*first);
                continue;
            }
            if let Some(token) = self.create(&need.pool, known.revision, &wanted).await? {
                return Ok(wanted.into_iter().map(|unit| Leased { unit, token }).collect());
            }
            if self.read(&need.pool).await?.is_none_or(|now| now.revision != known.revision) {
                return Err(full());
            }
            // Which one of several another node took is not known: from here on they are tried one by one.
            if wanted.len() == 1 {
                free.lost(*first);
            }
            most = 1;
        }
    }

    /// Creates the leases of units if none of them has one and the pool is as it was read; `None` if not.
    async fn create(
        &self,
        pool: &PoolName,
        revision: Revision,
        units: &[Unit],
    ) -> Result<Option<Revision>, LeaseError> {
        match self.store.txn(leases::acquire(&self.node, pool, revision, units)).await {
            Ok(token) => Ok(Some(token)),
            Err(StoreError::Conflict) if self.store.get(keys::RESTORED).await?.is_some() => {
                Err(LeaseError::Restored)
            }
            Err(StoreError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Learns the pools, as they were just read, each with the revision at which it was written.
    pub fn learn(&mut self, pools: &BTreeMap<PoolName, (Pool, Revision)>) {
        let known = |(pool, revision): &(Pool, Revision)| Known { pool: pool.clone(), revision: *revision };
        self.pools.extend(pools.iter().map(|(name, read)| (name.clone(), known(read))));
    }

    /// Forgets the pools: the store went back to an earlier state, and its revisions mean something else since.
    pub fn forget(&mut self) {
        self.pools.clear();
    }

    /// A pool as it is now. The next lease need not read it.
    pub async fn read_pool(&mut self, pool: &PoolName) -> Result<Pool, LeaseError> {
        self.changed(pool, 0).await?;
        self.known(pool).await.map(|known| known.pool)
    }

    /// A pool as it was read last; it is read if it never was.
    async fn known(&mut self, pool: &PoolName) -> Result<Known, LeaseError> {
        if let Some(known) = self.pools.get(pool) {
            return Ok(known.clone());
        }
        let known = self.read(pool).await?.ok_or_else(|| LeaseError::NoPool(pool.clone()))?;
        self.pools.insert(pool.clone(), known.clone());
        Ok(known)
    }

    /// Whether a pool is not as it was at that revision. It is read anew then.
    async fn changed(&mut self, pool: &PoolName, revision: Revision) -> Result<bool, LeaseError> {
        let now = self.read(pool).await?;
        let changed = now.as_ref().is_none_or(|now| now.revision != revision);
        match now {
            Some(now) => self.pools.insert(pool.clone(), now),
            None => self.pools.remove(pool),
        };
        Ok(changed)
    }

    async fn read(&self, pool: &PoolName) -> Result<Option<Known>, LeaseError> {
        let Some(entry) = self.store.get(&keys::pool(pool)).await? else { return Ok(None) };
        let decoded = record::decode(&entry.key, &entry.value);
        let decoded = decoded.map_err(|error| LeaseError::Record(pool.clone(), Arc::new(error)))?;
        Ok(Some(Known { pool: decoded, revision: entry.mod_revision }))
    }

    /// Removes a lease, unless the block's index was written since it was read: a late transaction must not
    /// remove the lease of a block that was adopted meanwhile. Returns whether it was this call that did it.
    pub async fn release(&self, id: &BlockId, token: Revision) -> Result<bool, LeaseError> {
        let block = keys::block(&self.node, &id.pool, id.unit);
        for _ in 0..RELEASE_ATTEMPTS {
            let Some(index) = self.store.get(&block).await? else { return Ok(false) };
            let txn = leases::release(&self.node, &id.pool, id.unit, token, index.mod_revision, None);
            match self.store.txn(txn).await {
                Ok(_) => return Ok(true),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}

/// The blocks of a pool that gives any of the family.
fn open_space(pool: &Pool, family: Family) -> Option<Space> {
    pool.space(family).ok().filter(|_| !pool.disabled)
}

/// Where a node starts to look for a free block: nodes start at different places, and each at its own again, so
/// that its blocks lie together. (FNV-1a, 128 bits.)
fn start_index(node: &NodeName, last: u128) -> u128 {
    let hash = node.as_str().bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    last.checked_add(1).map_or(hash, |count| hash % count)
}
