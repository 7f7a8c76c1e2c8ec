//! What is shown of a pool: its record, and what its leases tell. Nothing of it is kept anywhere.

use super::IpPoolError;
use crate::time::rfc3339;
use common::ipam::{NamespacePool, ServicePool, Span};
use common::name::PodText;
use common::pool_id::{PoolId, Scoped};
use common::store::record::{self, Lease};
use common::store::{KeyRange, Revision, Store, keys, list_all};
use common::wire::ip_pools::{NamespacePoolView, PodView, ServicePoolView};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// A lease of one address.
pub(super) struct Leased {
    pub(super) address: IpAddr,
    pub(super) since: Revision,
    pub(super) lease: Lease,
}

/// What the store knows of the addresses of pools.
#[derive(Default)]
pub(super) struct Known {
    /// The leases of each pool, in address order.
    leases: BTreeMap<PoolId, Vec<Leased>>,
    /// The services of the service pools.
    services: HashMap<PodText, PodText>,
    /// The pods for which an address is kept.
    fixed: BTreeSet<PodText>,
}

impl Known {
    /// Reads a range of the leases of a namespace's pools.
    pub(super) async fn read(
        store: &dyn Store,
        namespace: &PodText,
        range: KeyRange,
    ) -> Result<Self, IpPoolError> {
        let mut known = Self::default();
        for entry in list_all(store, &range).await?.items {
            let Some((pool, unit)) = keys::parse_lease(&entry.key, |_| 0) else { continue };
            let lease: Lease = record::decode(&entry.key, &entry.value)?;
            let leased = Leased { address: unit.first(), since: entry.create_revision, lease };
            known.leases.entry(pool).or_default().push(leased);
        }
        let claims = || known.leases.values().flatten().filter_map(|leased| leased.lease.pod.as_ref());
        let (of_services, fixed) =
            (claims().any(|claim| claim.service_pool.is_some()), claims().any(|claim| claim.fixed));
        if of_services {
            for entry in list_all(store, &keys::service_pools(namespace)).await?.items {
                let Some(id) = keys::parse_service_pool(&entry.key) else { continue };
                let pool: ServicePool = record::decode(&entry.key, &entry.value)?;
                known.services.insert(id.name, pool.service);
            }
        }
        if fixed {
            let entries = list_all(store, &keys::fixed_of_namespace(namespace)).await?.items;
            known.fixed.extend(entries.iter().filter_map(|entry| Some(keys::parse_fixed(&entry.key)?.name)));
        }
        Ok(known)
    }

    /// The leases of a pool, in address order.
    pub(super) fn of(&self, pool: &PoolId) -> &[Leased] {
        self.leases.get(pool).map_or(&[], Vec::as_slice)
    }

    /// Whether an address is kept for the next pod of the name.
    pub(super) fn is_kept(&self, leased: &Leased) -> bool {
        let claim = leased.lease.pod.as_ref();
        claim.is_some_and(|claim| claim.fixed && self.fixed.contains(&claim.name))
    }

    fn pod(&self, leased: &Leased, pool: &Scoped) -> Option<PodView> {
        let claim = leased.lease.pod.as_ref()?;
        let service_pool = claim.service_pool.as_ref();
        let set = claim.fixed.then(|| record::stateful_set(claim.name.as_str())).flatten();
        Some(PodView {
            address: leased.address,
            pod_name: claim.name.to_string(),
            svc_name: text(service_pool.and_then(|name| self.services.get(name))),
            service_pool: text(service_pool),
            namespace: claim.namespace.to_string(),
            sts_name: set.unwrap_or_default().to_owned(),
            sts_deleted: claim.fixed && !self.is_kept(leased),
            fixed: claim.fixed,
            modify_time: rfc3339(claim.changed),
            namespace_pool: pool.name.to_string(),
        })
    }
}

fn text(name: Option<&PodText>) -> String {
    name.map(PodText::to_string).unwrap_or_default()
}

/// A namespace's pool. What is set aside for services counts as used, whether or not a pod has it.
pub(super) fn namespace_pool(id: &Scoped, pool: &NamespacePool, known: &Known) -> NamespacePoolView {
    let leases = known.of(&PoolId::Namespace(id.clone()));
    let of_service =
        |leased: &&Leased| pool.services.iter().any(|service| service.span.range().contains(leased.address));
    let own = leases.iter().filter(|leased| !of_service(leased)).count();
    let pods: BTreeMap<IpAddr, PodView> =
        leases.iter().filter_map(|leased| Some((leased.address, known.pod(leased, id)?))).collect();
    NamespacePoolView {
        name: id.name.clone(),
        namespace: id.namespace.clone(),
        subnet: pool.subnet,
        start: pool.span.start,
        end: pool.span.end,
        cidr: pool.cidr,
        gateway: pool.gateway,
        vlanid: pool.vlan,
        total: pool.span.total(),
        used: pool.reserved().saturating_add(own as u128),
        last_assigned: last_assigned(leases),
        pods: (!pods.is_empty()).then_some(pods),
    }
}

/// A service's pool.
pub(super) fn service_pool(id: &Scoped, pool: &ServicePool, known: &Known) -> ServicePoolView {
    let parent = Scoped { namespace: id.namespace.clone(), name: pool.pool.clone() };
    let leases = known.of(&PoolId::Namespace(parent));
    ServicePoolView {
        name: id.name.clone(),
        namespace: id.namespace.clone(),
        start: pool.span.start,
        end: pool.span.end,
        cidr: pool.cidr,
        service_name: pool.service.clone(),
        namespace_pool: pool.pool.clone(),
        total: pool.span.total(),
        used: within(leases, &pool.span),
        deleted: false,
        last_assigned: last_assigned(leases),
    }
}

fn within(leases: &[Leased], span: &Span) -> u128 {
    let range = span.range();
    leases.iter().filter(|leased| range.contains(leased.address)).count() as u128
}

fn last_assigned(leases: &[Leased]) -> String {
    let last = leases.iter().max_by_key(|leased| leased.since);
    last.map(|leased| leased.address.to_string()).unwrap_or_default()
}
