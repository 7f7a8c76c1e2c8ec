//! The whole cluster: one event after the other, the next one only when nothing moves any more.

use crate::net::{Call, Client, Fate, Net, lock};
use crate::node::{Counted, Node};
use crate::random::Random;
use common::ipam::Pool;
use common::name::PoolName;
use common::store::record::{self, Node as NodeRecord};
use common::store::{KeyRange, Op, Store, Txn, keys};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

const NODES: usize = 3;
/// The operator among the callers.
const OPERATOR: usize = NODES;
/// Containers of a node at once, at most.
const CONTAINERS: usize = 6;

pub(crate) struct Cluster {
    net: Arc<Mutex<Net>>,
    nodes: Vec<Node>,
    polls: Arc<AtomicU64>,
    random: Random,
    operator: JoinSet<()>,
    next_container: u32,
    trace: Vec<String>,
}

impl Cluster {
    /// Nodes that have just started, and a pool of four blocks of four addresses, one of them excluded.
    pub(crate) async fn new(seed: u64) -> Self {
        let (net, polls) = (Arc::new(Mutex::new(Net::default())), Arc::new(AtomicU64::new(0)));
        let nodes = (0..NODES).map(|n| Node::new(n, Arc::clone(&net), Arc::clone(&polls))).collect();
        let (random, trace) = (Random::new(seed), Vec::new());
        let mut cluster =
            Self { net, nodes, polls, random, operator: JoinSet::new(), next_container: 0, trace };
        cluster.set_pool(false);
        for n in 0..NODES {
            cluster.start(n);
        }
        cluster.settle().await;
        cluster
    }

    pub(crate) fn trace(self) -> Vec<String> {
        self.trace
    }

    fn set_pool(&self, disabled: bool) {
        let subnets = vec!["10.0.0.0/28".parse().expect("net")];
        let exclude = vec!["10.0.0.5/32".parse().expect("net")];
        let pool = Pool { block_size: 30, exclude, disabled, ..Pool::of_subnets(subnets) };
        let put = Op::Put(keys::pool(&PoolName::default_pool()), record::encode(&pool));
        lock(&self.net).txn(&Txn::new().then(put)).expect("no compares");
    }

    /// Starts a daemon; its name is registered.
    fn start(&mut self, n: usize) {
        let name = &self.nodes[n].name;
        let known = NodeRecord { instance: name.to_string(), boot: String::new(), started: 0 };
        let txn = Txn::new()
            .then(Op::Put(keys::alive(name), "{}".into()))
            .then(Op::Put(keys::node(name), record::encode(&known)));
        lock(&self.net).txn(&txn).expect("no compares");
        self.nodes[n].start();
    }

