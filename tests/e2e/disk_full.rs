//! The journal's disk is full: nothing is given that is not on disk, and all is well when space returns.

use crate::rest::failure;
use anyhow::{Context, Result, ensure};
use coil_tests::client::Client;
use coil_tests::cluster::Cluster;
use coil_tests::coild::path;
use coil_tests::history::Answer;
use coil_tests::machine::Machine;
use coil_tests::wait::wait_until;
use std::time::Duration;

#[test]
fn an_address_that_cannot_be_journaled_is_not_given() -> Result<()> {
    let machine = Machine::start()?;
    let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/16")?;
    machine.run("mkdir /run/small")?;
    machine.run("mount -t tmpfs -o size=16m tmpfs /run/small")?;
    let mut coild = cluster.node("n1")?.with_data("/run/small/data").with(&["--cooldown", "0s"]);
    coild.run()?;
    let history = cluster.history()?;
    let client = Client::new(&coild, &history);
    given(&client.add("first", &["ipv4"])?)?;

    // `dd` fails when nothing more fits.
    ensure!(machine.run("dd if=/dev/zero of=/run/small/filler bs=4k").is_err(), "the disk is not full");
    let refused = (0..20_000).map(|n| format!("c{n}")).find(|container| {
        client.add(container, &["ipv4"]).is_ok_and(|answer| matches!(answer, Answer::Refused))
    });
    let refused = refused.context("the journal grows without a disk")?;
    failure(&coild.add(&refused)?, 500)?;
    failure(&coild.http().get(&path(&refused))?, 404)?;
    client.status()?;
    coild.http().get("/healthz")?.expect(200)?;

    machine.run("rm /run/small/filler")?;
    wait_until("addresses to be given again", Duration::from_secs(20), || {
        given(&client.add(&refused, &["ipv4"])?).map(|()| true)
    })?;
    client.status()?;
    coild.kill()?;
    history.died("n1");
    coild.run()?;
    client.status()?;
    Ok(history.check()?)
}

fn given(answer: &Answer) -> Result<()> {
    ensure!(matches!(answer, Answer::Given(_)), "{answer:?}");
    Ok(())
}
