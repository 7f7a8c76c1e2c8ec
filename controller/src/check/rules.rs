//! What is abnormal in a [`Scan`], and the transaction that mends it where that is certain. Pure.
//!
//! Every such transaction compares all that it was decided upon, so that whatever comes back to life meanwhile keeps what
//! it has. Nothing is mended while the nodes find out what a restored store has forgotten.

use super::scan::{Read, Scan};
use common::ipam::{Family, NamespacePool, ServicePool, Unit, number};
use common::name::NodeName;
use common::pool_id::{PoolId, Scoped};
use common::store::leases::addresses::Kept;
use common::store::leases::{self, addresses};
use common::store::record::{self, BlockMirror, Fixed, Lease};
use common::store::{Compare, Entry, Op, Revision, Txn, keys};
use common::wire::admin::PodName;
use common::wire::check::{Finding, Kind};
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;

/// So long a node may take to give an address back that its pod did not get.
const UNHELD: Duration = Duration::from_mins(5);

/// Something abnormal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) finding: Finding,
    /// The life of the record that it is about.
    revision: Revision,
    /// How it is mended.
    pub(super) mend: Option<Txn>,
}

/// All that is abnormal, by kind and key. `now` is in milliseconds since the Unix epoch; an address that has been kept for
/// longer than `unused` is worth a look.
pub(super) fn findings(scan: &Scan, now: u64, unused: Duration) -> Vec<Found> {
    let mut found = Vec::new();
    for ((pool, address), lease) in &scan.leases {
        found.extend(of_lease(scan, pool, *address, lease, now, unused));
        found.extend((!has(scan, pool, *address)).then(|| {
            let net = net(scan, pool, *address);
            about(Kind::LeaseOutside, &lease.entry).pool(pool).net(net).node(&lease.record.node)
        }));
    }
    for ((node, pool, address), block) in &scan.blocks {
        found.extend(of_block(scan, node, pool, *address, block));
    }
    for node in scan.nodes.difference(&scan.alive) {
        let is_ours = |(holder, ..): &&(NodeName, PoolId, IpAddr)| holder == node;
        let holds = scan.blocks.keys().find(is_ours).is_some();
        found.extend(holds.then(|| of(Kind::NodeAway, keys::node(node), 0).node(node.as_str())));
    }
    for ((pod, _), fixed) in &scan.fixed {
        found.extend(of_fixed(scan, pod, fixed));
    }
    found.extend(of_services(scan));
    for ((node, _), order) in scan.orders.iter().filter(|((node, _), _)| scan.is_gone(node)) {
        let txn = while_gone(node)
            .when(Compare::ModRevision(order.entry.key.clone(), order.entry.mod_revision))
            .then(Op::Delete(order.entry.key.clone()));
        found.push(about(Kind::OrderToNobody, &order.entry).node(node.as_str()).mended_by(txn));
    }
    found.extend(scan.unreadable.iter().map(|entry| about(Kind::Unreadable, entry)));
    found.sort_by(|a, b| (a.finding.kind, &a.finding.key).cmp(&(b.finding.kind, &b.finding.key)));
    found
}

fn of(kind: Kind, key: String, revision: Revision) -> Found {
    let finding =
        Finding { kind, key, pool: None, net: None, node: None, pod: None, certain: false, mended: false };
    Found { finding, revision, mend: None }
}

/// Something abnormal of a record.
fn about(kind: Kind, entry: &Entry) -> Found {
    of(kind, entry.key.clone(), entry.create_revision)
}

impl Found {
    fn pool(mut self, pool: &PoolId) -> Self {
        self.finding.pool = Some(pool.clone());
        self
    }

    fn net(mut self, net: IpNet) -> Self {
        self.finding.net = Some(net);
        self
    }

    fn node(mut self, node: &str) -> Self {
        self.finding.node = node.parse().ok();
        self
    }

    fn pod(mut self, pod: &Scoped) -> Self {
        self.finding.pod = Some(PodName { namespace: pod.namespace.clone(), name: pod.name.clone() });
        self
    }

    fn pod_of(self, lease: &Lease) -> Self {
        match &lease.pod {
            Some(pod) => self.pod(&pod.pod()),
            None => self,
        }
    }

