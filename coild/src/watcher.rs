//! What others do to this node through the store: pools that change, and what namespaces choose; leases that are taken
//! away, and addresses that an operator orders to be freed.

use crate::allocator::{Allocator, AllocatorError};
use crate::lease_keeper::LeaseRequests;
use crate::mirror::fence;
use crate::state::{BlockId, Standing, State};
use common::error::chain;
use common::ipam::Pool;
use common::name::{NodeName, PodText, PoolName};
use common::store::record::{self, Evict, NamespaceChoice};
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
    choices: BTreeMap<PodText, NamespaceChoice>,
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

    /// What is followed: pools and what namespaces choose, and what is the node's own.
    fn ranges(&self) -> [KeyRange; 5] {
        let node = KeyRange::key(keys::node(&self.node));
        let own = (keys::blocks(&self.node), keys::evictions(&self.node));
        [own.0, own.1, keys::pools(), keys::namespace_choices(), node]
    }

    /// Reads what the store says of the node, and tells the pools and what the namespaces choose.
    pub async fn read(&self) -> Result<Known, WatchError> {
        let Snapshot { ranges, revision } = self.store.snapshot(&self.ranges()).await?;
        let mut ranges = ranges.into_iter();
        let mut next = || ranges.next().unwrap_or_default();
        let (blocks, orders, pools, choices) = (next(), next(), next(), next());
        let parse = |entry: &Entry| parse_pool(entry).map(|(name, pool)| (name, (pool, entry.mod_revision)));
        let pools = pools.iter().filter_map(parse).collect();
        let choices = choices.iter().filter_map(parse_choice).collect();
        let known = Known { blocks, pools, choices, orders, registered: !next().is_empty(), revision };
        let (pools, choices) = (known.pools(), known.choices.clone());
        // In one step: whoever knows a pool knows who chooses another one.
        let tell = move |state: &mut State, _| {
            state.set_choices(choices);
            state.set_pools(pools);
        };
        self.allocator.run(tell).await?;
        Ok(known)
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
        let (node, is_pool, is_choice) = (keys::node(&self.node), keys::pools(), keys::namespace_choices());
        loop {
            let event = events.recv().await.ok_or(WatchError::Ended)??;
            match event {
                event if is_pool.contains(event.key()) => {
                    match event {
                        Event::Put(entry) => pools.extend(parse_pool(&entry)),
                        Event::Delete(key, _) => pools.retain(|name, _| keys::pool(name) != key),
                    }
                    let pools = pools.clone();
                    self.allocator.run(move |state, _| state.set_pools(pools)).await?;
                    self.leases.protect();
                }
                event if is_choice.contains(event.key()) => self.choose(&event).await?,
                Event::Delete(key, _) if key == node => self.unregistered.notify_one(),
                Event::Delete(key, revision) => self.lost(&key, revision).await?,
                Event::Put(entry) => self.evict(&entry).await?,
            }
        }
    }

    /// A namespace chooses other pools, or none any more.
    async fn choose(&self, event: &Event) -> Result<(), WatchError> {
        let changed = match event {
            Event::Put(entry) => parse_choice(entry).map(|(namespace, choice)| (namespace, Some(choice))),
            Event::Delete(key, _) => keys::parse_namespace_choice(key).map(|namespace| (namespace, None)),
        };
        if let Some((namespace, choice)) = changed {
            self.allocator.run(move |state, _| state.set_choice(namespace, choice)).await?;
        }
        Ok(())
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

/// A record that can't be read chooses nothing, and least of all the pool that is there for everybody.
fn parse_choice(entry: &Entry) -> Option<(PodText, NamespaceChoice)> {
    let namespace = keys::parse_namespace_choice(&entry.key)?;
    let choice = record::decode(&entry.key, &entry.value).unwrap_or_else(|error| {
        tracing::error!(error = %chain(&error), %namespace, "what a namespace chooses is not understood");
        NamespaceChoice::Wrong(chain(&error))
    });
    Some((namespace, choice))
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
