//! Addresses: who holds which, as the nodes' mirrors say.

mod evict;

pub use evict::evict;

use crate::blocks::{Filter, Leased, Source, mirror};
use crate::error::Error;
use crate::paging::{PageRequest, Place, READ};
use crate::pools::{self, Stored};
use common::clock;
use common::ipam::{Family, NamespacePool, Unit};
use common::name::NodeName;
use common::pool_id::{AnyPool, PoolId};
use common::store::leases::addresses::Kept;
use common::store::record::{self, Allocation, Lease};
use common::store::{Entry, Store, keys, list_all};
use common::wire::admin::{AddressDetail, AddressState, AddressView, List, PodName};
use common::wire::node::Attachment;
use std::net::IpAddr;

/// How many blocks are read for one page at most: where few addresses are held, pages are short.
const BLOCKS: usize = 2_048;

/// A page of the addresses that are held.
pub async fn list(
    store: &dyn Store,
    filter: &Filter,
    page: &PageRequest,
) -> Result<List<AddressView>, Error> {
    let source = Source::of(store, filter).await?;
    let all = source.range();
    let after = page.after.as_deref().map(|token| Place::parse(token, &all)).transpose()?;
    let mut range = after.as_ref().map_or_else(|| all.clone(), |after| after.rest(&all));
    let mut skip = after.and_then(|after| Some((after.key, after.offset?)));
    let mut items = Items { list: Vec::new(), limit: page.limit, last: None };
    for _ in 0..BLOCKS / READ {
        let found = source.read(store, &range, READ).await?;
        for leased in &found.items {
            let skip = skip.take().filter(|(key, _)| *key == leased.key).map(|(_, offset)| offset);
            if !items.add(leased, skip) {
                return Ok(List { items: items.list, next: items.last.map(|place| place.token()) });
            }
        }
        match found.more_after {
            Some(last) => range = range.after(&last),
            None => return Ok(List { items: items.list, next: None }),
        }
    }
    // `range` starts right behind a key.
    let next = range.from.strip_suffix('\0').map(|key| Place::after(key).token());
    Ok(List { items: items.list, next })
}

/// The addresses of a page.
struct Items {
    list: Vec<AddressView>,
    limit: usize,
    /// The place of the last one.
    last: Option<Place>,
}

impl Items {
    /// Adds the addresses held behind an offset; false if the page is full and there are more.
    fn add(&mut self, leased: &Leased, skip: Option<u32>) -> bool {
        let family = Family::of(leased.net.addr());
        let unit = Unit::containing(leased.net.addr(), family.bits() - leased.net.prefix_len());
        for allocation in leased.mirror.held.iter().filter(|allocation| Some(allocation.offset) > skip) {
            if self.list.len() >= self.limit {
                return false;
            }
            let Some(address) = unit.address(allocation.offset) else { continue };
            let attachment = attachment(address, &leased.pool, allocation);
            self.list.push(AddressView { node: leased.node.clone(), block: leased.net, attachment });
            self.last = Some(Place { key: leased.key.clone(), offset: Some(allocation.offset) });
        }
        true
    }
}

fn attachment(address: IpAddr, pool: &PoolId, allocation: &Allocation) -> Attachment {
    Attachment {
        address,
        pool: pool.clone(),
        pod_namespace: allocation.namespace.clone(),
        pod_name: allocation.pod.clone(),
        container_id: allocation.container.clone(),
        interface: allocation.interface.clone(),
        network: allocation.network.clone(),
        since: allocation.since,
    }
}

/// An address, and the records that its state was read from.
struct Located {
    detail: AddressDetail,
    unit: Unit,
    lease: Option<Entry>,
    held: Option<Allocation>,
    kept: Option<Kept>,
}

/// Where an address belongs, and who holds it.
pub async fn show(store: &dyn Store, address: IpAddr) -> Result<AddressDetail, Error> {
    Ok(locate(store, address).await?.detail)
}

