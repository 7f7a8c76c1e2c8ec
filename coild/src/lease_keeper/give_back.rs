//! Addresses of namespaces' pools whose pod is gone: their leases are given back, or kept for the next pod of the same
//! name, on whatever node it comes.
//!
//! As with blocks, an address is taken out of the state before its lease is removed. It is taken out only when the
//! store has just answered: while the store is away, a pod that comes back to this node gets its address again.

use super::addresses::pod_of;
use super::{LeaseError, LeaseKeeper};
use crate::state::{Ask, BlockId, LeasedAddress, State};
use common::clock;
use common::error::chain;
use common::ipam::{Family, Unit};
use common::store::leases::addresses::{self, Kept};
use common::store::record::{self, Fixed, Lease};
use common::store::{Entry, Revision, StoreError, keys, leases};
use std::net::IpAddr;
use std::sync::Arc;

/// The mirror may write the index of an address once or twice meanwhile.
const ATTEMPTS: u32 = 5;

/// What was found to be kept for a pod.
pub(super) enum Found {
    /// Its address, which is now this node's.
    Here(LeasedAddress),
    /// An address of a pool that it does not name any more, or that is not leased any more: the entries that say so,
    /// to be removed when it gets another one.
    Stale(Vec<Entry>),
    /// Nothing.
    Nowhere,
}

impl LeaseKeeper {
    /// Leases the address again that is kept for a pod.
    pub(super) async fn return_fixed(
        &mut self,
        ask: &Ask,
        family: Option<Family>,
    ) -> Result<Found, LeaseError> {
        let families = family.map_or(Family::BOTH.to_vec(), |family| vec![family]);
        for family in families {
            let Some(index) = self.store.get(&keys::fixed(&pod_of(ask), family)).await? else { continue };
            let kept: Fixed = decode(&index)?;
            let unit = Unit::containing(kept.address, 0);
            let Some(entry) = self.store.get(&keys::lease(&kept.pool, unit)).await? else {
                return Ok(Found::Stale(vec![index]));
            };
            let lease: Lease = decode(&entry)?;
            if self.is_set_aside(&kept, &lease).await? {
                // The lease goes when that is over.
                return Ok(Found::Stale(vec![index]));
            }
            let same = |asked: &IpAddr| Family::of(*asked) != family || *asked == kept.address;
            let target = if ask.addresses.iter().all(same) {
                self.chosen_target(ask, &kept.pool, kept.address).await?
            } else {
                None
            };
            if !lease.node.is_empty() {
                // Its pod, or the one before, is not gone yet as far as that node knows.
                return Err(LeaseError::Elsewhere { address: kept.address, node: lease.node });
            }
            let Some(target) = target else { return Ok(Found::Stale(vec![index, entry])) };
            let wanted = target.wanted(ask, unit);
            let txn = addresses::take_kept(&self.node, &wanted, &index, &entry);
            return match self.store.txn(txn).await {
                Ok(token) => Ok(Found::Here(LeasedAddress::of(wanted, token))),
                Err(StoreError::Conflict) if self.is_settling().await? => Err(LeaseError::Restored),
                Err(StoreError::Conflict) => {
                    Err(LeaseError::Elsewhere { address: kept.address, node: String::new() })
                }
                Err(error) => Err(error.into()),
            };
        }
        Ok(Found::Nowhere)
    }

    /// Whether a foreign host was found to use an address that is kept.
    async fn is_set_aside(&self, kept: &Fixed, lease: &Lease) -> Result<bool, LeaseError> {
        if lease.node != self.node.as_str() {
            return Ok(false);
        }
        let Fixed { pool, address } = kept.clone();
        Ok(self.allocator.run(move |state, _| state.is_set_aside(&pool, address)).await?)
    }

    /// Gives back all that nobody holds.
    pub(super) async fn give_back_all(&mut self) {
        if self.is_down() {
            return;
        }
        let Ok(idle) = self.allocator.run(|state, _| State::idle_addresses(state)).await else { return };
        for (id, token) in idle {
            let outcome = self.give_back(&id, token, false).await;
            self.note(&outcome);
            match outcome {
                // Holding the state against the store settles what could not be done.
                Ok(done) => {
                    self.unsure |= !done;
                    tracing::debug!(pool = %id.pool, address = %id.unit.first(), "gave an address back");
                }
                Err(error) => {
                    tracing::debug!(
                        pool = %id.pool, address = %id.unit.first(), error = %chain(&error),
                        "an address can't be given back yet"
                    );
                    return;
                }
            }
        }
    }

    /// Gives back the lease of an address that a complete journal does not know. Returns whether that is done.
    pub(super) async fn give_back_unknown(&self, id: &BlockId, token: Revision) -> Result<bool, LeaseError> {
        self.give_back(id, token, true).await
    }

    /// Gives back the lease of an address that nobody holds; it is taken out of the state first, unless it is not in it.
    /// Returns whether that is done.
    async fn give_back(
        &self,
        id: &BlockId,
        token: Revision,
        mut taken_out: bool,
    ) -> Result<bool, LeaseError> {
        let (lease, block) = (keys::lease(&id.pool, id.unit), keys::block(&self.node, &id.pool, id.unit));
        for _ in 0..ATTEMPTS {
            let (entry, index) = tokio::join!(self.store.get(&lease), self.store.get(&block));
            let (entry, index) = (entry?, index?);
            let Some(entry) = entry.filter(|entry| entry.mod_revision == token) else {
                return self.forget(index, taken_out).await;
            };
            let Some(index) = index else { return Ok(false) };
            let kept = self.still_kept(id, &decode(&entry)?).await?;
            if !taken_out {
                let id = id.clone();
                taken_out = self.allocator.run(move |state, _| state.take_idle_address(&id, token)).await?;
                if !taken_out {
                    return Ok(true);
                }
            }
            let txn =
                leases::release(&self.node, &id.pool, id.unit, token, index.mod_revision, kept.as_ref());
            match self.store.txn(txn).await {
                Ok(_) => {
                    self.metrics.released.inc();
                    return Ok(true);
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// Removes the index of a lease that is not this node's any more, if the state does not have the address either.
    async fn forget(&self, index: Option<Entry>, taken_out: bool) -> Result<bool, LeaseError> {
        let Some(index) = index.filter(|_| taken_out) else { return Ok(taken_out) };
        match self.store.txn(leases::discard(&index, None)).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// By what an address is kept for its pod, unless it was given up.
    async fn still_kept(&self, id: &BlockId, lease: &Lease) -> Result<Option<Kept>, LeaseError> {
        let Some(key) = Kept::key(lease, id.unit.family()) else { return Ok(None) };
        let index = self.store.get(&key).await?;
        let unreadable = |error| LeaseError::ChosenRecord(key.clone(), Arc::new(error));
        Kept::of(&id.pool, id.unit, lease, index, clock::now_millis()).map_err(unreadable)
    }
}

fn decode<T: serde::de::DeserializeOwned>(entry: &Entry) -> Result<T, LeaseError> {
    record::decode(&entry.key, &entry.value)
        .map_err(|error| LeaseError::ChosenRecord(entry.key.clone(), Arc::new(error)))
}
