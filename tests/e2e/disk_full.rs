//! The journal's disk is full: nothing is given that is not on disk, and all is well when space returns.

use crate::rest::failure;
use anyhow::{Result, ensure};
use coil_tests::cluster::Cluster;
use coil_tests::coild::path;
use coil_tests::history::History;
use coil_tests::machine::Machine;
use coil_tests::wait::wait_until;
use common::wire::node::AddressReply;
use std::time::Duration;

#[test]
fn an_address_that_cannot_be_journaled_is_not_given() -> Result<()> {
    let machine = Machine::start()?;
    let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/16")?;
    machine.run("mkdir /run/small")?;
    machine.run("mount -t tmpfs -o size=16m tmpfs /run/small")?;
    let mut coild = cluster.node("n1")?.with_data("/run/small/data").with(&["--cooldown", "0s"]);
    coild.run()?;
    let history = History::new();
    history.added("first", coild.allocate("first")?.parse()?)?;

    // `dd` fails when nothing more fits.
    ensure!(machine.run("dd if=/dev/zero of=/run/small/filler bs=4k").is_err(), "the disk is not full");
    let mut refused = None;
    for n in 0..20_000 {
        let container = format!("c{n}");
        let reply = coild.add(&container)?;
        if reply.status != 200 {
            failure(&reply, 500)?;
            refused = Some(container);
            break;
        }
        let given: AddressReply = reply.parse()?;
        history.added(&container, given.first.address)?;
    }
    let Some(refused) = refused else { anyhow::bail!("the journal grows without a disk") };
    failure(&coild.http().get(&path(&refused))?, 404)?;
    history.check(&coild.status()?)?;
    coild.http().get("/healthz")?.expect(200)?;

    machine.run("rm /run/small/filler")?;
    wait_until("addresses to be given again", Duration::from_secs(20), || {
        let reply = coild.add(&refused)?;
        ensure!(reply.status == 200, "{}", reply.text());
        let given: AddressReply = reply.parse()?;
        history.added(&refused, given.first.address).map(|()| true)
    })?;
    history.check(&coild.status()?)?;
    coild.kill()?;
    coild.run()?;
    history.check(&coild.status()?)
}
