//! Three nodes that announce their blocks to each other by BGP: BIRD on each, with the configuration of `manifests/routing`.
//! The nodes are namespaces on one network, as machines of a rack are.

use anyhow::{Context, Result, bail, ensure};
use coil_tests::bird::Bird;
use coil_tests::cluster::Cluster;
use coil_tests::coild::Coild;
use coil_tests::etcd::Etcd;
use coil_tests::machine::Machine;
use coil_tests::place::Place;
use coil_tests::plugin::{Plugin, addresses, main_config};
use coil_tests::tools::run;
use coil_tests::wait::wait_until;
use ipnet::IpNet;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

const NODES: usize = 3;
const POOL: &str = "--subnet 10.64.0.0/16 --subnet fd00:64::/64";
/// Longer than it takes until a neighbor that says nothing is given up.
const SOON: Duration = Duration::from_secs(40);

struct Node {
    coild: Coild,
    bird: Bird,
    machine: Machine,
}

/// Nodes, and the machine that has the store and the switch between them.
struct Rack {
    nodes: Vec<Node>,
    cluster: Cluster,
    switch: Machine,
}

/// The addresses of a node.
fn pair(number: usize) -> (String, String) {
    (format!("192.0.2.{number}"), format!("fd00:2::{number}"))
}

fn place(machine: &Machine) -> Result<u32> {
    let Place::Inside(anchor) = machine.place() else { bail!("a machine is a place of its own") };
    Ok(anchor)
}

impl Rack {
    fn start() -> Result<Self> {
        let switch = Machine::start()?;
        switch.run("ip link add lan type bridge")?;
        switch.run("ip link set lan up")?;
        switch.run("ip address add 192.0.2.254/24 dev lan")?;
        let etcd = Etcd::start_members(switch.place(), Ipv4Addr::new(192, 0, 2, 254), 1)?;
        let cluster = Cluster::start_with(switch.place(), etcd, POOL)?;
        let mut rack = Self { nodes: Vec::new(), cluster, switch };
        for number in 1..=NODES {
            let node = rack.node(number)?;
            rack.nodes.push(node);
        }
        Ok(rack)
    }

    /// A machine with a wire to the switch, and what runs on a node.
    fn node(&self, number: usize) -> Result<Node> {
        let (machine, own) = (Machine::start()?, pair(number));
        let (inside, outside) = (place(&machine)?, place(&self.switch)?);
        let words = format!("link add n{number} netns {outside} type veth peer name rack0 netns {inside}");
        run(Command::new("ip").args(words.split(' ')))?;
        self.switch.run(&format!("ip link set n{number} master lan up"))?;
        machine.run("ip link set rack0 up")?;
        machine.run(&format!("ip address add {}/24 dev rack0", own.0))?;
        machine.run(&format!("ip address add {}/64 dev rack0 nodad", own.1))?;
        machine.forward()?;
        let mut coild = Coild::new(machine.place(), &self.cluster.etcd, &format!("n{number}"))?.with(&[
            "--cooldown",
            "0s",
            "--low-water",
            "1",
        ]);
        coild.run()?;
        let others: Vec<_> = (1..=NODES).filter(|other| *other != number).map(pair).collect();
        let bird = Bird::start(&machine, &own, &others)?;
        Ok(Node { coild, bird, machine })
    }

    /// Waits until every node has exactly the routes to the blocks of all others.
    fn converges(&self) -> Result<()> {
        for (number, node) in self.nodes.iter().enumerate() {
            wait_until(&format!("node {} to know the way to all blocks", number + 1), SOON, || {
                let mut wanted = BTreeSet::new();
                for (other, far) in self.nodes.iter().enumerate().filter(|(other, _)| *other != number) {
                    let (v4, v6) = pair(other + 1);
                    let via = |block: &IpNet| if block.addr().is_ipv4() { v4.clone() } else { v6.clone() };
                    wanted.extend(far.blocks()?.iter().map(|block| (block.to_string(), via(block))));
                }
                let found = node.routes()?;
                ensure!(found == wanted, "routes {found:?}, blocks {wanted:?}");
                Ok(true)
            })?;
        }
        Ok(())
    }
}

impl Node {
    /// Starts a pod with addresses of both families.
    fn pod(&self, name: &str) -> Result<Pod> {
        let netns = self.machine.netns(name)?;
        let plugin = Plugin::coil(self.machine.place())?.attachment(name, &netns);
        let result = plugin.result("ADD", &self.config())?;
        Ok(Pod { plugin, netns, addresses: addresses(&result)? })
    }

