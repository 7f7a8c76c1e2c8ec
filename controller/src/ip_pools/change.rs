//! Changes of pools that exist: of their range, and whether they give anything.
//!
//! A range is changed only where nobody has an address: what is taken out of it, and what a service's pool takes of its
//! namespace's, has no lease in the very transaction that does it.

use super::service::must_have_room;
use super::show::{summary_of_namespace, summary_of_service};
use super::{IpPoolError, IpPools, Stored, leases_of, namespace_pool, refuse_if_leased, service_pool};
use crate::audit;
use crate::auth::Caller;
use crate::plan::{self, AddressPlan};
use common::ipam::{NamespacePool, RangeSpec, ServicePool, Span};
use common::pool_id::{PoolId, Scoped};
use common::store::retry::{Attempts, seed};
use common::store::{Compare, Op, Store, Txn, keys, record};
use common::wire::namespaces::{NamespacePoolSummary, ServicePoolSummary};
use serde::Serialize;

/// A change of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Gives it another range, which may have more addresses or fewer.
    Range(RangeSpec),
    /// Makes that nothing new is given, or that it is again.
    SetDisabled(bool),
}

impl Change {
    fn done(&self, span: &Span) -> String {
        match self {
            Self::Range(_) => format!("range is {}-{}", span.start, span.end),
            Self::SetDisabled(true) => "disabled".to_owned(),
            Self::SetDisabled(false) => "enabled".to_owned(),
        }
    }
}

/// A pool before and after a change.
struct Changed<T> {
    before: T,
    after: T,
}

impl<T: PartialEq + Serialize> Changed<T> {
    fn audit(&self, who: &Caller, what: &str) {
        if self.before != self.after {
            audit::changed(who, what, &self.before, &self.after);
        }
    }
}

impl IpPools {
    /// Changes a namespace's pool, and answers it as it then is.
    pub async fn change_namespace_pool(
        &self,
        who: &Caller,
        id: &Scoped,
        change: &Change,
    ) -> Result<NamespacePoolSummary, IpPoolError> {
        let mut attempts = Attempts::new(seed(id));
        let changed = loop {
            match self.try_change_namespace_pool(id, change).await {
                Ok(changed) => break changed,
                Err(error) => attempts.after(error).await?,
            }
        };
        let done = change.done(&changed.after.span);
        changed.audit(who, &format!("namespace pool {id}: {done}"));
        summary_of_namespace(self.store.as_ref(), id, &changed.after).await
    }

    async fn try_change_namespace_pool(
        &self,
        id: &Scoped,
        change: &Change,
    ) -> Result<Changed<NamespacePool>, IpPoolError> {
        let store = self.store.as_ref();
        let mut cached = self.plan.lock().await;
        let at = plan::revision(store).await?;
        let Stored { record: before, revision } = namespace_pool(store, id).await?;
        let after = changed_namespace_pool(id, &before, change)?;
        if before == after {
            return Ok(Changed { before, after });
        }
        let key = keys::namespace_pool(id);
        let txn = Txn::new()
            .when(Compare::ModRevision(key.clone(), revision))
            .then(Op::Put(key, record::encode(&after)));
        if before.span == after.span {
            store.txn(txn).await?;
            return Ok(Changed { before, after });
        }
        // While this is not done, what is known of all pools is not what is in the store.
        let mut plan = AddressPlan::at::<IpPoolError>(store, at, cached.take()).await?;
        plan.remove(before.span.range());
        plan.must_be_free(after.span.range()).map_err(|taken| IpPoolError::overlap(&after.span, taken))?;
        let txn = txn.when(plan::unchanged(at)).then(plan::changed());
        let owner = PoolId::Namespace(id.clone());
        let txn = without_leases(store, txn, &owner, &minus(&before.span, &after.span)).await?;
        let written = store.txn(txn).await?;
        plan.add(id, &after.span);
        *cached = Some(plan.written_at(written));
        Ok(Changed { before, after })
    }

    /// Changes a service's pool, and answers it as it then is.
    pub async fn change_service_pool(
        &self,
        who: &Caller,
        id: &Scoped,
        change: &Change,
    ) -> Result<ServicePoolSummary, IpPoolError> {
        let mut attempts = Attempts::new(seed(id));
        let changed = loop {
            match self.try_change_service_pool(id, change).await {
                Ok(changed) => break changed,
                Err(error) => attempts.after(error).await?,
            }
        };
        let done = change.done(&changed.after.span);
        changed.audit(who, &format!("service pool {id}: {done}"));
        summary_of_service(self.store.as_ref(), id, &changed.after).await
    }

