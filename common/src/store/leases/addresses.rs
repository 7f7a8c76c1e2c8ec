//! Leases of single addresses, each for one pod. A fixed address stays the pod's when the pod goes: its lease is nobody's
//! then, and the key `fixed/…` tells where the pod finds it when it comes again, on whatever node.

use super::{create, end, hold};
use crate::ipam::{Family, Segment, Unit};
use crate::name::NodeName;
use crate::pool_id::PoolId;
use crate::store::record::{self, BlockMirror, Claim, Fixed, Lease, RecordError};
use crate::store::{Compare, Entry, Op, Revision, Txn, keys};

/// An address that a pod gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The namespace's pool.
    pub pool: PoolId,
    /// The unit that is the address alone.
    pub unit: Unit,
    /// The network that it is in.
    pub segment: Segment,
    /// The pod.
    pub pod: Claim,
}

impl Wanted {
    fn mirror(&self) -> BlockMirror {
        let (prefix, segment) = (self.unit.net().prefix_len(), Some(self.segment.clone()));
        BlockMirror { prefix, segment, held: Vec::new() }
    }
}

/// A node takes an address that has no lease, if no restore of the store is being dealt with, and the record by which
/// the address is given is still as it was read: that of the namespace's pool or of the service's.
///
/// A fixed one is kept for its pod from now on. `stale` are the entries that say, as they were read, what was kept for
/// the pod before: they go.
pub fn acquire(node: &NodeName, record: (&str, Revision), wanted: &Wanted, stale: &[Entry]) -> Txn {
    let Wanted { pool, unit, pod, .. } = wanted;
    let txn = Txn::new()
        .when(Compare::Absent(keys::RESTORED.to_owned()))
        .when(Compare::ModRevision(record.0.to_owned(), record.1));
    let txn = if pod.fixed { fix(txn, wanted, stale) } else { txn };
    create(txn, node, pool, *unit, Some(pod.clone()), &wanted.mirror())
}

fn fix(txn: Txn, Wanted { pool, unit, pod, .. }: &Wanted, stale: &[Entry]) -> Txn {
    let (lease, index) = (keys::lease(pool, *unit), keys::fixed(&pod.pod(), unit.family()));
    let before = stale.iter().find(|entry| entry.key == index).map_or(0, |entry| entry.mod_revision);
    let others = stale.iter().filter(|entry| entry.key != index && entry.key != lease);
    let txn = others.fold(txn, |txn, entry| {
        txn.when(Compare::ModRevision(entry.key.clone(), entry.mod_revision))
            .then(Op::Delete(entry.key.clone()))
    });
    keep(txn, pool, *unit, pod, before)
}

/// Adds to a transaction that an address is kept for pods of this name, if what was kept for them is still as it was
/// read: at this revision, 0 if there was nothing.
#[must_use]
pub fn keep(txn: Txn, pool: &PoolId, unit: Unit, pod: &Claim, before: Revision) -> Txn {
    let index = keys::fixed(&pod.pod(), unit.family());
    let fixed = Fixed { pool: pool.clone(), address: unit.first() };
    txn.when(Compare::ModRevision(index.clone(), before)).then(Op::Put(index, record::encode(&fixed)))
}

/// A node takes the address that is kept for a pod which comes again. `index` and `lease`, which is nobody's, are the
/// entries that say so, as they were read.
pub fn take_kept(node: &NodeName, wanted: &Wanted, index: &Entry, lease: &Entry) -> Txn {
    let txn = Txn::new()
        .when(Compare::Absent(keys::RESTORED.to_owned()))
        .when(Compare::ModRevision(index.key.clone(), index.mod_revision))
        .when(Compare::ModRevision(lease.key.clone(), lease.mod_revision));
    hold(txn, node, &wanted.pool, wanted.unit, Some(wanted.pod.clone()), &wanted.mirror())
}

/// By this an address is kept for its pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    index: Entry,
    claim: Claim,
}

impl Kept {
    /// The key that tells whether an address is kept, given its lease; `None` if it is not fixed.
    pub fn key(lease: &Lease, family: Family) -> Option<String> {
        let claim = lease.pod.as_ref().filter(|claim| claim.fixed)?;
        Some(keys::fixed(&claim.pod(), family))
    }

    /// Whether an address is kept, given its lease and what is at that [`key`](Self::key). `now` is when its pod goes,
    /// in milliseconds since the Unix epoch.
    pub fn of(
        pool: &PoolId,
        unit: Unit,
        lease: &Lease,
        index: Option<Entry>,
        now: u64,
    ) -> Result<Option<Self>, RecordError> {
        let claim = lease.pod.as_ref().filter(|claim| claim.fixed);
        let Some((claim, index)) = claim.zip(index) else { return Ok(None) };
        let fixed: Fixed = record::decode(&index.key, &index.value)?;
        let is_kept = fixed.pool == *pool && fixed.address == unit.first();
        Ok(is_kept.then(|| Self { index, claim: Claim { changed: now, ..claim.clone() } }))
    }

    /// Adds to a transaction that the address is given up: its lease goes with the pod.
    #[must_use]
    pub fn give_up(&self, txn: Txn) -> Txn {
        txn.when(Compare::ModRevision(self.index.key.clone(), self.index.mod_revision))
            .then(Op::Delete(self.index.key.clone()))
    }

    pub(super) fn keep(&self, txn: Txn, lease: String) -> Txn {
        let of_nobody = Lease { node: String::new(), pod: Some(self.claim.clone()) };
        txn.when(Compare::ModRevision(self.index.key.clone(), self.index.mod_revision))
            .then(Op::Put(lease, record::encode(&of_nobody)))
    }
}

/// Adds to a transaction the end of a lease whose node is gone and has no index of it. `lease` is the lease as it was read.
/// An address that is kept for its pod is nobody's from then on.
#[must_use]
pub fn end_without_index(txn: Txn, lease: &Entry, kept: Option<&Kept>) -> Txn {
    end(txn, lease.key.clone(), lease.mod_revision, kept)
}

/// Gives up the lease of an address that is nobody's, and with it what keeps the address. `lease` is the lease as it
/// was read.
pub fn give_up(lease: &Entry, kept: Option<&Kept>) -> Txn {
    let txn = kept.map_or_else(Txn::new, |kept| kept.give_up(Txn::new()));
    end(txn, lease.key.clone(), lease.mod_revision, None)
}
