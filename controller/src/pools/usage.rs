//! How much of a pool is in use, by counting keys: no pool is read to be shown.

use super::Stored;
use crate::blocks;
use crate::error::Error;
use common::ipam::{Family, Pool, UnitRun};
use common::name::PoolName;
use common::store::{Store, keys};
use common::wire::admin::PoolUsage;
use std::collections::BTreeMap;

/// The use of each family that the pool has, without leases.
pub(super) fn unleased(pool: &Pool, name: &PoolName) -> Result<Vec<PoolUsage>, Error> {
    let families = Family::BOTH.into_iter().filter(|family| pool.has(*family));
    families
        .map(|family| {
            let space = pool.space(family).map_err(|source| Error::Space { pool: name.clone(), source })?;
            let last = space.last_index().map(|last| u64::try_from(last).unwrap_or(u64::MAX));
            let blocks = last.map_or(0, |last| last.saturating_add(1));
            Ok(PoolUsage { family, blocks, leased: 0, allocated: None })
        })
        .collect()
}

/// The use of each family that the pool has.
pub(super) async fn of(store: &dyn Store, pool: &Pool, name: &PoolName) -> Result<Vec<PoolUsage>, Error> {
    let mut usage = unleased(pool, name)?;
    for usage in &mut usage {
        usage.leased = store.count(&keys::leases_between(name, whole(pool, usage.family))).await?;
    }
    Ok(usage)
}

/// Adds how many addresses are held, as the mirrors say.
pub(super) async fn add_allocated(
    store: &dyn Store,
    stored: &Stored,
    usage: &mut [PoolUsage],
) -> Result<(), Error> {
    let leased = usage.iter().any(|usage| usage.leased > 0);
    let held = if leased { blocks::count_held(store, stored).await? } else { BTreeMap::new() };
    for usage in usage.iter_mut() {
        usage.allocated = Some(held.get(&usage.family).copied().unwrap_or(0));
    }
    Ok(())
}

/// All units of a family, so that one read counts those of the pool however many subnets it has.
fn whole(pool: &Pool, family: Family) -> UnitRun {
    UnitRun { family, bits: pool.block_bits(family), first: 0, last: family.last() }
}
