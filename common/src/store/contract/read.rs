//! Reading: single keys, pages, ranges, counts.

use super::{delete, keys, put, value, write};
use crate::store::{Event, KeyRange, Pages, Store, list_all, spread};
use std::sync::Arc;
use uuid::Uuid;

/// A key is itself, and nothing that looks like it.
pub async fn single_keys(store: Arc<dyn Store>) {
    write(&*store, [put("a", "1"), put("a/b", "2")]).await;
    assert_eq!(value(&*store, "a").await.as_deref(), Some("1"));
    assert_eq!(value(&*store, "a/b").await.as_deref(), Some("2"));
    for absent in ["a/", "A", "a/b/", "b", "a\0"] {
        assert_eq!(value(&*store, absent).await, None, "{absent:?}");
    }
    write(&*store, [delete("a")]).await;
    assert_eq!(value(&*store, "a").await, None);
}

/// Pages are full, in order, and tell whether more follows.
pub async fn pages(store: Arc<dyn Store>) {
    let name = |n: usize| format!("p/{n:02}");
    write(&*store, (0..25).map(|n| put(&name(n), &n.to_string()))).await;
    write(&*store, [put("p", "not in it"), put("p0", "nor this")]).await;
    let range = KeyRange::prefix("p/");
    for (limit, items, more) in
        [(10, 10, true), (24, 24, true), (25, 25, false), (99, 25, false), (0, 0, true)]
    {
        let page = store.list(&range, limit).await.expect("listed");
        assert_eq!((page.items.len(), page.more), (items, more), "a limit of {limit}");
        let listed: Vec<_> = page.items.iter().map(|entry| entry.key.clone()).collect();
        assert_eq!(listed, (0..items).map(name).collect::<Vec<_>>(), "in order");
        let keys = store.list_keys(&range, limit).await.expect("listed");
        assert_eq!((keys.items, keys.more), (listed, more), "the same keys");
    }
    for size in [1, 5, 7, 25, 99] {
        let (mut entries, mut keys) = (Vec::new(), Vec::new());
        let mut pages = Pages::of(&*store, range.clone(), size);
        while let Some(page) = pages.next().await.expect("listed") {
            entries.extend(page.items.into_iter().map(|entry| entry.key));
        }
        let mut pages = Pages::of(&*store, range.clone(), size);
        while let Some(page) = pages.next_keys().await.expect("listed") {
            keys.extend(page.items);
        }
        let all: Vec<_> = (0..25).map(name).collect();
        assert_eq!((&entries, &keys), (&all, &all), "pages of {size}");
    }
    assert_eq!(store.count(&range).await.expect("counted"), 25);
    let nothing = store.list(&KeyRange::prefix("q/"), 10).await.expect("listed");
    assert!(nothing.items.is_empty() && !nothing.more);
    assert_eq!(store.count(&KeyRange::prefix("q/")).await.expect("counted"), 0);
}

/// Keys sort as bytes, and a range has exactly what lies between its ends.
pub async fn odd_keys(store: Arc<dyn Store>) {
    let mut all = [
        "A",
        "a",
        "a.",
        "a/",
        "a/\u{1}",
        "a/ ",
        "a/%",
        "a/b",
        "a/b/c",
        "a/b\0",
        "a/~",
        "a/é",
        "a/\u{1f600}",
        "a0",
        "b",
    ];
    write(&*store, all.iter().rev().map(|key| put(key, key))).await;
    all.sort_unstable();
    let everything = KeyRange { from: "\u{1}".to_owned(), to: "\u{10ffff}".to_owned() };
    assert_eq!(keys(&*store, &everything).await, all);
    let range = |from: &str, to: &str| KeyRange { from: from.to_owned(), to: to.to_owned() };
    for range in [
        KeyRange::prefix("a/"),
        KeyRange::prefix("a/b"),
        KeyRange::prefix("a/").after("a/b"),
        KeyRange::prefix("a/").after("a/b/zzz"),
        range("a/b", "a/b\0"),
        range("a/b", "a/b\0\0"),
        range("a", "b"),
        range("b", "b"),
        range("b", "a"),
        range("a/~", "a/~\0"),
        range("c", "d"),
    ] {
        let expected: Vec<_> = all.iter().copied().filter(|key| range.contains(key)).collect();
        assert_eq!(keys(&*store, &range).await, expected, "{range:?}");
        let count = store.count(&range).await.expect("counted");
        assert_eq!(count, expected.len() as u64, "{range:?}");
        let page = store.list(&range, 100).await.expect("listed");
        assert!(page.items.iter().all(|entry| entry.value == entry.key), "each with its own value");
    }
}

