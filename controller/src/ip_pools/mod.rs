//! The pools of namespaces and services: made, shown and deleted.
//!
//! * [`namespace`], [`service`], [`change`]: everything that writes
//! * [`view`]: what is shown, computed from the leases
//! * [`show`], [`map`]: what operators see besides
//!
//! A namespace's pool is a pool of the one allocator whose units are single addresses. The pool of a service is a
//! part of it: its addresses are leased under the same keys, so that an address has one lease however it was given.
//!
//! Invariants: no address is in the ranges of two pools of any kind; a service's range has no lease when the pool is
//! made, and none when it is deleted. What is read for a decision is compared by the transaction that carries it out,
//! and nodes compare the record of the pool that they lease an address by.

mod change;
mod error;
mod map;
mod namespace;
mod service;
mod show;
mod view;

pub use change::Change;
pub use error::IpPoolError;

use crate::plan::PlanCache;
use common::ipam::{Family, NamespacePool, ServicePool, Span, UnitRun};
use common::pool_id::{PoolId, Scoped};
use common::store::record::{self, Lease};
use common::store::{Entry, KeyRange, Revision, Store, keys};
use std::sync::Arc;

/// The pools of namespaces and services.
pub struct IpPools {
    store: Arc<dyn Store>,
    plan: PlanCache,
}

impl IpPools {
    /// The pools in a store.
    pub fn new(store: Arc<dyn Store>, plan: PlanCache) -> Self {
        Self { store, plan }
    }
}

/// A record with the revision at which it was read.
struct Stored<T> {
    record: T,
    revision: Revision,
}

async fn namespace_pool(store: &dyn Store, id: &Scoped) -> Result<Stored<NamespacePool>, IpPoolError> {
    let entry = store.get(&keys::namespace_pool(id)).await?;
    stored(&entry.ok_or_else(|| IpPoolError::UnknownNamespacePool(id.clone()))?)
}

async fn service_pool(store: &dyn Store, id: &Scoped) -> Result<Stored<ServicePool>, IpPoolError> {
    let entry = store.get(&keys::service_pool(id)).await?;
    stored(&entry.ok_or_else(|| IpPoolError::UnknownServicePool(id.clone()))?)
}

fn stored<T: serde::de::DeserializeOwned>(entry: &Entry) -> Result<Stored<T>, IpPoolError> {
    Ok(Stored { record: record::decode(&entry.key, &entry.value)?, revision: entry.mod_revision })
}

/// The namespace's pool that a service's is a part of.
fn parent_of(id: &Scoped, pool: &ServicePool) -> PoolId {
    PoolId::Namespace(Scoped { namespace: id.namespace.clone(), name: pool.pool.clone() })
}

/// The leases of a part of a pool.
fn leases_of(pool: &PoolId, span: &Span) -> KeyRange {
    let range = span.range();
    let run = UnitRun { family: Family::of(span.start), first: range.first(), last: range.last(), bits: 0 };
    keys::leases_between(pool, run)
}

/// The refusal that names some of the pods that stand in the way; the transaction makes sure that there are none.
async fn refuse_if_leased(store: &dyn Store, what: String, leases: &KeyRange) -> Result<(), IpPoolError> {
    const SHOWN: usize = 5;
    let some = store.list(leases, SHOWN).await?;
    if some.items.is_empty() {
        return Ok(());
    }
    let used = if some.more { store.count(leases).await? } else { some.items.len() as u64 };
    let holder = |entry: &Entry| {
        let (_, unit) = keys::parse_lease(&entry.key, |_| 0)?;
        let lease: Lease = record::decode(&entry.key, &entry.value).ok()?;
        Some(match lease.pod {
            Some(pod) => format!("{} of pod {}/{}", unit.first(), pod.namespace, pod.name),
            None => format!("{} of node {}", unit.first(), lease.node),
        })
    };
    let mut some: Vec<String> = some.items.iter().filter_map(holder).collect();
    if used > some.len() as u64 {
        some.push("…".to_owned());
    }
    Err(IpPoolError::InUse { what, used, some: some.join(", ") })
}