    fn config(&self) -> Value {
        let mut config = main_config(&self.coild.socket());
        config["ipam"] = json!({"addressTypes": ["ipv4", "ipv6"]});
        config
    }

    fn blocks(&self) -> Result<Vec<IpNet>> {
        Ok(self.coild.status()?.address_blocks.into_values().flatten().collect())
    }

    /// What BIRD has put into the main table: destinations and gateways.
    fn routes(&self) -> Result<BTreeSet<(String, String)>> {
        let mut routes = BTreeSet::new();
        for family in ["-4", "-6"] {
            let lines = self.machine.output(&format!("ip {family} route show proto bird"))?;
            for line in lines.lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                let gateway = words.iter().position(|word| *word == "via").and_then(|via| words.get(via + 1));
                let gateway = gateway.with_context(|| format!("a route without gateway: {line}"))?;
                routes.insert((words[0].to_owned(), (*gateway).to_owned()));
            }
        }
        Ok(routes)
    }
}

struct Pod {
    plugin: Plugin,
    netns: String,
    addresses: Vec<IpAddr>,
}

/// Every pod reaches every other one, by both families.
fn all_reach_each_other(nodes: &[Node], pods: &[Pod]) -> Result<()> {
    for (from, node) in nodes.iter().enumerate() {
        for (to, pod) in pods.iter().enumerate().filter(|(to, _)| *to != from) {
            ensure!(pod.addresses.len() == 2, "pod {to} has {:?}", pod.addresses);
            for address in &pod.addresses {
                node.machine.reach(Some(&pods[from].netns), &address.to_string())?;
            }
        }
    }
    Ok(())
}

#[test]
fn pods_of_three_nodes_reach_each_other() -> Result<()> {
    let mut rack = Rack::start()?;
    let pods: Vec<Pod> = rack.nodes.iter().map(|node| node.pod("pod")).collect::<Result<_>>()?;
    rack.converges()?;
    all_reach_each_other(&rack.nodes, &pods)?;

    // More blocks are announced as they are leased, and withdrawn when they are given back.
    let extra: Vec<String> = (0..40).map(|number| format!("extra-{number}")).collect();
    for container in &extra {
        rack.nodes[0].coild.allocate(container)?;
    }
    ensure!(rack.nodes[0].blocks()?.len() > 3, "{:?}", rack.nodes[0].blocks()?);
    rack.converges()?;
    for container in &extra {
        rack.nodes[0].coild.free(container)?;
    }
    wait_until("idle blocks to be given back", SOON, || Ok(rack.nodes[0].blocks()?.len() <= 3))?;
    rack.converges()?;

    // A node dies with all its daemons and comes back: its pods are reached again, and were all the time by its own.
    let node = &mut rack.nodes[1];
    node.bird.kill()?;
    node.coild.kill()?;
    let survivor = &rack.nodes[0];
    wait_until("the dead node's routes to be withdrawn", SOON, || {
        Ok(survivor.routes()?.iter().all(|(_, gateway)| !pair(2).0.eq(gateway) && !pair(2).1.eq(gateway)))
    })?;
    let node = &mut rack.nodes[1];
    node.coild.run()?;
    node.bird.run(&node.machine)?;
    rack.converges()?;
    all_reach_each_other(&rack.nodes, &pods)?;

    // A node is away when it is removed, and another one takes its block. It must not announce it when it is back.
    let taken = pods[2].addresses.iter().find(|address| address.is_ipv4()).context("an IPv4 address")?;
    let block =
        rack.nodes[2].blocks()?.into_iter().find(|block| block.contains(taken)).context("its block")?;
    rack.nodes[2].coild.stop()?;
    rack.cluster.controller.coilctl("node remove n3 --force")?;
    let body = json!({"pod-namespace": "ns", "pod-name": "p", "container-id": "p", "address": taken});
    rack.nodes[0].coild.http().post("/ip", &body)?.expect(200)?;
    rack.nodes[2].coild.run()?;
    let way = (block.to_string(), pair(1).0);
    wait_until("the removed node to know that its block is another one's", SOON, || {
        Ok(rack.nodes[2].routes()?.contains(&way))
    })?;
    rack.converges()?;
    for (node, pod) in rack.nodes.iter().zip(&pods) {
        pod.plugin.del(&node.config())?;
    }
    Ok(())
}
