//! The allocator: the one task that changes what the node holds. Jobs queue up while a commit is in
//! progress, are applied together, and share the next commit; nobody hears of a result before it is durable.

use crate::history::Scribe;
use crate::journal::{Journal, JournalError};
use crate::state::{Change, Settings, State};
use common::clock;
use common::error::chain;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, mpsc, oneshot};

/// Why a job has no result. The journal's error goes to everyone whose job was in the batch.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AllocatorError {
    /// The batch could not be made durable. Nothing of it happened.
    #[error("the change could not be made durable")]
    Journal(#[source] Arc<JournalError>),
    /// The daemon is shutting down.
    #[error("coild is shutting down")]
    Stopped,
}

type Finish = Box<dyn FnOnce(Result<(), AllocatorError>) + Send>;
type Job = Box<dyn FnOnce(Result<&mut State, AllocatorError>) -> Finish + Send>;

/// Most jobs that share a commit.
const BATCH: usize = 512;
/// Jobs that may wait before senders do.
const QUEUE: usize = 4_096;

/// What the allocator's thread tells the other tasks.
#[derive(Debug, Default)]
pub struct Signals {
    /// Something was committed that the mirror has to copy.
    pub changed: Notify,
    /// Blocks came or went.
    pub blocks: Notify,
    /// A pool runs low.
    pub low: Notify,
    /// An address of a namespace's pool was freed.
    pub freed: Notify,
    /// Commits so far.
    pub commits: AtomicU64,
    /// Commits that failed so far.
    pub failed_commits: AtomicU64,
}

/// Handle of the allocator; clones share it.
#[derive(Clone)]
pub struct Allocator {
    jobs: mpsc::Sender<Job>,
    signals: Arc<Signals>,
}

impl Allocator {
    /// An allocator, and the worker that does its jobs. The worker ends, and closes the journal, when the last
    /// handle is dropped.
    pub fn new(journal: Journal, state: State, settings: Settings) -> (Self, Worker) {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let signals = Arc::new(Signals::default());
        let allocator = Self { jobs, signals: Arc::clone(&signals) };
        (allocator, Worker { queue, settings, signals, journal, state: Some(state), scribe: None })
    }

    /// What happens in the allocator.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Runs a job on the state, with the time in milliseconds. The result comes when every change that the
    /// job made is durable; on an error, none of them happened.
    pub async fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut State, u64) -> R + Send + 'static,
    ) -> Result<R, AllocatorError> {
        let (reply, result) = oneshot::channel();
        let job: Job = Box::new(move |state| {
            let result = state.map(|state| job(state, clock::now_millis()));
            Box::new(move |durable| {
                // A client that went away does not want the result any more.
                let _ = reply.send(durable.and(result));
            })
        });
        self.jobs.send(job).await.map_err(|_| AllocatorError::Stopped)?;
        result.await.map_err(|_| AllocatorError::Stopped)?
    }
}

/// Does the allocator's jobs.
pub struct Worker {
    queue: mpsc::Receiver<Job>,
    settings: Settings,
    signals: Arc<Signals>,
    journal: Journal,
    /// `None` after a commit failed, until the state is read from the journal again.
    state: Option<State>,
    scribe: Option<Scribe>,
}

impl Worker {
    /// What the node holds; nothing after a commit failed.
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Tells what is committed to a scribe from now on.
    #[must_use]
    pub fn told_to(self, scribe: Scribe) -> Self {
        Self { scribe: Some(scribe), ..self }
    }

    /// Does jobs until the last handle of the allocator is dropped. A commit blocks the thread while the disk
    /// syncs: what shares the thread should be what waits for the disk anyway.
    pub async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            // The requests that came in meanwhile are read first, and so share the commit.
            tokio::task::yield_now().await;
            self.work(first);
        }
    }

    fn work(&mut self, first: Job) {
        let mut state = match self.recover() {
            Ok(state) => state,
            Err(error) => {
                let error = AllocatorError::Journal(Arc::new(error));
                first(Err(error))(Ok(()));
                return;
            }
        };
        let mut finishes = vec![first(Ok(&mut state))];
        while finishes.len() < BATCH {
            let Ok(job) = self.queue.try_recv() else { break };
            finishes.push(job(Ok(&mut state)));
        }
        let changes = state.take_changes();
        common::fault::point("journal.commit.before");
        let committed = if changes.is_empty() { Ok(()) } else { self.journal.commit(&changes, &state) };
        common::fault::point("journal.commit.after");
        let outcome = self.note(&changes, committed);
        for finish in finishes {
            finish(outcome.clone());
        }
        // After a failure the truth is what was acknowledged: the state is read again before the next job.
        if outcome.is_ok() {
            self.state = Some(state);
            // Those who wait for an answer come first.
            self.announce(&changes);
            if let Some(scribe) = &self.scribe {
                scribe.tell(&changes, clock::now_millis());
            }
        }
    }

    /// Counts a commit.
    fn note(&self, changes: &[Change], outcome: Result<(), JournalError>) -> Result<(), AllocatorError> {
        self.signals.commits.fetch_add(u64::from(!changes.is_empty()), Ordering::Relaxed);
        outcome.map_err(|error| {
            tracing::error!(error = %chain(&error), "a commit to the journal failed");
            self.signals.failed_commits.fetch_add(1, Ordering::Relaxed);
            AllocatorError::Journal(Arc::new(error))
        })
    }

    /// Tells the other tasks what was committed.
    fn announce(&self, changes: &[Change]) {
        if !changes.is_empty() {
            self.signals.changed.notify_one();
        }
        if changes.iter().any(Change::frees_a_lease) {
            self.signals.freed.notify_one();
        }
        if changes.iter().any(Change::is_about_blocks) {
            self.signals.blocks.notify_one();
        }
    }

    /// The state; read from the journal if the last commit failed.
    fn recover(&mut self) -> Result<State, JournalError> {
        self.state.take().map_or_else(|| self.journal.load(self.settings, clock::now_millis()), Ok)
    }
}