    fn mended_by(mut self, txn: Txn) -> Self {
        self.finding.certain = true;
        self.mend = Some(txn.when(Compare::Absent(keys::RESTORED.to_owned())));
        self
    }
}

/// A transaction that does something only while a node is neither registered nor alive.
fn while_gone(node: &NodeName) -> Txn {
    leases::unless_alive(node, false).when(Compare::Absent(keys::node(node)))
}

fn of_lease(
    scan: &Scan,
    pool: &PoolId,
    address: IpAddr,
    lease: &Read<Lease>,
    now: u64,
    unused: Duration,
) -> Option<Found> {
    let Read { entry, record } = lease;
    let about =
        |kind| about(kind, entry).pool(pool).net(net(scan, pool, address)).node(&record.node).pod_of(record);
    let since = record.pod.as_ref().map_or(now, |pod| pod.changed);
    let age = Duration::from_millis(now.saturating_sub(since));
    let kept = kept(scan, pool, address, record, now);
    let Ok(node) = record.node.parse::<NodeName>() else {
        if kept.is_some() {
            return (age > unused).then(|| about(Kind::Unused));
        }
        let txn = unless_kept(scan, addresses::give_up(entry, None), record, address);
        return Some(about(Kind::KeptForNobody).mended_by(txn));
    };
    match scan.blocks.get(&(node.clone(), pool.clone(), address)) {
        None if scan.is_gone(&node) => {
            let index = keys::block(&node, pool, Unit::containing(address, 0));
            let txn = while_gone(&node).when(Compare::Absent(index));
            let txn = addresses::end_without_index(txn, entry, kept.as_ref());
            Some(about(Kind::LeaseWithoutIndex).mended_by(txn))
        }
        None => Some(about(Kind::LeaseWithoutIndex)),
        Some(block) if block.entry.create_revision != entry.mod_revision => None,
        Some(block) if scan.is_gone(&node) => {
            let txn = leases::reclaim(while_gone(&node), &node, &block.entry, Some(entry), kept.as_ref());
            Some(about(Kind::NodeGone).mended_by(txn))
        }
        Some(block) => {
            let is_unheld = pool.coil().is_none() && block.record.held.is_empty() && age > UNHELD;
            is_unheld.then(|| about(Kind::Unheld))
        }
    }
}

/// By what an address is kept for its pod.
fn kept(scan: &Scan, pool: &PoolId, address: IpAddr, lease: &Lease, now: u64) -> Option<Kept> {
    let key = Kept::key(lease, Family::of(address))?;
    let pod = lease.pod.as_ref()?.pod();
    let index = scan.fixed.get(&(pod, key))?.entry.clone();
    Kept::of(pool, Unit::containing(address, 0), lease, Some(index), now).ok()?
}

/// Adds that what is kept for a lease's pod is still what was read, which is not this address.
fn unless_kept(scan: &Scan, txn: Txn, lease: &Lease, address: IpAddr) -> Txn {
    let Some(key) = Kept::key(lease, Family::of(address)) else { return txn };
    let pod = lease.pod.as_ref().map(record::Claim::pod);
    let index = pod.and_then(|pod| scan.fixed.get(&(pod, key.clone())));
    txn.when(Compare::ModRevision(key, index.map_or(0, |index| index.entry.mod_revision)))
}

fn of_block(
    scan: &Scan,
    node: &NodeName,
    pool: &PoolId,
    address: IpAddr,
    block: &Read<BlockMirror>,
) -> Option<Found> {
    let Read { entry, record } = block;
    let lease = scan.leases.get(&(pool.clone(), address)).map(|lease| &lease.entry);
    if lease.is_some_and(|lease| lease.mod_revision == entry.create_revision) {
        return None;
    }
    let net = IpNet::new(address, record.prefix).unwrap_or_else(|_| address.into());
    let about = about(Kind::IndexWithoutLease, entry).pool(pool).net(net).node(node.as_str());
    if !scan.is_gone(node) {
        return Some(about);
    }
    let key = keys::lease(pool, Unit::containing(address, 0));
    let unchanged = Compare::ModRevision(key, lease.map_or(0, |lease| lease.mod_revision));
    let txn = while_gone(node)
        .when(unchanged)
        .when(Compare::CreateRevision(entry.key.clone(), entry.create_revision))
        .then(Op::Delete(entry.key.clone()));
    Some(about.mended_by(txn))
}

