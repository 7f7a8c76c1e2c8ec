//! What befalls a node: its journal is damaged, its clock jumps, its machine reboots, its clients mean harm.

use super::Budget;
use super::load::under_load;
use super::world::{World, check};
use crate::client::Client;
use crate::cluster::{Cluster, held};
use crate::coild::READY;
use crate::history::Answer;
use crate::load::Dice;
use crate::machine::Machine;
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use common::server::allow_many_files;
use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

const POOL: &str = "--subnet 10.64.0.0/18 --subnet fd00:64::/112";

/// The journal of a node that has stopped is cut off somewhere, or a bit of it flips. What the mirror knows is
/// rebuilt, and nothing is given twice.
pub fn journal_damaged(budget: Budget) -> Result<()> {
    // Rebuilt blocks are used when all namespaces were looked into, which must be this node's own.
    let machine = Machine::start()?;
    let mut world = World::start_with(Cluster::start_on(&machine, POOL)?, 1)?;
    let mut dice = Dice::new(budget.seed);
    let until = Instant::now() + budget.time;
    let mut round = 0;
    while round == 0 || Instant::now() < until {
        for client in world.clients() {
            for n in 0..10 {
                let answer = client.add(&format!("r{round}-{n}"), &["ipv4", "ipv6"])?;
                ensure!(matches!(answer, Answer::Given(_)), "{answer:?}");
            }
            if round > 0 {
                client.del(&format!("r{}-{}", round - 1, dice.roll(10)))?;
            }
        }
        let node = &mut world.nodes[0];
        wait_until(
            "the mirror to agree",
            READY,
            || Ok(world.cluster.mirror("n0")? == held(&node.status()?)),
        )?;
        node.stop()?;
        world.history.died("n0");
        let damage = damage(&node.data().join("journal"), &mut dice)?;
        node.run().with_context(|| damage.clone())?;
        world.check().with_context(|| damage)?;
        round += 1;
    }
    world.drain()
}

/// Damages a file, and says how.
fn damage(file: &Path, dice: &mut Dice) -> Result<String> {
    let mut bytes = fs::read(file)?;
    // Much of the file is room that is not used yet: every other time, what is written is hit.
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    let end = if dice.roll(2) == 0 { written } else { bytes.len() };
    let place = dice.roll(end);
    let what = match dice.roll(3) {
        0 => {
            bytes.truncate(place);
            format!("cut off at {place}")
        }
        1 => {
            // Within the last pages.
            let place = bytes.len() - 1 - dice.roll(8_192.min(bytes.len() - 1));
            bytes.truncate(place);
            format!("cut off at {place}, near its end")
        }
        _ => {
            let bit = dice.roll(8);
            bytes[place] ^= 1 << bit;
            format!("bit {bit} of byte {place} flipped")
        }
    };
    fs::write(file, bytes)?;
    Ok(format!("the journal was {what}"))
}

/// The clock of a node jumps a day forward and back under load.
pub fn clock_jumps(budget: Budget) -> Result<()> {
    let mut world = World::start(POOL, 2)?;
    let offset = world.nodes[0].dir().join("offset");
    fs::write(&offset, "0")?;
    for node in &mut world.nodes {
        node.set_failpoints(&format!("clock=return({})", offset.display()));
        node.restart()?;
    }
    let World { nodes, history, .. } = &world;
    let clients: Vec<Client> = nodes.iter().map(|node| Client::new(node, history)).collect();
    let mut dice = Dice::new(budget.seed);
    let until = Instant::now() + budget.time;
    under_load(&clients, budget.seed, |load| {
        while Instant::now() < until {
            let day = 24 * 60 * 60 * 1_000;
            let jump = [-day, 0, day][dice.roll(3)];
            fs::write(&offset, jump.to_string())?;
            load.goes_on(1 + dice.roll(200))?;
        }
        Ok(())
    })?;
    fs::write(&offset, "0")?;
    check(nodes, history)?;
    drop(clients);
    world.drain()
}

/// A node's machine reboots in the middle of the load, as its boot id tells: what was held ends, and nothing else.
pub fn reboots(budget: Budget) -> Result<()> {
    let mut world = World::start(POOL, 2)?;
    let World { nodes, history, .. } = &mut world;
    let clients: Vec<Client> = nodes.iter().map(|node| Client::new(node, history)).collect();
    let mut dice = Dice::new(budget.seed);
    let until = Instant::now() + budget.time;
    under_load(&clients, budget.seed, |load| {
        for boot in 0.. {
            load.goes_on(1 + dice.roll(200))?;
            nodes[0].kill()?;
            history.died(nodes[0].node());
            history.rebooted(nodes[0].node());
            fs::write(nodes[0].boot_id_file(), format!("boot-{boot}\n"))?;
            nodes[0].run()?;
            if Instant::now() >= until {
                break;
            }
        }
        Ok(())
    })?;
    check(nodes, history)?;
    drop(clients);
    world.drain()
}

/// A second coild is started on the data of one that runs, and one of the same name with data of its own; neither
/// disturbs the first.
pub fn two_daemons(budget: Budget) -> Result<()> {
    let mut world = World::start(POOL, 1)?;
    let World { nodes, cluster, history } = &world;
    let clients = [Client::new(&nodes[0], history)];
    let mut twin = cluster.node("n0")?;
    under_load(&clients, budget.seed, |load| {
        load.goes_on(50)?;
        let same_data = nodes[0].command()?.output()?;
        ensure!(same_data.status.code() == Some(1), "a second daemon runs on one journal");
        // It waits until the first one could no longer be alive.
        let status = twin.spawn()?.wait(Duration::from_secs(40))?;
        ensure!(status.code() == Some(1), "a second daemon has the name: {}", twin.log());
        load.goes_on(50)
    })?;
    check(nodes, history)?;
    world.drain()
}

/// The time in which a request must be answered, whatever other clients do.
const PATIENCE: Duration = Duration::from_secs(5);

/// Clients that say nothing, say it slowly, or say too much.
pub fn hostile_clients(_: Budget) -> Result<()> {
    let mut world = World::start(POOL, 1)?;
    let socket = world.nodes[0].socket();
    let served = |what: &str| -> Result<()> {
        let start = Instant::now();
        for client in world.clients() {
            for n in 0..20 {
                let answer = client.add(&format!("{what}-{n}"), &["ipv4"])?;
                ensure!(matches!(answer, Answer::Given(_)), "{what}: {answer:?}");
            }
        }
        ensure!(start.elapsed() < PATIENCE, "{what}: took {:?}", start.elapsed());
        Ok(())
    };
    // One byte at a time, of many requests.
    let mut slow: Vec<UnixStream> =
        (0..1_000).map(|_| UnixStream::connect(&socket)).collect::<Result<_, _>>()?;
    for byte in b"POST /ip HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{" {
        for stream in &mut slow {
            stream.write_all(&[*byte])?;
        }
    }
    served("slow")?;
    drop(slow);
    // Connections on which nothing is said, more than are served at once.
    allow_many_files();
    let idle: Vec<UnixStream> =
        (0..10_000).map(|_| UnixStream::connect(&socket)).collect::<Result<_, _>>()?;
    served("idle")?;
    drop(idle);
    // A hundred megabytes.
    let huge = world.nodes[0].http().send("POST", "/ip", &vec![b' '; 100 << 20])?;
    ensure!(matches!(huge.status, 400 | 413), "{}: {}", huge.status, huge.text());
    served("huge")?;
    world.drain()
}
