//! Transactions: atomic, conditional, numbered, limited.

use super::{delete, keys, put, value, write};
use crate::store::{Compare, KeyRange, Op, Store, StoreError, Txn};
use bytes::Bytes;
use futures_util::future::join_all;
use std::sync::Arc;

/// Of many that create one key at once, one succeeds; the others are told.
pub async fn one_of_many_creates_a_key(store: Arc<dyn Store>) {
    for round in 0..5 {
        let key = format!("key/{round}");
        let tasks = (0..32).map(|n| {
            let (store, key) = (Arc::clone(&store), key.clone());
            tokio::spawn(async move {
                let txn = Txn::new().when(Compare::Absent(key.clone())).then(put(&key, &n.to_string()));
                store.txn(txn).await
            })
        });
        let outcomes: Vec<_> = join_all(tasks).await.into_iter().map(|task| task.expect("ends")).collect();
        let winners: Vec<_> = (0..).zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).collect();
        assert_eq!(winners.len(), 1, "one creates the key: {outcomes:?}");
        let conflicts = outcomes.iter().filter(|o| matches!(o, Err(StoreError::Conflict))).count();
        assert_eq!(conflicts, 31, "the others conflict: {outcomes:?}");
        assert_eq!(value(&*store, &key).await, Some(winners[0].0.to_string()), "the winner's value");
    }
}

/// A create revision names one life of a key, a mod revision one write; both grow.
pub async fn revisions_name_lives_and_writes(store: Arc<dyn Store>) {
    let empty = store.list(&KeyRange::prefix("k"), 1).await.expect("listed").revision;
    let created = write(&*store, [put("k", "1")]).await;
    assert!(created > empty, "a write has a revision of its own");
    let entry = store.get("k").await.expect("read").expect("there");
    assert_eq!((entry.create_revision, entry.mod_revision), (created, created));

    let changed = write(&*store, [put("k", "2")]).await;
    assert!(changed > created);
    let entry = store.get("k").await.expect("read").expect("there");
    assert_eq!((entry.create_revision, entry.mod_revision), (created, changed));

    let gone = write(&*store, [delete("k")]).await;
    assert!(gone > changed);
    let again = write(&*store, [put("k", "3")]).await;
    let entry = store.get("k").await.expect("read").expect("there");
    assert_eq!((entry.create_revision, entry.mod_revision), (again, again), "another life");

    let nothing = write(&*store, []).await;
    assert!(nothing >= again, "a transaction without operations tells the revision");
    let nothing = write(&*store, [delete("no such key")]).await;
    assert!(nothing >= again, "deleting what is not there is no error");
}

/// Every kind of compare, when it holds and when it does not.
pub async fn compares(store: Arc<dyn Store>) {
    let created = write(&*store, [put("r/k", "1")]).await;
    let changed = write(&*store, [put("r/k", "2"), put("r0", "behind r/"), put("r.", "before r/")]).await;
    let key = || "r/k".to_owned();
    let none = || "r/none".to_owned();
    let range = |from: &str, to: &str| KeyRange { from: from.to_owned(), to: to.to_owned() };
    for (compare, holds) in [
        (Compare::Absent(key()), false),
        (Compare::Absent(none()), true),
        (Compare::CreateRevision(key(), created), true),
        (Compare::CreateRevision(key(), changed), false),
        (Compare::CreateRevision(none(), created), false),
        (Compare::CreateRevision(key(), u64::MAX), false),
        (Compare::ModRevision(key(), changed), true),
        (Compare::ModRevision(key(), created), false),
        (Compare::ModRevision(none(), 0), true),
        (Compare::ModRevision(key(), 0), false),
        (Compare::Empty(KeyRange::prefix("r/")), false),
        (Compare::Empty(KeyRange::prefix("r/k/")), true),
        (Compare::Empty(KeyRange::prefix("q")), true),
        (Compare::Empty(range("r/k", "r/k\0")), false),
        (Compare::Empty(range("r/a", "r/k")), true),
        (Compare::Empty(range("r/k\0", "r0")), true),
        (Compare::Empty(range("r/k", "r/k")), true),
        (Compare::Empty(range("z", "a")), true),
    ] {
        let txn = Txn::new().when(compare.clone()).then(put("done", "yes"));
        match (store.txn(txn).await, holds) {
            (Ok(_), true) | (Err(StoreError::Conflict), false) => {}
            (outcome, _) => panic!("{compare:?}: {outcome:?}"),
        }
    }
    // A key that was deleted and made again is another one, to those who hold on to the first.
    write(&*store, [delete("r/k")]).await;
    write(&*store, [put("r/k", "2")]).await;
    let stale = Txn::new().when(Compare::CreateRevision(key(), created)).then(put("done", "no"));
    assert!(matches!(store.txn(stale).await, Err(StoreError::Conflict)), "fenced");
}

