//! Containers that went without a DEL, and clients that went without an answer: nothing leaks.

use anyhow::{Result, ensure};
use coil_tests::cluster::Cluster;
use coil_tests::machine::Machine;
use coil_tests::plugin::{Plugin, ipam_config, main_config};
use coil_tests::wait::wait_until;
use nix::sys::signal::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(15);

#[test]
fn an_address_goes_with_its_namespace() -> Result<()> {
    let machine = Machine::start()?;
    let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/16")?;
    let mut coild = cluster.node("n1")?.with(&["--reconcile-interval", "500ms"]);
    coild.run()?;
    let (plugin, config) = (Plugin::coil(machine.place())?, main_config(&coild.socket()));
    for name in ["stays", "goes"] {
        plugin.clone().attachment(name, &machine.netns(name)?).add(&config)?;
    }
    // Nothing tells whether this one's container lives: it must be left alone.
    coild.allocate("unknown")?;
    machine.run("ip netns del goes")?;
    wait_until("the orphan to be freed", SOON, || Ok(!coild.status()?.pods.contains_key("goes")))?;
    // Several rounds later the others are still there.
    let orphans = || -> Result<String> { Ok(coild.http().get("/metrics")?.text()) };
    ensure!(orphans()?.lines().any(|line| line == "coild_orphans_freed_total 1"), "{}", orphans()?);
    plugin.clone().attachment("goes", "/run/netns/goes").del(&config)?;
    let log = coild.log();
    coild.restart()?;
    wait_until("a round of reconciliation", SOON, || Ok(coild.log().len() > log.len()))?;
    assert_eq!(coild.status()?.pods.keys().collect::<Vec<_>>(), ["stays", "unknown"]);
    Ok(())
}

/// The plugin gives up, coild does not know it: the runtime's DEL after the failed ADD takes it all back.
#[test]
fn a_client_that_gave_up_leaves_nothing() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let mut coild = cluster.coild("n1", &[])?;
    let mut config = ipam_config("macvlan", &coild.socket());
    config["ipam"]["timeout"] = json!(1);
    let place = coil_tests::place::Place::Here;
    let plugin = Plugin::coil(place)?.attachment("c1", "/proc/self/ns/net");
    coild.signal(Signal::SIGSTOP)?;
    let start = Instant::now();
    let error = plugin.error("ADD", &config)?;
    ensure!(error.code == 11, "code {}: {}", error.code, error.text);
    ensure!(start.elapsed() < Duration::from_secs(10), "gave up after {:?}", start.elapsed());
    coild.signal(Signal::SIGCONT)?;
    plugin.del(&config)?;
    coild.restart()?;
    assert!(coild.status()?.attachments.is_empty(), "{:?}", coild.status()?.attachments);
    plugin.add(&config)?;
    Ok(())
}
