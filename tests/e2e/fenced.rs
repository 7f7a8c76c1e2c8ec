//! A node that an operator removed while it was away gives nothing from its former blocks.

use anyhow::Result;
use coil_tests::cluster::Cluster;
use coil_tests::coild::{Coild, request};
use coil_tests::wait::wait_until;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

fn blocks(coild: &Coild) -> Result<Vec<IpNet>> {
    Ok(coild.status()?.address_blocks.into_values().flatten().collect())
}

fn assert_fenced(coild: &Coild, old: &[IpNet], held: &BTreeSet<IpAddr>) -> Result<()> {
    let fenced: BTreeSet<IpAddr> = coild.status()?.fenced.into_iter().collect();
    assert_eq!(fenced, *held);
    for n in 0..20 {
        let given: IpAddr = coild.allocate(&format!("new{n}"))?.parse()?;
        assert!(!old.iter().any(|block| block.contains(&given)), "{given} is of a block that was taken away");
    }
    let metrics = coild.http().get("/metrics")?.text();
    let line = format!("coild_fenced_addresses {}", held.len());
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
    Ok(())
}

#[test]
fn removed_while_it_was_stopped() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/23")?;
    let mut coild = cluster.coild("n1", &[])?;
    let held: BTreeSet<IpAddr> =
        (0..3).map(|n| Ok(coild.allocate(&format!("c{n}"))?.parse()?)).collect::<Result<_>>()?;
    let old = blocks(&coild)?;
    coild.stop()?;
    let removal = cluster.controller.coilctl_json("node remove n1")?;
    let released: Vec<IpNet> = serde_json::from_value(removal["released"].clone())?;
    assert_eq!(released, old);

    // Another node may have them now.
    let other = cluster.coild("n2", &[])?;
    for address in &held {
        let mut asked = request(&format!("other-{address}"));
        asked["address"] = serde_json::json!(address);
        other.http().post("/ip", &asked)?.expect(200)?;
    }
    coild.run()?;
    assert_fenced(&coild, &old, &held)?;
    // They are still the containers' until they go.
    for n in 0..3 {
        let freed: IpAddr = coild.free(&format!("c{n}"))?.parse()?;
        assert!(held.contains(&freed));
    }
    assert!(coild.status()?.fenced.is_empty());
    Ok(())
}

#[test]
fn removed_while_it_runs() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let coild = cluster.coild("n1", &[])?;
    let held = BTreeSet::from([coild.allocate("c1")?.parse()?]);
    let old = blocks(&coild)?;
    let (_, refusal) = cluster.controller.coilctl_fails("node remove n1")?;
    assert!(refusal.contains("n1") && refusal.contains("alive"), "{refusal}");
    cluster.controller.coilctl("node remove n1 --force")?;
    wait_until("the block to be fenced", Duration::from_secs(5), || {
        Ok(coild.status()?.fenced.into_iter().collect::<BTreeSet<_>>() == held)
    })?;
    assert_fenced(&coild, &old, &held)
}
