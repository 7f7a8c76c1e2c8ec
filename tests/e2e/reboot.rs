//! After a reboot nothing that was held before survives, and the blocks are used again.

use anyhow::{Context, Result};
use coil_tests::cluster::Cluster;
use coil_tests::coild::Coild;
use coil_tests::machine::Machine;
use coil_tests::plugin::{Plugin, main_config};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;

fn reboot(coild: &Coild) -> Result<()> {
    Ok(std::fs::write(coild.boot_id_file(), "22222222-2222-4222-8222-222222222222\n")?)
}

fn blocks(coild: &Coild) -> Result<BTreeSet<IpNet>> {
    Ok(coild.status()?.address_blocks.into_values().flatten().collect())
}

#[test]
fn stale_allocations_go_and_blocks_stay() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let mut coild = cluster.coild("n1", &[])?;
    for n in 0..20 {
        coild.allocate(&format!("c{n}"))?;
    }
    let before = blocks(&coild)?;
    coild.kill()?;
    // A restart alone changes nothing.
    coild.run()?;
    assert_eq!(coild.status()?.attachments.len(), 20);
    coild.kill()?;
    reboot(&coild)?;
    coild.run()?;
    assert!(coild.status()?.attachments.is_empty());
    let given: IpAddr = coild.allocate("new")?.parse()?;
    assert!(before.iter().any(|block| block.contains(&given)), "{given} is not of {before:?}");
    assert!(blocks(&coild)?.is_subset(&before), "leased more than {before:?}");
    Ok(())
}

#[test]
fn a_sandbox_that_is_still_there_keeps_its_address() -> Result<()> {
    let machine = Machine::start()?;
    let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/16")?;
    let mut coild = cluster.node("n1")?;
    coild.run()?;
    let plugin = Plugin::coil(machine.place())?;
    let config = main_config(&coild.socket());
    for name in ["stays", "goes"] {
        plugin.clone().attachment(name, &machine.netns(name)?).add(&config)?;
    }
    coild.stop()?;
    reboot(&coild)?;
    machine.run("ip netns del goes")?;
    coild.run()?;
    let pods = coild.status()?.pods;
    assert_eq!(pods.keys().collect::<Vec<_>>(), ["stays"]);
    let address = pods.get("stays").context("an address")?;
    machine.reach(None, &address.to_string())
}
