//! Programs that end at named points: before and after each commit to the journal, each transaction of the store,
//! each reply and each step of the kernel.

use super::Budget;
use super::world::{World, check};
use crate::client::Client;
use crate::cluster::Cluster;
use crate::coild::{Coild, READY, request};
use crate::history::{Answer, History};
use crate::load::{Dice, at_once};
use crate::machine::Machine;
use crate::plugin::{Plugin, main_config};
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

/// The points of coild that every node comes to.
const COILD: [&str; 6] = [
    "journal.commit.before",
    "journal.commit.after",
    "store.txn.before",
    "store.txn.after",
    "reply.before",
    "reply.after",
];

/// Blocks of four addresses, so that blocks are leased and released all the time.
const POOL: &str = "--subnet 10.64.0.0/20 --subnet fd00:64::/64 --block-size 30 --block-size-v6 126";

/// A coild on each point ends there: the first time, the second time, and so on until a whole life passes
/// without it. What it had acknowledged is there after each death.
pub fn coild_points(budget: Budget) -> Result<()> {
    let mut world = World::start(POOL, COILD.len())?;
    let until = Instant::now() + budget.time * 3;
    let World { nodes, history, .. } = &mut world;
    let history: &History = history;
    let cells: Vec<_> = nodes.iter_mut().map(std::sync::Mutex::new).collect();
    at_once(COILD.len(), |index| {
        let mut node = cells[index].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut dice = Dice::new(budget.seed.wrapping_add(index as u64));
        die_at(COILD[index], &mut node, history, until, &mut dice).context(COILD[index])
    })?;
    drop(cells);
    check(&world.nodes, &world.history)?;
    world.drain()
}

/// Lets a node die at every occurrence of a point, or at some of them if the time is short.
fn die_at(point: &str, node: &mut Coild, history: &History, until: Instant, dice: &mut Dice) -> Result<()> {
    let mut occurrence = 0;
    let mut died = true;
    while died && Instant::now() < until {
        node.kill()?;
        history.died(node.node());
        node.set_failpoints(&format!("{point}={occurrence}*off->return"));
        if node.try_run()? {
            live(node, history, occurrence)?;
        }
        // An answer may arrive just before the end of the one who sent it.
        died = Client::new(node, history).check("nobody")? != Answer::Seen(BTreeMap::new());
        node.kill()?;
        history.died(node.node());
        node.set_failpoints("");
        node.run()?;
        Client::new(node, history).status()?;
        history.check()?;
        occurrence += 1 + dice.roll(2);
    }
    ensure!(occurrence > 2, "nothing ended at {point}");
    Ok(())
}

/// A short life, with everything that a node does in it, until its end or the node's.
fn live(node: &Coild, history: &History, round: usize) -> Result<()> {
    let client = Client::new(node, history);
    let lost = |answer: Answer| matches!(answer, Answer::Broken | Answer::Refused | Answer::GaveUp);
    let name = |n: usize| format!("r{round}-{n}");
    for n in 0..6 {
        if lost(client.add(&name(n), &["ipv4", "ipv6"])?) {
            return Ok(());
        }
    }
    let valid: BTreeSet<String> = history.containers().into_iter().map(|(_, id)| id).collect();
    let valid = valid.into_iter().filter(|container| *container != name(0)).collect();
    let gone = lost(client.collect(&valid)?)
        || lost(client.check(&name(1))?)
        || (1..5).map(|n| client.del(&name(n))).collect::<Result<Vec<_>>>()?.into_iter().any(lost);
    if gone {
        return Ok(());
    }
    // The mirror writes, and blocks are released.
    let quiet = || -> Result<bool> {
        let metrics = node.http().get("/metrics")?.text();
        Ok(metrics.lines().any(|line| line == "coild_mirror_lag_seconds 0.0"))
    };
    let ended = || node.http().get("/healthz").is_err();
    wait_until("the mirror to agree", READY, || Ok(ended() || quiet()?))
}

/// The points of the controller that a change comes to.
const CONTROLLER: [&str; 4] = ["store.txn.before", "store.txn.after", "reply.before", "reply.after"];

