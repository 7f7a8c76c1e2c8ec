//! The lease of one block from the store, by the size of the pool and how much of it is leased.

use super::Effort;
use crate::filler::{lease_all, scatter};
use crate::plot::{Axis, Plot, Series};
use crate::report::{Bound, Section, Unit, millis};
use crate::samples::Samples;
use crate::simulated;
use anyhow::{Context, Result, ensure};
use coil_tests::etcd::Etcd;
use coild::lease_keeper::leaser::Leaser;
use coild::state::{BlockId, Need};
use common::ipam::{Family, Pool, Space};
use common::name::{NodeName, PoolName};
use common::store::embedded::Embedded;
use common::store::record;
use common::store::{Op, Store, Txn, keys};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Pools, by the power of two that is the number of their blocks.
const POOLS: [(u32, &str); 4] =
    [(8, "192.168.0.0/20"), (12, "172.30.0.0/16"), (16, "100.64.0.0/12"), (20, "10.0.0.0/8")];
/// Blocks leased in a thousand.
const LEASED: [u32; 4] = [0, 500, 900, 999];
/// Leases in each pool, each of a node of its own.
const LEASES: usize = 40;
/// How many times its time in the smallest pool a lease in a larger one may take, up to 90 % leased.
const FLAT: f64 = 1.5;
/// Milliseconds of a lease in the largest pool, nearly full.
const NEARLY_FULL: f64 = 20.0;

/// A store that is measured.
struct Rig {
    name: &'static str,
    store: Arc<dyn Store>,
}

