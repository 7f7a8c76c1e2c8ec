//! Clients of all kinds at the same time, on several nodes, while pools change and programs are killed.

use super::Budget;
use super::world::{World, check};
use crate::client::Client;
use crate::coild::Coild;
use crate::controller::Controller;
use crate::history::{Answer, History};
use crate::load::Dice;
use crate::wait::wait_until;
use anyhow::{Context, Result, anyhow};
use common::ipam::Pool;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Clients of each node.
const CLIENTS: usize = 3;
/// Containers that one client alone asks for, and containers that all clients of a node ask for.
const CONTAINERS: usize = 5;

/// Load on some nodes, and how far it got.
#[derive(Debug, Default)]
pub struct Load {
    answers: AtomicUsize,
    over: AtomicBool,
}

impl Load {
    /// Waits until this many more questions were answered.
    pub fn goes_on(&self, answers: usize) -> Result<()> {
        let before = self.answers.load(Ordering::Relaxed);
        wait_until("the load to go on", Duration::from_mins(1), || {
            Ok(self.answers.load(Ordering::Relaxed) >= before + answers || self.over.load(Ordering::Relaxed))
        })
    }

    fn work(&self, client: &Client, worker: usize, dice: &mut Dice) -> Result<()> {
        let mut count = 0;
        while !self.over.load(Ordering::Relaxed) {
            count += 1;
            let answer = one_question(client, worker, count, dice)?;
            if matches!(answer, Answer::Refused | Answer::Broken | Answer::GaveUp) {
                // A node that is down refuses thousands of questions in the time that it takes to start.
                let down = || Ok(self.over.load(Ordering::Relaxed) || client.status()? != Answer::Refused);
                wait_until("the node to be back", Duration::from_mins(1), down)?;
            } else {
                self.answers.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// Asks something, by chance. Half of the containers are asked for by this client alone, so that what is known
/// of them is certain; the others are asked for by several at once.
fn one_question(client: &Client, worker: usize, count: usize, dice: &mut Dice) -> Result<Answer> {
    let number = dice.roll(CONTAINERS);
    let container =
        if dice.roll(2) == 0 { format!("own-{worker}-{number}") } else { format!("shared-{number}") };
    let families: &[&str] = if number.is_multiple_of(2) { &["ipv4", "ipv6"] } else { &["ipv4"] };
    match dice.roll(100) {
        0..46 => client.add(&container, families),
        46..86 => client.del(&container),
        86..94 => client.check(&container),
        94..96 => client.status(),
        96..98 => {
            let bytes = dice.roll(400);
            client.vanish(&format!("gone-{worker}-{count}"), bytes)
        }
        98 => {
            // A runtime that knows all containers but a few.
            let known = (0..CONTAINERS).filter(|_| dice.roll(4) > 0);
            let own = known.flat_map(|number| [format!("own-{worker}-{number}"), format!("shared-{number}")]);
            let others = (0..CLIENTS * 64).filter(|other| *other != worker);
            let others = others.flat_map(|other| (0..CONTAINERS).map(move |n| format!("own-{other}-{n}")));
            client.collect(&own.chain(others).collect::<BTreeSet<_>>())
        }
        _ => twice_at_once(client, &container),
    }
}

/// The same ADD by two clients at the same moment.
fn twice_at_once(client: &Client, container: &str) -> Result<Answer> {
    std::thread::scope(|scope| {
        let second = scope.spawn(|| client.add(container, &["ipv4"]));
        client.add(container, &["ipv4"])?;
        second.join().map_err(|_| anyhow!("a client panicked"))?
    })
}

/// Does something while clients ask the nodes without end.
pub fn under_load<T>(clients: &[Client], seed: u64, action: impl FnOnce(&Load) -> Result<T>) -> Result<T> {
    let load = Load::default();
    std::thread::scope(|scope| {
        let work = |worker: usize| {
            let (load, client) = (&load, clients[worker % clients.len()].clone());
            let mut dice = Dice::new(seed.wrapping_mul(1_000).wrapping_add(worker as u64));
            scope.spawn(move || {
                let outcome = load.work(&client, worker, &mut dice);
                // Nobody waits for a load that is no more.
                load.over.store(outcome.is_err() || load.over.load(Ordering::Relaxed), Ordering::Relaxed);
                outcome
            })
        };
        let workers: Vec<_> = (0..clients.len() * CLIENTS).map(work).collect();
        let outcome = action(&load);
        load.over.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().map_err(|_| anyhow!("a client panicked"))?.context("a client")?;
        }
        outcome
    })
}

/// The first and smallest form of the pool that changes.
const POOL: &str =
    "--subnet 10.64.0.0/25 --subnet fd00:64::/120 --exclude 10.64.0.4/30 --block-gateway first";
/// What is added to it and taken from it.
const EXTRA: [&str; 3] = ["10.64.1.0/26", "10.64.2.0/27", "10.64.3.0/24"];

/// An operator who changes a pool by chance.
struct Operator<'a> {
    controller: &'a mut Controller,
    history: &'a History,
    pool: Pool,
}

impl Operator<'_> {
    fn act(&mut self, dice: &mut Dice) -> Result<()> {
        let subnet = EXTRA[dice.roll(EXTRA.len())];
        let net = subnet.parse()?;
        match dice.roll(6) {
            0 | 1 if !self.pool.subnets.contains(&net) => {
                // Whether or not the answer comes, it may be there from now on.
                self.pool.subnets.push(net);
                self.history.pool("default", self.pool.clone());
                self.controller.try_coilctl(&format!("pool add-subnet default {subnet}"))?;
            }
            // Refused while a node leases a block of it.
            2 | 3 if self.pool.subnets.contains(&net) => {
                let removal = self.controller.try_coilctl(&format!("pool remove-subnet default {subnet}"))?;
                if removal.status.success() {
                    self.pool.subnets.retain(|other| *other != net);
                    self.history.pool("default", self.pool.clone());
                }
            }
            4 => {
                self.controller.try_coilctl("pool disable default")?;
                self.controller.coilctl("pool enable default")?;
            }
            5 => {
                self.controller.kill()?;
                self.controller.run()?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// SIGKILL of a node, which then starts anew.
pub fn kill(node: &mut Coild, history: &History) -> Result<()> {
    node.kill()?;
    history.died(node.node());
    node.run()
}

/// Five nodes under load: coild and controller are killed, the pool grows, shrinks, and is disabled.
pub fn random_load(budget: Budget) -> Result<()> {
    let mut world = World::start(POOL, 5)?;
    let mut dice = Dice::new(budget.seed);
    let until = Instant::now() + budget.time;
    let World { nodes, cluster, history } = &mut world;
    let clients: Vec<Client> = nodes.iter().map(|node| Client::new(node, history)).collect();
    let pool = first_pool(history)?;
    let mut operator = Operator { controller: &mut cluster.controller, history, pool };
    under_load(&clients, budget.seed, |load| {
        while Instant::now() < until {
            load.goes_on(1 + dice.roll(300))?;
            let node = dice.roll(nodes.len());
            kill(&mut nodes[node], history)?;
            operator.act(&mut dice)?;
        }
        Ok(())
    })?;
    check(nodes, history)?;
    drop(clients);
    world.drain()
}

fn first_pool(history: &History) -> Result<Pool> {
    let first = history.events().into_iter().find_map(|event| match event {
        crate::history::Event::Pool(_, pool) => Some(pool),
        _ => None,
    });
    first.context("the world has a pool")
}
