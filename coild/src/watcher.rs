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
use common::store::{Compare, Entry, Event, Op, Revision, Store, StoreError, Txn, Watch, keys, list_all};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

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

/// The pools as they were read, and at which revision of the store.
#[derive(Debug, Clone)]
pub struct PoolsRead {
    pools: BTreeMap<PoolName, Pool>,
    revision: Revision,
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
}

impl Watcher {
    /// Follows for ever. If the pools were read already, and the leases held against the store after that, it goes
    /// on from there.
    pub async fn run(&self, mut start: Option<PoolsRead>) {
        loop {
            match self.follow(start.take()).await {
                Ok(never) => match never {},
                Err(WatchError::Allocator(AllocatorError::Stopped)) => return,
                Err(error) => tracing::debug!(error = %chain(&error), "following the store starts over"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Reads the pools as they are now.
    pub async fn read_pools(&self) -> Result<PoolsRead, WatchError> {
        let page = list_all(self.store.as_ref(), &keys::pools()).await?;
        let pools: BTreeMap<_, _> = page.items.iter().filter_map(parse_pool).collect();
        self.tell(pools.clone()).await?;
        Ok(PoolsRead { pools, revision: page.revision })
    }

    async fn tell(&self, pools: BTreeMap<PoolName, Pool>) -> Result<(), WatchError> {
        Ok(self.allocator.run(move |state, _| state.set_pools(pools)).await?)
    }

    async fn follow(&self, start: Option<PoolsRead>) -> Result<std::convert::Infallible, WatchError> {
        let caught_up = start.is_some();
        let PoolsRead { mut pools, revision } = match start {
            Some(read) => read,
            None => self.read_pools().await?,
        };
        let mut pool_events = self.store.watch(&keys::pools(), revision + 1).await?;
        let orders = list_all(self.store.as_ref(), &keys::evictions(&self.node)).await?;
        for entry in &orders.items {
            self.evict(entry).await?;
        }
        let mut order_events = self.store.watch(&keys::evictions(&self.node), orders.revision + 1).await?;
        let mut block_events = self.store.watch(&keys::blocks(&self.node), revision + 1).await?;
        if !caught_up {
            // What happened to the leases while nobody watched.
            self.leases.reconcile();
        }
        loop {
            // In this order: what was taken away must not be given from.
            tokio::select! {
                biased;
                event = next(&mut block_events) => if let Event::Delete(key, revision) = event? {
                    self.lost(&key, revision).await?;
                },
                event = next(&mut order_events) => if let Event::Put(entry) = event? {
                    self.evict(&entry).await?;
                },
                event = next(&mut pool_events) => {
                    match event? {
                        Event::Put(entry) => pools.extend(parse_pool(&entry)),
                        Event::Delete(key, _) => pools.retain(|name, _| keys::pool(name) != key),
                    }
                    self.tell(pools.clone()).await?;
                    self.leases.protect();
                }
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

async fn next(watch: &mut Watch) -> Result<Event, WatchError> {
    Ok(watch.recv().await.ok_or(WatchError::Ended)??)
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
