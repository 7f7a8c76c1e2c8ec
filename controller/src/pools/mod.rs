//! Pools: made, changed, shown and deleted.
//!
//! * [`change`]: everything that writes
//! * [`rules`]: what a pool may look like, pure
//! * [`usage`]: how much of it is in use

mod change;
mod rules;
mod usage;

pub use change::{Change, apply};
pub(crate) use rules::validate;

use crate::error::Error;
use crate::paging::{PageRequest, Place, read_all, start};
use common::ipam::Pool;
use common::name::PoolName;
use common::store::record;
use common::store::{Entry, Revision, Store, keys, list_all};
use common::wire::admin::{List, PoolView};

/// A pool as it was read.
pub(crate) struct Stored {
    pub(crate) name: PoolName,
    pub(crate) pool: Pool,
    pub(crate) revision: Revision,
}

impl Stored {
    fn parse(name: PoolName, entry: &Entry) -> Result<Self, Error> {
        let pool = record::decode(&entry.key, &entry.value)?;
        Ok(Self { name, pool, revision: entry.mod_revision })
    }

    fn parse_all(entries: &[Entry]) -> Result<Vec<Self>, Error> {
        let named = entries.iter().filter_map(|entry| Some((keys::parse_pool(&entry.key)?, entry)));
        named.map(|(name, entry)| Self::parse(name, entry)).collect()
    }
}

/// The pools, by name.
pub async fn list(store: &dyn Store, page: &PageRequest) -> Result<List<PoolView>, Error> {
    let range = start(&keys::pools(), page.after.as_deref())?;
    let found = store.list(&range, page.limit).await?;
    let next = found.last_of_more().map(|last| Place::after(&last.key).token());
    let pools = Stored::parse_all(&found.items)?;
    let items = read_all(pools.iter().map(|stored| view(store, &stored.name, &stored.pool))).await?;
    Ok(List { items, next })
}

/// A pool, with the addresses held in it.
pub async fn show(store: &dyn Store, name: &PoolName) -> Result<PoolView, Error> {
    let stored = get(store, name).await?;
    let mut view = view(store, name, &stored.pool).await?;
    usage::add_allocated(store, &stored, &mut view.usage).await?;
    Ok(view)
}

/// A pool as it is in the store.
pub(crate) async fn get(store: &dyn Store, name: &PoolName) -> Result<Stored, Error> {
    match store.get(&keys::pool(name)).await? {
        Some(entry) => Stored::parse(name.clone(), &entry),
        None => Err(Error::UnknownPool(name.clone())),
    }
}

/// All pools, by name.
pub(crate) async fn all(store: &dyn Store) -> Result<Vec<Stored>, Error> {
    Stored::parse_all(&list_all(store, &keys::pools()).await?.items)
}

/// A pool with its use, without the addresses held.
pub(crate) async fn view(store: &dyn Store, name: &PoolName, pool: &Pool) -> Result<PoolView, Error> {
    let usage = usage::of(store, pool, name).await?;
    Ok(PoolView { name: name.clone(), pool: pool.clone(), usage })
}
