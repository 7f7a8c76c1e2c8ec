//! What was done to namespaces and services: written by the transaction that does it, the last first, and no more than
//! [`KEPT`] of it.

use super::{PlatformError, stored};
use crate::auth::Caller;
use crate::time::rfc3339_nanos;
use common::lastbackend::Name;
use common::store::record::{self, lastbackend::Activity};
use common::store::{Compare, Op, Store, StoreError, Txn, keys::lastbackend as keys};
use common::wire::lastbackend::ActivityView;

/// How much of it is kept of each namespace and service.
pub const KEPT: usize = 100;
/// How many more there can be, by changes at the same instant.
const MORE: usize = 20;

/// Whose it is: a namespace's, or that of a service of it.
#[derive(Clone, Copy)]
pub(super) struct Of<'a>(pub(super) &'a Name, pub(super) Option<&'a Name>);

/// Adds to a transaction that something was done.
pub(super) async fn note(
    store: &dyn Store,
    txn: Txn,
    of: Of<'_>,
    who: &Caller,
    action: String,
    now: u64,
) -> Result<Txn, StoreError> {
    let known = store.list_keys(&keys::activities(of.0, of.1), KEPT + MORE).await?.items;
    let key = keys::activity(of.0, of.1, now);
    let entry = Activity { action, who: who.name.clone() };
    let txn = txn.when(Compare::Absent(key.clone())).then(Op::Put(key, record::encode(&entry)));
    Ok(known.into_iter().skip(KEPT - 1).fold(txn, |txn, key| txn.then(Op::Delete(key))))
}

/// Adds to a transaction that nothing is known any more.
pub(super) async fn forget(store: &dyn Store, txn: Txn, of: Of<'_>) -> Result<Txn, StoreError> {
    let known = store.list_keys(&keys::activities(of.0, of.1), KEPT + MORE).await?.items;
    Ok(known.into_iter().fold(txn, |txn, key| txn.then(Op::Delete(key))))
}

/// All that is known, the last first.
pub(super) async fn list(store: &dyn Store, of: Of<'_>) -> Result<Vec<ActivityView>, PlatformError> {
    let entries = store.list(&keys::activities(of.0, of.1), KEPT).await?.items;
    let known = entries.iter().filter_map(|entry| Some((keys::parse_activity(&entry.key)?.2, entry)));
    known
        .map(|(time, entry)| {
            let Activity { action, who } = stored(entry)?.record;
            Ok(ActivityView { created: rfc3339_nanos(time), action, who })
        })
        .collect()
}