/// One compare that fails prevents everything; what happens has one revision.
pub async fn all_or_nothing(store: Arc<dyn Store>) {
    write(&*store, [put("old", "1")]).await;
    let txn = Txn::new()
        .when(Compare::Absent("none".to_owned()))
        .when(Compare::Absent("old".to_owned()))
        .then(put("new", "1"))
        .then(delete("old"));
    assert!(matches!(store.txn(txn).await, Err(StoreError::Conflict)));
    assert_eq!((value(&*store, "new").await, value(&*store, "old").await), (None, Some("1".to_owned())));

    let revision = write(&*store, [put("new/a", "1"), delete("old"), put("new/b", "2")]).await;
    assert_eq!(value(&*store, "old").await, None);
    let page = store.list(&KeyRange::prefix("new/"), 10).await.expect("listed");
    assert!(page.items.len() == 2 && page.items.iter().all(|entry| entry.mod_revision == revision));
}

/// What is too much, or contradicts itself, is refused, and nothing of it is done.
pub async fn limits(store: Arc<dyn Store>) {
    let ops = |n: usize| (0..n).map(|n| put(&format!("many/{n:03}"), "x")).collect::<Vec<_>>();
    let compares = |n: usize| (0..n).map(|n| Compare::Absent(format!("none/{n}"))).collect::<Vec<_>>();
    for (what, txn) in [
        ("operations", Txn { compares: vec![], ops: ops(Txn::MAX + 1) }),
        ("compares", Txn { compares: compares(Txn::MAX + 1), ops: ops(1) }),
        ("many/000 twice", Txn { compares: vec![], ops: [ops(1), ops(1)].concat() }),
        ("many/000 twice", Txn { compares: vec![], ops: [ops(2), vec![delete("many/000")]].concat() }),
        (
            "gone twice",
            Txn { compares: vec![], ops: vec![delete("gone"), put("many/1", "x"), delete("gone")] },
        ),
        ("bytes", Txn::new().then(put("many/big", &"x".repeat(Txn::MAX_BYTES)))),
    ] {
        match store.txn(txn).await {
            Err(StoreError::Refused { reason, .. }) => assert!(reason.contains(what), "{what}: {reason}"),
            outcome => panic!("{what}: {outcome:?}"),
        }
    }
    assert!(keys(&*store, &KeyRange::prefix("many/")).await.is_empty(), "nothing was written");
    let most = Txn { compares: compares(Txn::MAX), ops: ops(Txn::MAX) };
    store.txn(most).await.expect("as many as are allowed");
    assert_eq!(store.count(&KeyRange::prefix("many/")).await.expect("counted"), Txn::MAX as u64);
}

/// A large value comes back as it was, and so does an empty one and one that is no text.
pub async fn big_values(store: Arc<dyn Store>) {
    let big: Bytes = (0..1_000_000_u32).map(|n| n.to_le_bytes()[(n % 3) as usize]).collect();
    for (key, value) in [("big", big), ("empty", Bytes::new()), ("zero", Bytes::from_static(b"\0\xff\0"))] {
        write(&*store, [Op::Put(key.to_owned(), value.clone())]).await;
        assert!(store.get(key).await.expect("read").expect("there").value == value, "{key}");
    }
    let many: Vec<Op> = (0..8).map(|n| Op::Put(format!("more/{n}"), Bytes::from(vec![n; 1 << 20]))).collect();
    for op in many {
        write(&*store, [op]).await;
    }
    let page = store.list(&KeyRange::prefix("more/"), 100).await.expect("a list of 8 MiB");
    assert!(page.items.len() == 8 && page.items.iter().all(|entry| entry.value.len() == 1 << 20));
}

/// Many that read, change and write one value under a compare lose no change.
pub async fn nothing_is_lost_between_read_and_write(store: Arc<dyn Store>) {
    const TASKS: u64 = 6;
    const EACH: u64 = 10;
    let tasks = (0..TASKS).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut done = 0;
            while done < EACH {
                match increment(&*store).await {
                    Ok(_) => done += 1,
                    Err(StoreError::Conflict) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        })
    });
    join_all(tasks).await.into_iter().for_each(|task| task.expect("ends"));
    assert_eq!(value(&*store, "sum").await, Some((TASKS * EACH).to_string()));
}

async fn increment(store: &dyn Store) -> Result<u64, StoreError> {
    let entry = store.get("sum").await?;
    let seen = entry.as_ref().map_or(0, |entry| entry.mod_revision);
    let sum: u64 = entry.map_or(0, |e| String::from_utf8_lossy(&e.value).parse().expect("a number"));
    let txn = Txn::new()
        .when(Compare::ModRevision("sum".to_owned(), seen))
        .then(put("sum", &(sum + 1).to_string()));
    store.txn(txn).await
}
