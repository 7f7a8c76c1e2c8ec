//! What the embedded store promises beyond the contract: restarts, one process per file, damaged files.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use common::store::embedded::Embedded;
use common::store::{Compare, KeyRange, Op, Store, StoreError, Txn};
use std::path::Path;
use std::time::Duration;

fn put(key: &str, value: &str) -> Txn {
    Txn::new().then(Op::Put(key.to_owned(), value.to_owned().into()))
}

async fn filled(path: &Path, keys: u32) {
    let store = Embedded::open(path).await.expect("opens");
    for chunk in (0..keys).collect::<Vec<_>>().chunks(Txn::MAX) {
        let txn = chunk.iter().fold(Txn::new(), |txn, n| {
            txn.then(Op::Put(format!("key/{n:06}"), format!("value {n}").repeat(10).into()))
        });
        store.txn(txn).await.expect("written");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_survives_a_restart() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("store");
    let store = Embedded::open(&path).await.expect("opens");
    let first = store.txn(put("a", "1")).await.expect("written");
    let second = store.txn(put("a", "2")).await.expect("written");
    let ttl = store.grant_ttl(Duration::from_millis(300)).await.expect("granted");
    store.txn(Txn::new().then(Op::PutWithTtl("b".into(), "x".into(), ttl))).await.expect("written");
    store.close().await;

    let store = Embedded::open(&path).await.expect("opens again");
    let entry = store.get("a").await.expect("read").expect("there");
    assert_eq!((entry.create_revision, entry.mod_revision, &entry.value[..]), (first, second, &b"2"[..]));
    let page = store.list(&KeyRange::prefix("b"), 10).await.expect("listed");
    assert_eq!(page.items.len(), 1, "a time to live starts anew");
    let mut watch = store.watch(&[KeyRange::prefix("b")], page.revision + 1).await.expect("watches");
    let event = watch.recv().await.expect("goes on").expect("no error");
    assert_eq!(event.key(), "b", "and then ends");
    assert!(store.get("b").await.expect("read").is_none());
    let mut past = store.watch(&[KeyRange::prefix("a")], first).await.expect("watches");
    assert!(
        matches!(past.recv().await, Some(Err(StoreError::Compacted(_)))),
        "history ends with the process"
    );
    let third =
        store.txn(put("c", "3").when(Compare::ModRevision("a".into(), second))).await.expect("written");
    assert!(third > page.revision, "revisions go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_has_one_owner() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("store");
    let store = Embedded::open(&path).await.expect("opens");
    let error = Embedded::open(&path).await.err().expect("refused").to_string();
    assert!(error.contains("another process has") && error.contains("store"), "{error}");
    store.close().await;
    Embedded::open(&path).await.expect("free again").close().await;
    let error = Embedded::open(directory.path().join("no/such/store")).await.err().expect("refused");
    assert!(error.is_unavailable() && error.to_string().contains("no/such"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("store");
    filled(&path, 1_000).await;
    let good = std::fs::read(&path).expect("read");
    let mut damaged: Vec<Vec<u8>> =
        [0, 1, 100, 4_096, 10_000, good.len() / 2, good.len() - 4_096, good.len() - 1]
            .map(|length| good[..length].to_vec())
            .into();
    damaged.push(b"not a database at all, but long enough to look at".repeat(200));
    damaged.push(vec![0; good.len()]);
    for bytes in damaged {
        std::fs::write(&path, &bytes).expect("written");
        let outcome = Embedded::open(&path).await;
        let error = outcome.err().unwrap_or_else(|| panic!("{} bytes were opened", bytes.len()));
        assert!(matches!(error, StoreError::Refused { .. }), "{} bytes: {error:?}", bytes.len());
    }
}

/// A flipped byte is found, or it is one that nothing depends on; it is never a panic, nor other content.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_is_an_error_or_harmless() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("store");
    filled(&path, 300).await;
    let good = std::fs::read(&path).expect("read");
    let used = good.iter().rposition(|byte| *byte != 0).expect("content") + 1;
    let mut found = 0;
    // redb itself panics on the last of these.
    for position in (0..400).step_by(9).chain((400..used).step_by(7_003)).chain([28_674]) {
        let mut bytes = good.clone();
        bytes[position] ^= 0x41;
        std::fs::write(&path, &bytes).expect("written");
        match Embedded::open(&path).await {
            Ok(store) => {
                let page = store.list(&KeyRange::prefix("key/"), 1_000).await.expect("listed");
                let intact = page.items.iter().enumerate().all(|(n, entry)| {
                    entry.key == format!("key/{n:06}") && entry.value == format!("value {n}").repeat(10)
                });
                assert!(intact && page.items.len() == 300, "byte {position} changed the content");
                store.close().await;
            }
            Err(StoreError::Refused { .. }) => found += 1,
            Err(error) => panic!("byte {position}: {error:?}"),
        }
    }
    assert!(found > 5, "some bytes matter");
}