    /// Waits until no task can go on without an answer or more time, and no job is left.
    async fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 2 {
            let before = self.polls.load(Ordering::Relaxed);
            tokio::task::yield_now().await;
            quiet = if self.polls.load(Ordering::Relaxed) == before { quiet + 1 } else { 0 };
        }
        self.note_given();
        lock(&self.net).calls.sort_by_key(|call| (call.caller, call.describe()));
        for node in &mut self.nodes {
            node.outdated &= !node.serves();
        }
    }

    /// I1 and I4, whenever an address was given.
    fn note_given(&mut self) {
        for n in 0..NODES {
            let given = std::mem::take(&mut *self.nodes[n].given.lock().expect("lock"));
            for (container, address) in given {
                self.trace.push(format!("n{n}: {address} for c{container}"));
                let other =
                    self.nodes.iter().flat_map(|node| &node.containers).find(|(_, held)| **held == address);
                assert!(other.is_none(), "I1: {address} is given to c{container} on n{n}, and to {other:?}");
                let IpAddr::V4(v4) = address else { panic!("I4: {address}") };
                let last = v4.octets()[3];
                assert!(v4.octets()[..3] == [10, 0, 0] && last < 16 && last != 5, "I4: {address}");
                self.nodes[n].containers.insert(container, address);
            }
        }
    }

    /// One thing happens.
    pub(crate) async fn event(&mut self) {
        let n = self.random.below(NODES);
        match self.random.below(100) {
            0..45 => self.answer(),
            45..57 => self.deliver(),
            57..67 => self.pass_time().await,
            67..80 => self.add(n),
            80..90 => self.end(n),
            90..92 => self.happen_late(),
            92..95 => self.kill(n).await,
            95 => self.power_off(n).await,
            96..98 => self.remove(n),
            _ => self.bring_back(n),
        }
        self.settle().await;
    }

    /// Somebody's call happens, or fails.
    fn answer(&mut self) {
        let mut net = lock(&self.net);
        if net.calls.is_empty() {
            return;
        }
        let which = self.random.below(net.calls.len());
        let call: Call = net.calls.remove(which);
        // A machine that was off starts with the store in reach.
        let spared = self.nodes.get(call.caller).is_some_and(|node| node.outdated);
        let fate = match self.random.below(12) {
            0 if !spared => Fate::Unanswered,
            1 if !spared => Fate::Failed,
            2 if !spared => Fate::Late,
            _ => Fate::Answered,
        };
        self.trace.push(format!("{fate:?} {}", call.describe()));
        net.settle(call, fate);
    }

    fn deliver(&mut self) {
        let mut net = lock(&self.net);
        if net.watches.is_empty() {
            return;
        }
        let which = self.random.below(net.watches.len());
        if self.random.one_in(12) {
            self.trace.push(format!("cut a watch of {}", net.watches[which].caller));
            net.cut(which);
        } else {
            net.deliver(which);
        }
    }

    async fn pass_time(&mut self) {
        // Nor does it wait in vain.
        if self.nodes.iter().any(|node| node.outdated && node.running.is_some()) {
            return;
        }
        let time = Duration::from_millis(10 << self.random.below(9));
        self.trace.push(format!("{time:?} pass"));
        tokio::time::advance(time).await;
    }

    fn add(&mut self, n: usize) {
        if self.nodes[n].serves() && self.nodes[n].containers.len() < CONTAINERS {
            self.next_container += 1;
            self.nodes[n].add(self.next_container);
        }
    }

    /// A container ends. Its DEL comes, or something else cleans up later.
    fn end(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let count = node.containers.len();
        if count == 0 {
            return;
        }
        let container = *node.containers.keys().nth(self.random.below(count)).expect("so many");
        node.containers.remove(&container);
        if self.random.one_in(4) { node.free_orphans() } else { node.free(container) }
    }

    fn happen_late(&mut self) {
        let mut net = lock(&self.net);
        if net.late.is_empty() {
            return;
        }
        let which = self.random.below(net.late.len());
        let txn = net.late.swap_remove(which);
        let done = net.txn(&txn).is_ok();
        self.trace.push(format!("late, {done}: {:?}", txn.compares));
    }

    async fn kill(&mut self, n: usize) {
        if self.nodes[n].running.is_none() {
            return;
        }
        self.trace.push(format!("n{n} is killed"));
        self.nodes[n].kill().await;
        let still = self.random.one_in(2);
        lock(&self.net).forget(n, still);
        let complete = self.acknowledged(n);
        // The disk of a machine whose journal is not whole yet is not lost as well.
        if complete && self.random.one_in(6) {
            self.trace.push(format!("n{n} loses its journal"));
            self.nodes[n].lose_journal();
        }
    }

    /// I2: what runs is in a journal that is whole; answers whether it is.
    fn acknowledged(&self, n: usize) -> bool {
        let (_, state) = self.nodes[n].read();
        let whole = state.is_complete() && state.quarantined().is_empty();
        let held: Vec<IpAddr> = state.allocations().map(|(_, address, _)| address).collect();
        for (container, address) in self.nodes[n].containers.iter().filter(|_| whole) {
            assert!(held.contains(address), "I2: n{n} has lost {address} of c{container}");
        }
        whole
    }

    async fn power_off(&mut self, n: usize) {
        self.trace.push(format!("n{n} is off"));
        self.nodes[n].kill().await;
        let node = &mut self.nodes[n];
        (node.off, node.outdated) = (true, true);
        node.containers.clear();
        let mut net = lock(&self.net);
        net.forget(n, self.random.one_in(2));
        net.txn(&Txn::new().then(Op::Delete(keys::alive(&node.name)))).expect("no compares");
    }

    /// An operator removes a node whose machine is off. The controller's own code does it, with the same store.
    fn remove(&mut self, n: usize) {
        if !self.nodes[n].off {
            return;
        }
        self.trace.push(format!("n{n} is being removed"));
        let (name, net) = (self.nodes[n].name.clone(), Arc::clone(&self.net));
        self.operator.spawn(Counted::new(&self.polls, async move {
            let store = Client { net, caller: OPERATOR };
            // A removal that fails is asked for again, or not.
            let _ = controller::reclaim::remove(&store as &dyn Store, &coil_verify::operator(), &name, false)
                .await;
        }));
    }

    fn bring_back(&mut self, n: usize) {
        if self.nodes[n].running.is_none() {
            self.trace.push(format!("n{n} starts"));
            self.start(n);
        } else {
            self.nodes[n].scan();
        }
    }

    /// I3: everything ends, nothing fails any more, and the daemons have the time that they need.
    pub(crate) async fn drain(&mut self) {
        self.set_pool(true);
        for n in 0..NODES {
            self.nodes[n].containers.clear();
            if self.nodes[n].running.is_none() {
                self.start(n);
            }
        }
        let mut left = BTreeMap::new();
        for _ in 0..200 {
            self.settle().await;
            for n in 0..NODES {
                self.nodes[n].scan();
                self.nodes[n].free_orphans();
                // An address that comes as late as this is freed with the others.
                self.nodes[n].containers.clear();
            }
            self.everything_happens();
            self.settle().await;
            if self.nodes.iter().all(Node::serves) {
                tokio::time::advance(Duration::from_secs(2)).await;
            }
            left = self.left().await;
            if left.is_empty() {
                return;
            }
        }
        panic!("I3: after everything has ended, this is left: {left:#?}");
    }

    fn everything_happens(&mut self) {
        let mut net = lock(&self.net);
        for txn in std::mem::take(&mut net.late) {
            // It may have come too late.
            let _ = net.txn(&txn);
        }
        for call in std::mem::take(&mut net.calls) {
            net.settle(call, Fate::Answered);
        }
        for which in 0..net.watches.len() {
            while net.deliver(which) {}
        }
    }

    /// What is leased or held, by key or node.
    async fn left(&mut self) -> BTreeMap<String, String> {
        self.settle().await;
        let mut left = BTreeMap::new();
        for prefix in ["lease/", "block/"] {
            let net = lock(&self.net);
            let range = KeyRange::prefix(prefix);
            left.extend(net.map.range(&range).map(|entry| (entry.key.clone(), format!("{:?}", entry.value))));
        }
        for node in &self.nodes {
            let Some(running) = &node.running else { continue };
            let leases = running.sources.allocator.run(|state, _| state.leases()).await.expect("it runs");
            if !leases.is_empty() {
                left.insert(node.name.to_string(), format!("{leases:?}"));
            }
        }
        left
    }
}
