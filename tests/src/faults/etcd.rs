//! What befalls the store: it is killed, hangs, loses its leader or its quorum, is cut off, forgets its history.

use super::Budget;
use super::load::{kill, under_load};
use super::world::{World, check};
use crate::client::Client;
use crate::cluster::{Cluster, held};
use crate::coild::{Coild, READY};
use crate::etcd::Etcd;
use crate::history::Answer;
use crate::load::Dice;
use crate::machine::Machine;
use crate::place::Place;
use crate::proxy::Proxy;
use crate::tools::run;
use crate::wait::wait_until;
use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;
use nix::sys::signal::Signal;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const POOL: &str = "--subnet 10.64.0.0/20 --subnet fd00:64::/112";

/// etcd is killed and started again under load, and so is a node now and then.
pub fn store_killed(budget: Budget) -> Result<()> {
    let mut world = World::start(POOL, 2)?;
    let mut dice = Dice::new(budget.seed);
    let until = Instant::now() + budget.time;
    let World { nodes, cluster, history } = &mut world;
    let clients: Vec<Client> = nodes.iter().map(|node| Client::new(node, history)).collect();
    under_load(&clients, budget.seed, |load| {
        while Instant::now() < until {
            load.goes_on(dice.roll(100))?;
            cluster.etcd.kill()?;
            // What the nodes hold is enough to go on.
            load.goes_on(20)?;
            if dice.roll(2) == 0 {
                kill(&mut nodes[0], history)?;
            }
            cluster.etcd.run()?;
        }
        Ok(())
    })?;
    check(nodes, history)?;
    drop(clients);
    world.drain()
}

/// etcd takes requests and does not answer them.
pub fn store_hangs(budget: Budget) -> Result<()> {
    let mut world = World::start(POOL, 2)?;
    let World { nodes, cluster, history } = &mut world;
    let clients: Vec<Client> = nodes.iter().map(|node| Client::new(node, history)).collect();
    under_load(&clients, budget.seed, |load| {
        load.goes_on(50)?;
        cluster.etcd.signal(Signal::SIGSTOP)?;
        // Long enough, if there is time, for every call to time out and every TTL to run out.
        let until = Instant::now() + budget.time.min(Duration::from_secs(30));
        while Instant::now() < until {
            load.goes_on(20)?;
        }
        cluster.etcd.signal(Signal::SIGCONT)?;
        load.goes_on(50)
    })?;
    check(nodes, history)?;
    drop(clients);
    world.drain()
}

/// A cluster of three loses its leader, then its majority.
pub fn members_lost(budget: Budget) -> Result<()> {
    let etcd = Etcd::start_members(Place::Here, Ipv4Addr::LOCALHOST, 3)?;
    let mut world = World::start_with(Cluster::start_with(Place::Here, etcd, POOL)?, 2)?;
    let mut dice = Dice::new(budget.seed);
    let until = Instant::now() + budget.time;
    let World { nodes, cluster, history } = &mut world;
    let clients: Vec<Client> = nodes.iter().map(|node| Client::new(node, history)).collect();
    under_load(&clients, budget.seed, |load| {
        loop {
            let leader = cluster.etcd.leader()?;
            cluster.etcd.members()[leader].kill()?;
            load.goes_on(20)?;
            wait_until("pools to change without the former leader", READY, || {
                Ok(cluster.controller.coilctl("pool enable default").is_ok())
            })?;
            let second = (leader + 1 + dice.roll(2)) % 3;
            cluster.etcd.members()[second].kill()?;
            // One of three is not enough to lease a block; what is held is enough to give addresses.
            load.goes_on(20)?;
            cluster.etcd.run()?;
            if Instant::now() >= until {
                return Ok(());
            }
        }
    })?;
    check(nodes, history)?;
    drop(clients);
    world.drain()
}

