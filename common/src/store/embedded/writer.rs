//! The one writer of an embedded store: takes queued changes in batches, and commits each batch at once and
//! durably before it answers any of them.

use super::file::DatabaseFile;
use super::history::History;
use super::tables::{Changed, Outcome, Tables};
use crate::store::{Revision, StoreError, Txn};
use redb::{Database, Error};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// How many changes share one commit at most.
const BATCH: usize = 256;
/// How often a file that can't be opened is tried again.
const REOPEN: Duration = Duration::from_millis(500);

/// A change, and who waits for its outcome.
pub(super) struct Request {
    pub(super) change: Change,
    pub(super) reply: oneshot::Sender<Outcome>,
}

/// What is to be changed.
pub(super) enum Change {
    Txn(Txn),
    Grant(Duration),
    Renew(i64),
    Revoke(i64),
}

/// What a batch came to.
struct Batch {
    outcomes: Vec<Outcome>,
    /// The TTLs that start anew, and those that ended.
    started: Vec<(i64, Option<Duration>)>,
    events: Changed,
}

/// The writer's own state.
pub(super) struct Writer {
    file: Arc<DatabaseFile>,
    history: History,
    /// The last revision that was committed.
    revision: watch::Sender<Revision>,
    /// TTL → its length, and when it expires.
    deadlines: HashMap<i64, Instant>,
}

impl Writer {
    /// The writer of a file; every TTL in it starts anew.
    pub(super) fn new(file: Arc<DatabaseFile>) -> Result<(Self, History), StoreError> {
        let history = History::after(0);
        let mut writer = Self {
            file,
            history: history.clone(),
            revision: watch::Sender::new(0),
            deadlines: HashMap::new(),
        };
        writer.start_anew()?;
        Ok((writer, history))
    }

    /// Tells the last revision that was committed.
    pub(super) fn committed(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }

    /// Works until nobody can ask for changes any more.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut requests = Vec::new();
        loop {
            let wake = self.wake();
            tokio::select! {
                taken = queue.recv_many(&mut requests, BATCH) => if taken == 0 { return },
                () = sleep_until(wake) => {}
            }
            let batch = std::mem::take(&mut requests);
            let Ok(writer) = tokio::task::spawn_blocking(move || self.work(batch)).await else { return };
            self = writer;
        }
    }

    /// When there is something to do even if nobody asks.
    fn wake(&self) -> Option<Instant> {
        if self.file.is_open() {
            self.deadlines.values().min().copied()
        } else {
            Some(Instant::now() + REOPEN)
        }
    }

    fn work(mut self, requests: Vec<Request>) -> Self {
        if !self.file.is_open()
            && let Err(error) = self.file.reopen().and_then(|()| self.start_anew())
        {
            tracing::warn!(%error, "the store stays closed");
        }
        let now = Instant::now();
        let (mut changes, mut replies) = (Vec::new(), Vec::new());
        for (id, _) in self.deadlines.iter().filter(|(_, expires)| **expires <= now) {
            changes.push(Change::Revoke(*id));
            replies.push(None);
        }
        for Request { change, reply } in requests {
            changes.push(change);
            replies.push(Some(reply));
        }
        match self.file.with(|database| commit(database, changes)) {
            Ok(batch) => {
                self.publish(batch.started, batch.events);
                for (reply, outcome) in replies.into_iter().zip(batch.outcomes) {
                    // Who does not wait any more has no use for the outcome.
                    let _ = reply.map(|reply| reply.send(outcome));
                }
            }
            Err(error) => {
                // After a failed write redb refuses everything, and what was committed is uncertain.
                self.file.close();
                tracing::error!(%error, "the store can't be written, and is opened anew");
                let reason = error.to_string();
                for reply in replies.into_iter().flatten() {
                    let _ = reply.send(Err(StoreError::unavailable("a write failed", reason.clone())));
                }
            }
        }
        self
    }

    fn publish(&mut self, started: Vec<(i64, Option<Duration>)>, events: Changed) {
        let now = Instant::now();
        for (id, length) in started {
            match length {
                Some(length) => drop(self.deadlines.insert(id, deadline(now, length))),
                None => drop(self.deadlines.remove(&id)),
            }
        }
        let mut last = None;
        for (revision, events) in events {
            self.history.push(revision, events);
            last = Some(revision);
        }
        if let Some(last) = last {
            self.revision.send_replace(last);
        }
    }

    /// Takes over the file as it is: nothing is known of how it came to be, and every TTL starts anew.
    fn start_anew(&mut self) -> Result<(), StoreError> {
        let (revision, ttls) = self.file.with(|database| {
            let writing = database.begin_write()?;
            let tables = Tables::open(&writing)?;
            Ok((tables.revision(), tables.all_ttls()?))
        })?;
        let now = Instant::now();
        self.deadlines = ttls.into_iter().map(|(id, length)| (id, deadline(now, length))).collect();
        self.history.forget(revision);
        self.revision.send_replace(revision);
        Ok(())
    }
}

fn commit(database: &Database, changes: Vec<Change>) -> Result<Batch, Error> {
    let writing = database.begin_write()?;
    let mut tables = Tables::open(&writing)?;
    let mut outcomes = Vec::with_capacity(changes.len());
    let mut started = Vec::new();
    for change in changes {
        outcomes.push(match change {
            Change::Txn(txn) => tables.txn(txn)?,
            Change::Grant(length) => {
                let outcome = tables.grant(length)?;
                started.extend(outcome.as_ref().ok().map(|id| (id.cast_signed(), Some(length))));
                outcome
            }
            Change::Renew(id) => match tables.ttl(id)? {
                Some(length) => {
                    started.push((id, Some(length)));
                    Ok(tables.revision())
                }
                None => Err(StoreError::UnknownTtl),
            },
            Change::Revoke(id) => {
                started.push((id, None));
                tables.revoke(id)?
            }
        });
    }
    let events = tables.finish()?;
    match events {
        Some(events) => {
            writing.commit()?;
            Ok(Batch { outcomes, started, events })
        }
        None => Ok(Batch { outcomes, started, events: Vec::new() }),
    }
}

/// A time to live that is too long to count never ends.
fn deadline(now: Instant, length: Duration) -> Instant {
    const FOR_EVER: Duration = Duration::from_hours(100 * 365 * 24);
    now + length.min(FOR_EVER)
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
