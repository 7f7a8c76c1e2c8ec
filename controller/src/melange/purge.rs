//! Deallocated addresses can be given again when their days are over. All controllers look for such addresses; the one
//! that makes the key `melange/purge` does the work, and the key goes by itself, so that a controller that ends in
//! between holds nobody up. Every removal is a transaction of its own: what is left is done the next time. What is left of
//! blocks that were deleted is removed on the same occasion.

use super::nat::part_from_all;
use super::read::StoredAddress;
use super::{Melange, MelangeError};
use crate::paging::read_all;
use common::clock::now_millis;
use common::error::chain;
use common::store::keys::melange as keys;
use common::store::melange::{Place, remove};
use common::store::record::melange::{Address, Mark};
use common::store::retry::{Attempts, seed};
use common::store::{Compare, Op, Pages, StoreError, Txn, record};
use std::time::Duration;

/// How often what is due is removed, by all controllers together.
pub const INTERVAL: Duration = Duration::from_mins(1);
/// How often each of them asks whether it is time.
const PAUSE: Duration = Duration::from_secs(15);
/// For how long it goes on with what is left of deleted blocks.
const CLEARING: Duration = Duration::from_secs(30);
/// How many addresses are read at once.
const READ: usize = 200;
const DAY: u64 = 24 * 60 * 60 * 1_000;

impl Melange {
    /// Removes what is due again and again, until this is dropped.
    pub async fn keep_purging(&self) {
        // What is due can wait until the program has begun to serve.
        loop {
            tokio::time::sleep(PAUSE).await;
            match self.purge_alone().await {
                Ok(Some(0) | None) => {}
                Ok(Some(removed)) => tracing::info!(removed, "deallocated addresses can be given again"),
                Err(error) => tracing::warn!(error = chain(&error), "not all that is due was removed"),
            }
        }
    }

    /// Removes what is due, unless another controller did it within the interval. Answers how much that was.
    pub async fn purge_alone(&self) -> Result<Option<u64>, MelangeError> {
        let ttl = self.store.grant_ttl(INTERVAL.saturating_sub(PAUSE)).await?;
        let mark = Op::PutWithTtl(keys::PURGE.to_owned(), record::encode(&Mark {}), ttl);
        match self.store.txn(Txn::new().when(Compare::Absent(keys::PURGE.to_owned())).then(mark)).await {
            Ok(_) => {
                let removed = self.purge(now_millis()).await?;
                self.clear(CLEARING).await?;
                Ok(Some(removed))
            }
            Err(StoreError::Conflict) => {
                self.store.revoke_ttl(ttl).await?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the addresses of which the days are over at a time. Answers how many.
    pub async fn purge(&self, now: u64) -> Result<u64, MelangeError> {
        let kept = u64::from(self.settings.keep_deallocated_ips_days) * DAY;
        let Some(until) = now.checked_sub(kept) else { return Ok(0) };
        let mut pages = Pages::of(self.store.as_ref(), keys::due_until(until), READ);
        let mut removed = 0;
        while let Some(page) = pages.next_keys().await? {
            let places = page.items.iter().filter_map(|key| keys::parse_due(key));
            let places = places.map(|(block, address)| Place { block, address });
            let is_due = |record: &Address| record.freed.is_some_and(|freed| freed <= until);
            let outcomes = read_all(places.map(|place| self.remove_if(place, is_due))).await?;
            removed += outcomes.into_iter().map(u64::from).sum::<u64>();
        }
        Ok(removed)
    }

    /// Removes an address if it is one of those; answers whether it did.
    pub(super) async fn remove_if(
        &self,
        place: Place,
        is_one: impl Fn(&Address) -> bool + Send,
    ) -> Result<bool, MelangeError> {
        let mut attempts = Attempts::new(seed(place.block));
        loop {
            match self.try_remove(place, &is_one).await {
                Ok(removed) => return Ok(removed),
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    async fn try_remove(
        &self,
        place: Place,
        is_one: &(impl Fn(&Address) -> bool + Send),
    ) -> Result<bool, MelangeError> {
        let StoredAddress { entry, record, .. } = match self.address(place).await {
            Err(MelangeError::NotFound(_)) => return Ok(false),
            found => found?,
        };
        if !is_one(&record) {
            return Ok(false);
        }
        part_from_all(self.store.as_ref(), place).await?;
        let mut txn = remove(place, &entry, &record);
        if record.freed.is_none() {
            txn = self.unplug(txn, record.plug()).await?;
        }
        self.store.txn(txn).await?;
        Ok(true)
    }
}