/// A controller ends at every occurrence of its points while it takes a dead node's blocks away and changes a pool.
/// Done again, both are done: nothing of the node is left, and every address that it held can be given.
pub fn controller_points(budget: Budget) -> Result<()> {
    let mut world = World::start(POOL, 1)?;
    let mut dice = Dice::new(budget.seed);
    let until = Instant::now() + budget.time * 3;
    for point in CONTROLLER {
        let mut occurrence = 0;
        let (mut died, mut ever) = (true, false);
        while died && (occurrence == 0 || Instant::now() < until) {
            let name = format!("{}-{occurrence}", point.replace('.', "-"));
            let mut gone = world.cluster.node(&name)?.with(&World::ARGS);
            gone.run()?;
            let held: Vec<IpAddr> =
                (0..12).map(|n| Ok(gone.allocate(&format!("c{n}"))?.parse()?)).collect::<Result<_>>()?;
            gone.kill()?;
            let World { cluster, nodes, .. } = &mut world;
            let controller = &mut cluster.controller;
            controller.kill()?;
            controller.set_failpoints(&format!("{point}={occurrence}*off->return"));
            let lines = [format!("node remove {name} --force"), "pool disable default".to_owned()];
            if controller.try_run()? {
                for line in &lines {
                    controller.try_coilctl(line)?;
                }
            }
            died = controller.http().get("/healthz").is_err();
            ever |= died;
            controller.kill()?;
            controller.set_failpoints("");
            controller.run()?;
            // The first time may have been enough, and then there is no such node.
            for line in &lines {
                controller.try_coilctl(line)?;
            }
            controller.coilctl("pool enable default")?;
            ensure!(
                controller.try_coilctl(&format!("node show {name}"))?.status.code() != Some(0),
                "{name} is there"
            );
            ensure!(cluster.leases()?.values().all(|node| *node != name), "{name} has leases");
            ensure!(cluster.index(&name)?.is_empty(), "{name} has indexes");
            for (n, address) in held.iter().enumerate() {
                let mut asked = request(&format!("new{n}"));
                asked["address"] = serde_json::json!(address);
                nodes[0]
                    .http()
                    .post("/ip", &asked)?
                    .expect(200)
                    .with_context(|| format!("{address} of {name}"))?;
            }
            for n in 0..held.len() {
                nodes[0].free(&format!("new{n}"))?;
            }
            occurrence += 1 + dice.roll(2);
        }
        ensure!(ever, "nothing ended at {point}");
    }
    world.drain()
}

/// The points of the plugin, and the node's routes.
const PLUGIN: [&str; 4] = ["netlink.before", "netlink.after", "request.before", "request.after"];

/// A plugin ends at every occurrence of its points, in ADD and in DEL. The runtime's DEL takes all of it back.
pub fn plugin_points(_: Budget) -> Result<()> {
    let machine = Machine::start()?;
    let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/16 --subnet fd00:64::/64")?;
    let mut coild = cluster.node("n0")?.with(&World::ARGS);
    coild.run()?;
    let mut config = main_config(&coild.socket());
    config["addressTypes"] = serde_json::json!(["ipv4", "ipv6"]);
    let netns = machine.netns("pod")?;
    let plugin = Plugin::coil(machine.place())?.attachment("pod", &netns);
    let clean = traces(&machine)?;
    for point in PLUGIN {
        for verb in ["ADD", "DEL"] {
            for occurrence in 0.. {
                if verb == "DEL" {
                    plugin.add(&config)?;
                }
                let failpoint = format!("{point}={occurrence}*off->return");
                let killed = plugin.clone().with_failpoints(&failpoint).call(verb, &config)?;
                let ended = killed.status.code().is_none();
                plugin.del(&config).with_context(|| format!("after {verb} ended at {failpoint}"))?;
                let left = traces(&machine)?;
                ensure!(left == clean, "after {verb} ended at {failpoint}:\n{left}\nbefore:\n{clean}");
                ensure!(coild.status()?.attachments.is_empty(), "after {verb} ended at {failpoint}");
                if !ended {
                    ensure!(occurrence > 0, "{verb} does not come to {point}");
                    break;
                }
            }
        }
    }
    // And it works as if nothing had been.
    let given = plugin.add(&config)?;
    machine.reach(None, &given.first().context("an address")?.to_string())
}

/// What a plugin may leave on a machine: links and routes there and in the pod, without what changes by itself.
fn traces(machine: &Machine) -> Result<String> {
    let mut text = String::new();
    for what in ["link", "route show table all", "-6 route show table all"] {
        for place in ["", "-n pod "] {
            text += &machine.output(&format!("ip {place}-o {what}"))?;
        }
    }
    // Counters of interfaces, and the routes of the blocks, which come and go with the leases.
    let stable = text.lines().filter(|line| !line.contains("table 119") && !line.contains("multicast"));
    Ok(stable.collect::<Vec<_>>().join("\n"))
}

/// A node ends at each step of its routes; the next one has exactly the routes of its blocks.
pub fn route_points(_: Budget) -> Result<()> {
    let machine = Machine::start()?;
    let cluster = Cluster::start_on(&machine, POOL)?;
    let mut coild = cluster.node("n0")?.with(&World::ARGS);
    for point in ["route.before", "route.after"] {
        for occurrence in 0..6 {
            coild.set_failpoints(&format!("{point}={occurrence}*off->return"));
            if coild.try_run()? {
                let mut containers = (0..).map(|n| format!("{point}-{occurrence}-{n}"));
                wait_until("coild to end at its routes", READY, || {
                    // Every fourth needs another block.
                    let _ = containers.next().map(|container| coild.add(&container));
                    coild.has_ended()
                })
                .with_context(|| format!("{point}, {occurrence}"))?;
            }
            coild.set_failpoints("");
            coild.run()?;
            wait_until("the routes of the blocks and no others", READY, || {
                let text = machine.output("ip -o route show table 119")?;
                let routes: BTreeSet<String> =
                    text.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
                let blocks = coild.status()?.address_blocks.into_values().flatten();
                let blocks = blocks.filter(|net| net.addr().is_ipv4()).map(|net| net.to_string()).collect();
                ensure!(routes == blocks, "routes {routes:?}, blocks {blocks:?}");
                Ok(true)
            })?;
            for held in coild.status()?.attachments {
                coild.free(held.container_id.as_str())?;
            }
            coild.kill()?;
        }
    }
    Ok(())
}