/// The way to the store takes 200 ms, and as much back. Addresses are given as fast as ever.
pub fn slow_store(budget: Budget) -> Result<()> {
    let mut world = World::start(POOL, 1)?;
    let proxy = Proxy::start(&world.cluster.etcd.endpoint(), Duration::from_millis(200))?;
    let mut slow = world.cluster.node("slow")?.with(&World::ARGS).with_store(&proxy.url());
    slow.run()?;
    world.nodes.push(slow);
    let World { nodes, history, .. } = &world;
    let client = Client::new(&nodes[1], history);
    client.add("first", &["ipv4", "ipv6"])?;
    for n in 0..10 {
        let start = Instant::now();
        let answer = client.add(&format!("quick-{n}"), &["ipv4", "ipv6"])?;
        ensure!(matches!(answer, Answer::Given(_)), "{answer:?}");
        ensure!(start.elapsed() < Duration::from_millis(200), "waited for the store: {:?}", start.elapsed());
    }
    let clients: Vec<Client> = nodes.iter().map(|node| Client::new(node, history)).collect();
    let until = Instant::now() + budget.time;
    under_load(&clients, budget.seed, |load| {
        while Instant::now() < until {
            load.goes_on(20)?;
        }
        Ok(())
    })?;
    check(nodes, history)?;
    drop(clients);
    world.drain()
}

/// Two machines with a wire between them; the store is on the first.
struct Two {
    second: Machine,
    world: World,
    _first: Machine,
}

/// Cuts the wire for everything that is sent from now on, in both directions.
const CUT: [&str; 4] = [
    "nft add table inet cut",
    "nft add chain inet cut in { type filter hook input priority 0 ; policy drop ; }",
    "nft add chain inet cut out { type filter hook output priority 0 ; policy drop ; }",
    "nft list table inet cut",
];

impl Two {
    fn start() -> Result<Self> {
        let (first, second) = (Machine::start()?, Machine::start()?);
        let Place::Inside(anchor) = second.place() else { bail!("a machine is a place of its own") };
        let Place::Inside(other) = first.place() else { bail!("a machine is a place of its own") };
        let words = format!("link add wire netns {other} type veth peer name wire netns {anchor}");
        run(Command::new("ip").args(words.split(' ')))?;
        for (machine, address) in [(&first, "192.0.2.1/24"), (&second, "192.0.2.2/24")] {
            machine.run(&format!("ip address add {address} dev wire"))?;
            machine.run("ip link set wire up")?;
        }
        let etcd = Etcd::start_members(first.place(), Ipv4Addr::new(192, 0, 2, 1), 1)?;
        let mut world = World::start_with(Cluster::start_with(first.place(), etcd, POOL)?, 1)?;
        let far = Coild::new(second.place(), &world.cluster.etcd, "far")?.with(&World::ARGS);
        world.nodes.push(far);
        world.nodes[1].run()?;
        Ok(Self { second, world, _first: first })
    }
}

fn cut(machine: &Machine) -> Result<()> {
    CUT.iter().try_for_each(|line| machine.run(line).map(|_| ()))
}

fn mend(machine: &Machine) -> Result<()> {
    machine.run("nft delete table inet cut").map(|_| ())
}

/// A node can't reach the store, and then it can again.
pub fn partition(budget: Budget) -> Result<()> {
    let Two { second, mut world, _first } = Two::start()?;
    let World { nodes, cluster, history } = &mut world;
    let clients: Vec<Client> = nodes.iter().map(|node| Client::new(node, history)).collect();
    under_load(&clients, budget.seed, |load| {
        load.goes_on(50)?;
        cut(&second)?;
        let until = Instant::now() + budget.time.min(Duration::from_secs(30));
        while Instant::now() < until {
            load.goes_on(20)?;
        }
        // It goes on even if it must start in the dark.
        kill(&mut nodes[1], history)?;
        load.goes_on(20)?;
        mend(&second)
    })?;
    check(nodes, history)?;
    wait_until("the mirror to agree with the journal", READY, || {
        let (mirror, journal) = (cluster.mirror("far")?, held(&nodes[1].status()?));
        ensure!(mirror == journal, "the mirror has {mirror:?}, the journal {journal:?}");
        Ok(true)
    })?;
    drop(clients);
    world.drain()
}

