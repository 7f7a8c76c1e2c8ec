//! The allocator: the one thread that changes what the node holds. Jobs queue up while a commit is in
//! progress, are applied together, and share the next commit; nobody hears of a result before it is durable.

use crate::journal::{Journal, JournalError};
use crate::state::{Change, Settings, State};
use common::clock;
use common::error::chain;
use std::path::PathBuf;
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
    /// Starts the thread. It ends, and closes the journal, when the last handle is dropped.
    pub fn start(
        journal: Journal,
        state: State,
        settings: Settings,
    ) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let signals = Arc::new(Signals::default());
        let mut worker = Worker {
            path: journal.path().to_owned(),
            settings,
            signals: Arc::clone(&signals),
            opened: Some((journal, state)),
        };
        let thread =
            std::thread::Builder::new().name("allocator".to_owned()).spawn(move || worker.run(queue))?;
        Ok((Self { jobs, signals }, thread))
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

struct Worker {
    path: PathBuf,
    settings: Settings,
    signals: Arc<Signals>,
    /// `None` after a commit failed, until the journal is opened anew.
    opened: Option<(Journal, State)>,
}

impl Worker {
    fn run(&mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let (journal, state) = match self.recover() {
                Ok(opened) => opened,
                Err(error) => {
                    let error = AllocatorError::Journal(Arc::new(error));
                    first(Err(error))(Ok(()));
                    continue;
                }
            };
            let mut finishes = vec![first(Ok(state))];
            while finishes.len() < BATCH {
                let Ok(job) = queue.try_recv() else { break };
                finishes.push(job(Ok(state)));
            }
            let changes = state.take_changes();
            let committed =
                if changes.is_empty() { Ok(()) } else { journal.commit(&changes, state.sequence()) };
            let outcome = self.note(&changes, committed);
            let durable = outcome.is_ok();
            for finish in finishes {
                finish(outcome.clone());
            }
            // Those who wait for an answer come first.
            if durable {
                self.announce(&changes);
            }
        }
    }

    /// Counts a commit. After a failure the truth is what is on disk: the state is dropped, and read again before
    /// the next job.
    fn note(&mut self, changes: &[Change], outcome: Result<(), JournalError>) -> Result<(), AllocatorError> {
        self.signals.commits.fetch_add(u64::from(!changes.is_empty()), Ordering::Relaxed);
        outcome.map_err(|error| {
            tracing::error!(error = %chain(&error), "a commit to the journal failed");
            self.signals.failed_commits.fetch_add(1, Ordering::Relaxed);
            self.opened = None;
            AllocatorError::Journal(Arc::new(error))
        })
    }

    /// Tells the other tasks what was committed.
    fn announce(&self, changes: &[Change]) {
        if !changes.is_empty() {
            self.signals.changed.notify_one();
        }
        if changes.iter().any(Change::is_about_blocks) {
            self.signals.blocks.notify_one();
        }
    }

    /// Journal and state; opened anew if the last commit failed.
    fn recover(&mut self) -> Result<(&Journal, &mut State), JournalError> {
        let opened = if let Some(opened) = self.opened.take() {
            opened
        } else {
            let journal = Journal::open(&self.path)?;
            let state = journal.load(self.settings, clock::now_millis())?;
            (journal, state)
        };
        let (journal, state) = self.opened.insert(opened);
        Ok((journal, state))
    }
}
