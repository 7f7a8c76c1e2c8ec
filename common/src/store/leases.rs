//! Finds a unit of a pool that has no lease, by reading few of its lease keys.

use super::{Store, StoreError, keys};
use crate::ipam::{Search, Space, Step, Unit};
use crate::name::PoolName;

/// The units of a pool without a lease, one after the other:
///
/// ```no_run
/// # use common::{ipam::{Space, Unit}, name::PoolName, store::{Store, StoreError, leases::FreeUnits}};
/// # async fn take(unit: Unit) -> Result<u64, StoreError> { Ok(0) }
/// # async fn example(store: &dyn Store, pool: &PoolName, space: &Space) -> Result<Option<Unit>, StoreError> {
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
    pool: &'a PoolName,
    bits: u8,
    search: Search,
}

impl<'a> FreeUnits<'a> {
    /// A search from a unit of the space on, once around. Holders that start at different units seldom meet.
    pub fn new(store: &'a dyn Store, pool: &'a PoolName, space: &Space, start_index: u128) -> Self {
        Self { store, pool, bits: space.bits(), search: Search::new(space, start_index) }
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
                    let count = self.store.count(&keys::leases_between(self.pool, run)).await?;
                    self.search.counted(count);
                }
                Step::Page { run, limit } => {
                    let range = keys::leases_between(self.pool, run);
                    let page = self.store.list_keys(&range, limit).await?;
                    let leased = page.items.iter().filter_map(|key| keys::parse_lease(key, |_| self.bits));
                    let leased: Vec<Unit> = leased.map(|(_, unit)| unit).collect();
                    self.search.page(&leased, page.more);
                }
            }
        }
    }

    /// Another holder took the unit first.
    pub fn lost(&mut self, unit: Unit) {
        self.search.lost(unit);
    }
}