/// An operator removes a node that can't be reached, another one takes its blocks, and it comes back.
pub fn removed_while_cut_off(_: Budget) -> Result<()> {
    let Two { second, world, _first } = Two::start()?;
    let World { nodes, cluster, .. } = &world;
    let (near, far) = (&nodes[0], &nodes[1]);
    let addresses: Vec<String> = (0..20).map(|n| far.allocate(&format!("c{n}"))).collect::<Result<_>>()?;
    let blocks = |node: &Coild| -> Result<Vec<IpNet>> {
        Ok(node.status()?.address_blocks.into_values().flatten().collect())
    };
    let lost = blocks(far)?;
    let holds = |block: &&IpNet| {
        addresses.iter().any(|held| held.parse().is_ok_and(|held: IpAddr| block.contains(&held)))
    };
    let in_use = lost.iter().filter(holds).count();
    cut(&second)?;
    cluster.controller.coilctl("node remove far --force")?;
    // One of its addresses goes to somebody else, whose node leases the block for it.
    let mut asked = crate::coild::request("other");
    asked["address"] = serde_json::json!(addresses[0]);
    near.http().post("/ip", &asked)?.expect(200)?;
    mend(&second)?;
    wait_until("the node to learn of it", READY, || Ok(far.status()?.fenced.len() == addresses.len()))?;
    for n in 0..20 {
        let given = far.allocate(&format!("new{n}"))?.parse()?;
        ensure!(!lost.iter().any(|block| block.contains(&IpAddr::V4(given))), "{given} was lost");
    }
    // The other blocks in use are protected: nobody gets their addresses while the containers hold them.
    wait_until("the other blocks to be claimed again", READY, || {
        let leases = cluster.leases()?;
        let of_far =
            |net: &&IpNet| leases.iter().any(|((_, first), node)| *first == net.addr() && node == "far");
        let claimed = lost.iter().filter(of_far).count();
        ensure!(
            claimed == in_use - 1,
            "{claimed} of {in_use} blocks in use, leases {leases:?}, lost {lost:?}"
        );
        Ok(true)
    })?;
    // And they go back when nobody holds anything in them.
    for n in 0..20 {
        far.free(&format!("c{n}"))?;
        far.free(&format!("new{n}"))?;
    }
    ensure!(far.status()?.fenced.is_empty(), "{:?}", far.status()?.fenced);
    near.free("other")?;
    world.nothing_is_left()
}

/// The store forgets the history that a node would need to catch up.
pub fn compaction(_: Budget) -> Result<()> {
    let Two { second, world, _first } = Two::start()?;
    let World { nodes, cluster, .. } = &world;
    let far = &nodes[1];
    far.allocate("before")?;
    cut(&second)?;
    for n in 0..5 {
        cluster.controller.coilctl(&format!("pool add-subnet default 10.65.{n}.0/24"))?;
    }
    cluster.controller.coilctl("pool disable default")?;
    let mut status = cluster.etcd.etcdctl()?;
    let text = run(status.args(["endpoint", "status", "--write-out", "json"]))?.stdout;
    let status: serde_json::Value = serde_json::from_slice(&text)?;
    let revision = status[0]["Status"]["header"]["revision"].as_u64().context("a revision")?;
    run(cluster.etcd.etcdctl()?.args(["compact", &revision.to_string()]))?;
    mend(&second)?;
    wait_until("the node to know that the pool is disabled", READY, || Ok(far.add("never")?.status != 200))?;
    cluster.controller.coilctl("pool enable default")?;
    wait_until("the node to know that it is enabled", READY, || Ok(far.add("after")?.status == 200))
}

/// How long a node that lives takes at most to notice, and to claim what it holds.
const SETTLE: Duration = Duration::from_mins(1);

