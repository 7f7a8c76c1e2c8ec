//! What the journal says against what the store says.

use super::protect::Protection;
use super::restored::History;
use super::{LeaseError, LeaseKeeper};
use crate::mirror::fence;
use crate::state::{BlockId, Standing};
use crate::watcher::Known;
use common::error::chain;
use common::ipam::{Family, Unit};
use common::store::record::{self, BlockMirror, RecordError};
use common::store::{Entry, Revision, StoreError, keys, leases, list_all};
use std::collections::BTreeMap;

impl LeaseKeeper {
    /// Holds the state against the store: fences what has no lease any more and protects it, adopts leases without a
    /// block.
    pub async fn reconcile(&mut self) {
        let outcome = self.try_reconcile(None).await;
        self.settle(outcome);
    }

    /// The same with what the store said before the node does anything.
    pub async fn catch_up(&mut self, known: &Known) {
        self.leaser.learn(&known.pools);
        let outcome = self.try_reconcile(Some((known.blocks.clone(), known.revision))).await;
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Result<bool, LeaseError>) {
        self.note(&outcome);
        match outcome {
            Ok(settled) => self.unsure = !settled,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the leases can't be held against the store");
            }
        }
    }

    /// Returns whether every lease that can be read was dealt with; if not, it is worth another try soon.
    async fn try_reconcile(&mut self, read: Option<(Vec<Entry>, Revision)>) -> Result<bool, LeaseError> {
        let rewinds = self.store.rewinds();
        let other_history = self.compare_history().await? == History::Another;
        // The state first: a block that is added after this is in the list or was acquired by this very task.
        let (known, complete) = self.allocator.run(|state, _| (state.leases(), state.is_complete())).await?;
        let (stored, revision) = if let Some(read) = read {
            read
        } else {
            let page = list_all(self.store.as_ref(), &keys::blocks(&self.node)).await?;
            (page.items, page.revision)
        };
        let open = known.values().filter(|(_, standing)| *standing != Standing::Fenced);
        let newest = open.map(|(token, _)| *token).max().unwrap_or(0);
        if rewinds != self.rewinds || other_history || revision < newest {
            self.announce_restore().await?;
            self.rewinds = rewinds;
        }
        let (mut leased, mut all_read) = parse_all(stored);
        for (id, (token, standing)) in &known {
            let lease = leased.get(id).map(|(entry, _)| entry.create_revision);
            if *standing != Standing::Fenced && lease != Some(*token) {
                fence(&self.allocator, id, *token).await?;
            }
        }
        let protected = self.protect(&leased).await?;
        leased.retain(|id, _| !known.contains_key(id));
        let mut settled = true;
        for (id, (entry, mirror)) in leased {
            let done = match (complete, id.pool.coil().is_some()) {
                (true, true) => self.discard(&id, &entry).await,
                (true, false) => self.give_back_unknown(&id, entry.create_revision).await,
                (false, _) => self.adopt(id, &entry, mirror).await,
            };
            match done {
                Ok(done) => settled &= done,
                Err(
                    error @ (LeaseError::NoPool(_) | LeaseError::Record(..) | LeaseError::ChosenRecord(..)),
                ) => {
                    all_read = false;
                    tracing::error!(error = %chain(&error), "a block in the store is left alone");
                }
                Err(error) => return Err(error),
            }
        }
        // A block that is adopted later would count as empty if the journal counted as complete before.
        if settled && all_read {
            self.allocator.run(|state, _| state.set_complete()).await?;
        }
        Ok(settled
            && match protected {
                Protection::Complete => true,
                // While others give back what a restored store says they lease, a block may become free.
                Protection::Barred => !self.is_settling().await?,
                Protection::Unsettled => false,
            })
    }

    /// Removes a lease that a complete journal does not know: a crash came between lease and journal, or a restored
    /// store has forgotten that it was released. Nobody here holds an address in it. Returns whether that is done.
    async fn discard(&self, id: &BlockId, index: &Entry) -> Result<bool, LeaseError> {
        let lease = self.store.get(&keys::lease(&id.pool, id.unit)).await?;
        match self.store.txn(leases::discard(index, lease.as_ref())).await {
            Ok(_) => {
                tracing::info!(pool = %id.pool, block = %id.unit, "released a lease that the journal does not know");
                Ok(true)
            }
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes over a lease of this node after the journal was lost, with the holders that the mirror knows. Its index is
    /// written first, so that a release of it that is still on its way fails. Returns whether it was adopted; it
    /// is not if it changed meanwhile.
    async fn adopt(&mut self, id: BlockId, entry: &Entry, index: BlockMirror) -> Result<bool, LeaseError> {
        let pool = match id.pool.coil() {
            Some(pool) => Some(self.leaser.read_pool(pool).await?),
            None => None,
        };
        let token = entry.create_revision;
        match self.store.txn(leases::adopt(&id.pool, id.unit, entry, &index)).await {
            Ok(_) => {}
            Err(StoreError::Conflict) => {
                tracing::warn!(pool = %id.pool, block = %id.unit, "a lease changed while it was adopted");
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        let (holders, segment) = (index.held, index.segment);
        tracing::info!(pool = %id.pool, block = %id.unit, holders = holders.len(), "adopted a block");
        let quarantined = Standing::Quarantined;
        self.allocator
            .run(move |state, now| match (pool, segment) {
                (Some(pool), _) => state.add_block(&id, token, quarantined, &pool, holders, now),
                (None, Some(segment)) => state.add_address(&id, token, quarantined, segment, holders, now),
                (None, None) => {}
            })
            .await?;
        Ok(true)
    }
}

/// What the store says of a node's blocks, by their ids.
pub(super) type Leased = BTreeMap<BlockId, (Entry, BlockMirror)>;

/// Reads the indexes of the node's leases; says too whether all can be read.
fn parse_all(entries: Vec<Entry>) -> (Leased, bool) {
    let (mut leased, mut all_read) = (BTreeMap::new(), true);
    for entry in entries {
        match parse(&entry) {
            Ok((id, mirror)) => {
                leased.insert(id, (entry, mirror));
            }
            Err(error) => {
                all_read = false;
                tracing::error!(error = %chain(&error), "a block in the store is left alone");
            }
        }
    }
    (leased, all_read)
}

fn parse(entry: &Entry) -> Result<(BlockId, BlockMirror), RecordError> {
    let mirror: BlockMirror = record::decode(&entry.key, &entry.value)?;
    let malformed = || RecordError::Malformed {
        key: entry.key.clone(),
        source: serde::de::Error::custom("the key and the prefix name no block"),
    };
    let (_, pool, first) = keys::parse_block(&entry.key).ok_or_else(malformed)?;
    let bits = Family::of(first).bits().checked_sub(mirror.prefix).filter(|bits| *bits <= Unit::MAX_BITS);
    let unit = Unit::containing(first, bits.ok_or_else(malformed)?);
    let whole = pool.coil().is_some() || mirror.segment.is_some();
    if unit.first() == first && whole { Ok((BlockId { pool, unit }, mirror)) } else { Err(malformed()) }
}
