//! Watching: every change of a range, in order, from any revision that is remembered.

use super::{Subject, delete, put, write};
use crate::store::{Event, KeyRange, Store, StoreError, Watch};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;

async fn next(watch: &mut Watch) -> Event {
    watch.recv().await.expect("a watch goes on").expect("a watch does not fail")
}

/// A watch tells what happened since a revision, then what happens; of its range, and only that.
pub async fn past_and_present(store: Arc<dyn Store>) {
    let range = KeyRange::prefix("w/");
    write(&*store, [put("w/before", "x")]).await;
    let first = write(&*store, [put("w/a", "1"), put("x/a", "not this")]).await;
    let second = write(&*store, [put("w/a", "2")]).await;
    write(&*store, [put("w", "nor this"), put("w0", "nor that")]).await;
    let third = write(&*store, [delete("w/a")]).await;
    let mut watch = store.watch(std::slice::from_ref(&range), first).await.expect("watches");
    for (value, revision) in [("1", first), ("2", second)] {
        let Event::Put(entry) = next(&mut watch).await else { panic!("a value was written") };
        assert_eq!((entry.key.as_str(), &entry.value[..]), ("w/a", value.as_bytes()));
        assert_eq!((entry.create_revision, entry.mod_revision), (first, revision));
    }
    assert_eq!(next(&mut watch).await, Event::Delete("w/a".to_owned(), third));

    let fourth = write(&*store, [put("w/b", "3"), delete("w/before"), put("w/c", "4")]).await;
    let mut together = Vec::new();
    for _ in 0..3 {
        let event = next(&mut watch).await;
        assert_eq!(event.revision(), fourth, "all of one transaction");
        together.push(event.key().to_owned());
    }
    together.sort();
    assert_eq!(together, ["w/b", "w/before", "w/c"]);
    write(&*store, [delete("w/b")]).await;
    assert_eq!(next(&mut watch).await.key(), "w/b", "nothing else came between");
}

/// A list, continued by a watch from the next revision on, misses nothing of what is written meanwhile.
pub async fn no_gap_behind_a_list(store: Arc<dyn Store>) {
    const WRITES: usize = 200;
    let range = KeyRange::prefix("g/");
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..WRITES {
                write(&*store, [put(&format!("g/{n:04}"), &n.to_string())]).await;
            }
        })
    };
    let readers = (0..4).map(|_| async {
        let page = store.list(&range, 1_000).await.expect("listed");
        let mut watch = store.watch(std::slice::from_ref(&range), page.revision + 1).await.expect("watches");
        let mut seen: BTreeMap<String, u32> = page.items.into_iter().map(|entry| (entry.key, 1)).collect();
        while seen.len() < WRITES {
            *seen.entry(next(&mut watch).await.key().to_owned()).or_default() += 1;
        }
        assert!(seen.values().all(|times| *times == 1), "nothing is told twice: {seen:?}");
    });
    join_all(readers).await;
    writer.await.expect("ends");
}

/// Watchers don't disturb each other, and one that is gone disturbs nobody.
pub async fn many_watchers(store: Arc<dyn Store>) {
    let from = write(&*store, [put("m/0", "0")]).await;
    let mut watches = Vec::new();
    for n in 0..20 {
        let range = if n % 2 == 0 { KeyRange::prefix("m/") } else { KeyRange::prefix("n/") };
        watches.push((n, store.watch(std::slice::from_ref(&range), from).await.expect("watches")));
    }
    watches.retain(|(n, _)| n % 3 != 0);
    for n in 1..50 {
        write(&*store, [put(&format!("m/{n}"), "x"), put(&format!("n/{n}"), "x")]).await;
    }
    for (n, mut watch) in watches {
        let (prefix, first) = if n % 2 == 0 { ("m", 0) } else { ("n", 1) };
        for expected in first..50 {
            assert_eq!(next(&mut watch).await.key(), format!("{prefix}/{expected}"));
        }
    }
}

/// One watch may be of several ranges, each of them in order.
pub async fn several_ranges(store: Arc<dyn Store>) {
    let from = write(&*store, [put("r/a/0", "x"), put("r/b/0", "x"), put("r/c/0", "x")]).await;
    let ranges = [KeyRange::prefix("r/a/"), KeyRange::key("r/none"), KeyRange::prefix("r/c/")];
    let mut watch = store.watch(&ranges, from).await.expect("watches");
    for n in 1..50 {
        write(&*store, [put(&format!("r/a/{n}"), "x"), put(&format!("r/b/{n}"), "x")]).await;
        write(&*store, [put(&format!("r/c/{n}"), "x")]).await;
    }
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for _ in 0..100 {
        let key = next(&mut watch).await.key().to_owned();
        seen.entry(key[..4].to_owned()).or_default().push(key);
    }
    let all = |range: &str| (0..50).map(|n| format!("{range}{n}")).collect::<Vec<_>>();
    let expected = ["r/a/", "r/c/"].map(|range| (range.to_owned(), all(range)));
    assert_eq!(seen, expected.into());
}

/// A watcher that does not read for long gets everything later, or is told that it can't; never a gap.
pub async fn a_slow_watcher_misses_nothing_unknowingly(store: Arc<dyn Store>) {
    const WRITES: usize = 20_000;
    let from = write(&*store, [put("s/start", "x")]).await + 1;
    let mut watch = store.watch(&[KeyRange::prefix("s/")], from).await.expect("watches");
    let numbers: Vec<usize> = (0..WRITES).collect();
    for chunk in numbers.chunks(128) {
        write(&*store, chunk.iter().map(|n| put(&format!("s/{n:05}"), "x"))).await;
    }
    let mut expected = 0;
    while expected < WRITES {
        match watch.recv().await {
            Some(Ok(event)) => assert_eq!(event.key(), format!("s/{expected:05}"), "no gap"),
            Some(Err(StoreError::Compacted(_))) => {
                assert!(watch.recv().await.is_none(), "that is the end");
                return;
            }
            other => panic!("{other:?}"),
        }
        expected += 1;
    }
}

/// A watch from a revision that is forgotten says so, and ends.
pub(super) async fn what_is_forgotten_is_told(subject: &dyn Subject) {
    let store = subject.empty().await;
    let first = write(&*store, [put("c/a", "1")]).await;
    let last = write(&*store, [put("c/a", "2")]).await;
    subject.compact(&*store, last).await;
    let outcome = match store.watch(&[KeyRange::prefix("c/")], first).await {
        Ok(mut watch) => {
            let first = watch.recv().await;
            assert!(watch.recv().await.is_none(), "a watch ends with its error");
            first.expect("tells why it ends").map(|_| ())
        }
        Err(error) => Err(error),
    };
    assert!(matches!(outcome, Err(StoreError::Compacted(revision)) if revision == first), "{outcome:?}");
    let page = store.list(&KeyRange::prefix("c/a"), 1).await.expect("what is, is not forgotten");
    let mut watch = store.watch(&[KeyRange::prefix("c/")], page.revision + 1).await.expect("watches");
    let again = write(&*store, [put("c/a", "3")]).await;
    assert_eq!(next(&mut watch).await.revision(), again);
}
