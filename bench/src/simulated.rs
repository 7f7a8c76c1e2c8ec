//! Nodes inside of this process: all of a coild but its sockets. Their journals are in memory, as a thousand real
//! nodes don't share one disk, and some of them share a connection to etcd.

use anyhow::{Context, Result, ensure};
use clap::{Args, Command, FromArgMatches};
use coild::allocator::Worker;
use coild::config::NodeConfig;
use coild::daemon::{Daemon, Node, Started};
use coild::state::{Ask, Origin};
use common::ipam::Family;
use common::name::{ContainerId, IfName, NodeName, PodText};
use common::server::allow_many_files;
use common::store::Store;
use common::store::etcd::{Etcd as EtcdStore, EtcdConfig};
use common::wire::node::AttachmentId;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long a pod tries to get an address.
const GIVE_UP: Duration = Duration::from_mins(5);
/// How long it waits before it tries again; a kubelet waits longer.
const AGAIN: Duration = Duration::from_secs(1);
/// Where the journals are.
const MEMORY: &str = "/dev/shm";
/// Nodes that share a connection.
pub(crate) const SHARE: usize = 50;
/// How long the mirrors may take to catch up when all is given.
const SETTLE: Duration = Duration::from_mins(2);

/// What one node saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// From its arrival until its name was claimed and it could give addresses.
    pub(crate) entered: Duration,
    /// The time of each ADD, all at once, of which none is given before a block is leased.
    pub(crate) adds: Vec<Duration>,
    /// What they were given.
    pub(crate) addresses: Vec<IpAddr>,
}

/// Nodes of a cluster.
pub(crate) struct Nodes {
    waiting: Vec<(Node, Worker)>,
    arrived: Vec<Arc<Started>>,
    tasks: JoinSet<()>,
    runtime: Runtime,
    _journals: TempDir,
}

/// A store in an etcd.
pub(crate) fn store(endpoint: &str) -> Result<Arc<dyn Store>> {
    let config = EtcdConfig { endpoints: vec![endpoint.to_owned()], ..EtcdConfig::default() };
    Ok(Arc::new(EtcdStore::connect(&config)?))
}

impl Nodes {
    /// Opens the journals of so many nodes.
    pub(crate) fn open(endpoint: &str, count: usize) -> Result<Self> {
        // A journal and a connection for each node.
        allow_many_files();
        let memory = Path::new(MEMORY);
        let journals = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mut shared: Vec<Arc<dyn Store>> = Vec::new();
        let open = |number: usize| {
            if number.is_multiple_of(SHARE) {
                shared.push(store(endpoint)?);
            }
            let store = Arc::clone(shared.last().context("a store")?);
            let name = format!("node-{number}");
            let data_dir = journals.path().join(&name);
            let config = config(&name)?;
            Ok(Daemon { config, data_dir, inherited: None, listen: None, store }.open()?)
        };
        let waiting = (0..count).map(open).collect::<Result<_>>()?;
        Ok(Self { waiting, arrived: Vec::new(), tasks: JoinSet::new(), runtime, _journals: journals })
    }

    /// Lets the nodes arrive one after the other, spread evenly over a time; each asks for so many addresses
    /// at once as soon as it can. Answers what each saw.
    pub(crate) fn arrive(&mut self, within: Duration, pods: usize) -> Result<Vec<Seen>> {
        let count = u32::try_from(self.waiting.len())?;
        let (tasks, runtime) = (&mut self.tasks, &self.runtime);
        let arriving = std::mem::take(&mut self.waiting);
        let (nodes, seen) = runtime.block_on(async {
            let (start, mut arrivals) = (Instant::now(), JoinSet::new());
            for (number, (node, worker)) in (0..).zip(arriving) {
                let at = start + within * number / count;
                arrivals.spawn(async move {
                    tokio::time::sleep_until(at).await;
                    tokio::spawn(worker.run());
                    arrive(node, pods).await
                });
            }
            let (mut nodes, mut seen) = (Vec::new(), Vec::new());
            while let Some(arrived) = arrivals.join_next().await {
                let (mut own, node, of_node) = arrived??;
                tasks.spawn(async move { while own.join_next().await.is_some() {} });
                nodes.push(node);
                seen.push(of_node);
            }
            Ok::<_, anyhow::Error>((nodes, seen))
        })?;
        self.arrived = nodes;
        Ok(seen)
    }

    /// Waits until every node's mirror is up to date.
    pub(crate) fn settle(&self) -> Result<()> {
        let until = Instant::now() + SETTLE;
        self.runtime.block_on(async {
            for node in &self.arrived {
                loop {
                    let lag = node.sources.allocator.run(|state, now| state.summary(now).mirror_lag).await?;
                    if lag == 0 {
                        break;
                    }
                    ensure!(Instant::now() < until, "the mirror of {} stays behind", node.presence.node);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            Ok(())
        })
    }

    /// Ends them without a word to the store.
    pub(crate) fn end(mut self) {
        self.runtime.block_on(self.tasks.shutdown());
    }
}

async fn arrive(mut node: Node, pods: usize) -> Result<(JoinSet<()>, Arc<Started>, Seen)> {
    let arrival = Instant::now();
    node.claim().await?;
    node.catch_up().await;
    let entered = arrival.elapsed();
    let mut tasks = JoinSet::new();
    let node = Arc::new(node.start(&mut tasks));
    let (name, alive) = (node.presence.node.clone(), Arc::clone(&node));
    tasks.spawn(async move {
        // It ends only if the name is taken, which nobody does here.
        let _ = alive.presence.keep().await;
    });
    let adds = (0..pods).map(|pod| {
        let sources = node.sources.clone();
        let asked = ask(&name, pod);
        async move {
            let (asked, start) = (asked?, Instant::now());
            // The pod waits, and the runtime is asked again.
            let given = loop {
                match sources.allocate(asked.clone()).await {
                    Ok(given) => break given,
                    Err(error) => ensure!(start.elapsed() < GIVE_UP, "an ADD failed: {error}"),
                }
                tokio::time::sleep(AGAIN).await;
            };
            let address = given.first().context("an address")?.address;
            Ok::<_, anyhow::Error>((address, start.elapsed()))
        }
    });
    let (addresses, adds) = futures_util::future::try_join_all(adds).await?.into_iter().unzip();
    Ok((tasks, node, Seen { entered, adds, addresses }))
}

fn ask(node: &NodeName, pod: usize) -> Result<Ask> {
    let container_id = ContainerId::new(format!("{pod:048x}{:0>16}", node.as_str()))?;
    Ok(Ask {
        attachment: AttachmentId { container_id, interface: IfName::eth0() },
        namespace: PodText::new("shop")?,
        pod: PodText::new(format!("web-6f7d9c5b8d-{pod:05}"))?,
        families: vec![Family::V4],
        choice: None,
        origin: Origin::Namespace,
        adopt: false,
        addresses: Vec::new(),
        network: Some("pods".to_owned()),
        netns: None,
    })
}

/// The defaults, but for the kernel's routes, which stay as they are.
fn config(name: &str) -> Result<NodeConfig> {
    let command = NodeConfig::augment_args(Command::new("coild"));
    let matches = command.try_get_matches_from(["coild", "--node-name", name, "--route-table", "none"])?;
    Ok(NodeConfig::from_arg_matches(&matches)?)
}
