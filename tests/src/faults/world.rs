//! A cluster with its nodes, and the history of what their clients were told.

use crate::client::Client;
use crate::cluster::Cluster;
use crate::coild::{Coild, READY};
use crate::history::History;
use crate::history::remains::Remains;
use crate::load::at_once;
use crate::wait::wait_until;
use anyhow::{Result, ensure};
use std::time::Duration;

/// How long it takes at most until nothing is left, once everything was freed.
const DRAIN: Duration = Duration::from_secs(40);

/// A cluster, its nodes, and what was said.
#[derive(Debug)]
pub struct World {
    /// The nodes, dropped before their store.
    pub nodes: Vec<Coild>,
    /// Store and controller.
    pub cluster: Cluster,
    /// What the clients asked and were told.
    pub history: History,
}

impl World {
    /// Arguments of every node: addresses rest for no time, so that idle blocks are released at once.
    pub const ARGS: [&str; 4] = ["--cooldown", "0s", "--reconcile-interval", "5s"];

    /// Starts this many nodes, `n0` and so on, with a pool `default` of this description.
    pub fn start(pool: &str, nodes: usize) -> Result<Self> {
        Self::start_with(Cluster::start(pool)?, nodes)
    }

    /// Starts this many nodes of a cluster.
    pub fn start_with(cluster: Cluster, nodes: usize) -> Result<Self> {
        let history = cluster.history()?;
        let nodes = at_once(nodes, |n| cluster.coild(&format!("n{n}"), &Self::ARGS))?;
        Ok(Self { nodes, cluster, history })
    }

    /// A client of each node.
    pub fn clients(&self) -> Vec<Client<'_>> {
        self.nodes.iter().map(|node| Client::new(node, &self.history)).collect()
    }

    /// Asks every node what it holds, and checks I1, I2 and I4 over all that was said so far.
    pub fn check(&self) -> Result<()> {
        check(&self.nodes, &self.history)
    }

    /// Frees everything, and checks that nothing is left (I3), here and after a restart of the nodes.
    pub fn drain(&mut self) -> Result<()> {
        self.free_all()?;
        self.nothing_is_left()?;
        for node in &mut self.nodes {
            node.restart()?;
        }
        self.nothing_is_left()?;
        self.check()
    }

    fn free_all(&self) -> Result<()> {
        let clients = self.clients();
        for (node, container) in self.history.containers() {
            let client = clients.iter().find(|client| client.node() == node);
            client.map(|client| client.del(&container)).transpose()?;
        }
        // Whoever went away without waiting for an answer may get its address even now.
        wait_until("every address to be free", READY, || {
            for (client, node) in clients.iter().zip(&self.nodes) {
                for held in node.status()?.attachments {
                    client.del(held.container_id.as_str())?;
                }
            }
            Ok(self.nodes.iter().all(|node| node.status().is_ok_and(|status| status.attachments.is_empty())))
        })
    }

    /// Waits until nothing is left of what was held (I3).
    pub fn nothing_is_left(&self) -> Result<()> {
        wait_until("nothing to be left", DRAIN, || {
            let leaks = self.remains()?.leaks();
            ensure!(leaks.is_empty(), "I3:\n{}", leaks.join("\n"));
            Ok(true)
        })
    }

    /// What nodes, store and controller say.
    pub fn remains(&self) -> Result<Remains> {
        let mut remains =
            Remains { leases: self.cluster.leases()?, pools: self.cluster.pools()?, ..Remains::default() };
        for node in &self.nodes {
            remains.statuses.insert(node.node().to_owned(), node.status()?);
            for (block, held) in self.cluster.index(node.node())? {
                remains.indexes.insert((node.node().to_owned(), block), held);
            }
        }
        Ok(remains)
    }
}

/// Asks these nodes what they hold, and checks I1, I2 and I4 over all that was said so far.
pub fn check(nodes: &[Coild], history: &History) -> Result<()> {
    for node in nodes {
        Client::new(node, history).status()?;
    }
    Ok(history.check()?)
}
