//! Times to live: keys that vanish unless they are renewed.

use super::{put, value, write};
use crate::store::{Event, KeyRange, Op, Store, StoreError, TtlId, Txn, Watch};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, interval};

/// The shortest that an etcd server grants.
const TTL: Duration = Duration::from_secs(2);

fn put_with(key: &str, ttl: TtlId) -> Op {
    Op::PutWithTtl(key.to_owned(), Bytes::from_static(b"alive"), ttl)
}

async fn grant(store: &dyn Store) -> TtlId {
    store.grant_ttl(TTL).await.expect("granted")
}

/// Waits for deletes of the keys, in any order.
async fn deleted(watch: &mut Watch, mut keys: Vec<&str>) {
    while !keys.is_empty() {
        match watch.recv().await.expect("goes on").expect("does not fail") {
            Event::Delete(key, _) => keys.retain(|expected| *expected != key),
            Event::Put(_) => {}
        }
    }
}

/// Keys go away after their time, not before; watchers learn of it.
pub async fn keys_expire(store: Arc<dyn Store>) {
    let start = Instant::now();
    let ttl = grant(&*store).await;
    let from = write(&*store, [put_with("t/a", ttl), put_with("t/b", ttl), put("t/c", "stays")]).await;
    let mut watch = store.watch(&[KeyRange::prefix("t/")], from).await.expect("watches");
    assert_eq!(value(&*store, "t/a").await.as_deref(), Some("alive"));
    deleted(&mut watch, vec!["t/a", "t/b"]).await;
    assert!(start.elapsed() + Duration::from_millis(100) >= TTL, "not before: {:?}", start.elapsed());
    assert_eq!((value(&*store, "t/a").await, value(&*store, "t/b").await), (None, None));
    assert_eq!(value(&*store, "t/c").await.as_deref(), Some("stays"));
    assert!(matches!(store.renew_ttl(ttl).await, Err(StoreError::UnknownTtl)), "it is over");
}

/// Keys stay as long as their time is renewed.
pub async fn renewed_keys_stay(store: Arc<dyn Store>) {
    let ttl = grant(&*store).await;
    let from = write(&*store, [put_with("t/a", ttl)]).await;
    let mut watch = store.watch(&[KeyRange::prefix("t/")], from).await.expect("watches");
    let mut ticks = interval(TTL / 4);
    for _ in 0..12 {
        ticks.tick().await;
        store.renew_ttl(ttl).await.expect("renewed in time");
        assert_eq!(value(&*store, "t/a").await.as_deref(), Some("alive"));
    }
    deleted(&mut watch, vec!["t/a"]).await;
}

/// A revoked time ends at once, and is unknown afterwards.
pub async fn revoked_keys_go(store: Arc<dyn Store>) {
    let ttl = store.grant_ttl(Duration::from_hours(1)).await.expect("granted");
    let from = write(&*store, [put_with("t/a", ttl), put_with("t/b", ttl)]).await;
    let mut watch = store.watch(&[KeyRange::prefix("t/")], from).await.expect("watches");
    store.revoke_ttl(ttl).await.expect("revoked");
    assert_eq!((value(&*store, "t/a").await, value(&*store, "t/b").await), (None, None));
    deleted(&mut watch, vec!["t/a", "t/b"]).await;
    for unknown in [ttl, TtlId(987_654_321)] {
        assert!(matches!(store.renew_ttl(unknown).await, Err(StoreError::UnknownTtl)));
        assert!(matches!(store.revoke_ttl(unknown).await, Err(StoreError::UnknownTtl)));
        let txn = Txn::new().then(put("t/c", "x")).then(put_with("t/d", unknown));
        assert!(matches!(store.txn(txn).await, Err(StoreError::UnknownTtl)));
    }
    assert_eq!(value(&*store, "t/c").await, None, "nothing of the transaction was done");
}

/// A key that is written anew leaves the time it had.
pub async fn a_key_belongs_to_the_last_one_that_wrote_it(store: Arc<dyn Store>) {
    let [one, two] = [grant(&*store).await, store.grant_ttl(TTL * 100).await.expect("granted")];
    let created =
        write(&*store, [put_with("plain", one), put_with("moved", one), put_with("new", one)]).await;
    write(&*store, [put("plain", "x"), put_with("moved", two), Op::Delete("new".to_owned())]).await;
    write(&*store, [put("new", "x")]).await;
    store.revoke_ttl(one).await.expect("revoked");
    for key in ["plain", "moved", "new"] {
        assert!(value(&*store, key).await.is_some(), "{key} stays");
    }
    let entry = store.get("moved").await.expect("read").expect("there");
    assert_eq!(entry.create_revision, created, "it is still the same life");
    store.revoke_ttl(two).await.expect("revoked");
    assert_eq!(value(&*store, "moved").await, None);
    assert!(value(&*store, "plain").await.is_some());
}
