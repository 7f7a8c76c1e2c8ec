//! The lease keeper: acquires blocks before the last address is used, releases those that are idle, and holds
//! what the journal says against what the store says.
//!
//! A lease and the node's index of it are made and removed in one transaction. A block is added to the state
//! only when its lease is certain, and taken out of the state before its lease is removed: a crash in between
//! leaves a lease without a block, which the next reconciliation adopts.
//!
//! * [`leaser`]: the store's side of it

mod addresses;
mod give_back;
pub mod leaser;
mod protect;
mod reconcile;
mod restored;
mod target;

use crate::allocator::{Allocator, AllocatorError};
use crate::metrics::Metrics;
use crate::state::{AllocateError, Ask, BlockId, Need, Standing, State};
use common::error::chain;
use common::ipam::{Family, Unit};
use common::name::{NodeName, PoolName};
use common::store::record::RecordError;
use common::store::{Store, StoreError};
use common::wire::node::AssignedAddress;
use leaser::{Leased, Leaser};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use target::Targets;
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
    /// None of the pools that the pod names gives an address.
    #[error("{0}")]
    NoAddress(String),
    /// The address asked for is in none of the pools that the pod names.
    #[error("address: {0} is not an address of a pool that the pod names")]
    Outside(IpAddr),
    /// The address that is kept for the pod is not given back yet.
    #[error(
        "{address} is kept for this pod, and node {} has not given it back yet; if that node is gone, remove it",
        if .node.is_empty() { "another one" } else { .node }
    )]
    Elsewhere {
        /// The address.
        address: IpAddr,
        /// The node that holds its lease; empty if it is being given to another one.
        node: String,
    },
    /// A record of a namespace's pool can't be read.
    #[error("{0} has a record that this program does not understand")]
    ChosenRecord(String, #[source] Arc<RecordError>),
    /// The pod got an address meanwhile.
    #[error(transparent)]
    Refused(AllocateError),
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
    /// This block of a pool.
    Exactly(PoolName, Unit),
    /// The same, even if the pool is disabled: containers have addresses of it already.
    Adopted(PoolName, Unit),
}

type Given = oneshot::Sender<Result<Vec<AssignedAddress>, LeaseError>>;

enum Message {
    Want(Want, oneshot::Sender<Result<(), LeaseError>>),
    Addresses(Box<Ask>, Given),
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

    /// Waits until the keeper has leased addresses in the pools that a pod names and given them to it, or could not.
    pub async fn addresses(&self, ask: Ask) -> Result<Vec<AssignedAddress>, LeaseError> {
        let (reply, outcome) = oneshot::channel();
        self.0.send(Message::Addresses(Box::new(ask), reply)).await.map_err(|_| LeaseError::Stopped)?;
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
    /// The store's interruptions when its history was compared last.
    compared: Option<u64>,
    /// What was noted of the store's history then.
    noted: Option<i64>,
    leaser: Leaser,
    /// The pools of namespaces and services.
    targets: Targets,
    /// Fewer free addresses than this make the node lease another block.
    low_water: usize,
}

impl LeaseKeeper {
    /// A keeper, and where to ask it. It works while [`LeaseKeeper::run`] does.
    pub fn new(
        node: NodeName,
        store: Arc<dyn Store>,
        allocator: Allocator,
        metrics: Arc<Metrics>,
        low_water: u32,
    ) -> (Self, LeaseRequests, Inbox) {
        let (requests, inbox) = mpsc::channel(QUEUE);
        let low_water = usize::try_from(low_water).unwrap_or(usize::MAX);
        let leaser = Leaser::new(node.clone(), Arc::clone(&store));
        let keeper = Self {
            node,
            store,
            allocator,
            metrics,
            down: None,
            unsure: true,
            rewinds: 0,
            compared: None,
            noted: None,
            leaser,
            targets: Targets::default(),
            low_water,
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
                biased;
                _ = housekeeping.tick() => self.keep_house().await,
                message = inbox.0.recv() => match message {
                    Some(message) => self.answer(message, &mut inbox.0).await,
                    None => return,
                },
                () = allocator.signals().low.notified() => self.prefetch().await,
                () = allocator.signals().freed.notified() => self.give_back_all().await,
            }
        }
    }

    /// Answers all requests that wait, those for the same thing together.
    async fn answer(&mut self, first: Message, inbox: &mut mpsc::Receiver<Message>) {
        // Those who ask at the same moment have their turn to ask, and are answered together.
        tokio::task::yield_now().await;
        let mut wanted: BTreeMap<Want, Vec<oneshot::Sender<Result<(), LeaseError>>>> = BTreeMap::new();
        let mut addresses = Vec::new();
        let (mut next, mut at_once) = (Some(first), false);
        while let Some(message) = next {
            match message {
                Message::Addresses(ask, reply) => addresses.push((ask, reply)),
                Message::Want(want, reply) => wanted.entry(want).or_default().push(reply),
                Message::Reconcile => at_once = true,
                Message::Protect => self.unsure = true,
            }
            next = inbox.try_recv().ok();
        }
        if at_once || self.is_unsure() && !(wanted.is_empty() && addresses.is_empty()) {
            self.reconcile().await;
        }
        for (want, mut waiting) in wanted {
            loop {
                // Whoever did not wait any longer needs no block either.
                waiting.retain(|reply| !reply.is_closed());
                if waiting.is_empty() {
                    break;
                }
                let outcome = self.acquire(&want, waiting.len()).await;
                let (served, outcome) = match outcome {
                    Ok(room) => (room, Ok(())),
                    Err(error) => (waiting.len(), Err(error)),
                };
                for reply in waiting.drain(..served.clamp(1, waiting.len())) {
                    let _ = reply.send(outcome.clone());
                }
            }
        }
        for (ask, reply) in addresses {
            // Nobody waits for a request that was given up.
            if !reply.is_closed() {
                let _ = reply.send(self.lease_chosen(&ask).await);
            }
        }
    }

