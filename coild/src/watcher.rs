//! What others do to this node through the store: pools that change, leases that are taken away, and addresses
//! that an operator orders to be freed.

use crate::allocator::{Allocator, AllocatorError};
use crate::lease_keeper::LeaseRequests;
use crate::mirror::fence;
use crate::state::{BlockId, Standing};
use common::error::chain;
use common::ipam::Pool;
use common::name::{NodeName, PoolName};
use common::store::record::{self, Evict};
use common::store::{Compare, Entry, Event, KeyRange, Op, Revision, Snapshot, Store, StoreError, Txn, keys};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Pause before the store is asked again after it failed.
const PAUSE: Duration = Duration::from_millis(250);

/// Why following the store ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The allocator failed.
    #[error(transparent)]
    Allocator(#[from] AllocatorError),
    /// The store closed the stream.
    #[error("the watch ended")]
    Ended,
}

/// What the store said of the node, all as of one revision or later.
#[derive(Debug, Clone)]
pub struct Known {
    /// The indexes of its leases.
    pub blocks: Vec<Entry>,
    /// All pools that can be read, and at which revision each was written.
    pub pools: BTreeMap<PoolName, (Pool, Revision)>,
    orders: Vec<Entry>,
    registered: bool,
    /// The revision.
    pub revision: Revision,
}

impl Known {
    fn pools(&self) -> BTreeMap<PoolName, Pool> {
        self.pools.iter().map(|(name, (pool, _))| (name.clone(), pool.clone())).collect()
    }
}

/// Follows the store for a node.
#[derive(Clone)]
pub struct Watcher {
    /// The node.
    pub node: NodeName,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Where what changed is told.
    pub allocator: Allocator,
    /// The lease keeper.
    pub leases: LeaseRequests,
    /// Whom to tell that the node's record is gone.
    pub unregistered: Arc<Notify>,
}

impl Watcher {
    /// Follows for ever. If the store was read already, and the leases held against what it said, it goes on from
    /// there.
    pub async fn run(&self, mut start: Option<Known>) {
        loop {
            match self.follow(start.take()).await {
                Ok(never) => match never {},
                Err(WatchError::Allocator(AllocatorError::Stopped)) => return,
                Err(error) => tracing::debug!(error = %chain(&error), "following the store starts over"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What is followed: pools, and what is the node's own.
    fn ranges(&self) -> [KeyRange; 4] {
        let node = KeyRange::key(keys::node(&self.node));
        [keys::blocks(&self.node), keys::evictions(&self.node), keys::pools(), node]
    }

    /// Reads what the store says of the node, and tells the pools.
    pub async fn read(&self) -> Result<Known, WatchError> {
        let Snapshot { ranges, revision } = self.store.snapshot(&self.ranges()).await?;
        let mut ranges = ranges.into_iter();
        let mut next = || ranges.next().unwrap_or_default();
        let (blocks, orders, pools) = (next(), next(), next());
        let parse = |entry: &Entry| parse_pool(entry).map(|(name, pool)| (name, (pool, entry.mod_revision)));
        let pools = pools.iter().filter_map(parse).collect();
        let known = Known { blocks, orders, pools, registered: !next().is_empty(), revision };
        self.tell(known.pools()).await?;
        Ok(known)
    }

    async fn tell(&self, pools: BTreeMap<PoolName, Pool>) -> Result<(), WatchError> {
        Ok(self.allocator.run(move |state, _| state.set_pools(pools)).await?)
    }

    async fn follow(&self, start: Option<Known>) -> Result<std::convert::Infallible, WatchError> {
        let caught_up = start.is_some();
        let known = match start {
            Some(known) => known,
            None => self.read().await?,
        };
        let mut pools = known.pools();
        let Known { orders, registered, revision, .. } = known;
        let mut events = self.store.watch(&self.ranges(), revision + 1).await?;
        if !registered {
            self.unregistered.notify_one();
        }
        for order in &orders {
            self.evict(order).await?;
        }
        if !caught_up {
            // What happened to the leases while nobody watched.
            self.leases.reconcile();
        }
        let (node, is_pool) = (keys::node(&self.node), keys::pools());
        loop {
            let event = events.recv().await.ok_or(WatchError::Ended)??;
            match event {
                event if is_pool.contains(event.key()) => {
                    match event {
                        Event::Put(entry) => pools.extend(parse_pool(&entry)),
                        Event::Delete(key, _) => pools.retain(|name, _| keys::pool(name) != key),
                    }
                    self.tell(pools.clone()).await?;
                    self.leases.protect();
                }
                Event::Delete(key, _) if key == node => self.unregistered.notify_one(),
                Event::Delete(key, revision) => self.lost(&key, revision).await?,
                Event::Put(entry) => self.evict(&entry).await?,
            }
        }
    }

    /// A lease of this node is gone. The node's own releases come by here too: it does not hold those blocks
    /// any more.
    async fn lost(&self, key: &str, revision: Revision) -> Result<(), WatchError> {
        let Some((_, pool, first)) = keys::parse_block(key) else { return Ok(()) };
        let known: Vec<(BlockId, (Revision, Standing))> =
            self.allocator.run(|state, _| state.leases().into_iter().collect()).await?;
        for (id, (token, _)) in known {
            if id.pool == pool && id.unit.first() == first && token < revision {
                fence(&self.allocator, &id, token).await?;
                self.leases.protect();
            }
        }
        Ok(())
    }

    /// Frees what an operator ordered, if it is still that allocation, and removes the order.
    async fn evict(&self, entry: &Entry) -> Result<(), WatchError> {
        let Some((_, address)) = keys::parse_evict(&entry.key) else { return Ok(()) };
        match record::decode::<Evict>(&entry.key, &entry.value) {
            Ok(Evict { sequence, container }) => {
                let evict =
                    self.allocator.run(move |state, now| state.evict(address, sequence, &container, now));
                let freed = evict.await?;
                tracing::warn!(%address, freed, "an operator ordered this address to be freed");
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "an order is not understood and is dropped");
            }
        }
        let done = Txn::new()
            .when(Compare::ModRevision(entry.key.clone(), entry.mod_revision))
            .then(Op::Delete(entry.key.clone()));
        match self.store.txn(done).await {
            Ok(_) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn parse_pool(entry: &Entry) -> Option<(PoolName, Pool)> {
    let name = keys::parse_pool(&entry.key)?;
    match record::decode(&entry.key, &entry.value) {
        Ok(pool) => Some((name, pool)),
        Err(error) => {
            tracing::error!(error = %chain(&error), "a pool is left alone");
            None
        }
    }
}
