//! All that the store says of leases, read at once.

use crate::error::Error;
use common::ipam::{NamespacePool, Pool, ServicePool};
use common::name::{NodeName, PoolName};
use common::pool_id::{PoolId, Scoped};
use common::store::record::{self, BlockMirror, Evict, Fixed, Lease};
use common::store::{Entry, KeyRange, Store, keys, list_all};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A record, and how it was read.
pub(super) struct Read<T> {
    pub(super) entry: Entry,
    pub(super) record: T,
}

/// What there is, range after range: something may have changed in between.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) pools: BTreeMap<PoolName, Read<Pool>>,
    pub(super) namespace_pools: BTreeMap<Scoped, Read<NamespacePool>>,
    pub(super) service_pools: BTreeMap<Scoped, Read<ServicePool>>,
    /// By pool and first address.
    pub(super) leases: BTreeMap<(PoolId, IpAddr), Read<Lease>>,
    /// By node, pool and first address.
    pub(super) blocks: BTreeMap<(NodeName, PoolId, IpAddr), Read<BlockMirror>>,
    /// By pod and key.
    pub(super) fixed: BTreeMap<(Scoped, String), Read<Fixed>>,
    pub(super) orders: BTreeMap<(NodeName, IpAddr), Read<Evict>>,
    /// Nodes that are registered.
    pub(super) nodes: BTreeSet<NodeName>,
    /// Nodes that are alive.
    pub(super) alive: BTreeSet<NodeName>,
    /// Keys or values that can't be read.
    pub(super) unreadable: Vec<Entry>,
}

impl Scan {
    pub(super) async fn read(store: &dyn Store) -> Result<Self, Error> {
        let mut scan = Self::default();
        let leases = list_all(store, &keys::all_leases()).await?.items;
        let mut unreadable = Vec::new();
        for entry in leases {
            let key = keys::parse_lease(&entry.key, |_| 0).map(|(pool, unit)| (pool, unit.first()));
            put(&mut scan.leases, key, entry, &mut unreadable);
        }
        read(store, &keys::all_blocks(), keys::parse_block, &mut scan.blocks, &mut unreadable).await?;
        let fixed = |key: &str| Some((keys::parse_fixed(key)?, key.to_owned()));
        read(store, &keys::all_fixed(), fixed, &mut scan.fixed, &mut unreadable).await?;
        read(store, &keys::all_evictions(), keys::parse_evict, &mut scan.orders, &mut unreadable).await?;
        let parse = keys::parse_service_pool;
        read(store, &keys::all_service_pools(), parse, &mut scan.service_pools, &mut unreadable).await?;
        let parse = keys::parse_namespace_pool;
        read(store, &keys::namespace_pools(), parse, &mut scan.namespace_pools, &mut unreadable).await?;
        read(store, &keys::pools(), keys::parse_pool, &mut scan.pools, &mut unreadable).await?;
        let nodes = list_all(store, &keys::nodes()).await?.items;
        scan.nodes = nodes.iter().filter_map(|entry| keys::parse_node(&entry.key)).collect();
        let alive = list_all(store, &keys::all_alive()).await?.items;
        scan.alive =
            alive.iter().filter_map(|entry| entry.key.strip_prefix("alive/")?.parse().ok()).collect();
        scan.unreadable = unreadable;
        Ok(scan)
    }

    /// Whether nobody is left who could use what a node holds: its record goes only when it is removed.
    pub(super) fn is_gone(&self, node: &NodeName) -> bool {
        !self.nodes.contains(node) && !self.alive.contains(node)
    }
}

async fn read<K: Ord, T: DeserializeOwned>(
    store: &dyn Store,
    range: &KeyRange,
    parse: impl Fn(&str) -> Option<K>,
    into: &mut BTreeMap<K, Read<T>>,
    unreadable: &mut Vec<Entry>,
) -> Result<(), Error> {
    for entry in list_all(store, range).await?.items {
        put(into, parse(&entry.key), entry, unreadable);
    }
    Ok(())
}

fn put<K: Ord, T: DeserializeOwned>(
    into: &mut BTreeMap<K, Read<T>>,
    key: Option<K>,
    entry: Entry,
    unreadable: &mut Vec<Entry>,
) {
    match key.zip(record::decode(&entry.key, &entry.value).ok()) {
        Some((key, record)) => {
            into.insert(key, Read { entry, record });
        }
        None => unreadable.push(entry),
    }
}