/// Measures.
pub(super) fn run(effort: Effort) -> Result<Section> {
    let mut section = Section::new(
        "Lease of a block",
        format!(
            "What coild does to lease a block, from the search for one to its transaction, with the pool read \
             before: {} leases in each pool, each by a node of its own, which starts its search at a place of its \
             own. Pools and stores take turns, lease by lease; each lease is removed again, which does not count. \
             The other leases lie scattered over the pool. etcd and the embedded store sync each transaction to \
             the disk. Once more, what is free of the nearly full pool lies in one place.",
            effort.of(LEASES),
        ),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (etcd, directory) = (Etcd::start()?, tempfile::tempdir()?);
    let rigs = rigs(&runtime, &etcd, &directory)?;
    let mut curves: Vec<Vec<(f64, f64)>> = vec![Vec::new(); rigs.len() * LEASED.len()];
    let mut before = [0; POOLS.len()];
    for (step, leased) in LEASED.into_iter().enumerate() {
        eprintln!("    {} % leased", f64::from(leased) / 10.0);
        for (pool, (bits, subnet)) in POOLS.into_iter().enumerate() {
            let upto = filled(bits, leased);
            for rig in &rigs {
                runtime.block_on(fill(rig.store.as_ref(), bits, subnet, before[pool]..upto))?;
            }
            before[pool] = upto;
        }
        let times = runtime.block_on(lease_in_turns(&rigs, &POOLS, effort.of(LEASES)))?;
        for (store, (rig, times)) in rigs.iter().zip(times).enumerate() {
            judge(&mut section, rig, leased, &times);
            for ((bits, _), samples) in POOLS.into_iter().zip(times) {
                curves[step * rigs.len() + store].push((f64::from(1_u32 << bits), millis(samples.median())));
                let share = f64::from(leased) / 10.0;
                section.times(format!("{}, {} blocks, {share} % leased", rig.name, 1_u64 << bits), samples);
            }
        }
    }
    section.plot(plot(&rigs, curves));
    in_one_place(&mut section, &runtime, &rigs, effort.of(LEASES))?;
    Ok(section)
}

fn rigs(runtime: &Runtime, etcd: &Etcd, directory: &TempDir) -> Result<Vec<Rig>> {
    let file = directory.path().join("store.redb");
    let embedded: Arc<dyn Store> = Arc::new(runtime.block_on(Embedded::open(file))?);
    Ok(vec![
        Rig { name: "etcd", store: simulated::store(&etcd.endpoint())? },
        Rig { name: "embedded", store: embedded },
    ])
}

fn judge(section: &mut Section, rig: &Rig, leased: u32, times: &[Samples]) {
    let (Some(smallest), Some(largest)) = (times.first(), times.last()) else { return };
    let share = f64::from(leased) / 10.0;
    if leased <= 900 {
        let what = format!("{}: lease in 2^20 blocks / in 2^8, {share} % leased", rig.name);
        section.goal(what, Bound::AtMost(FLAT), largest.ratio(smallest), Unit::Ratio);
    } else {
        let what = format!("{}: lease in 2^20 blocks, {share} % leased, p50", rig.name);
        section.goal(what, Bound::AtMost(NEARLY_FULL), millis(largest.median()), Unit::Milliseconds);
    }
}

fn plot(rigs: &[Rig], curves: Vec<Vec<(f64, f64)>>) -> Plot {
    let shares = LEASED.into_iter().flat_map(|leased| rigs.iter().map(move |rig| (rig.name, leased)));
    let named = shares.map(|(name, leased)| format!("{name}, {} % leased", f64::from(leased) / 10.0));
    Plot {
        file: "lease-pool",
        title: "Lease of a block, p50",
        x: Axis { label: "blocks in the pool", logarithmic: true },
        y: Axis { label: "ms", logarithmic: true },
        series: named.zip(curves).map(|(name, points)| Series { name, points }).collect(),
    }
}

/// How many of a pool's blocks are leased: all but one at most.
fn filled(bits: u32, leased: u32) -> u64 {
    let blocks = 1_u64 << bits;
    (blocks * u64::from(leased) / 1_000).min(blocks - 1)
}

fn pool(bits: u32, subnet: &str) -> Result<(PoolName, Pool, Space)> {
    let pool = Pool::of_subnets(vec![subnet.parse()?]);
    let space = pool.space(Family::V4)?;
    ensure!(space.last_index() == Some((1 << bits) - 1), "{subnet} does not have 2^{bits} blocks");
    Ok((PoolName::new(format!("p{bits}"))?, pool, space))
}

/// Makes the pool, if it is not there, and leases some more of its blocks, which lie scattered.
async fn fill(store: &dyn Store, bits: u32, subnet: &str, numbers: std::ops::Range<u64>) -> Result<()> {
    let (name, pool, space) = pool(bits, subnet)?;
    let put = Txn::new().then(Op::Put(keys::pool(&name), record::encode(&pool)));
    store.txn(put).await?;
    lease_all(store, &name, &space, numbers.map(|number| scatter(number, bits))).await
}

/// Leases and releases, one in each pool of each store by turns. Answers the times by store and pool.
async fn lease_in_turns(rigs: &[Rig], pools: &[(u32, &str)], rounds: usize) -> Result<Vec<Vec<Samples>>> {
    let mut times = vec![vec![Samples::new(); pools.len()]; rigs.len()];
    let turns = rigs.len() * pools.len();
    for round in 0..rounds {
        for turn in 0..turns {
            let index = (round + turn) % turns;
            let (store, pool) = (index / pools.len(), index % pools.len());
            times[store][pool].push(lease_once(&rigs[store], pools[pool], round).await?);
        }
    }
    Ok(times)
}

async fn lease_once(rig: &Rig, (bits, _): (u32, &str), round: usize) -> Result<Duration> {
    let pool = PoolName::new(format!("p{bits}"))?;
    let need = Need { pool: pool.clone(), family: Family::V4 };
    let mut node = Leaser::new(NodeName::new(format!("node-{round}"))?, Arc::clone(&rig.store));
    node.read_pool(&pool).await?;
    let start = Instant::now();
    let (_, leased) = node.lease_any(&need, 1, &BTreeSet::new()).await?;
    let time = start.elapsed();
    let leased = leased.first().context("a lease")?;
    let released = node.release(&BlockId { pool: pool.into(), unit: leased.unit }, leased.token).await?;
    ensure!(released, "the lease of {} was not there any more", leased.unit);
    Ok(time)
}

/// The largest pool with all that is free in one place: what is leased of that place is given up, and what is
/// free elsewhere leased.
fn in_one_place(section: &mut Section, runtime: &Runtime, rigs: &[Rig], rounds: usize) -> Result<()> {
    eprintln!("    the rest in one place");
    let (bits, subnet) = POOLS[POOLS.len() - 1];
    let (name, _, space) = pool(bits, subnet)?;
    let (upto, blocks) = (filled(bits, LEASED[LEASED.len() - 1]), 1_u64 << bits);
    let place = blocks - upto;
    let first = blocks / 3;
    for rig in rigs {
        let store = rig.store.as_ref();
        let free = (upto..blocks).map(|number| scatter(number, bits));
        runtime.block_on(lease_all(store, &name, &space, free))?;
        let units = (first..first + place).map(|index| space.unit_at(u128::from(index)).context("a block"));
        let units = units.collect::<Result<Vec<_>>>()?;
        let deletes: Vec<Op> = units.into_iter().map(|unit| Op::Delete(keys::lease(&name, unit))).collect();
        for ops in deletes.chunks(Txn::MAX) {
            runtime.block_on(store.txn(Txn { compares: Vec::new(), ops: ops.to_vec() }))?;
        }
    }
    let times = runtime.block_on(lease_in_turns(rigs, &POOLS[POOLS.len() - 1..], rounds))?;
    for (rig, mut times) in rigs.iter().zip(times) {
        let what = format!("{}, {blocks} blocks, 99.9 % leased, the rest in one place", rig.name);
        section.times(what, times.pop().context("one pool")?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_at_least_stays_free() {
        assert_eq!((filled(8, 999), filled(20, 999), filled(8, 0)), (255, 1_047_527, 0));
    }
}