    async fn try_change_service_pool(
        &self,
        id: &Scoped,
        change: &Change,
    ) -> Result<Changed<ServicePool>, IpPoolError> {
        let store = self.store.as_ref();
        let _alone = self.plan.lock().await;
        let Stored { record: before, revision } = service_pool(store, id).await?;
        let parent = Scoped { namespace: id.namespace.clone(), name: before.pool.clone() };
        let Stored { record: mut pool, revision: of_parent } = namespace_pool(store, &parent).await?;
        let mut after = before.clone();
        match change {
            Change::SetDisabled(disabled) => after.disabled = *disabled,
            Change::Range(range) => (after.span, after.cidr) = range.resolve(pool.subnet)?,
        }
        if before == after {
            return Ok(Changed { before, after });
        }
        let key = keys::service_pool(id);
        let txn = Txn::new()
            .when(Compare::ModRevision(key.clone(), revision))
            .then(Op::Put(key, record::encode(&after)));
        if before.span == after.span {
            store.txn(txn).await?;
            return Ok(Changed { before, after });
        }
        let own = pool.services.iter().position(|service| service.name == id.name);
        let own = own.map(|index| pool.services.remove(index));
        must_have_room(&pool, &parent, &after.span)?;
        pool.services.extend(own.map(|own| common::ipam::ServiceRange { span: after.span, ..own }));
        let parent_key = keys::namespace_pool(&parent);
        let txn = txn
            .when(Compare::ModRevision(parent_key.clone(), of_parent))
            .then(Op::Put(parent_key, record::encode(&pool)));
        let (old, new) = (&before.span, &after.span);
        let moved = [minus(old, new), minus(new, old)].concat();
        let txn = without_leases(store, txn, &PoolId::Namespace(parent), &moved).await?;
        store.txn(txn).await?;
        Ok(Changed { before, after })
    }
}

fn changed_namespace_pool(
    id: &Scoped,
    before: &NamespacePool,
    change: &Change,
) -> Result<NamespacePool, IpPoolError> {
    let range = match change {
        Change::SetDisabled(disabled) => {
            return Ok(NamespacePool { disabled: *disabled, ..before.clone() });
        }
        Change::Range(range) => *range,
    };
    let new = NamespacePool::new(before.subnet, range, before.gateway, before.vlan.into())?;
    let after = NamespacePool { disabled: before.disabled, services: before.services.clone(), ..new };
    let all = after.span.range();
    let is_outside = |span: &Span| !(all.contains(span.start) && all.contains(span.end));
    let outside: Vec<String> = after
        .services
        .iter()
        .filter(|service| is_outside(&service.span))
        .map(|service| format!("{} ({}-{})", service.name, service.span.start, service.span.end))
        .collect();
    if outside.is_empty() {
        return Ok(after);
    }
    Err(IpPoolError::LeavesServices { pool: id.clone(), span: after.span, services: outside.join(", ") })
}

/// Adds to a transaction that nothing of these parts of a pool is leased; the refusal says who has something of them.
async fn without_leases(
    store: &dyn Store,
    mut txn: Txn,
    pool: &PoolId,
    parts: &[Span],
) -> Result<Txn, IpPoolError> {
    for part in parts {
        let leases = leases_of(pool, part);
        refuse_if_leased(store, format!("{}-{}", part.start, part.end), &leases).await?;
        txn = txn.when(Compare::Empty(leases));
    }
    Ok(txn)
}

/// What a range has that another one has not: nothing, or one or two ranges.
fn minus(span: &Span, other: &Span) -> Vec<Span> {
    let (this, other) = (span.range(), other.range());
    let family = this.family();
    let below = (this.first(), this.last().min(other.first().saturating_sub(1)));
    let above = (this.first().max(other.last().saturating_add(1)), this.last());
    let mut parts: Vec<Span> = [below, above]
        .into_iter()
        .filter(|(first, last)| first <= last)
        .map(|(first, last)| Span { start: family.address(first), end: family.address(last) })
        .collect();
    parts.dedup();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_range_loses() {
        let span = |start: u8, end: u8| Span { start: [10, 0, 0, start].into(), end: [10, 0, 0, end].into() };
        for (other, parts) in [
            ((5, 9), vec![]),
            ((1, 20), vec![]),
            ((6, 9), vec![(5, 5)]),
            ((5, 7), vec![(8, 9)]),
            ((6, 8), vec![(5, 5), (9, 9)]),
            ((7, 20), vec![(5, 6)]),
            ((10, 20), vec![(5, 9)]),
            ((1, 4), vec![(5, 9)]),
        ] {
            let parts: Vec<Span> = parts.into_iter().map(|(start, end)| span(start, end)).collect();
            assert_eq!(minus(&span(5, 9), &span(other.0, other.1)), parts, "{other:?}");
        }
    }
}
