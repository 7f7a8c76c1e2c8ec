//! Which units have to be looked at: all of them at first, then those of which the store tells that their lease or their
//! mirror was written.
//!
//! Without a pool that a block backs, only the pools are watched. With some, their leases, and their blocks on the nodes
//! that these name: a node that leases the first block of such a pool begins the round anew. A unit that could not be
//! looked at stays among those that have to be.

use super::{Backed, follow, node_of};
use crate::melange::{Melange, MelangeError};
use crate::paging::read_all;
use crate::turn::Turn;
use common::error::chain;
use common::ipam::{Pool, Unit};
use common::name::{NodeName, PoolName};
use common::pool_id::PoolId;
use common::store::keys::melange as melange_keys;
use common::store::record;
use common::store::{Entry, Event, KeyRange, Pages, Revision, Store, StoreError, Watch, keys, list_all};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Between two rounds: nodes that come at the same time are met together.
const GATHER: Duration = Duration::from_millis(200);
/// Before something that failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How many keys are read at once.
const READ: usize = 1_000;

impl Melange {
    /// Makes the addresses of blocks that back pools follow what pods hold, until this is dropped.
    pub async fn keep_following_pods(&self) {
        loop {
            let pause = match round(self.store.as_ref()).await {
                Ok(()) => GATHER,
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "what pods have of tenants' blocks is not followed"
                    );
                    PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}

/// Follows until the pools or nodes are others, or until it is another controller's turn.
async fn round(store: &dyn Store) -> Result<(), MelangeError> {
    let page = list_all(store, &keys::pools()).await?;
    let mut pools = BTreeMap::new();
    for entry in &page.items {
        pools.extend(parse(entry)?.map(|backed| (backed.name.clone(), backed)));
    }
    let mut follower = Follower { store, pools, nodes: BTreeSet::new(), units: BTreeSet::new() };
    if follower.pools.is_empty() {
        let watch = store.watch(&[keys::pools()], page.revision + 1).await?;
        return follower.until_others(watch).await;
    }
    let turn = KeyRange::key(melange_keys::PODS);
    let Some(held) = Turn::take(store, melange_keys::PODS).await? else {
        let watch = store.watch(&[keys::pools(), turn], page.revision + 1).await?;
        return follower.until_others(watch).await;
    };
    let outcome = tokio::select! {
        outcome = follower.run(page.revision) => outcome,
        error = held.renewed() => return Err(error.into()),
    };
    held.release().await;
    outcome
}

/// The pool of a record, if a block backs it.
fn parse(entry: &Entry) -> Result<Option<Backed>, MelangeError> {
    let Some(name) = keys::parse_pool(&entry.key) else { return Ok(None) };
    let pool: Pool = record::decode(&entry.key, &entry.value)?;
    Ok(Backed::of(name, pool))
}

struct Follower<'a> {
    store: &'a dyn Store,
    pools: BTreeMap<PoolName, Backed>,
    /// Those that lease blocks of these pools.
    nodes: BTreeSet<(PoolName, NodeName)>,
    /// What has to be looked at.
    units: BTreeSet<(PoolName, Unit)>,
}

/// Whether everything has to be read anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Anew,
    Units,
}