    async fn lease_chosen(&mut self, ask: &Ask) -> Result<Vec<AssignedAddress>, LeaseError> {
        if let Some((_, error)) = self.down.as_ref().filter(|_| self.is_down()) {
            return Err(LeaseError::Store(Arc::clone(error)));
        }
        let start = Instant::now();
        let outcome = self.lease_addresses(ask).await;
        self.metrics.leases.observe(start.elapsed(), outcome.is_ok());
        self.note(&outcome);
        outcome
    }

    /// Whether the store failed just now.
    fn is_down(&self) -> bool {
        self.down.as_ref().is_some_and(|(since, _)| since.elapsed() < PROBE)
    }

    fn is_unsure(&self) -> bool {
        self.unsure || self.store.rewinds() != self.rewinds
    }

    /// Leases blocks for so many addresses and the low-water mark, in one transaction, and adds them to the state.
    /// Returns how many addresses they have, which may be fewer.
    async fn acquire(&mut self, want: &Want, addresses: usize) -> Result<usize, LeaseError> {
        if let Some((_, error)) = self.down.as_ref().filter(|_| self.is_down()) {
            return Err(LeaseError::Store(Arc::clone(error)));
        }
        let start = Instant::now();
        let outcome = self.try_acquire(want, addresses).await;
        if let (Want::Any(need), Err(LeaseError::PoolFull { .. })) = (want, &outcome) {
            let need = need.clone();
            self.allocator.run(move |state, now| state.note_full(need, now)).await?;
        }
        self.metrics.leases.observe(start.elapsed(), outcome.is_ok());
        self.note(&outcome);
        outcome
    }

    async fn try_acquire(&mut self, want: &Want, addresses: usize) -> Result<usize, LeaseError> {
        self.is_same_store().await?;
        let (pool, (spec, leased)) = match want {
            Want::Any(need) => {
                let (pool, family) = (need.pool.clone(), need.family);
                let (held, bits) = self
                    .allocator
                    .run(move |state, _| {
                        let bits =
                            state.pools().get(&pool).map_or(Unit::MAX_BITS, |pool| pool.block_bits(family));
                        (state.units(&pool), bits)
                    })
                    .await?;
                let blocks = addresses.saturating_add(self.low_water).div_ceil(1 << bits.min(Unit::MAX_BITS));
                (&need.pool, self.leaser.lease_any(need, blocks, &held).await?)
            }
            Want::Exactly(pool, unit) | Want::Adopted(pool, unit) => {
                let adopt = matches!(want, Want::Adopted(..));
                let (spec, leased) = self.leaser.lease_exactly(pool, *unit, adopt).await?;
                (pool, (spec, vec![leased]))
            }
        };
        // If it went back meanwhile, the next reconciliation discards the lease.
        self.is_same_store().await?;
        self.metrics.acquired.inc_by(leased.len() as u64);
        let room = leased.iter().map(|leased| 1 << leased.unit.bits().min(Unit::MAX_BITS)).sum();
        let pool = pool.clone();
        self.allocator
            .run(move |state, now| {
                for Leased { unit, token } in leased {
                    let id = BlockId { pool: pool.clone().into(), unit };
                    state.add_block(&id, token, Standing::Open, &spec, Vec::new(), now);
                }
            })
            .await?;
        Ok(room)
    }

    fn note<T>(&mut self, outcome: &Result<T, LeaseError>) {
        // A transaction without an answer may have happened, and a lease may not have come into the journal.
        self.unsure |= matches!(outcome, Err(LeaseError::Store(_) | LeaseError::Allocator(_)));
        self.down = None;
        if let Err(LeaseError::Store(error)) = outcome {
            self.metrics.store_errors.inc();
            self.down = Some((Instant::now(), Arc::clone(error)));
        }
    }

    /// Leases a block for every pool that runs low.
    async fn prefetch(&mut self) {
        let Ok(needs) = self.allocator.run(State::needs).await else { return };
        for need in needs {
            if let Err(error) = self.acquire(&Want::Any(need), 1).await {
                tracing::debug!(error = %chain(&error), "no block leased ahead of need");
            }
        }
    }

    async fn keep_house(&mut self) {
        if self.is_unsure() {
            self.reconcile().await;
        }
        let Ok(idle) = self.allocator.run(State::take_idle).await else { return };
        for (id, token) in idle {
            let outcome = self.leaser.release(&id, token).await;
            self.note(&outcome);
            match outcome {
                Ok(released) => {
                    self.metrics.released.inc_by(u64::from(released));
                    tracing::info!(pool = %id.pool, block = %id.unit, "released an idle block");
                }
                Err(error) => tracing::warn!(
                    pool = %id.pool, block = %id.unit, error = %chain(&error),
                    "an idle block could not be released and is kept"
                ),
            }
        }
        self.give_back_all().await;
        self.prefetch().await;
    }
}

/// Requests that wait for the keeper.
pub struct Inbox(mpsc::Receiver<Message>);
