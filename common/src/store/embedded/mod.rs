//! The store in one process, on redb: in a file, durable before it answers, or in memory. Both are the same
//! engine and differ only in where redb keeps its pages.
//!
//! * [`checked`]: opens redb databases so that damage is found
//! * [`file`](mod@file): the database, opened, checked, and opened anew after a failed write
//! * [`tables`]: its tables, and what a change does to them
//! * [`writer`]: the one writer, which commits changes in batches
//! * [`history`]: the recent changes, for watches
//!
//! redb blocks, so that all of it runs on blocking threads. Times to live are kept over a restart, but start
//! anew with their full length.

mod checked;
mod file;
mod history;
mod tables;
mod writer;

pub use checked::open_checked;

use super::{Entry, KeyRange, Page, Revision, Store, StoreError, TtlId, Txn, Watch};
use async_trait::async_trait;
use file::DatabaseFile;
use history::History;
use redb::{Database, Error};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use writer::{Change, Request, Writer};

/// How many changes may wait for the writer before callers wait to queue.
const QUEUE: usize = 1_024;

/// The embedded store. When it is dropped the file stays open until its last change is done.
pub struct Embedded {
    file: Arc<DatabaseFile>,
    queue: mpsc::Sender<Request>,
    history: History,
    committed: watch::Receiver<Revision>,
    writer: JoinHandle<()>,
}

impl Embedded {
    /// The store in a file, which is made if it does not exist. It must not be open elsewhere. A file that is
    /// empty, truncated or damaged is refused, and left as it is.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        Self::start(move || DatabaseFile::open(&path)).await
    }

    /// An empty store in memory.
    pub async fn in_memory() -> Result<Self, StoreError> {
        Self::start(DatabaseFile::in_memory).await
    }

    async fn start(
        file: impl FnOnce() -> Result<DatabaseFile, StoreError> + Send + 'static,
    ) -> Result<Self, StoreError> {
        let (file, (writer, history)) = blocking(move || {
            let file = Arc::new(file()?);
            Ok((Arc::clone(&file), Writer::new(file)?))
        })
        .await?;
        let (queue, requests) = mpsc::channel(QUEUE);
        let committed = writer.committed();
        Ok(Self { file, queue, history, committed, writer: tokio::spawn(writer.run(requests)) })
    }

    /// Finishes what is queued, and closes the file.
    pub async fn close(self) {
        drop(self.queue);
        // It ends with an error only if the runtime itself ends, and with it the store.
        let _ = self.writer.await;
    }

    async fn change(&self, change: Change) -> Result<u64, StoreError> {
        let (reply, outcome) = oneshot::channel();
        let closed = || StoreError::Unavailable { reason: "the store is closed".to_owned(), source: None };
        self.queue.send(Request { change, reply }).await.map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())?
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = Arc::clone(&self.file);
        blocking(move || file.with(work)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(StoreError::unavailable("the store was interrupted", error)),
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key = key.to_owned();
        self.read(move |database| tables::get(database, &key)).await
    }

    async fn list(&self, range: &KeyRange, limit: usize) -> Result<Page<Entry>, StoreError> {
        let range = range.clone();
        self.read(move |database| tables::list(database, &range, limit, tables::entry)).await
    }

    async fn list_keys(&self, range: &KeyRange, limit: usize) -> Result<Page<String>, StoreError> {
        let range = range.clone();
        self.read(move |database| tables::list(database, &range, limit, |key, _| key.to_owned())).await
    }

    async fn count(&self, range: &KeyRange) -> Result<u64, StoreError> {
        let range = range.clone();
        self.read(move |database| tables::count(database, &range)).await
    }

    async fn txn(&self, txn: Txn) -> Result<Revision, StoreError> {
        txn.check()?;
        self.change(Change::Txn(txn)).await
    }

    async fn watch(&self, ranges: &[KeyRange], from: Revision) -> Result<Watch, StoreError> {
        Ok(self.history.watch(ranges.to_vec(), from, self.committed.clone()))
    }

    async fn grant_ttl(&self, ttl: Duration) -> Result<TtlId, StoreError> {
        self.change(Change::Grant(ttl)).await.map(|id| TtlId(id.cast_signed()))
    }

    async fn renew_ttl(&self, TtlId(id): TtlId) -> Result<(), StoreError> {
        self.change(Change::Renew(id)).await.map(drop)
    }

    async fn revoke_ttl(&self, TtlId(id): TtlId) -> Result<(), StoreError> {
        self.change(Change::Revoke(id)).await.map(drop)
    }
}
