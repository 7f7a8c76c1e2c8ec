//! What operators see of the pools: lists that count leases, and maps that read them.

use super::map::map;
use super::view::{Known, Leased};
use super::{IpPoolError, IpPools, leases_of, namespace_pool, parent_of, service_pool};
use crate::paging::{PageRequest, Place, read_all, start};
use common::ipam::{NamespacePool, ServicePool};
use common::name::{NodeName, PodText};
use common::pool_id::{PoolId, Scoped};
use common::store::record::BlockMirror;
use common::store::{Entry, KeyRange, Store, keys, list_all, record};
use common::wire::admin::List;
use common::wire::namespaces::{
    NamespacePoolDetail, NamespacePoolSummary, PartState, ServicePoolDetail, ServicePoolSummary,
};
use std::collections::BTreeSet;
use std::net::IpAddr;

impl IpPools {
    /// A page of the namespaces' pools, of all namespaces or one, by namespace and name.
    pub async fn list_namespace_pools(
        &self,
        namespace: Option<&PodText>,
        page: &PageRequest,
    ) -> Result<List<NamespacePoolSummary>, IpPoolError> {
        let store = self.store.as_ref();
        let range = namespace.map_or_else(keys::namespace_pools, keys::pools_of_namespace);
        let (entries, next) = entries(store, &range, page).await?;
        let pools = entries.iter().filter_map(|entry| Some((keys::parse_namespace_pool(&entry.key)?, entry)));
        let items = read_all(pools.map(async |(id, entry)| {
            summary_of_namespace(store, &id, &record::decode(&entry.key, &entry.value)?).await
        }));
        Ok(List { items: items.await?, next })
    }

    /// A page of the services' pools, of all namespaces or one, by namespace and name.
    pub async fn list_service_pools(
        &self,
        namespace: Option<&PodText>,
        page: &PageRequest,
    ) -> Result<List<ServicePoolSummary>, IpPoolError> {
        let store = self.store.as_ref();
        let range = namespace.map_or_else(keys::all_service_pools, keys::service_pools);
        let (entries, next) = entries(store, &range, page).await?;
        let pools = entries.iter().filter_map(|entry| Some((keys::parse_service_pool(&entry.key)?, entry)));
        let items = read_all(pools.map(async |(id, entry)| {
            summary_of_service(store, &id, &record::decode(&entry.key, &entry.value)?).await
        }));
        Ok(List { items: items.await?, next })
    }

    /// A namespace's pool, address by address.
    pub async fn map_namespace_pool(&self, id: &Scoped) -> Result<NamespacePoolDetail, IpPoolError> {
        let store = self.store.as_ref();
        let pool = namespace_pool(store, id).await?.record;
        let owner = PoolId::Namespace(id.clone());
        let known = Known::read(store, &id.namespace, keys::leases(&owner)).await?;
        let leased = known.of(&owner);
        let foreign = foreign(store, &owner, leased).await?;
        let state = |leased: &Leased| state(leased, &known, &foreign);
        let map = map(&pool.span, &pool.services, leased.iter(), state);
        Ok(NamespacePoolDetail { pool: namespace_summary(id, &pool, leased.len() as u64), map })
    }

    /// A service's pool, address by address.
    pub async fn map_service_pool(&self, id: &Scoped) -> Result<ServicePoolDetail, IpPoolError> {
        let store = self.store.as_ref();
        let pool = service_pool(store, id).await?.record;
        let owner = parent_of(id, &pool);
        let known = Known::read(store, &id.namespace, leases_of(&owner, &pool.span)).await?;
        let leased = known.of(&owner);
        let foreign = foreign(store, &owner, leased).await?;
        let state = |leased: &Leased| state(leased, &known, &foreign);
        let map = map(&pool.span, &[], leased.iter(), state);
        Ok(ServicePoolDetail { pool: service_summary(id, &pool, leased.len() as u64), map })
    }
}

/// The addresses that somebody else on their network uses, as the mirrors of the nodes that lease them say.
async fn foreign(
    store: &dyn Store,
    pool: &PoolId,
    leased: &[Leased],
) -> Result<BTreeSet<IpAddr>, IpPoolError> {
    let nodes: BTreeSet<NodeName> =
        leased.iter().filter_map(|leased| leased.lease.node.parse().ok()).collect();
    let indexes = read_all(nodes.iter().map(async |node| {
        Ok::<_, IpPoolError>(list_all(store, &keys::blocks_of_pool(node, pool)).await?.items)
    }));
    let mut foreign = BTreeSet::new();
    for entry in indexes.await?.into_iter().flatten() {
        let Some((_, _, address)) = keys::parse_block(&entry.key) else { continue };
        let mirror: BlockMirror = record::decode(&entry.key, &entry.value)?;
        if mirror.held.iter().any(|allocation| allocation.conflict) {
            foreign.insert(address);
        }
    }
    Ok(foreign)
}

fn state(leased: &Leased, known: &Known, foreign: &BTreeSet<IpAddr>) -> PartState {
    if leased.lease.node.is_empty() {
        PartState::Kept
    } else if foreign.contains(&leased.address) {
        PartState::Quarantined
    } else if known.is_kept(leased) {
        PartState::Fixed
    } else {
        PartState::Used
    }
}

/// The records of a page, and the token of the next one.
async fn entries(
    store: &dyn Store,
    range: &KeyRange,
    page: &PageRequest,
) -> Result<(Vec<Entry>, Option<String>), IpPoolError> {
    let range = start(range, page.after.as_deref()).map_err(|_| IpPoolError::BadToken)?;
    let found = store.list(&range, page.limit).await?;
    let next = found.last_of_more().map(|last| Place::after(&last.key).token());
    Ok((found.items, next))
}

/// A namespace's pool, with its leases counted.
pub(super) async fn summary_of_namespace(
    store: &dyn Store,
    id: &Scoped,
    pool: &NamespacePool,
) -> Result<NamespacePoolSummary, IpPoolError> {
    let leased = store.count(&keys::leases(&PoolId::Namespace(id.clone()))).await?;
    Ok(namespace_summary(id, pool, leased))
}

/// A service's pool, with its leases counted.
pub(super) async fn summary_of_service(
    store: &dyn Store,
    id: &Scoped,
    pool: &ServicePool,
) -> Result<ServicePoolSummary, IpPoolError> {
    let leased = store.count(&leases_of(&parent_of(id, pool), &pool.span)).await?;
    Ok(service_summary(id, pool, leased))
}

fn namespace_summary(id: &Scoped, pool: &NamespacePool, leased: u64) -> NamespacePoolSummary {
    NamespacePoolSummary {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        subnet: pool.subnet,
        start: pool.span.start,
        end: pool.span.end,
        gateway: pool.gateway,
        vlan: pool.vlan,
        disabled: pool.disabled,
        total: capped(pool.span.total()),
        leased,
        reserved: capped(pool.reserved()),
        services: pool.services.iter().map(|service| service.name.clone()).collect(),
    }
}

fn service_summary(id: &Scoped, pool: &ServicePool, leased: u64) -> ServicePoolSummary {
    ServicePoolSummary {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        pool: pool.pool.clone(),
        service: pool.service.clone(),
        start: pool.span.start,
        end: pool.span.end,
        disabled: pool.disabled,
        total: capped(pool.span.total()),
        leased,
    }
}

fn capped(count: u128) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
