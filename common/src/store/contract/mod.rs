//! What every store must do, as a suite that runs against any of them. A check panics when it does not hold.
//!
//! * [`txn`]: transactions, compares, limits
//! * [`leases`]: many that lease from one pool
//! * [`read`]: single keys, pages, ranges, counts
//! * [`watch`]: changes, past and present
//! * [`ttl`]: keys that expire

#![expect(clippy::expect_used, reason = "a check fails by panicking")]
#![allow(clippy::missing_panics_doc, reason = "a check fails by panicking")]

use super::{KeyRange, Op, Revision, Store, Txn};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use std::sync::Arc;
use std::time::Duration;

pub mod leases;
pub mod read;
pub mod ttl;
pub mod txn;
pub mod watch;

/// How long a check may take.
const LIMIT: Duration = Duration::from_mins(1);

/// A kind of store under test.
#[async_trait]
pub trait Subject: Send + Sync {
    /// A store with no keys.
    async fn empty(&self) -> Arc<dyn Store>;

    /// Makes the store forget the changes up to a revision.
    async fn compact(&self, store: &dyn Store, revision: Revision);
}

/// A check, by name.
pub type Check = (&'static str, fn(Arc<dyn Store>) -> BoxFuture<'static, ()>);

macro_rules! checks {
    ($($module:ident :: $check:ident),* $(,)?) => {
        &[$((stringify!($check), |store| Box::pin($module::$check(store)))),*]
    };
}

/// The checks that need nothing but a store.
pub const CHECKS: &[Check] = checks![
    txn::one_of_many_creates_a_key,
    txn::revisions_name_lives_and_writes,
    txn::compares,
    txn::all_or_nothing,
    txn::limits,
    txn::big_values,
    txn::nothing_is_lost_between_read_and_write,
    leases::a_pool_is_shared_out,
    read::single_keys,
    read::pages,
    read::odd_keys,
    read::long_lists,
    read::spread_ids,
    read::several_ranges_at_once,
    watch::past_and_present,
    watch::no_gap_behind_a_list,
    watch::many_watchers,
    watch::several_ranges,
    watch::a_slow_watcher_misses_nothing_unknowingly,
    ttl::keys_expire,
    ttl::renewed_keys_stay,
    ttl::revoked_keys_go,
    ttl::a_key_belongs_to_the_last_one_that_wrote_it,
];

/// Runs all checks, at the same time, each on an empty store of its own; then those that forget the past.
pub async fn run(subject: &dyn Subject) {
    join_all(CHECKS.iter().map(|(name, check)| async move {
        let running = tokio::spawn(check(subject.empty().await));
        match tokio::time::timeout(LIMIT, running).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("{name}: {error}"),
            Err(late) => panic!("{name} did not end within {LIMIT:?}: {late}"),
        }
    }))
    .await;
    watch::what_is_forgotten_is_told(subject).await;
}

fn put(key: &str, value: &str) -> Op {
    Op::Put(key.to_owned(), Bytes::from(value.to_owned()))
}

fn delete(key: &str) -> Op {
    Op::Delete(key.to_owned())
}

/// Does some operations without a condition.
async fn write(store: &dyn Store, ops: impl IntoIterator<Item = Op>) -> Revision {
    let txn = Txn { compares: Vec::new(), ops: ops.into_iter().collect() };
    store.txn(txn).await.expect("a transaction without conditions happens")
}

/// The value of a key, as text.
async fn value(store: &dyn Store, key: &str) -> Option<String> {
    let entry = store.get(key).await.expect("a key can be read");
    entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
}

/// All keys of a range.
async fn keys(store: &dyn Store, range: &KeyRange) -> Vec<String> {
    let page = store.list_keys(range, 10_000).await.expect("keys can be listed");
    assert!(!page.more, "there are less than 10,000 of them");
    page.items
}
