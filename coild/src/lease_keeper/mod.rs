//! The lease keeper: acquires blocks before the last address is used, releases those that are idle, and holds
//! what the journal says against what the store says.
//!
//! A lease and the node's index of it are made and removed in one transaction. A block is added to the state
//! only when its lease is certain, and taken out of the state before its lease is removed: a crash in between
//! leaves a lease without a block, which the next reconciliation adopts.

mod acquire;
mod protect;
mod reconcile;
mod restored;

use crate::allocator::{Allocator, AllocatorError};
use crate::metrics::Metrics;
use crate::state::{BlockId, Need, State};
use common::error::chain;
use common::ipam::{Family, Unit};
use common::name::{NodeName, PoolName};
use common::store::record::RecordError;
use common::store::{Store, StoreError};
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
    /// A backup of the store was restored a moment ago.
    #[error(
        "a backup of the store was restored, and no block is leased before the nodes have claimed theirs"
    )]
    Restored,
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
    Protect,
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

    /// Asks for what is fenced to be protected, with the next housekeeping: whoever takes leases away is left the
    /// time to finish.
    pub fn protect(&self) {
        let _ = self.0.try_send(Message::Protect);
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
    /// Whether state and store may differ in what the node holds.
    unsure: bool,
    /// How many of the store's rewinds were dealt with.
    rewinds: u64,
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
        let keeper = Self {
            node,
            store,
            allocator,
            metrics,
            down: None,
            unsure: true,
            rewinds: 0,
            last: BTreeMap::new(),
        };
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
        let (mut next, mut at_once) = (Some(first), false);
        while let Some(message) = next {
            match message {
                Message::Want(want, reply) => wanted.entry(want).or_default().push(reply),
                Message::Reconcile => at_once = true,
                Message::Protect => self.unsure = true,
            }
            next = inbox.try_recv().ok();
        }
        if at_once || self.is_unsure() && !wanted.is_empty() {
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

    fn is_unsure(&self) -> bool {
        self.unsure || self.store.rewinds() != self.rewinds
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

    /// Leases a block for every pool that runs low.
    async fn prefetch(&mut self) {
        let Ok(needs) = self.allocator.run(State::needs).await else { return };
        for need in needs {
            match self.acquire_wanted(&Want::Any(need)).await {
                Ok(unit) => tracing::debug!(block = %unit, "leased a block ahead of need"),
                Err(error) => tracing::debug!(error = %chain(&error), "no block leased ahead of need"),
            }
        }
    }

    async fn keep_house(&mut self) {
        if self.is_unsure() {
            self.reconcile().await;
        }
        let Ok(idle) = self.allocator.run(State::take_idle).await else { return };
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
}

/// Requests that wait for the keeper.
pub struct Inbox(mpsc::Receiver<Message>);
