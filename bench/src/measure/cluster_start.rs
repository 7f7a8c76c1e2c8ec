//! Thousands of nodes that arrive within seconds, each with its first pods.

use super::Effort;
use crate::counters::{CALLS, Counters, LIVENESS, READS, RECEIVED, TRANSACTIONS, WATCHES};
use crate::processor::Spending;
use crate::report::{Bound, Section, Unit, millis};
use crate::rig::Cluster;
use crate::samples::Samples;
use crate::simulated::{Nodes, SHARE};
use anyhow::{Result, bail, ensure};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const NODES: [usize; 2] = [1_000, 5_000];
const PODS: usize = 30;
const ARRIVAL: Duration = Duration::from_secs(10);
/// A pool with room for more nodes than there are.
const SUBNET: &str = "10.64.0.0/10";
/// Milliseconds that 99 of 100 ADDs of the larger cluster may take, though each waits for a lease.
const LEASE: f64 = 500.0;
/// What `docs/coild.md` advises where many nodes may start at once.
const FLAG: &str = "--backend-batch-interval=10ms";
/// Megabytes of etcd's database with all of them in it.
const DATABASE: f64 = 100.0;

/// Measures.
pub(super) fn run(effort: Effort) -> Result<Section> {
    let mut section = Section::new(
        "Start of a cluster",
        format!(
            "Nodes in one process (all of coild but its sockets; journals in memory, default settings, {SHARE} on a \
             connection) and one etcd on a disk, with `{FLAG}`, share the machine's processors. The nodes are new and arrive evenly \
             within {} s. Each claims its name, then asks for {PODS} addresses at once: every one of these ADDs \
             waits for a block to be leased, so that its time is that of the lease and what goes with it. One that fails is \
             made again after a second, and its time goes on. Watches, \
             renewals and mirrors go on meanwhile. The database is measured when the mirrors are up to date.",
            ARRIVAL.as_secs(),
        ),
    );
    for nodes in NODES {
        eprintln!("    {nodes} nodes");
        measure(&mut section, effort, nodes)?;
    }
    Ok(section)
}

fn measure(section: &mut Section, effort: Effort, nodes: usize) -> Result<()> {
    let mut cluster = Cluster::of(SUBNET)?;
    cluster.etcd.restart_with(&[FLAG])?;
    let mut simulated = Nodes::open(&cluster.etcd.endpoint(), effort.of(nodes))?;
    let [member] = cluster.etcd.members() else { bail!("more than one etcd") };
    let processes = [member.process()?.id(), std::process::id()];
    let spending = Spending::of(processes)?;
    let before = Counters::read(&cluster.etcd)?;
    let start = Instant::now();
    let seen = simulated.arrive(effort.time(ARRIVAL), PODS)?;
    let elapsed = start.elapsed();
    section.note(note(nodes, elapsed, spending.seconds()?)?);
    simulated.settle()?;
    let after = Counters::read(&cluster.etcd)?;
    simulated.end();
    let (mut adds, mut entries, mut addresses) = (Samples::new(), Samples::new(), BTreeSet::new());
    for node in seen {
        entries.push(node.entered);
        node.adds.into_iter().for_each(|time| adds.push(time));
        addresses.extend(node.addresses);
    }
    ensure!(addresses.len() == adds.len(), "{} addresses for {} pods", addresses.len(), adds.len());
    let with = format!("{nodes} nodes");
    let (p99, database) = (millis(adds.percentile(99)), after.database()? / 1e6);
    if nodes == NODES[NODES.len() - 1] {
        let bound = Bound::AtMost(LEASE);
        section.goal(format!("p99 of a lease, {with} arriving within 10 s"), bound, p99, Unit::Milliseconds);
        let bound = Bound::AtMost(DATABASE);
        section.goal(format!("etcd's database, {with} × {PODS} pods"), bound, database, Unit::Megabytes);
        cluster.etcd.compact()?;
        let kept = Counters::read(&cluster.etcd)?.database()? / 1e6;
        section.figure(format!("{with}: compacted and defragmented"), kept, Unit::Megabytes);
        section.note(grown(database, after.in_use()? / 1e6, kept));
    } else {
        section.figure(format!("{with}: etcd's database"), database, Unit::Megabytes);
    }
    section.figure(format!("{with}: of that in use"), after.in_use()? / 1e6, Unit::Megabytes);
    let count = f64::from(u32::try_from(effort.of(nodes))?);
    for (what, (metric, label)) in [
        ("calls", CALLS),
        ("reads", READS),
        ("transactions", TRANSACTIONS),
        ("watches", WATCHES),
        ("times to live granted and renewed", LIVENESS),
    ] {
        let figure = after.grown(&before, metric, label)? / count;
        section.figure(format!("{with}: {what} for each node"), figure, Unit::Count);
    }
    let received = after.grown(&before, RECEIVED.0, RECEIVED.1)? / 1e6;
    section.figure(format!("{with}: sent to etcd"), received, Unit::Megabytes);
    section.times(format!("claim of the name, {with}"), entries);
    section.times(format!("ADD that waits for a lease, {with}"), adds);
    Ok(())
}

/// Where the megabytes of the database are.
fn grown(database: f64, in_use: f64, kept: f64) -> String {
    format!(
        "Of the {database:.0} MB of the database, {kept:.0} MB are the keys as they are at the end; {:.0} MB are earlier \
         revisions of them, which etcd forgets when it is compacted (not in this run: \
         `--auto-compaction-retention` does it from time to time), and {:.0} MB are pages that are free again.",
        in_use - kept,
        database - in_use,
    )
}

/// Where the time goes.
fn note(nodes: usize, elapsed: Duration, [etcd, simulated]: [f64; 2]) -> Result<String> {
    let cores = f64::from(u32::try_from(std::thread::available_parallelism()?.get())?);
    let had = elapsed.as_secs_f64() * cores;
    Ok(format!(
        "{nodes} nodes: {:.1} s passed from the first arrival to the last address. Of the {had:.1} s of processor \
         time that the machine had, etcd took {etcd:.1} s and the simulated nodes {simulated:.1} s, {:.0} % \
         together. Where that is nearly all of it, a lease waits for a processor, and not for another node: etcd 3.4 \
         takes about half a millisecond of it for a call, most of that, as its own profile says, for copying the \
         writes that are not committed yet into the header of each answer, and for the garbage that this makes.",
        elapsed.as_secs_f64(),
        (etcd + simulated) / had * 100.0,
    ))
}
