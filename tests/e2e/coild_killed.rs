//! SIGKILL in the middle of load, again and again: nothing acknowledged is lost, nothing is given twice.

use anyhow::{Context, Result, ensure};
use coil_tests::client::Client;
use coil_tests::faults::load::{kill, under_load};
use coil_tests::faults::world::{World, check};
use coil_tests::history::Answer;
use coil_tests::load::Dice;

const KILLS: usize = 50;

#[test]
fn fifty_kills_lose_nothing() -> Result<()> {
    let mut world = World::start("--subnet 10.64.0.0/16 --subnet fd00:64::/64", 1)?;
    let World { nodes, history, .. } = &mut world;
    let clients = vec![Client::new(&nodes[0], history); 5];
    let mut dice = Dice::new(99);
    under_load(&clients, 99, |load| {
        (0..KILLS).try_for_each(|round| {
            load.goes_on(1 + dice.roll(200))?;
            kill(&mut nodes[0], history).with_context(|| format!("kill {round}"))
        })
    })?;
    check(nodes, history)?;
    drop(clients);
    world.drain()
}

#[test]
fn both_killed_at_once() -> Result<()> {
    let World { mut nodes, mut cluster, history } = World::start("--subnet 10.64.0.0/16", 1)?;
    let client = Client::new(&nodes[0], &history);
    for round in 0..5 {
        for n in 0..20 {
            let answer = client.add(&format!("r{round}-{n}"), &["ipv4"])?;
            ensure!(matches!(answer, Answer::Given(_)), "{answer:?}");
        }
        cluster.etcd.kill()?;
        nodes[0].kill()?;
        history.died("n0");
        cluster.etcd.run()?;
        nodes[0].run()?;
        check(&nodes, &history)?;
    }
    Ok(())
}
