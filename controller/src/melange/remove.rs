//! Addresses are removed, many by one transaction.

use super::nat::part_from_all;
use super::read::StoredAddress;
use super::{Melange, MelangeError};
use crate::paging::read_all;
use crate::plan;
use common::ipam::Range;
use common::store::keys::melange::{self as keys, Side};
use common::store::melange::{Place, remove, unchanged};
use common::store::record::melange::Gone;
use common::store::retry::{Attempts, seed};
use common::store::{Compare, Entry, KeyRange, Op, Store, StoreError, Txn, list_all, record};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How many addresses one transaction gives or removes: each is on five lists.
pub(super) const BATCH: usize = 20;
/// How many are read at once.
const READ: usize = 16 * BATCH;
/// Of how many it is read at once that they are there: etcd looks at all that are left every time.
const KEYS: usize = 10_000;
/// How many routes one transaction removes.
const ROUTES: usize = 100;

/// The addresses of a block that were read of the store.
pub(super) fn parse_all(block: Uuid, entries: Vec<Entry>) -> Result<Vec<StoredAddress>, MelangeError> {
    let placed = entries.into_iter().filter_map(|entry| {
        let address = keys::parse_address(&entry.key)?;
        Some(StoredAddress::parse(Place { block, address }, entry).map_err(MelangeError::from))
    });
    placed.collect()
}

/// Removes addresses that no interface of a tenant has, and what `joined` them to others.
pub(super) async fn remove_all(
    store: &dyn Store,
    gone: &[StoredAddress],
    joined: bool,
) -> Result<(), MelangeError> {
    if joined {
        read_all(gone.iter().map(|stored| part_from_all(store, stored.place))).await?;
    }
    for batch in gone.chunks(BATCH) {
        let txn = batch
            .iter()
            .fold(Txn::new(), |txn, stored| txn.and(remove(stored.place, &stored.entry, &stored.record)));
        store.txn(txn).await?;
    }
    Ok(())
}

impl Melange {
    /// Goes on removing what is left of blocks that were deleted, for so long. Answers how many are done with.
    pub async fn clear(&self, time: Duration) -> Result<u64, MelangeError> {
        let (until, mut done) = (Instant::now() + time, 0);
        for entry in list_all(self.store.as_ref(), &keys::all_gone()).await?.items {
            let Some(block) = keys::parse_id(&entry.key) else { continue };
            done += u64::from(self.clear_block(block, until).await?);
        }
        Ok(done)
    }

    /// Removes what is left of a block that was deleted, until some time; something is removed in any case. Answers
    /// whether nothing is left.
    pub(super) async fn clear_block(&self, block: Uuid, until: Instant) -> Result<bool, MelangeError> {
        let store = self.store.as_ref();
        let mut joined = false;
        for side in [Side::Global, Side::Local] {
            joined |= !store.list_keys(&keys::all_nats(side, block), 1).await?.items.is_empty();
        }
        loop {
            let mut left = store.list_keys(&keys::addresses(block), KEYS).await?.items;
            left.retain(|key| keys::parse_address(key).is_some());
            if left.is_empty() {
                break;
            }
            for some in left.chunks(READ) {
                let (Some(first), Some(last)) = (some.first(), some.last()) else { continue };
                let range = KeyRange { from: first.clone(), to: format!("{last}\0") };
                let addresses = parse_all(block, store.list(&range, READ).await?.items)?;
                read_all(addresses.chunks(BATCH).map(|batch| self.clear_batch(batch, joined))).await?;
                if Instant::now() >= until {
                    return Ok(false);
                }
            }
        }
        loop {
            let routes = store.list_keys(&keys::routes(block), ROUTES).await?.items;
            if routes.is_empty() {
                break;
            }
            store.txn(routes.into_iter().fold(Txn::new(), |txn, route| txn.then(Op::Delete(route)))).await?;
        }
        self.forget(block).await
    }

    /// Removes some addresses of a block that was deleted.
    async fn clear_batch(&self, batch: &[StoredAddress], joined: bool) -> Result<(), MelangeError> {
        let (plugged, free): (Vec<_>, Vec<_>) = batch
            .iter()
            .cloned()
            .partition(|stored| stored.record.freed.is_none() && stored.record.plug().is_some());
        let free = match remove_all(self.store.as_ref(), &free, joined).await {
            Ok(()) => Vec::new(),
            // Another controller was faster with one, or it was joined at the last moment.
            Err(MelangeError::Store(StoreError::Conflict)) => free,
            Err(error) => return Err(error),
        };
        for stored in plugged.iter().chain(&free) {
            self.remove_if(stored.place, |_| true).await?;
        }
        Ok(())
    }

    /// A block that was deleted, and of which nothing is left, is forgotten, and its part of the address plan free. False
    /// if something has come to it: a request may have been under way.
    async fn forget(&self, block: Uuid) -> Result<bool, MelangeError> {
        let mut attempts = Attempts::new(seed(block));
        loop {
            match self.try_forget(block).await {
                Ok(()) => return Ok(true),
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    async fn try_forget(&self, block: Uuid) -> Result<(), MelangeError> {
        let store = self.store.as_ref();
        let Some(entry) = store.get(&keys::gone(block)).await? else { return Ok(()) };
        let Gone { public } = record::decode(&entry.key, &entry.value)?;
        let txn = unchanged(Txn::new(), entry.key.clone(), entry.mod_revision)
            .when(Compare::Empty(keys::addresses(block)))
            .when(Compare::Empty(keys::routes(block)))
            .then(Op::Delete(entry.key));
        let Some(cidr) = public else {
            store.txn(txn).await?;
            return Ok(());
        };
        let mut cached = self.plan.lock().await;
        let at = plan::revision(store).await?;
        let txn = txn.when(plan::unchanged(at)).then(plan::changed());
        let written = store.txn(txn.then(Op::Delete(keys::public(cidr.network())))).await?;
        if let Some(plan) = cached.take_if(|plan| plan.is_of(at)) {
            let mut plan = plan.written_at(written);
            plan.remove(Range::of_net(cidr));
            *cached = Some(plan);
        }
        Ok(())
    }
}
