//! The mirror: copies what changed in the node's blocks to the store, in batches, behind the replies.
//!
//! Every write compares the lives of the leases that it writes under: the create revisions of the node's indexes,
//! which come and go with the leases. Where one is gone, the block is fenced, and the rest is written without it.

use crate::allocator::{Allocator, AllocatorError};
use crate::metrics::Metrics;
use crate::state::{BlockId, MirrorItem};
use common::error::chain;
use common::name::NodeName;
use common::store::{Store, StoreError, Txn, keys, leases, record};
use std::sync::Arc;
use std::time::Duration;

/// Blocks in one transaction.
const BATCH: usize = 100;
/// Bytes of records in one transaction, unless a single one has more.
const BATCH_BYTES: usize = Txn::MAX_BYTES / 2;
/// Pause after the store failed.
const PAUSE: Duration = Duration::from_millis(250);

/// Copies a node's allocations to the store.
pub struct Mirror {
    /// The node.
    pub node: NodeName,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Where the allocations are.
    pub allocator: Allocator,
    /// Counts writes and failures.
    pub metrics: Arc<Metrics>,
    /// How long changes are gathered before they are written together.
    pub window: Duration,
}

enum Flushed {
    All,
    More,
}

impl Mirror {
    /// Copies for ever.
    pub async fn run(&self) {
        loop {
            match self.flush().await {
                Ok(Flushed::More) => {}
                Ok(Flushed::All) => {
                    self.allocator.signals().changed.notified().await;
                    tokio::time::sleep(self.window).await;
                }
                Err(()) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Copies until the mirror agrees, or the store fails.
    pub async fn finish(&self) {
        while matches!(self.flush().await, Ok(Flushed::More)) {}
    }

    async fn flush(&self) -> Result<Flushed, ()> {
        let items = match self.allocator.run(|state, _| state.behind(BATCH)).await {
            Ok(items) => items,
            Err(AllocatorError::Stopped) => return Ok(Flushed::All),
            Err(AllocatorError::Journal(_)) => return Err(()),
        };
        if items.is_empty() {
            return Ok(Flushed::All);
        }
        let behind = items.len();
        let (items, txn) = self.batch(items);
        match self.store.txn(txn).await {
            Ok(_) => {
                self.metrics.mirror_writes.inc();
                // What changes from here on waits for the next window, so that a busy node writes no more often.
                let all = items.len() == behind && behind < BATCH;
                let written: Vec<(BlockId, u64)> =
                    items.into_iter().map(|item| (item.id, item.version)).collect();
                let noted = self.allocator.run(move |state, now| state.mirrored(&written, now)).await;
                noted.map(|()| if all { Flushed::All } else { Flushed::More }).map_err(|_| ())
            }
            Err(StoreError::Conflict) => self.fence_lost(&items).await,
            Err(error @ StoreError::Refused { .. }) => {
                self.metrics.store_errors.inc();
                tracing::error!(error = %chain(&error), blocks = items.len(), "the store refuses the mirror's record");
                Err(())
            }
            Err(error) => {
                self.metrics.store_errors.inc();
                tracing::debug!(error = %chain(&error), "the mirror falls behind");
                Err(())
            }
        }
    }

    /// The transaction for the first of these blocks, as many as fit into one; and those blocks.
    fn batch(&self, items: Vec<MirrorItem>) -> (Vec<MirrorItem>, Txn) {
        let (mut taken, mut txn, mut bytes) = (Vec::new(), Txn::new(), 0);
        for item in items {
            let value = record::encode(&item.record);
            bytes += value.len();
            if bytes > BATCH_BYTES && !taken.is_empty() {
                break;
            }
            let (pool, unit) = (&item.id.pool, item.id.unit);
            txn = leases::mirror(txn, &self.node, pool, unit, item.token, value);
            taken.push(item);
        }
        (taken, txn)
    }

    /// Fences the blocks among these whose leases are gone; an error if there are none, as the conflict is
    /// then a riddle that must not be tried at once again.
    async fn fence_lost(&self, items: &[MirrorItem]) -> Result<Flushed, ()> {
        let mut outcome = Err(());
        for item in items {
            let index = keys::block(&self.node, &item.id.pool, item.id.unit);
            let index = self.store.get(&index).await.map_err(|_| ())?;
            if index.is_none_or(|index| index.create_revision != item.token) {
                fence(&self.allocator, &item.id, item.token).await.map_err(|_| ())?;
                outcome = Ok(Flushed::More);
            }
        }
        outcome
    }
}

/// Closes a block whose lease is gone, and says so.
pub async fn fence(allocator: &Allocator, id: &BlockId, token: u64) -> Result<(), AllocatorError> {
    let block = id.clone();
    if allocator.run(move |state, _| state.fence(&block, token)).await? {
        tracing::error!(
            pool = %id.pool, block = %id.unit,
            "the lease of this block was taken away; nothing is given from it any more, and its addresses are fenced"
        );
    }
    Ok(())
}
