//! The journal is deleted while pods run: coild rebuilds it and gives none of their addresses again.

use anyhow::{Context, Result, ensure};
use coil_tests::cluster::{Cluster, held};
use coil_tests::coild::Coild;
use coil_tests::machine::Machine;
use coil_tests::plugin::{Plugin, main_config};
use coil_tests::wait::wait_until;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

const PODS: usize = 5;

fn pods(machine: &Machine, plugin: &Plugin, config: &Value) -> Result<BTreeSet<IpAddr>> {
    let mut addresses = BTreeSet::new();
    for n in 0..PODS {
        let name = format!("pod{n}");
        let netns = machine.netns(&name)?;
        addresses.extend(plugin.clone().attachment(&name, &netns).add(config)?);
    }
    ensure!(addresses.len() == PODS, "{addresses:?}");
    Ok(addresses)
}

/// New addresses are none of the pods', and the pods still answer.
fn assert_untouched(machine: &Machine, coild: &Coild, pods: &BTreeSet<IpAddr>, round: &str) -> Result<()> {
    for n in 0..40 {
        let given: IpAddr = coild.allocate(&format!("{round}{n}"))?.parse()?;
        ensure!(!pods.contains(&given), "{given} of a running pod was given again");
    }
    for pod in pods {
        machine.reach(None, &pod.to_string())?;
    }
    Ok(())
}

#[test]
fn the_mirror_knows_the_holders() -> Result<()> {
    let machine = Machine::start()?;
    let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/16")?;
    let mut coild = cluster.node("n1")?;
    coild.run()?;
    let (plugin, config) = (Plugin::coil(machine.place())?, main_config(&coild.socket()));
    let addresses = pods(&machine, &plugin, &config)?;
    wait_until("the mirror to agree", Duration::from_secs(5), || {
        Ok(cluster.mirror("n1")? == held(&coild.status()?))
    })?;
    coild.kill()?;
    std::fs::remove_file(coild.data().join("journal"))?;
    coild.run()?;
    let status = coild.status()?;
    assert_eq!(status.attachments.iter().map(|held| held.address).collect::<BTreeSet<_>>(), addresses);
    assert_untouched(&machine, &coild, &addresses, "x")?;
    // The rebuilt journal knows enough for CHECK and DEL.
    for n in 0..PODS {
        let name = format!("pod{n}");
        plugin.clone().attachment(&name, &format!("/run/netns/{name}")).del(&config)?;
    }
    let left = coild.status()?.attachments;
    assert!(!left.iter().any(|held| addresses.contains(&held.address)), "{left:?}");
    Ok(())
}

#[test]
fn what_the_mirror_missed_is_seen_in_the_namespaces() -> Result<()> {
    let machine = Machine::start()?;
    let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/16")?;
    let mut coild = cluster.node("n1")?.with(&["--mirror-window", "1h", "--reconcile-interval", "1s"]);
    coild.run()?;
    let (plugin, config) = (Plugin::coil(machine.place())?, main_config(&coild.socket()));
    let addresses = pods(&machine, &plugin, &config)?;
    coild.kill()?;
    assert!(cluster.mirror("n1")?.is_empty(), "the mirror was written in its window");
    std::fs::remove_file(coild.data().join("journal"))?;
    coild.run()?;
    assert_untouched(&machine, &coild, &addresses, "early")?;
    wait_until("the quarantine to end", Duration::from_secs(15), || {
        let metrics = coild.http().get("/metrics")?.text();
        let line = metrics.lines().find(|line| line.starts_with("coild_quarantined_blocks "));
        Ok(line.context("the gauge of blocks in quarantine")?.ends_with(" 0"))
    })?;
    let known: BTreeSet<IpAddr> = held(&coild.status()?).into_keys().collect();
    assert!(addresses.is_subset(&known), "{addresses:?} are not all held: {known:?}");
    assert_untouched(&machine, &coild, &addresses, "late")?;
    // The containers go, and so do the addresses that nobody claims.
    for n in 0..PODS {
        machine.run(&format!("ip netns del pod{n}"))?;
    }
    wait_until("the orphans to be freed", Duration::from_secs(15), || {
        let known: BTreeSet<IpAddr> = held(&coild.status()?).into_keys().collect();
        Ok(known.is_disjoint(&addresses))
    })
}
