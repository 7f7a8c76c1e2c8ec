//! `coil-controller standalone`: the whole system in one process, on the embedded store.

use crate::coilctl::items;
use anyhow::{Context, Result, ensure};
use coil_tests::coild::{path, request};
use coil_tests::controller::Controller;
use coil_tests::load::at_once;
use coil_tests::machine::Machine;
use coil_tests::place::Place;
use coil_tests::plugin::{Plugin, main_config};
use coil_tests::tools::text;
use coil_tests::wait::wait_until;
use common::wire::node::{AddressReply, StatusReply};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

fn add(controller: &Controller, container: &str) -> Result<IpAddr> {
    let reply: AddressReply = controller.coild().post("/ip", &request(container))?.expect(200)?.parse()?;
    Ok(reply.first.address)
}

fn status(controller: &Controller) -> Result<StatusReply> {
    controller.coild().get("/status")?.expect(200)?.parse()
}

#[test]
fn from_pool_to_pod_and_back() -> Result<()> {
    let machine = Machine::start()?;
    let controller = Controller::standalone(machine.place(), &["--node-name", "alone"])?;
    controller.coilctl("pool create default --subnet 10.64.0.0/16")?;
    let plugin = Plugin::coil(machine.place())?;
    let config = main_config(&controller.socket());
    let (a, b) = (machine.netns("a")?, machine.netns("b")?);
    let of_a = plugin.clone().attachment("a", &a).add(&config)?[0].to_string();
    let of_b = plugin.clone().attachment("b", &b).add(&config)?[0].to_string();
    machine.reach(None, &of_a)?;
    machine.reach(Some(&a), &of_b)?;
    wait_until("both addresses to be listed", Duration::from_secs(5), || {
        Ok(items(&controller.coilctl_json("address list")?)?.len() == 2)
    })?;
    assert!(controller.coilctl("node list")?.contains("alone"));
    plugin.clone().attachment("a", &a).del(&config)?;
    plugin.attachment("b", &b).del(&config)?;
    wait_until("all to be free", Duration::from_secs(5), || {
        Ok(items(&controller.coilctl_json("address list")?)?.is_empty())
    })?;
    assert_eq!(controller.coilctl_json("pool show default")?["usage"][0]["allocated"], 0);
    Ok(())
}

#[test]
fn kills_lose_nothing() -> Result<()> {
    let mut controller = Controller::standalone(Place::Here, &[])?;
    controller.coilctl("pool create default --subnet 10.64.0.0/16")?;
    let mut held = BTreeSet::new();
    for round in 0..5 {
        let given = at_once(20, |n| add(&controller, &format!("r{round}-{n}")))?;
        for address in given {
            ensure!(held.insert(address), "{address} was given twice");
        }
        controller.kill()?;
        controller.run()?;
        let known: BTreeSet<IpAddr> =
            status(&controller)?.attachments.iter().map(|held| held.address).collect();
        ensure!(known == held, "after kill {round}: {known:?}, acknowledged were {held:?}");
    }
    for round in 0..5 {
        at_once(20, |n| {
            let container = format!("r{round}-{n}");
            controller.coild().delete(&path(&container))?.expect(200).map(|_| ())
        })?;
    }
    assert!(status(&controller)?.attachments.is_empty());
    Ok(())
}

#[test]
fn one_process_a_directory() -> Result<()> {
    let mut controller = Controller::standalone(Place::Here, &[])?;
    let output = controller.command()?.output()?;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    ensure!(controller.process()?.is_running()?, "the first ended");
    controller.coilctl("pool list")?;
    let status = controller.stop()?;
    ensure!(status.success(), "{status}");
    controller.run().context("the directory is free again")
}