fn of_fixed(scan: &Scan, pod: &Scoped, fixed: &Read<Fixed>) -> Option<Found> {
    let Read { entry, record: Fixed { pool, address } } = fixed;
    let lease = scan.leases.get(&(pool.clone(), *address));
    let is_of = |lease: &&Read<Lease>| {
        lease.record.pod.as_ref().is_some_and(|claim| claim.fixed && claim.pod() == *pod)
    };
    if lease.as_ref().is_some_and(is_of) {
        return None;
    }
    let key = keys::lease(pool, Unit::containing(*address, 0));
    let txn = Txn::new()
        .when(Compare::ModRevision(key, lease.map_or(0, |lease| lease.entry.mod_revision)))
        .when(Compare::ModRevision(entry.key.clone(), entry.mod_revision))
        .then(Op::Delete(entry.key.clone()));
    Some(about(Kind::FixedWithoutLease, entry).pool(pool).net((*address).into()).pod(pod).mended_by(txn))
}

/// Where namespaces' pools and those of services in them contradict each other.
fn of_services(scan: &Scan) -> Vec<Found> {
    let mut found = Vec::new();
    for (id, Read { entry, record: pool }) in &scan.namespace_pools {
        let named = |name| Scoped { namespace: id.namespace.clone(), name };
        let is_nobodys = |name: &_| !scan.service_pools.contains_key(&named(Clone::clone(name)));
        let nobodys: Vec<_> = pool
            .services
            .iter()
            .map(|service| service.name.clone())
            .filter(|name| is_nobodys(name))
            .collect();
        if nobodys.is_empty() {
            continue;
        }
        let left = pool.services.iter().filter(|service| !nobodys.contains(&service.name)).cloned().collect();
        let mended = NamespacePool { services: left, ..pool.clone() };
        let txn = Txn::new()
            .when(Compare::ModRevision(entry.key.clone(), entry.mod_revision))
            .then(Op::Put(entry.key.clone(), record::encode(&mended)));
        // More of them than a transaction compares are mended in several runs.
        let absent = nobodys.iter().map(|name| Compare::Absent(keys::service_pool(&named(name.clone()))));
        let about = about(Kind::ServiceMismatch, entry).pool(&PoolId::Namespace(id.clone()));
        let fits = nobodys.len() <= Txn::MAX - 2;
        found.push(if fits { about.mended_by(absent.fold(txn, Txn::when)) } else { about });
    }
    for (id, Read { entry, record: pool }) in &scan.service_pools {
        let ServicePool { pool: parent, span, .. } = pool;
        let owner = Scoped { namespace: id.namespace.clone(), name: parent.clone() };
        let services = scan.namespace_pools.get(&owner).map(|parent| parent.record.services.as_slice());
        let agrees = services
            .unwrap_or_default()
            .iter()
            .any(|service| service.name == id.name && service.span == *span);
        if !agrees {
            found.push(about(Kind::ServiceMismatch, entry).pool(&PoolId::Namespace(owner)));
        }
    }
    found
}

/// Whether a pool has the unit with this first address.
fn has(scan: &Scan, pool: &PoolId, address: IpAddr) -> bool {
    match pool {
        PoolId::Coil(name) => scan.pools.get(name).is_some_and(|pool| {
            let family = Family::of(address);
            let unit = Unit::containing(address, pool.record.block_bits(family));
            let space = pool.record.space(family);
            unit.first() == address && space.is_ok_and(|space| space.index_of(unit).is_some())
        }),
        PoolId::Namespace(id) => {
            scan.namespace_pools.get(id).is_some_and(|pool| pool.record.span.range().contains(address))
        }
    }
}

/// The addresses of a lease, as far as the pool tells.
fn net(scan: &Scan, pool: &PoolId, address: IpAddr) -> IpNet {
    let family = Family::of(address);
    let bits = pool.coil().and_then(|name| scan.pools.get(name)).map(|pool| pool.record.block_bits(family));
    let unit = Unit::containing(address, bits.unwrap_or(0));
    if number(unit.first()) == number(address) { unit.net() } else { address.into() }
}