/// A list longer than anything that goes over the wire at once is whole, and as of one revision.
pub async fn long_lists(store: Arc<dyn Store>) {
    const N: usize = 1_280;
    let name = |n: usize| format!("long/{n:05}");
    let numbers: Vec<usize> = (0..N).collect();
    for chunk in numbers.chunks(128) {
        write(&*store, chunk.iter().map(|n| put(&name(*n), &"v".repeat(100)))).await;
    }
    let range = KeyRange::prefix("long/");
    let page = store.list(&range, N - 1).await.expect("listed");
    assert_eq!((page.items.len(), page.more), (N - 1, true));
    let page = store.list(&range, N).await.expect("listed");
    assert_eq!((page.items.len(), page.more), (N, false));
    assert!(page.items.iter().zip(0..).all(|(entry, n)| entry.key == name(n)), "in order");
    assert!(page.items.iter().all(|entry| entry.mod_revision <= page.revision), "nothing is newer");
    let all = list_all(&*store, &range).await.expect("listed");
    assert_eq!((all.items.len(), all.more), (N, false));
    assert_eq!(keys(&*store, &range).await.len(), N);
    assert_eq!(store.count(&range).await.expect("counted"), N as u64);
}

/// Several ranges are read at once, short and long ones, and a watch goes on from there.
pub async fn several_ranges_at_once(store: Arc<dyn Store>) {
    const LONG: usize = 1_200;
    let name = |n: usize| format!("l/{n:04}");
    let numbers: Vec<usize> = (0..LONG).collect();
    for chunk in numbers.chunks(100) {
        write(&*store, chunk.iter().map(|n| put(&name(*n), "x"))).await;
    }
    let last = write(&*store, [put("one", "1"), put("one/more", "2")]).await;
    let ranges = [KeyRange::key("one"), KeyRange::prefix("none/"), KeyRange::prefix("l/")];
    let snapshot = store.snapshot(&ranges).await.expect("read");
    let keys =
        |range: usize| snapshot.ranges[range].iter().map(|entry| entry.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(0), ["one"]);
    assert_eq!((&snapshot.ranges[0][0].value[..], snapshot.ranges[0][0].mod_revision), (&b"1"[..], last));
    assert!(snapshot.ranges[1].is_empty());
    assert_eq!(keys(2), (0..LONG).map(name).collect::<Vec<_>>());
    assert!(snapshot.ranges.len() == 3 && snapshot.revision >= last, "{}", snapshot.revision);
    let mut watch = store.watch(&ranges, snapshot.revision + 1).await.expect("watches");
    let after = write(&*store, [delete("one")]).await;
    assert_eq!(watch.recv().await.expect("goes on").expect("works"), Event::Delete("one".to_owned(), after));
}

/// Pages by random ids are those of the whole range.
pub async fn spread_ids(store: Arc<dyn Store>) {
    let mut ids: Vec<Uuid> = (0..60).map(|_| Uuid::new_v4()).chain([Uuid::nil(), Uuid::max()]).collect();
    ids.sort_unstable();
    write(&*store, ids.iter().map(|id| put(&format!("s/{id}"), "x"))).await;
    write(&*store, [put("s", "not in it"), put("s0", "nor this")]).await;
    for limit in [0, 1, 7, 61, 62, 1_000] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = spread::list(&*store, "s/", after, limit).await.expect("listed");
            let left = ids.len() - seen.len();
            assert_eq!((page.items.len(), page.more), (limit.min(left), left > limit), "a limit of {limit}");
            seen.extend(page.items.into_iter().map(|entry| entry.key));
            after = ids.get(seen.len().wrapping_sub(1)).copied();
            if !page.more || limit == 0 {
                break;
            }
        }
        let expected = ids.iter().map(|id| format!("s/{id}")).take(if limit == 0 { 0 } else { ids.len() });
        assert!(seen.iter().eq(expected.collect::<Vec<_>>().iter()), "page after page of {limit}");
    }
    let nothing = spread::list(&*store, "t/", None, 10).await.expect("listed");
    assert!(nothing.items.is_empty() && !nothing.more);
}
