//! What a store has much of: leases of a node that does not run, and addresses of a tenant.

use crate::counters::{COMMITS, Counters};
use anyhow::{Context, Result};
use coil_tests::etcd::Etcd;
use coil_tests::tools::run;
use coil_tests::wait::wait_until;
use common::ipam::{Space, Unit};
use common::name::TenantId;
use common::pool_id::AnyPool;
use common::store::melange::{Place, give};
use common::store::record::melange::Address;
use common::store::record::{self, Lease};
use common::store::{Op, Store, Txn, keys};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::time::Duration;
use uuid::{Builder, Uuid};

/// Transactions at the same time.
const WRITERS: usize = 16;
/// Addresses of a tenant in a transaction: each has its own key, and one in each of three lists.
const AT_ONCE: usize = Txn::MAX / 4;
/// etcd does so every 100 ms if there is something to commit.
const COMMIT: Duration = Duration::from_secs(10);
/// When they were given, in milliseconds since the Unix epoch.
const GIVEN: u64 = 1_700_000_000_000;

/// Leases the units at these indices of the pool's space.
pub(crate) async fn lease_all(
    store: &dyn Store,
    pool: &(impl AnyPool + ?Sized),
    space: &Space,
    indices: impl Iterator<Item = u64>,
) -> Result<()> {
    let lease = record::encode(&Lease::of_node("filler"));
    let units = indices.map(|index| space.unit_at(u128::from(index)).context("a unit of the pool"));
    let units: Vec<Unit> = units.collect::<Result<_>>()?;
    let puts: Vec<Op> =
        units.into_iter().map(|unit| Op::Put(keys::lease(pool, unit), lease.clone())).collect();
    let txns = puts.chunks(Txn::MAX).map(|ops| store.txn(Txn { compares: Vec::new(), ops: ops.to_vec() }));
    stream::iter(txns).buffer_unordered(WRITERS).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

/// Gives a tenant addresses of its block, in this order.
pub(crate) async fn give_all(
    store: &dyn Store,
    tenant: &TenantId,
    block: Uuid,
    addresses: &[Ipv4Addr],
) -> Result<()> {
    let txns = addresses.chunks(AT_ONCE).enumerate().map(|(chunk, addresses)| {
        let given = addresses.iter().enumerate().flat_map(|(number, address)| {
            let record = Address {
                id: given_id(chunk * AT_ONCE + number),
                owner: tenant.clone(),
                tenant: tenant.clone(),
                device: None,
                interface: None,
                created: GIVEN,
                updated: GIVEN,
                freed: None,
                pod: false,
            };
            give(Txn::new(), Place { block, address: (*address).into() }, &record).ops
        });
        store.txn(Txn { compares: Vec::new(), ops: given.collect() })
    });
    stream::iter(txns).buffer_unordered(WRITERS).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

/// After that, as weeks in which the same was written would have left it: etcd 3.4 keeps the room that the most writes
/// at once needed, and copies it for each read, until it commits something of which nothing is a key.
pub(crate) fn settle(etcd: &Etcd) -> Result<()> {
    // The first of the commits may have keys in it.
    for _ in 0..2 {
        let before = Counters::read(etcd)?.sum(COMMITS.0, "")?;
        run(etcd.etcdctl()?.args(["lease", "grant", "1"]))?;
        wait_until("etcd to commit", COMMIT, || Ok(Counters::read(etcd)?.sum(COMMITS.0, "")? > before))?;
    }
    Ok(())
}

/// The id of the address that [`give_all`] gave after so many others: as if it were random.
pub(crate) fn given_id(number: usize) -> Uuid {
    let half = |half: u8| {
        let mut hasher = DefaultHasher::new();
        (number, half).hash(&mut hasher);
        hasher.finish()
    };
    Builder::from_random_bytes(Uuid::from_u64_pair(half(0), half(1)).into_bytes()).into_uuid()
}

/// A place of its own below `2^bits` for each number below it, all over: each step is one to one.
pub(crate) fn scatter(number: u64, bits: u32) -> u64 {
    let (mask, half) = ((1_u64 << bits) - 1, bits / 2);
    let mut mixed = number;
    for _ in 0..3 {
        mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask;
        mixed ^= mixed >> half;
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn scattered_places_are_different_and_all_over() {
        for bits in [8, 12, 16, 20] {
            let all: BTreeSet<u64> = (0..1 << bits).map(|number| scatter(number, bits)).collect();
            assert_eq!((all.len(), all.last()), (1 << bits, Some(&((1 << bits) - 1))));
            let half: BTreeSet<u64> = (0..1 << (bits - 1)).map(|number| scatter(number, bits)).collect();
            let low = half.iter().filter(|place| **place < 1 << (bits - 1)).count();
            let (quarter, size) = (1 << (bits - 2), half.len());
            assert!(low > quarter * 3 / 4 && low < quarter * 5 / 4, "{low} of {size} in the lower half");
        }
    }
}