impl Follower<'_> {
    /// Waits until the pools that blocks back are others, or until the turn is free.
    async fn until_others(&mut self, mut watch: Watch) -> Result<(), MelangeError> {
        while let Some(event) = watch.recv().await {
            if self.hear(&event?)? == Told::Anew {
                return Ok(());
            }
        }
        Err(ended())
    }

    /// Looks at all units, and from then on at those of which the store tells.
    async fn run(&mut self, read_at: Revision) -> Result<(), MelangeError> {
        let since = self.read(read_at).await?;
        let mut watch = self.store.watch(&self.ranges(), since + 1).await?;
        loop {
            self.look().await?;
            let event = if self.units.is_empty() {
                watch.recv().await
            } else {
                // Some could not be looked at.
                tokio::time::timeout(PAUSE, watch.recv()).await.unwrap_or_else(|_| watch.try_recv().ok())
            };
            let mut next = event;
            while let Some(event) = next {
                if self.hear(&event?)? == Told::Anew {
                    return Ok(());
                }
                next = watch.try_recv().ok();
            }
            if watch.is_closed() {
                return Err(ended());
            }
        }
    }

    /// Finds the nodes, and all units that are leased or have addresses. Answers the revision since which changes count.
    async fn read(&mut self, read_at: Revision) -> Result<Revision, MelangeError> {
        let mut since = read_at;
        for backed in self.pools.values() {
            let leases = list_all(self.store, &keys::leases(&backed.name)).await?;
            since = since.min(leases.revision);
            for entry in &leases.items {
                self.units.extend(unit_of_lease(backed, &entry.key));
                self.nodes.extend(node_of(entry)?.map(|node| (backed.name.clone(), node)));
            }
            let mut pages = Pages::of(self.store, melange_keys::addresses(backed.block), READ);
            while let Some(page) = pages.next_keys().await? {
                let addresses = page.items.iter().filter_map(|key| melange_keys::parse_address(key));
                self.units.extend(addresses.map(|address| (backed.name.clone(), backed.unit(address))));
            }
        }
        Ok(since)
    }

    fn ranges(&self) -> Vec<KeyRange> {
        let leases = self.pools.keys().map(keys::leases);
        let blocks = self.nodes.iter().map(|(pool, node)| keys::blocks_of_pool(node, pool));
        [keys::pools()].into_iter().chain(leases).chain(blocks).collect()
    }

    /// Looks at the units that have to be.
    async fn look(&mut self) -> Result<(), MelangeError> {
        let (store, pools) = (self.store, &self.pools);
        let units = std::mem::take(&mut self.units);
        let looks = units.into_iter().filter_map(|(name, unit)| {
            let backed = pools.get(&name)?;
            Some(async move { Ok::<_, MelangeError>((name, unit, follow(store, backed, unit).await)) })
        });
        let mut failed = None;
        for (name, unit, outcome) in read_all(looks).await? {
            if let Err(error) = outcome {
                self.units.insert((name, unit));
                failed = Some(error);
            }
        }
        if let Some(error) = failed {
            let (error, units) = (chain(&error), self.units.len());
            tracing::warn!(
                error,
                units,
                "what pods have of tenants' blocks can't be followed; it is tried again"
            );
        }
        Ok(())
    }

    /// Notes what an event is about.
    fn hear(&mut self, event: &Event) -> Result<Told, MelangeError> {
        let key = event.key();
        if key == melange_keys::PODS {
            return Ok(if matches!(event, Event::Delete(..)) { Told::Anew } else { Told::Units });
        }
        if let Some(name) = keys::parse_pool(key) {
            let now = match event {
                Event::Put(entry) => parse(entry)?,
                Event::Delete(..) => None,
            };
            let is_same = self.pools.get(&name).map(|backed| backed.block) == now.map(|backed| backed.block);
            return Ok(if is_same { Told::Units } else { Told::Anew });
        }
        if let Some((_, PoolId::Coil(name), first)) = keys::parse_block(key) {
            self.units.extend(self.pools.get(&name).map(|backed| (name, backed.unit(first))));
            return Ok(Told::Units);
        }
        let Some((PoolId::Coil(name), _)) = keys::parse_lease(key, |_| 0) else { return Ok(Told::Units) };
        let Some(backed) = self.pools.get(&name) else { return Ok(Told::Units) };
        self.units.extend(unit_of_lease(backed, key));
        if let Event::Put(entry) = event
            && let Some(node) = node_of(entry)?
            && !self.nodes.contains(&(name, node))
        {
            return Ok(Told::Anew);
        }
        Ok(Told::Units)
    }
}

fn unit_of_lease(backed: &Backed, key: &str) -> Option<(PoolName, Unit)> {
    let (_, unit) = keys::parse_lease(key, |family| backed.pool.block_bits(family))?;
    Some((backed.name.clone(), unit))
}

fn ended() -> MelangeError {
    StoreError::Unavailable { reason: "the watch has ended".to_owned(), source: None }.into()
}