async fn locate(store: &dyn Store, address: IpAddr) -> Result<Located, Error> {
    let pools = pools::all(store).await?;
    let contains = |stored: &Stored| stored.pool.subnets.iter().any(|subnet| subnet.contains(&address));
    let Some(Stored { name, pool, .. }) = pools.into_iter().find(contains) else {
        return locate_in_namespace(store, address).await;
    };
    let family = Family::of(address);
    let unit = Unit::containing(address, pool.block_bits(family));
    let lease = store.get(&keys::lease(&name, unit)).await?;
    let node = lease.as_ref().map(|entry| record::decode::<Lease>(&entry.key, &entry.value)).transpose()?;
    let node: Option<NodeName> = node.and_then(|lease| lease.node.parse().ok());
    let held = match &node {
        Some(node) => holder(store, node, &name, unit, address).await?,
        None => None,
    };
    let space = pool.space(family).map_err(|source| Error::Space { pool: name.clone(), source })?;
    let unusable = |offset: u32| {
        pool.unusable(unit, &space).iter().any(|(first, last)| (*first..=*last).contains(&offset))
    };
    let state = match (&held, &node) {
        (Some(_), _) => AddressState::Held,
        _ if unit.offset_of(address).is_none_or(unusable) => AddressState::Excluded,
        (None, Some(_)) => AddressState::Free,
        (None, None) => AddressState::Unleased,
    };
    let name = PoolId::from(name);
    let attachment = held.as_ref().map(|allocation| attachment(address, &name, allocation));
    let detail =
        AddressDetail { address, pool: name, state, block: unit.net(), node, kept_for: None, attachment };
    Ok(Located { detail, unit, lease, held, kept: None })
}

/// The same of an address of a namespace's pool.
async fn locate_in_namespace(store: &dyn Store, address: IpAddr) -> Result<Located, Error> {
    let pools = list_all(store, &keys::namespace_pools()).await?.items;
    let contains = |entry: &&Entry| {
        record::decode::<NamespacePool>(&entry.key, &entry.value)
            .is_ok_and(|pool| pool.span.range().contains(address))
    };
    let pool = pools.iter().find(contains).and_then(|entry| keys::parse_namespace_pool(&entry.key));
    let pool = PoolId::Namespace(pool.ok_or(Error::AddressOutside(address))?);
    let unit = Unit::containing(address, 0);
    let entry = store.get(&keys::lease(&pool, unit)).await?;
    let lease = entry.as_ref().map(|entry| record::decode::<Lease>(&entry.key, &entry.value)).transpose()?;
    let node: Option<NodeName> = lease.as_ref().and_then(|lease| lease.node.parse().ok());
    let held = match &node {
        Some(node) => holder(store, node, &pool, unit, address).await?,
        None => None,
    };
    let state = match (&held, &node, &lease) {
        (Some(_), ..) => AddressState::Held,
        (None, Some(_), _) => AddressState::Free,
        (None, None, Some(_)) => AddressState::Kept,
        (None, None, None) => AddressState::Unleased,
    };
    let kept = match &lease {
        Some(lease) => kept(store, &pool, unit, lease).await?,
        None => None,
    };
    let pod = lease.and_then(|lease| lease.pod).filter(|_| kept.is_some());
    let kept_for = pod.map(|pod| PodName { namespace: pod.namespace, name: pod.name });
    let attachment = held.as_ref().map(|allocation| attachment(address, &pool, allocation));
    let detail = AddressDetail { address, pool, state, block: unit.net(), node, kept_for, attachment };
    Ok(Located { detail, unit, lease: entry, held, kept })
}

/// By what an address is kept for its pod, given its lease.
pub(crate) async fn kept(
    store: &dyn Store,
    pool: &PoolId,
    unit: Unit,
    lease: &Lease,
) -> Result<Option<Kept>, Error> {
    let Some(key) = Kept::key(lease, unit.family()) else { return Ok(None) };
    Ok(Kept::of(pool, unit, lease, store.get(&key).await?, clock::now_millis())?)
}

async fn holder(
    store: &dyn Store,
    node: &NodeName,
    pool: &impl AnyPool,
    unit: Unit,
    address: IpAddr,
) -> Result<Option<Allocation>, Error> {
    let key = keys::block(node, pool, unit);
    let Some(entry) = store.get(&key).await? else { return Ok(None) };
    let offset = unit.offset_of(address);
    let mirror = mirror(&key, &entry.value).unwrap_or_default();
    Ok(mirror.held.into_iter().find(|allocation| Some(allocation.offset) == offset))
}
