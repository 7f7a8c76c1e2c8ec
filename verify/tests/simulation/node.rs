//! A machine: its disk, its containers, and the daemon's own tasks on them.

use crate::net::{Client, Net};
use coil_verify::samples::ask;
use coild::allocate::Sources;
use coild::allocator::Allocator;
use coild::journal::Journal;
use coild::lease_keeper::LeaseKeeper;
use coild::metrics::Metrics;
use coild::mirror::Mirror;
use coild::reconcile::quarantine::hold_found;
use coild::state::{Exact, Settings, State};
use coild::watcher::Watcher;
use common::name::NodeName;
use common::store::Store;
use common::wire::node::AttachmentId;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;

/// Nothing rests: how long something took on this machine must not matter.
const SETTINGS: Settings = Settings { cooldown: Duration::ZERO, low_water: 1 };
/// How long a start waits for the store.
const STORE_TIME: Duration = Duration::from_secs(5);

pub(crate) struct Node {
    pub(crate) name: NodeName,
    number: usize,
    disk: TempDir,
    net: Arc<Mutex<Net>>,
    polls: Arc<AtomicU64>,
    /// The containers that run, and their addresses.
    pub(crate) containers: BTreeMap<u32, IpAddr>,
    /// What was given since the simulation looked last.
    pub(crate) given: Arc<Mutex<Vec<(u32, IpAddr)>>>,
    pub(crate) running: Option<Running>,
    pub(crate) off: bool,
    /// It was off, and has not compared its leases with the store since.
    pub(crate) outdated: bool,
}

pub(crate) struct Running {
    pub(crate) sources: Sources,
    pub(crate) tasks: JoinSet<()>,
    pub(crate) serves: Arc<AtomicBool>,
}

impl Node {
    pub(crate) fn new(number: usize, net: Arc<Mutex<Net>>, polls: Arc<AtomicU64>) -> Self {
        // The journal is synced often, and no power fails here.
        let memory = std::path::Path::new("/dev/shm");
        let disk = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).expect("directory");
        let name = NodeName::new(format!("n{number}")).expect("name");
        Self {
            name,
            number,
            disk,
            net,
            polls,
            containers: BTreeMap::new(),
            given: Arc::default(),
            running: None,
            off: false,
            outdated: false,
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.disk.path().join("journal")
    }

    /// What the journal says.
    pub(crate) fn read(&self) -> (Journal, State) {
        let journal = Journal::open(&self.path()).expect("nobody has it open");
        let state = journal.load(SETTINGS, 0).expect("read");
        (journal, state)
    }

    /// Starts the daemon's tasks as the daemon does.
    pub(crate) fn start(&mut self) {
        let (mut journal, mut state) = self.read();
        if std::mem::take(&mut self.off) {
            state.free_stale(|_| false, 0);
            let changes = state.take_changes();
            journal.commit(&changes, &state).expect("committed");
        }
        let store: Arc<dyn Store> = Arc::new(Client { net: Arc::clone(&self.net), caller: self.number });
        let (allocator, worker) = Allocator::new(journal, state, SETTINGS);
        let metrics = Arc::new(Metrics::default());
        let (mut keeper, leases, inbox) = LeaseKeeper::new(
            self.name.clone(),
            Arc::clone(&store),
            allocator.clone(),
            Arc::clone(&metrics),
            SETTINGS.low_water,
        );
        let (node, window) = (self.name.clone(), Duration::from_millis(500));
        let watcher = Watcher {
            node: node.clone(),
            store: Arc::clone(&store),
            allocator: allocator.clone(),
            leases,
            unregistered: Arc::default(),
        };
        let mirror = Mirror { node, store, allocator: allocator.clone(), metrics, window };
        let sources = Sources { allocator, leases: watcher.leases.clone(), watcher: watcher.clone() };
        let serves = Arc::new(AtomicBool::new(false));
        let ready = Arc::clone(&serves);
        let mut tasks = JoinSet::new();
        tasks.spawn(Counted::new(&self.polls, worker.run()));
        tasks.spawn(Counted::new(&self.polls, async move {
            let caught_up = async {
                let known = watcher.read().await.ok()?;
                keeper.catch_up(&known).await;
                Some(known)
            };
            let known = tokio::time::timeout(STORE_TIME, caught_up).await.ok().flatten();
            ready.store(true, Ordering::Relaxed);
            tokio::join!(keeper.run(inbox), watcher.run(known), mirror.run());
        }));
        self.running = Some(Running { sources, tasks, serves });
    }

    /// Ends the daemon between any two of its steps.
    pub(crate) async fn kill(&mut self) {
        let Some(Running { mut tasks, .. }) = self.running.take() else { return };
        tasks.shutdown().await;
        // What was not told to anyone was never given.
        self.given.lock().expect("lock").clear();
    }

    pub(crate) fn lose_journal(&self) {
        std::fs::remove_file(self.path()).expect("there is one");
    }

    pub(crate) fn serves(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.serves.load(Ordering::Relaxed))
    }

    /// Asks for an address; the answer comes later, if it comes.
    pub(crate) fn add(&mut self, container: u32) {
        let given = Arc::clone(&self.given);
        let Some(running) = &mut self.running else { return };
        let sources = running.sources.clone();
        running.tasks.spawn(Counted::new(&self.polls, async move {
            if let Ok(addresses) = sources.allocate(ask(container)).await {
                given.lock().expect("lock").push((container, addresses[0].address));
            }
        }));
    }

    /// Frees what a container held that has ended.
    pub(crate) fn free(&mut self, container: u32) {
        let ask = ask(container);
        self.run(move |state| drop(state.release(&ask.attachment, &ask.namespace, &ask.pod, 0)));
    }

    /// Frees whatever is held by a container that does not run, as a look for orphans does.
    pub(crate) fn free_orphans(&mut self) {
        let running: Vec<IpAddr> = self.containers.values().copied().collect();
        self.run(move |state| {
            let orphans = state.allocations().filter(|(_, address, _)| !running.contains(address));
            let exact =
                |attachment: &AttachmentId, sequence| Exact { attachment: attachment.clone(), sequence };
            let orphans: Vec<Exact> =
                orphans.map(|(_, _, holder)| exact(&holder.attachment, holder.sequence)).collect();
            state.release_exactly(&orphans, 0);
        });
    }

    /// Finds the addresses in use, and opens what is quarantined, as reconciliation does.
    pub(crate) fn scan(&mut self) {
        let in_use = self.containers.values().map(|address| (*address, PathBuf::new())).collect();
        self.run(move |state| {
            hold_found(state, &[], &in_use, 0);
            state.end_quarantine();
        });
    }

    fn run(&mut self, job: impl FnOnce(&mut State) + Send + 'static) {
        let Some(running) = &mut self.running else { return };
        let allocator = running.sources.allocator.clone();
        running.tasks.spawn(Counted::new(&self.polls, async move {
            allocator.run(move |state, _| job(state)).await.expect("the journal can be written");
        }));
    }
}

/// A task that tells how often it was polled, so that the simulation knows when nothing moves any more.
pub(crate) struct Counted {
    task: Pin<Box<dyn Future<Output = ()> + Send>>,
    polls: Arc<AtomicU64>,
}

impl Counted {
    pub(crate) fn new(polls: &Arc<AtomicU64>, task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { task: Box::pin(task), polls: Arc::clone(polls) }
    }
}

impl Future for Counted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.task.as_mut().poll(context)
    }
}
