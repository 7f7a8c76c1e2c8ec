//! The lease keeper: acquires blocks before the last address is used, releases those that are idle, and holds
//! what the journal says against what the store says.
//!
//! A lease and the node's index of it are made and removed in one transaction. A block is added to the state
//! only when its lease is certain, and taken out of the state before its lease is removed: a crash in between
//! leaves a lease without a block, which the next reconciliation adopts.

use crate::allocator::{Allocator, AllocatorError};
use crate::metrics::Metrics;
use crate::mirror::fence;
use crate::state::{BlockId, Need, Standing};
use common::error::chain;
use common::ipam::{Family, Pool, Space, Unit};
use common::name::{NodeName, PoolName};
use common::store::leases::FreeUnits;
use common::store::record::{self, BlockMirror, Lease, RecordError};
use common::store::{Compare, Entry, Op, Revision, Store, StoreError, Txn, keys, list_all};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Why no block was leased.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LeaseError {
    /// Every block of the pool has a holder.
    #[error("all {family} blocks of pool {pool} are leased")]
    PoolFull {
        /// The pool.
        pool: PoolName,
        /// The family.
        family: Family,
    },
    /// The block asked for has a holder, or is no block of the pool.
    #[error("block {0} of pool {1} is leased by another node")]
    BlockTaken(Unit, PoolName),
    /// The pool is gone, disabled or has no subnet of the family.
    #[error("pool {0} gives no blocks")]
    NoPool(PoolName),
    /// The pool's record or a lease can't be read.
    #[error("pool {0} has a record that this program does not understand")]
    Record(PoolName, #[source] Arc<RecordError>),
    /// The store does not answer.
    #[error("the store is unavailable, and no block can be leased")]
    Store(#[source] Arc<StoreError>),
    /// The block was leased, but could not be journaled.
    #[error(transparent)]
    Allocator(#[from] AllocatorError),
    /// The daemon is shutting down.
    #[error("coild is shutting down")]
    Stopped,
}

impl From<StoreError> for LeaseError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// What a request needs that the node does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// Any block.
    Any(Need),
    /// This block.
    Exactly(BlockId),
}

enum Message {
    Want(Want, oneshot::Sender<Result<(), LeaseError>>),
    Reconcile,
}

/// Where to ask for blocks; clones share it.
#[derive(Clone)]
pub struct LeaseRequests(mpsc::Sender<Message>);

impl LeaseRequests {
    /// Waits until the keeper has leased what is wanted, or could not.
    pub async fn want(&self, want: Want) -> Result<(), LeaseError> {
        let (reply, outcome) = oneshot::channel();
        self.0.send(Message::Want(want, reply)).await.map_err(|_| LeaseError::Stopped)?;
        outcome.await.map_err(|_| LeaseError::Stopped)?
    }

    /// Asks for the leases to be held against the store soon.
    pub fn reconcile(&self) {
        // A full queue has something to do already, and the keeper reconciles from time to time anyway.
        let _ = self.0.try_send(Message::Reconcile);
    }
}

/// Requests that may wait for the keeper before they wait to queue.
const QUEUE: usize = 1_024;
/// How often idle blocks are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// While the store is down, requests are refused at once but for one in this time.
const PROBE: Duration = Duration::from_millis(300);

/// Leases blocks for a node.
pub struct LeaseKeeper {
    node: NodeName,
    store: Arc<dyn Store>,
    allocator: Allocator,
    metrics: Arc<Metrics>,
    /// What the store last said when it failed, and when.
    down: Option<(Instant, Arc<StoreError>)>,
    /// Whether leases may exist that the state does not know of.
    unsure: bool,
    /// The block of each pool and family that was leased last: the search goes on behind it.
    last: BTreeMap<Need, Unit>,
}

impl LeaseKeeper {
    /// A keeper, and where to ask it. It works while [`LeaseKeeper::run`] does.
    pub fn new(
        node: NodeName,
        store: Arc<dyn Store>,
        allocator: Allocator,
        metrics: Arc<Metrics>,
    ) -> (Self, LeaseRequests, Inbox) {
        let (requests, inbox) = mpsc::channel(QUEUE);
        let keeper =
            Self { node, store, allocator, metrics, down: None, unsure: true, last: BTreeMap::new() };
        (keeper, LeaseRequests(requests), Inbox(inbox))
    }

    /// Works for ever.
    pub async fn run(mut self, mut inbox: Inbox) {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let allocator = self.allocator.clone();
        loop {
            tokio::select! {
                message = inbox.0.recv() => match message {
                    Some(message) => self.answer(message, &mut inbox.0).await,
                    None => return,
                },
                () = allocator.signals().low.notified() => self.prefetch().await,
                _ = housekeeping.tick() => self.keep_house().await,
            }
        }
    }

    /// Answers all requests that wait, those for the same thing together.
    async fn answer(&mut self, first: Message, inbox: &mut mpsc::Receiver<Message>) {
        let mut wanted: BTreeMap<Want, Vec<oneshot::Sender<Result<(), LeaseError>>>> = BTreeMap::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Want(want, reply) => wanted.entry(want).or_default().push(reply),
                Message::Reconcile => self.unsure = true,
            }
            next = inbox.try_recv().ok();
        }
        if self.unsure {
            self.reconcile().await;
        }
        for (want, mut waiting) in wanted {
            while !waiting.is_empty() {
                let outcome = self.acquire_wanted(&want).await;
                let served = match &outcome {
                    Ok(unit) => 1 << unit.bits().min(Unit::MAX_BITS),
                    Err(_) => waiting.len(),
                };
                for reply in waiting.drain(..served.min(waiting.len())) {
                    let _ = reply.send(outcome.clone().map(|_| ()));
                }
            }
        }
    }

    async fn acquire_wanted(&mut self, want: &Want) -> Result<Unit, LeaseError> {
        if let Some((since, error)) = &self.down
            && since.elapsed() < PROBE
        {
            return Err(LeaseError::Store(Arc::clone(error)));
        }
        let outcome = match want {
            Want::Any(need) => self.acquire(&need.pool, need.family, None).await,
            Want::Exactly(id) => self.acquire(&id.pool, id.unit.family(), Some(id.unit)).await,
        };
        self.note(&outcome);
        if let (Ok(unit), Want::Any(need)) = (&outcome, want) {
            self.last.insert(need.clone(), *unit);
        }
        outcome
    }

    fn note<T>(&mut self, outcome: &Result<T, LeaseError>) {
        // A transaction without an answer may have happened, and a lease may not have come into the journal.
        self.unsure |= matches!(outcome, Err(LeaseError::Store(_) | LeaseError::Allocator(_)));
        self.down = None;
        if let Err(LeaseError::Store(error)) = outcome {
            self.metrics.store_errors.add(1);
            self.down = Some((Instant::now(), Arc::clone(error)));
        }
    }

    /// Leases one block, and adds it to the state.
    async fn acquire(
        &self,
        pool: &PoolName,
        family: Family,
        exactly: Option<Unit>,
    ) -> Result<Unit, LeaseError> {
        loop {
            let Some(entry) = self.store.get(&keys::pool(pool)).await? else {
                return Err(LeaseError::NoPool(pool.clone()));
            };
            let spec: Pool = record::decode(&entry.key, &entry.value)
                .map_err(|error| LeaseError::Record(pool.clone(), Arc::new(error)))?;
            let space = spec.space(family).ok().filter(|_| !spec.disabled);
            let Some(space) = space else { return Err(LeaseError::NoPool(pool.clone())) };
            let leased = match exactly {
                Some(unit) => {
                    self.lease(pool, unit, &entry).await?.ok_or(LeaseError::BlockTaken(unit, pool.clone()))
                }
                None => self.lease_any(pool, &space, &entry).await,
            };
            if leased.is_err() && self.changed(&entry).await? {
                continue;
            }
            let (unit, token) = leased?;
            self.metrics.acquired.add(1);
            let id = BlockId { pool: pool.clone(), unit };
            self.allocator
                .run(move |state, now| state.add_block(&id, token, Standing::Open, Vec::new(), now))
                .await?;
            return Ok(unit);
        }
    }

    async fn lease_any(
        &self,
        pool: &PoolName,
        space: &Space,
        entry: &Entry,
    ) -> Result<(Unit, Revision), LeaseError> {
        let full = || LeaseError::PoolFull { pool: pool.clone(), family: space.family() };
        let need = Need { pool: pool.clone(), family: space.family() };
        let last = self.last.get(&need).and_then(|unit| space.index_of(*unit));
        let start = match last {
            Some(index) => index.saturating_add(1),
            None => start_index(&self.node, space.last_index().ok_or_else(full)?),
        };
        // A block that is fenced here may be free in the store: it must not be given before its holders are gone.
        let known = self.allocator.run(|state, _| state.leases()).await?;
        let mut free = FreeUnits::new(self.store.as_ref(), pool, space, start);
        while let Some(unit) = free.next().await? {
            if !known.contains_key(&BlockId { pool: pool.clone(), unit })
                && let Some(leased) = self.lease(pool, unit, entry).await?
            {
                return Ok(leased);
            }
            if self.changed(entry).await? {
                return Err(full());
            }
            free.lost(unit);
        }
        Err(full())
    }

    /// Creates the lease of a unit if it has none and the pool is as it was read; `None` if not.
    async fn lease(
        &self,
        pool: &PoolName,
        unit: Unit,
        entry: &Entry,
    ) -> Result<Option<(Unit, Revision)>, LeaseError> {
        let key = keys::lease(pool, unit);
        let mirror = BlockMirror { prefix: unit.net().prefix_len(), held: Vec::new() };
        let txn = Txn::new()
            .when(Compare::ModRevision(entry.key.clone(), entry.mod_revision))
            .when(Compare::Absent(key.clone()))
            .then(Op::Put(key, record::encode(&Lease { node: self.node.to_string() })))
            .then(Op::Put(keys::block(&self.node, pool, unit), record::encode(&mirror)));
        match self.store.txn(txn).await {
            Ok(token) => Ok(Some((unit, token))),
            Err(StoreError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn changed(&self, entry: &Entry) -> Result<bool, LeaseError> {
        let now = self.store.get(&entry.key).await?;
        Ok(now.is_none_or(|now| now.mod_revision != entry.mod_revision))
    }

    /// Leases a block for every pool that runs low.
    async fn prefetch(&mut self) {
        let Ok(needs) = self.allocator.run(|state, now| state.needs(now)).await else { return };
        for need in needs {
            match self.acquire_wanted(&Want::Any(need)).await {
                Ok(unit) => tracing::debug!(block = %unit, "leased a block ahead of need"),
                Err(error) => tracing::debug!(error = %chain(&error), "no block leased ahead of need"),
            }
        }
    }

    async fn keep_house(&mut self) {
        if self.unsure {
            self.reconcile().await;
        }
        let idle = self.allocator.run(|state, now| {
            state.wake(now);
            state.take_idle(now)
        });
        let Ok(idle) = idle.await else { return };
        for (id, token) in idle {
            let outcome = self.release(&id, token).await;
            self.note(&outcome);
            match outcome {
                Ok(()) => tracing::info!(pool = %id.pool, block = %id.unit, "released an idle block"),
                Err(error) => tracing::warn!(
                    pool = %id.pool, block = %id.unit, error = %chain(&error),
                    "an idle block could not be released and is kept"
                ),
            }
        }
        self.prefetch().await;
    }

    /// Removes a lease, unless the block's index was written since it was read: a late transaction must not
    /// remove the lease of a block that was adopted meanwhile.
    async fn release(&self, id: &BlockId, token: Revision) -> Result<(), LeaseError> {
        let lease = keys::lease(&id.pool, id.unit);
        let block = keys::block(&self.node, &id.pool, id.unit);
        for _ in 0..RELEASE_ATTEMPTS {
            let Some(index) = self.store.get(&block).await? else { return Ok(()) };
            let txn = Txn::new()
                .when(Compare::CreateRevision(lease.clone(), token))
                .when(Compare::ModRevision(block.clone(), index.mod_revision))
                .then(Op::Delete(lease.clone()))
                .then(Op::Delete(block.clone()));
            match self.store.txn(txn).await {
                Ok(_) => {
                    self.metrics.released.add(1);
                    return Ok(());
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Holds the state against the store: fences what has no lease any more, adopts leases without a block.
    pub async fn reconcile(&mut self) {
        let outcome = self.try_reconcile().await;
        self.note(&outcome);
        match outcome {
            Ok(()) => self.unsure = false,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the leases can't be held against the store");
            }
        }
    }

    async fn try_reconcile(&self) -> Result<(), LeaseError> {
        // The state first: a block that is added after this is in the list or was acquired by this very task.
        let (known, complete) = self.allocator.run(|state, _| (state.leases(), state.is_complete())).await?;
        let stored = list_all(self.store.as_ref(), &keys::blocks(&self.node)).await?;
        let mut leased = BTreeMap::new();
        for entry in stored.items {
            match parse(&entry) {
                Ok((id, mirror)) => {
                    leased.insert(id, (entry, mirror));
                }
                Err(error) => tracing::error!(error = %chain(&error), "a block in the store is left alone"),
            }
        }
        for (id, (token, standing)) in &known {
            let lease = leased.get(id).map(|(entry, _)| entry.create_revision);
            if *standing != Standing::Fenced && lease != Some(*token) {
                fence(&self.allocator, id, *token).await?;
            }
        }
        for (id, (entry, mirror)) in leased {
            if !known.contains_key(&id) {
                self.adopt(id, &entry, mirror, complete).await?;
            }
        }
        self.allocator.run(|state, _| state.set_complete()).await?;
        Ok(())
    }

    /// Takes over a lease of this node that the state does not know. Its index is written first, so that a
    /// release of it that is still on its way fails. What the mirror says of its holders counts only if the
    /// journal was lost: a complete journal without the block means that nobody holds an address in it.
    async fn adopt(
        &self,
        id: BlockId,
        entry: &Entry,
        mirror: BlockMirror,
        complete: bool,
    ) -> Result<(), LeaseError> {
        let token = entry.create_revision;
        let (standing, holders) =
            if complete { (Standing::Open, Vec::new()) } else { (Standing::Quarantined, mirror.held) };
        let index = BlockMirror { prefix: mirror.prefix, held: holders.clone() };
        let txn = Txn::new()
            .when(Compare::CreateRevision(keys::lease(&id.pool, id.unit), token))
            .when(Compare::ModRevision(entry.key.clone(), entry.mod_revision))
            .then(Op::Put(entry.key.clone(), record::encode(&index)));
        match self.store.txn(txn).await {
            Ok(_) => {}
            Err(StoreError::Conflict) => {
                tracing::warn!(pool = %id.pool, block = %id.unit, "a lease changed while it was adopted");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        tracing::info!(pool = %id.pool, block = %id.unit, holders = holders.len(), ?standing, "adopted a block");
        self.allocator.run(move |state, now| state.add_block(&id, token, standing, holders, now)).await?;
        Ok(())
    }
}

/// Requests that wait for the keeper.
pub struct Inbox(mpsc::Receiver<Message>);

/// The mirror may write the index of a block once or twice while it is being released.
const RELEASE_ATTEMPTS: u32 = 5;

fn parse(entry: &Entry) -> Result<(BlockId, BlockMirror), RecordError> {
    let mirror: BlockMirror = record::decode(&entry.key, &entry.value)?;
    let malformed = || RecordError::Malformed {
        key: entry.key.clone(),
        source: serde::de::Error::custom("the key and the prefix name no block"),
    };
    let (_, pool, first) = keys::parse_block(&entry.key).ok_or_else(malformed)?;
    let bits = Family::of(first).bits().checked_sub(mirror.prefix).filter(|bits| *bits <= Unit::MAX_BITS);
    let unit = Unit::containing(first, bits.ok_or_else(malformed)?);
    if unit.first() == first { Ok((BlockId { pool, unit }, mirror)) } else { Err(malformed()) }
}

/// Where a node starts to look for a free block: nodes start at different places, and each at its own again, so
/// that its blocks lie together. (FNV-1a, 128 bits.)
fn start_index(node: &NodeName, last: u128) -> u128 {
    let hash = node.as_str().bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    last.checked_add(1).map_or(hash, |count| hash % count)
}
