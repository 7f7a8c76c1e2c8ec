//! etcd is stopped while coild runs: ADD and DEL go on from the blocks held, and the mirror catches up.

use crate::rest::failure;
use anyhow::Result;
use coil_tests::cluster::{Cluster, held};
use coil_tests::coild::Coild;
use coil_tests::wait::wait_until;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// A request that waits for the store would take seconds.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How soon the mirror must agree with the journal once etcd is back.
const CATCH_UP: Duration = Duration::from_secs(2);

fn mirror_agrees(cluster: &Cluster, coild: &Coild, within: Duration) -> Result<()> {
    wait_until("the mirror to agree with the journal", within, || {
        let (mirror, journal) = (cluster.mirror(coild.node())?, held(&coild.status()?));
        anyhow::ensure!(mirror == journal, "the mirror has {mirror:?}, the journal {journal:?}");
        Ok(true)
    })
}

/// Ten ADDs and DELs, none of which may wait for etcd.
fn ten_adds_and_dels(coild: &Coild) -> Result<()> {
    let timely = |what: &str, action: &dyn Fn() -> Result<()>| -> Result<()> {
        let start = Instant::now();
        action()?;
        anyhow::ensure!(start.elapsed() < AT_ONCE, "{what} took {:?}", start.elapsed());
        Ok(())
    };
    for n in 0..10 {
        timely("ADD", &|| coild.allocate(&format!("c{n}")).map(|_| ()))?;
    }
    for n in 0..9 {
        timely("DEL", &|| coild.free(&format!("c{n}")).map(|_| ()))?;
    }
    timely("DEL", &|| coild.free("before").map(|_| ()))?;
    assert_eq!(coild.status()?.pods.keys().collect::<Vec<_>>(), ["c9"]);
    Ok(())
}

#[test]
fn add_and_del_go_on_without_etcd() -> Result<()> {
    let mut cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let coild = cluster.coild("n1", &[])?;
    coild.allocate("before")?;
    mirror_agrees(&cluster, &coild, Duration::from_secs(5))?;
    cluster.etcd.stop()?;
    ten_adds_and_dels(&coild)?;
    cluster.etcd.run()?;
    mirror_agrees(&cluster, &coild, CATCH_UP)
}

/// Worse than a server that is gone: one that accepts connections and never answers.
#[test]
fn add_and_del_go_on_while_etcd_hangs() -> Result<()> {
    let mut cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let mut coild = cluster.coild("n1", &[])?;
    coild.allocate("before")?;
    mirror_agrees(&cluster, &coild, Duration::from_secs(5))?;
    cluster.etcd.signal(Signal::SIGSTOP)?;
    ten_adds_and_dels(&coild)?;
    // A start does not wait for ever either.
    coild.kill()?;
    coild.run()?;
    assert_eq!(coild.status()?.pods.keys().collect::<Vec<_>>(), ["c9"]);
    coild.allocate("more")?;
    cluster.etcd.signal(Signal::SIGCONT)?;
    mirror_agrees(&cluster, &coild, Duration::from_secs(10))
}

#[test]
fn a_full_node_says_so_and_recovers_with_etcd() -> Result<()> {
    let mut cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let coild = cluster.coild("n1", &[])?;
    coild.allocate("first")?;
    cluster.etcd.stop()?;
    let mut given = 1;
    let error = loop {
        let reply = coild.add(&format!("c{given}"))?;
        if reply.status != 200 {
            break failure(&reply, 503)?;
        }
        given += 1;
        anyhow::ensure!(given < 100, "addresses without end, though no block can be leased");
    };
    assert!(given >= 16, "only {given} of the block's addresses were given");
    assert!(error.contains("default") && error.contains("unavailable"), "{error}");
    // Nobody waits for long, and DEL always works.
    let start = Instant::now();
    failure(&coild.add("more")?, 503)?;
    assert!(start.elapsed() < Duration::from_secs(11), "waited {:?}", start.elapsed());
    coild.free("first")?;
    coild.allocate("in its place")?;

    cluster.etcd.run()?;
    wait_until("an address of a new block", Duration::from_secs(5), || Ok(coild.add("new")?.status == 200))?;
    mirror_agrees(&cluster, &coild, CATCH_UP)
}

#[test]
fn a_restart_without_etcd_keeps_what_is_held() -> Result<()> {
    let mut cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let mut coild = cluster.coild("n1", &[])?;
    let given = coild.allocate("c1")?;
    cluster.etcd.stop()?;
    coild.allocate("c2")?;
    coild.kill()?;
    coild.run()?;
    assert_eq!(coild.status()?.pods.len(), 2);
    cluster.etcd.run()?;
    // Although nothing has changed since the start.
    mirror_agrees(&cluster, &coild, Duration::from_secs(5))?;

    cluster.etcd.stop()?;
    coild.restart()?;
    coild.allocate("c3")?;
    assert_eq!(coild.free("c1")?, given);
    cluster.etcd.run()?;
    mirror_agrees(&cluster, &coild, Duration::from_secs(5))
}
