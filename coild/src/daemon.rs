//! The daemon: everything started in the order that keeps the invariants, and stopped in the reverse.

use crate::allocate::Sources;
use crate::allocator::{Allocator, Worker};
use crate::answering::Answering;
use crate::api::{self, Context};
use crate::boot::{self, Boot};
use crate::config::{NodeConfig, RouteTable};
use crate::history::History;
use crate::journal::{Journal, JournalError};
use crate::lease_keeper::{Inbox, LeaseKeeper};
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::presence::{Presence, PresenceError, instance_id};
use crate::reconcile::Reconciler;
use crate::refusals::Refusals;
use crate::routes;
use crate::state::{Settings, State};
use crate::watcher::{Known, Watcher};
use common::clock;
use common::error::chain;
use common::name::{NameError, NodeName};
use common::server::{Bind, BindError, Limits, Listener, serve};
use common::store::Store;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};

/// Why the daemon can't run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The host has no name that could be the node's.
    #[error("the host's name is no node name; give one by --node-name")]
    HostName(#[source] NameError),
    /// The boot id can't be read.
    #[error("can't read the boot id from {0}")]
    BootId(PathBuf, #[source] std::io::Error),
    /// The journal can't be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The thread that answers can't be started.
    #[error("can't start a thread")]
    Thread(#[source] std::io::Error),
    /// The node's name can't be used.
    #[error(transparent)]
    Presence(#[from] PresenceError),
    /// A socket can't be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// The daemon of a node.
pub struct Daemon {
    /// Flags.
    pub config: NodeConfig,
    /// Where journal and instance id are.
    pub data_dir: PathBuf,
    /// The socket, if it was made by whoever started this process.
    pub inherited: Option<Bind>,
    /// TCP address to serve besides the socket.
    pub listen: Option<SocketAddr>,
    /// The store.
    pub store: Arc<dyn Store>,
}

/// How long the start waits for the store if the journal knows all that is needed without it.
const STORE_TIME: Duration = Duration::from_secs(5);
/// How long the mirror may take to catch up at the end.
const FLUSH_TIME: Duration = Duration::from_secs(5);

impl Daemon {
    /// Runs until `shutdown` is done: requests in progress are finished then, and the mirror is brought up to
    /// date.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), DaemonError> {
        let (mut node, worker) = self.open()?;
        let (worker, history) = self.remember(&node, worker);
        // The name is claimed before a socket appears: of two daemons, the second must not answer.
        tokio::pin!(shutdown);
        tokio::select! {
            claimed = node.claim() => claimed?,
            () = &mut shutdown => return Ok(()),
        }
        let answering = Answering::start(worker).map_err(DaemonError::Thread)?;
        node.catch_up().await;
        let mut tasks = JoinSet::new();
        let Started { sources, metrics, presence, mirror } = node.start(&mut tasks);
        let (refusals, teller) = Refusals::new(presence.node.clone(), Arc::clone(&self.store));
        tasks.spawn(teller.run());
        let context = Context { sources, metrics, refusals };
        if let Some(address) = self.config.metrics_listen {
            let listener = Listener::bind(&Bind::Tcp(address)).await?;
            tracing::info!(listen = listener.tcp_address().map(tracing::field::display), "metrics are here");
            let router = api::observed(context.clone());
            tasks.spawn(serve(vec![listener], router, Limits::default(), std::future::pending()));
        }
        let router = api::router(context);
        let serving = answering.serve(self.binds(), router).await?;
        tracing::info!(
            node = %presence.node, socket = %self.config.socket.display(),
            listen = serving.tcp.map(tracing::field::display),
            version = env!("CARGO_PKG_VERSION"), "coild is ready"
        );
        let outcome = tokio::select! {
            () = shutdown => Ok(()),
            lost = presence.keep() => Err(lost.into()),
        };
        // The name stays claimed while requests are finished.
        tokio::select! {
            () = serving.end() => {}
            () = keep_on(&presence), if outcome.is_ok() => {}
        }
        let _ = tokio::time::timeout(FLUSH_TIME, mirror.finish()).await;
        tasks.shutdown().await;
        let _ = tokio::time::timeout(FLUSH_TIME, presence.end()).await;
        // This was the last handle: the journal is closed when the thread has ended.
        drop(mirror);
        answering.end().await;
        if let Some(history) = history {
            let _ = history.await;
        }
        tracing::info!("coild has stopped");
        outcome
    }

    /// Opens the journal. Nobody hears of the node yet, and nothing is given before the worker runs.
    pub fn open(&self) -> Result<(Node, Worker), DaemonError> {
        let name = self.node_name()?;
        let boot = read_boot_id(&self.config.boot_id_file)?;
        let settings = Settings { cooldown: self.config.cooldown, low_water: self.config.low_water };
        let (mut journal, state) = open_journal(&self.data_dir, settings)?;
        let (state, noted) = boot::settle(&mut journal, state, &boot, self.config.runtime().is_some())?;
        let complete = state.is_complete();
        let presence =
            Presence::new(Arc::clone(&self.store), name.clone(), instance_id(&self.data_dir)?, boot);
        let (allocator, worker) = Allocator::new(journal, state, settings);
        let (store, metrics) = (Arc::clone(&self.store), Arc::new(Metrics::default()));
        let (keeper, leases, inbox) = LeaseKeeper::new(
            name.clone(),
            Arc::clone(&store),
            allocator.clone(),
            Arc::clone(&metrics),
            self.config.low_water,
        );
        let watcher = Watcher {
            node: name.clone(),
            store: Arc::clone(&store),
            allocator: allocator.clone(),
            leases: leases.clone(),
            unregistered: Arc::clone(&presence.unregistered),
        };
        let mirror = Arc::new(Mirror {
            node: name,
            store,
            allocator: allocator.clone(),
            metrics: Arc::clone(&metrics),
            window: self.config.mirror_window,
        });
        let sources = Sources { allocator, leases, watcher };
        let config = self.config.clone();
        let node = Node {
            sources,
            metrics,
            presence,
            mirror,
            config,
            complete,
            boot: noted,
            keeper,
            inbox,
            known: None,
        };
        Ok((node, worker))
    }

    /// Writes down who holds which address from now on, if that is wanted.
    fn remember(&self, node: &Node, worker: Worker) -> (Worker, Option<JoinHandle<()>>) {
        let size = self.config.history.saturating_mul(1_000_000);
        if size == 0 {
            return (worker, None);
        }
        let (name, dir) = (node.presence.node.clone(), self.data_dir.join("history"));
        let (worker, history) = History::of(worker, name, dir, size, clock::now_millis());
        (worker, Some(tokio::spawn(history.run())))
    }

    fn binds(&self) -> Vec<Bind> {
        let socket = self.inherited.clone().unwrap_or_else(|| self.config.bind());
        std::iter::once(socket).chain(self.listen.map(Bind::Tcp)).collect()
    }

    fn node_name(&self) -> Result<NodeName, DaemonError> {
        if let Some(name) = &self.config.node_name {
            return Ok(name.clone());
        }
        let host = nix::unistd::gethostname().unwrap_or_default();
        NodeName::new(host.to_string_lossy()).map_err(DaemonError::HostName)
    }
}

/// All of a node but its sockets and the thread that answers.
pub struct Node {
    /// Where addresses come from.
    pub sources: Sources,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The node's claim to its name.
    pub presence: Presence,
    /// Copies its allocations to the store.
    pub mirror: Arc<Mirror>,
    config: NodeConfig,
    complete: bool,
    boot: Boot,
    keeper: LeaseKeeper,
    inbox: Inbox,
    /// What was read of the store when the node caught up.
    known: Option<Known>,
}

/// A node whose tasks run.
pub struct Started {
    /// Where addresses come from.
    pub sources: Sources,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The node's claim to its name.
    pub presence: Presence,
    /// Copies its allocations to the store.
    pub mirror: Arc<Mirror>,
}

impl Node {
    /// Checks the store's layout and claims the node's name.
    pub async fn claim(&self) -> Result<(), DaemonError> {
        enter(&self.presence, self.complete).await
    }

    /// Learns what was taken away from the node while it was down, before anything is given. Does not wait for a
    /// store that does not answer.
    pub async fn catch_up(&mut self) {
        let _ = tokio::time::timeout(STORE_TIME, async {
            if let Ok(known) = self.sources.watcher.read().await {
                self.keeper.catch_up(&known).await;
                self.known = Some(known);
            }
        })
        .await;
    }

    /// Starts its tasks.
    pub fn start(self, tasks: &mut JoinSet<()>) -> Started {
        let Self { sources, metrics, presence, mirror, config, boot, keeper, inbox, known, .. } = self;
        tasks.spawn(keeper.run(inbox));
        let (copying, watcher) = (Arc::clone(&mirror), sources.watcher.clone());
        tasks.spawn(async move { copying.run().await });
        tasks.spawn(async move { watcher.run(known).await });
        let (allocator, leases) = (sources.allocator.clone(), sources.leases.clone());
        let (runtime, interval) = (config.runtime(), config.reconcile_interval);
        let reconciler =
            Reconciler::new(allocator.clone(), leases, Arc::clone(&metrics), runtime, boot, interval);
        tasks.spawn(reconciler.run());
        if let RouteTable::Table(table) = config.route_table {
            tasks.spawn(routes::run(allocator, table));
        }
        Started { sources, metrics, presence, mirror }
    }
}

/// Keeps the claim to the node's name, and never ends.
async fn keep_on(presence: &Presence) {
    presence.keep().await;
    std::future::pending::<()>().await;
}

/// Checks the store's layout and claims the node's name. Without the store, a node whose journal is complete
/// goes on with what it holds, and claims its name when the store is back; any other waits.
async fn enter(presence: &Presence, complete: bool) -> Result<(), DaemonError> {
    loop {
        match presence.claim().await {
            Ok(()) => return Ok(()),
            Err(error) if !error.is_unavailable() => return Err(error.into()),
            Err(error) if complete => {
                tracing::warn!(error = %chain(&error), "starting from the journal alone");
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the journal is new, and nothing is given before the store answers");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

fn read_boot_id(path: &Path) -> Result<String, DaemonError> {
    let text = std::fs::read_to_string(path).map_err(|error| DaemonError::BootId(path.to_owned(), error))?;
    Ok(text.trim().to_owned())
}

/// Opens the journal. A damaged one is set aside, and the node starts as after the loss of its journal.
fn open_journal(data_dir: &Path, settings: Settings) -> Result<(Journal, State), JournalError> {
    let path = data_dir.join("journal");
    match read_journal(&path, settings) {
        Err(error) if error.is_damage() => {
            let aside = path.with_extension(format!("damaged-{}", clock::now_millis()));
            tracing::error!(
                error = %chain(&error), aside = %aside.display(),
                "the journal is damaged; it is set aside and rebuilt from the store and from what runs"
            );
            std::fs::rename(&path, aside).map_err(|source| JournalError::Io {
                what: "set aside",
                path: path.clone(),
                source,
            })?;
            read_journal(&path, settings)
        }
        outcome => outcome,
    }
}

fn read_journal(path: &Path, settings: Settings) -> Result<(Journal, State), JournalError> {
    let journal = Journal::open(path)?;
    let state = journal.load(settings, clock::now_millis())?;
    Ok((journal, state))
}
