//! The way to an address: from the blocks that the node holds if they have one, else from a block that is leased
//! for it, else from those that still rest.

use crate::allocator::{Allocator, AllocatorError};
use crate::lease_keeper::{LeaseError, LeaseRequests, Want};
use crate::state::{AllocateError, Ask, Need, State};
use crate::watcher::Watcher;
use common::ipam::Family;
use common::wire::node::AssignedAddress;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long a request waits for a block to be leased.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for another node to give an address back, before asking again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long, if a resting address could be given instead.
const SHORT_PATIENCE: Duration = Duration::from_millis(500);

/// Why no address was given.
#[derive(Debug, thiserror::Error)]
pub enum AllocationError {
    /// The request can't be met from what the node holds.
    #[error(transparent)]
    Refused(AllocateError),
    /// No block could be leased either.
    #[error("{refused}, and no block could be leased for it")]
    NoBlock {
        /// Why the blocks held did not do.
        refused: AllocateError,
        /// Why none was leased.
        #[source]
        source: LeaseError,
    },
    /// No block was leased in time.
    #[error("{0}, and no block was leased in time")]
    TimedOut(AllocateError),
    /// The pools that the pod names give no address.
    #[error("no address can be given")]
    Chosen(#[source] LeaseError),
    /// No address of the pools that the pod names was leased in time.
    #[error("no address of the pools that the pod names was leased in time")]
    ChosenTimedOut,
    /// The allocator failed.
    #[error(transparent)]
    Allocator(#[from] AllocatorError),
}

/// What an allocation needs besides the allocator.
#[derive(Clone)]
pub struct Sources {
    /// Gives the addresses.
    pub allocator: Allocator,
    /// Leases blocks.
    pub leases: LeaseRequests,
    /// Knows the pools.
    pub watcher: Watcher,
}

impl Sources {
    /// Gives an attachment the addresses that it asks for.
    pub async fn allocate(&self, ask: Ask) -> Result<Vec<AssignedAddress>, AllocationError> {
        if ask.choice.is_some() { self.allocate_chosen(ask).await } else { self.allocate_stocked(ask).await }
    }

    /// From the pools that the pod names. Of these the node holds nothing ahead of need, but what was kept for a pod
    /// and is not given back yet.
    async fn allocate_chosen(&self, ask: Ask) -> Result<Vec<AssignedAddress>, AllocationError> {
        let deadline = Instant::now() + PATIENCE;
        let mut elsewhere = None;
        loop {
            let kept = ask.clone();
            let kept = self.allocator.run(move |state, now| state.give_kept(&kept, now)).await?;
            if let Some(given) = kept.map_err(AllocationError::Refused)? {
                return Ok(given);
            }
            let patience = deadline.saturating_duration_since(Instant::now());
            match timeout(patience, self.leases.addresses(ask.clone())).await {
                Ok(Ok(given)) => return Ok(given),
                Ok(Err(error @ LeaseError::Elsewhere { .. })) if Instant::now() + PAUSE < deadline => {
                    // The pod before was stopped just now, and its node is about to give the address back.
                    elsewhere = Some(error);
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(Err(LeaseError::Refused(refused))) => return Err(AllocationError::Refused(refused)),
                Ok(Err(error)) => return Err(AllocationError::Chosen(error)),
                Err(_) => {
                    return Err(elsewhere.map_or(AllocationError::ChosenTimedOut, AllocationError::Chosen));
                }
            }
        }
    }

    async fn allocate_stocked(&self, ask: Ask) -> Result<Vec<AssignedAddress>, AllocationError> {
        let deadline = Instant::now() + PATIENCE;
        let (mut asked_for_pool, mut full) = (false, BTreeSet::new());
        loop {
            let refused = match self.try_allocate(ask.clone(), false).await? {
                Ok(given) => return Ok(given),
                Err(refused) => refused,
            };
            let (want, resting) = match &refused {
                AllocateError::NothingFree { pool, family, resting, .. } => {
                    (Want::Any(Need { pool: pool.clone(), family: *family }), *resting)
                }
                AllocateError::NotLeased { pool, unit, .. } if ask.adopt => {
                    (Want::Adopted(pool.clone(), *unit), false)
                }
                AllocateError::NotLeased { pool, unit, .. } => (Want::Exactly(pool.clone(), *unit), false),
                AllocateError::NoPool { .. } | AllocateError::NoneListed { unknown: true, .. }
                    if !asked_for_pool =>
                {
                    // It may have been made just now, or while the store was not reachable.
                    asked_for_pool = true;
                    let _ = timeout(SHORT_PATIENCE, self.watcher.read()).await;
                    continue;
                }
                _ => return Err(AllocationError::Refused(refused)),
            };
            let patience = deadline.saturating_duration_since(Instant::now());
            let patience = if resting { patience.min(SHORT_PATIENCE) } else { patience };
            let leased = timeout(patience, self.leases.want(want.clone())).await;
            let another = match (&want, &leased) {
                (_, Ok(Ok(()))) => true,
                (Want::Any(need), Ok(Err(error))) => self.goes_on(&ask, need, error, &mut full).await?,
                _ => false,
            };
            if !another {
                return self.with_what_there_is(ask, leased.ok().and_then(Result::err)).await;
            }
        }
    }

    /// Whether it is worth to choose again though no block of a pool could be leased: another pool of a list is to be
    /// tried, as this one is full for certain. `full` are those that were asked for already.
    async fn goes_on(
        &self,
        ask: &Ask,
        need: &Need,
        failure: &LeaseError,
        full: &mut BTreeSet<Need>,
    ) -> Result<bool, AllocatorError> {
        let (is_full, is_away) =
            (matches!(failure, LeaseError::PoolFull { .. }), matches!(failure, LeaseError::Store(_)));
        let (wanted, ask) = (need.clone(), ask.clone());
        let before = move |state: &mut State, now| {
            let is_full = is_full || is_away && state.still_full(&wanted, now);
            is_full.then(|| state.before_last(&ask, wanted.family))
        };
        let Some(before) = self.allocator.run(before).await? else { return Ok(false) };
        full.insert(need.clone());
        if before.contains(need) {
            return Ok(true);
        }
        // It is the last one. What was passed over because it had been full is asked for now.
        for other in before {
            if full.insert(other.clone())
                && let Ok(Ok(())) = timeout(SHORT_PATIENCE, self.leases.want(Want::Any(other))).await
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// No block could be leased, for this reason if not for lack of time. Another request may have freed or leased
    /// something meanwhile; else a resting address has to do.
    async fn with_what_there_is(
        &self,
        ask: Ask,
        reason: Option<LeaseError>,
    ) -> Result<Vec<AssignedAddress>, AllocationError> {
        let refused = match self.try_allocate(ask.clone(), true).await? {
            Ok(given) => return Ok(given),
            Err(refused) => refused,
        };
        if let Some(LeaseError::PoolFull { family, .. }) = reason
            && let Some(refused) = self.allocator.run(move |state, _| state.exhausted(&ask, family)).await?
        {
            return Err(AllocationError::Refused(refused));
        }
        Err(match reason {
            Some(source) => AllocationError::NoBlock { refused, source },
            None => AllocationError::TimedOut(refused),
        })
    }

    async fn try_allocate(
        &self,
        ask: Ask,
        wake: bool,
    ) -> Result<Result<Vec<AssignedAddress>, AllocateError>, AllocatorError> {
        let (outcome, low) = self
            .allocator
            .run(move |state, now| {
                let outcome = state.allocate(&ask, wake, now);
                let low = outcome
                    .iter()
                    .flatten()
                    .filter_map(|given: &AssignedAddress| {
                        Some((given.pool.coil()?, Family::of(given.address)))
                    })
                    .any(|(pool, family)| state.is_low(pool, family));
                (outcome, low)
            })
            .await?;
        if low {
            self.allocator.signals().low.notify_one();
        }
        Ok(outcome)
    }
}