/// Gives so many addresses if there are; says how many.
fn give(client: &Client, name: &str, count: usize) -> Result<usize> {
    let given = (0..count).map(|n| client.add(&format!("{name}-{n}"), &["ipv4"]));
    let given: Vec<Answer> = given.collect::<Result<_>>()?;
    Ok(given.iter().filter(|answer| matches!(answer, Answer::Given(_))).count())
}

/// Makes a backup, after which one node leases blocks, and another one releases some which are a third one's then.
/// Answers an address of which the backup does not know.
fn fall_behind(world: &World, backup: &Path) -> Result<IpAddr> {
    let clients = world.clients();
    ensure!(give(&clients[0], "old", 20)? == 20 && give(&clients[1], "old", 60)? == 60);
    world.cluster.etcd.back_up(backup)?;
    let mut freed = Vec::new();
    for n in 0..60 {
        let Answer::Freed(address) = clients[1].del(&format!("old-{n}"))? else { bail!("not freed") };
        freed.extend(address);
    }
    let second = &world.nodes[1];
    wait_until("idle blocks to be released", READY, || {
        Ok(second.status()?.address_blocks.values().flatten().count() == 1)
    })?;
    let kept: Vec<IpNet> = second.status()?.address_blocks.into_values().flatten().collect();
    let former = freed.into_iter().find(|address| !kept.iter().any(|block| block.contains(address)));
    let former = former.context("an address of a released block")?;
    // The third one gets a block that the store will say is the second one's.
    ensure!(matches!(clients[2].add_exactly("former", former)?, Answer::Given(_)));
    ensure!(give(&clients[0], "new", 50)? == 50 && give(&clients[2], "new", 39)? == 39);
    let Answer::Given(newest) = clients[2].add("newest", &["ipv4"])? else { bail!("not given") };
    newest.first().copied().context("an address")
}

/// A backup is put in the place of the store. Since it was made, one node has leased blocks, and another one has
/// released some which are a third one's now. No address is ever given twice.
pub fn backup_restored(_: Budget) -> Result<()> {
    let mut world = World::start("--subnet 10.64.0.0/24", 3)?;
    let backup = world.nodes[0].dir().join("backup");
    let forgotten = fall_behind(&world, &backup)?;
    // A node that has seen nothing of the past is the first to ask, even for what another one holds.
    for node in &mut world.nodes {
        node.signal(Signal::SIGSTOP)?;
    }
    world.cluster.etcd.restore(&backup)?;
    world.nodes.push(world.cluster.coild("n3", &World::ARGS)?);
    {
        let new = world.clients().remove(3);
        let answer = new.add_exactly("taken", forgotten)?;
        ensure!(!matches!(answer, Answer::Given(_)), "{answer:?}");
        ensure!(give(&new, "first", 20)? == 0, "a block was leased from a store with another history");
    }
    for node in &mut world.nodes {
        node.signal(Signal::SIGCONT)?;
    }
    // Then everybody wants more than there is.
    for round in 0..3 {
        for client in world.clients() {
            give(&client, &format!("wanted{round}"), 30)?;
        }
        world.check()?;
    }
    wait_until("blocks to be leased again", SETTLE, || {
        let client = world.clients().remove(3);
        Ok(give(&client, &format!("late{}", world.history.events().len()), 1)? == 1)
    })?;
    for client in world.clients() {
        give(&client, "wanted-late", 40)?;
    }
    world.check()?;
    for node in &world.nodes {
        let restores = node.http().get("/metrics")?.text();
        let seen = restores.lines().find(|line| line.starts_with("coild_store_restores_total "));
        ensure!(
            seen.context("the counter")? != "coild_store_restores_total 0",
            "{} saw nothing",
            node.node()
        );
    }
    // What the backup lacked is closed and reported, and its leases are there: nothing is held by two.
    ensure!(!world.nodes[0].status()?.fenced.is_empty() && !world.nodes[2].status()?.fenced.is_empty());
    world.drain()
}
