//! Acquiring and releasing single leases.

use super::{LeaseError, LeaseKeeper};
use crate::state::{BlockId, Need, Standing};
use common::ipam::{Family, Pool, Space, Unit};
use common::name::{NodeName, PoolName};
use common::store::leases::FreeUnits;
use common::store::record::{self, BlockMirror, Lease};
use common::store::{Compare, Entry, Op, Revision, StoreError, Txn, keys};
use std::sync::Arc;

/// The mirror may write the index of a block once or twice while it is being released.
const RELEASE_ATTEMPTS: u32 = 5;

impl LeaseKeeper {
    /// Leases one block, and adds it to the state.
    pub(super) async fn acquire(
        &self,
        pool: &PoolName,
        family: Family,
        exactly: Option<Unit>,
    ) -> Result<Unit, LeaseError> {
        loop {
            let Some(entry) = self.store.get(&keys::pool(pool)).await? else {
                return Err(LeaseError::NoPool(pool.clone()));
            };
            let spec: Pool = record::decode(&entry.key, &entry.value)
                .map_err(|error| LeaseError::Record(pool.clone(), Arc::new(error)))?;
            let space = spec.space(family).ok().filter(|_| !spec.disabled);
            let Some(space) = space else { return Err(LeaseError::NoPool(pool.clone())) };
            let leased = match exactly {
                Some(unit) => {
                    self.lease(pool, unit, &entry).await?.ok_or(LeaseError::BlockTaken(unit, pool.clone()))
                }
                None => self.lease_any(pool, &space, &entry).await,
            };
            if leased.is_err() && self.changed(&entry).await? {
                continue;
            }
            let (unit, token) = leased?;
            self.metrics.acquired.add(1);
            let id = BlockId { pool: pool.clone(), unit };
            self.allocator
                .run(move |state, now| state.add_block(&id, token, Standing::Open, Vec::new(), now))
                .await?;
            return Ok(unit);
        }
    }

    async fn lease_any(
        &self,
        pool: &PoolName,
        space: &Space,
        entry: &Entry,
    ) -> Result<(Unit, Revision), LeaseError> {
        let full = || LeaseError::PoolFull { pool: pool.clone(), family: space.family() };
        let need = Need { pool: pool.clone(), family: space.family() };
        let last = self.last.get(&need).and_then(|unit| space.index_of(*unit));
        let start = match last {
            Some(index) => index.saturating_add(1),
            None => start_index(&self.node, space.last_index().ok_or_else(full)?),
        };
        // A block that is fenced here may be free in the store: it must not be given before its holders are gone.
        let known = self.allocator.run(|state, _| state.leases()).await?;
        let mut free = FreeUnits::new(self.store.as_ref(), pool, space, start);
        while let Some(unit) = free.next().await? {
            if !known.contains_key(&BlockId { pool: pool.clone(), unit })
                && let Some(leased) = self.lease(pool, unit, entry).await?
            {
                return Ok(leased);
            }
            if self.changed(entry).await? {
                return Err(full());
            }
            free.lost(unit);
        }
        Err(full())
    }

    /// Creates the lease of a unit if it has none and the pool is as it was read; `None` if not.
    async fn lease(
        &self,
        pool: &PoolName,
        unit: Unit,
        entry: &Entry,
    ) -> Result<Option<(Unit, Revision)>, LeaseError> {
        let key = keys::lease(pool, unit);
        let mirror = BlockMirror { prefix: unit.net().prefix_len(), held: Vec::new() };
        let txn = Txn::new()
            .when(Compare::ModRevision(entry.key.clone(), entry.mod_revision))
            .when(Compare::Absent(keys::RESTORED.to_owned()))
            .when(Compare::Absent(key.clone()))
            .then(Op::Put(key, record::encode(&Lease { node: self.node.to_string() })))
            .then(Op::Put(keys::block(&self.node, pool, unit), record::encode(&mirror)));
        match self.store.txn(txn).await {
            Ok(token) => Ok(Some((unit, token))),
            Err(StoreError::Conflict) if self.is_settling().await? => Err(LeaseError::Restored),
            Err(StoreError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn changed(&self, entry: &Entry) -> Result<bool, LeaseError> {
        let now = self.store.get(&entry.key).await?;
        Ok(now.is_none_or(|now| now.mod_revision != entry.mod_revision))
    }

    /// Removes a lease, unless the block's index was written since it was read: a late transaction must not
    /// remove the lease of a block that was adopted meanwhile.
    pub(super) async fn release(&self, id: &BlockId, token: Revision) -> Result<(), LeaseError> {
        let lease = keys::lease(&id.pool, id.unit);
        let block = keys::block(&self.node, &id.pool, id.unit);
        for _ in 0..RELEASE_ATTEMPTS {
            let Some(index) = self.store.get(&block).await? else { return Ok(()) };
            let txn = Txn::new()
                .when(Compare::CreateRevision(lease.clone(), token))
                .when(Compare::ModRevision(block.clone(), index.mod_revision))
                .then(Op::Delete(lease.clone()))
                .then(Op::Delete(block.clone()));
            match self.store.txn(txn).await {
                Ok(_) => {
                    self.metrics.released.add(1);
                    return Ok(());
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Where a node starts to look for a free block: nodes start at different places, and each at its own again, so
/// that its blocks lie together. (FNV-1a, 128 bits.)
fn start_index(node: &NodeName, last: u128) -> u128 {
    let hash = node.as_str().bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    last.checked_add(1).map_or(hash, |count| hash % count)
}
