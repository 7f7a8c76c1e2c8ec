//! On stores in memory: whatever version 1 holds, and whatever stands in the way.

use super::*;
use bytes::Bytes;
use common::store::embedded::Embedded;
use common::store::{Op, Txn, list_all};
use proptest::prelude::*;
use std::cell::Cell;
use std::cmp::Ordering;

/// Two pools, two nodes and three blocks, of which one is empty.
const CLUSTER: [(&str, &str); 10] = [
    ("pool/default", r#"{"subnets":["10.64.0.0/24","10.66.0.0/26"],"block_size":4}"#),
    ("pool/team", r#"{"subnets":["10.65.0.0/24"],"block_size":5}"#),
    ("subnet/10.64.0.0", ""),
    ("subnet/10.66.0.0", ""),
    ("subnet/10.65.0.0", ""),
    (
        "block/default/10.64.0.0",
        r#"{"free":["10.64.0.48/28"],"nodes":{"n1":["10.64.0.16/28"],"n2":["10.64.0.0/28"]}}"#,
    ),
    ("block/default/10.66.0.0", r#"{"free":null,"nodes":{}}"#),
    ("block/team/10.65.0.0", r#"{"free":[],"nodes":{"n1":["10.65.0.32/27"]}}"#),
    (
        "ip/10.64.0.16/3",
        r#"{"container_id":"c1","namespace":"shop","pod":"web-0","created_at":"2020-09-13T12:26:40.5Z"}"#,
    ),
    ("ip/10.65.0.32/31", "team/db-0"),
];

async fn put(store: &Embedded, key: &str, value: &[u8]) {
    let op = Op::Put(key.to_owned(), Bytes::copy_from_slice(value));
    store.txn(Txn::new().then(op)).await.expect("written");
}

async fn delete(store: &Embedded, key: &str) {
    store.txn(Txn::new().then(Op::Delete(key.to_owned()))).await.expect("removed");
}

async fn memory() -> Embedded {
    Embedded::in_memory().await.expect("store")
}

async fn version_1() -> Embedded {
    let store = memory().await;
    for (key, value) in CLUSTER {
        put(&store, key, value.as_bytes()).await;
    }
    store
}

async fn import(source: &Embedded, target: &Embedded) -> Result<Size, String> {
    let done = Import { source, target }.run(|_| ()).await;
    done.map_err(|error| common::error::chain(&error))
}

/// All keys and values.
async fn dump(store: &Embedded) -> BTreeMap<String, String> {
    let everything = KeyRange { from: "!".to_owned(), to: "~".to_owned() };
    let entries = list_all(store, &everything).await.expect("read").items;
    entries.into_iter().map(|entry| (entry.key, String::from_utf8_lossy(&entry.value).into_owned())).collect()
}

#[tokio::test]
async fn everything_is_taken_over() {
    let (source, target) = (version_1().await, memory().await);
    let size = import(&source, &target).await.expect("imported");
    assert_eq!(size, Size { pools: 2, nodes: 2, blocks: 3, held: 2 });
    let lease = |node: &str| format!(r#"{{"v":1,"node":"{node}"}}"#);
    let pool = |subnets: &str, size: u8| {
        format!(
            r#"{{"v":1,"subnets":[{subnets}],"block_size":{size},"block_size_v6":124,"block_gateway":"none","disabled":true}}"#
        )
    };
    let text = |text: &str| text.to_owned();
    let expected = BTreeMap::from([
        (text("schema"), text(r#"{"v":1,"layout":2}"#)),
        (text("plan"), text(r#"{"v":1}"#)),
        (text("pool/default"), pool(r#""10.64.0.0/24","10.66.0.0/26""#, 28)),
        (text("pool/team"), pool(r#""10.65.0.0/24""#, 27)),
        (text("lease/default/4-0a400000"), lease("n2")),
        (text("lease/default/4-0a400010"), lease("n1")),
        (text("lease/team/4-0a410020"), lease("n1")),
        (text("block/n2/default/4-0a400000"), text(r#"{"v":1,"prefix":28,"held":[]}"#)),
        (
            text("block/n1/default/4-0a400010"),
            text(
                r#"{"v":1,"prefix":28,"held":[{"o":3,"q":1,"c":"c1","n":"shop","p":"web-0","t":1600000000500}]}"#,
            ),
        ),
        (text("block/n1/team/4-0a410020"), text(r#"{"v":1,"prefix":27,"held":[]}"#)),
    ]);
    assert_eq!(dump(&target).await, expected);
    // Again, and once the pools are enabled: nothing is left to do.
    import(&source, &target).await.expect("imported again");
    let who = Caller::itself("a test");
    for name in ["default", "team"] {
        let enable = Change::SetDisabled(false);
        pools::apply(&target, &who, &PoolName::new(name).expect("name"), &enable).await.expect("enabled");
    }
    let before = dump(&target).await;
    import(&source, &target).await.expect("nothing to do");
    assert_eq!(dump(&target).await, before);
}

#[tokio::test]
async fn a_dry_run_tells_and_writes_nothing() {
    let (source, target) = (version_1().await, memory().await);
    let outlook = Import { source: &source, target: &target }.look().await.expect("a plan");
    outlook.obstacles().expect("nothing stands in the way");
    let mut text = Vec::new();
    outlook.write(&mut text).expect("written");
    let text = String::from_utf8(text).expect("text");
    let expected = "pool default: 10.64.0.0/24, 10.66.0.0/26 in blocks of /28: to import\n\
                    pool team: 10.65.0.0/24 in blocks of /27: to import\n\
                    node n1: 10.64.0.16/28 of pool default, 1 in use: to import\n  \
                    10.64.0.19 shop/web-0 c1\n\
                    node n1: 10.65.0.32/27 of pool team, 1 in use: to import\n  \
                    10.65.0.63 team/db-0: the node finds its container\n\
                    node n2: 10.64.0.0/28 of pool default, 0 in use: to import\n\
                    2 pools, 3 blocks of 2 nodes, 2 addresses in use; 5 steps to do\n";
    assert_eq!(text, expected);
    assert!(dump(&target).await.is_empty());
}

#[tokio::test]
async fn what_version_1_did_not_write_is_named_and_nothing_is_imported() {
    let holder = |id: &str| {
        format!(r#"{{"container_id":"{id}","namespace":"n","pod":"p","created_at":"2020-01-01T00:00:00Z"}}"#)
    };
    let (c1, c2, bad_time) = (holder("c1"), holder("c2"), holder("c2").replace("2020-01-01", "soon"));
    for (key, value, reason) in [
        ("pool/Default", r#"{"subnets":["10.1.0.0/16"],"block_size":4}"#, "\"Default\" is malformed"),
        ("pool/x", "{", "not what it should be"),
        ("pool/x", r#"{"subnets":["10.1.0.0/16"],"block_size":-1}"#, "not what it should be"),
        ("pool/x", r#"{"subnets":["10.1.0.0/16"],"block_size":11}"#, "2^10 addresses at most"),
        ("pool/x", r#"{"subnets":["fd00::/64"],"block_size":4}"#, "\"fd00::/64\" is no IPv4 network"),
        ("pool/x", r#"{"subnets":["10.1.0.1/16"],"block_size":4}"#, "has host bits set"),
        ("pool/x", r#"{"subnets":null,"block_size":4}"#, "has no subnet"),
        (
            "pool/x",
            r#"{"subnets":["10.64.0.128/25"],"block_size":4}"#,
            "overlaps 10.64.0.0/24 of pool default",
        ),
        ("subnet/10.9.0.0", "", "no pool has a subnet that begins there"),
        ("subnet/nowhere", "", "\"nowhere\" is no IPv4 address"),
        ("block/default", "{}", "not of the form"),
        ("block/other/10.64.0.0", "{}", "there is no pool other"),
        ("block/team/10.64.0.0", "{}", "is of pool default"),
        ("block/team/10.65.0.0", "[", "not what it should be"),
        ("block/team/10.65.0.0", r#"{"free":[],"nodes":{"n1":["10.65.0.0/28"]}}"#, "is no block (/27)"),
        ("block/team/10.65.0.0", r#"{"free":[],"nodes":{"n1":["10.64.0.0/27"]}}"#, "is no block (/27)"),
        ("block/team/10.65.0.0", r#"{"free":[],"nodes":{"../n":["10.65.0.0/27"]}}"#, "node name \"../n\""),
        (
            "block/team/10.65.0.0",
            r#"{"free":["10.65.0.32/27"],"nodes":{"n1":["10.65.0.32/27"]}}"#,
            "is free and node n1's at once",
        ),
        (
            "block/team/10.65.0.0",
            r#"{"free":[],"nodes":{"n1":["10.65.0.32/27"],"n2":["10.65.0.32/27"]}}"#,
            "is of node n1 and of node n2",
        ),
        ("ip/10.64.0.16", &c2, "not of the form"),
        ("ip/10.64.0.16/x", &c2, "is no offset"),
        ("ip/10.64.0.16/04", &c2, "not written as version 1 does"),
        ("ip/10.64.0.16/16", &c2, "10.64.0.16/28 ends before"),
        ("ip/10.64.0.48/0", &c2, "no node has a block that begins there"),
        ("ip/10.64.0.17/0", &c2, "no node has a block that begins there"),
        ("ip/10.64.0.16/4", "no slash", "neither JSON nor NAMESPACE/POD"),
        ("ip/10.64.0.16/4", "{}", "not what it should be"),
        ("ip/10.64.0.16/4", "\u{7}/pod", "is malformed"),
        ("ip/10.64.0.16/4", &bad_time, "not what it should be"),
        ("ip/10.64.0.16/4", &c1, "container c1 has another address on node n1: \"ip/10.64.0.16/3\""),
    ] {
        let (source, target) = (version_1().await, memory().await);
        put(&source, key, value.as_bytes()).await;
        put(&source, "subnet/0.0.0.0", b"").await;
        let error = import(&source, &target).await.expect_err(reason);
        let all = [key, reason, "\"subnet/0.0.0.0\": no pool has a subnet that begins there"];
        let missing = all.iter().find(|part| !error.contains(**part));
        assert!(missing.is_none(), "{missing:?} is not in: {error}");
        assert!(dump(&target).await.is_empty(), "{key}: something was written");
    }
}

#[tokio::test]
async fn what_is_missing_of_version_1_is_named() {
    let source = version_1().await;
    delete(&source, "block/team/10.65.0.0").await;
    let error = import(&source, &memory().await).await.expect_err("whose the blocks are");
    assert!(error.contains("\"block/team/10.65.0.0\": it is missing"), "{error}");
    let error = import(&memory().await, &memory().await).await.expect_err("nothing there");
    assert!(error.contains("no pool of version 1"), "{error}");
}

#[tokio::test]
async fn what_stands_in_the_way_is_told_and_nothing_is_imported() {
    let node = r#"{"v":1,"instance":"i","boot":"b","started":1}"#;
    let other = r#"{"v":1,"subnets":["10.64.0.0/16"],"block_size":28,"block_size_v6":124}"#;
    let same = r#"{"v":1,"subnets":["10.66.0.0/26","10.64.0.0/24"],"block_size":28,"block_size_v6":124}"#;
    for (written, reason) in [
        (
            &[("pool/other", other)][..],
            "subnet 10.64.0.0/24 of pool default overlaps 10.64.0.0/16 of pool other",
        ),
        (&[("pool/default", other)], "there is another pool default: 10.64.0.0/16 in blocks of /28, not"),
        (&[("pool/default", same)], "pool default is enabled, and lacks blocks of version 1"),
        (&[("node/n1", node)], "node n1 has run already, and does not lease 10.64.0.16/28 of pool default"),
        (&[("alive/n1", node)], "node n1 has run already"),
        (
            &[("block/n1/x/4-0b000000", r#"{"v":1,"prefix":28}"#)],
            "node n1 leases 11.0.0.0/28 of pool x already",
        ),
        (
            &[("pool/default", same), ("lease/default/4-0a400010", r#"{"v":1,"node":"n9"}"#)],
            "10.64.0.16/28 of pool default is node n1's, and leased by node n9",
        ),
        (
            &[("pool/default", same), ("lease/default/4-0a400010", r#"{"v":1,"node":"n1"}"#)],
            "the lease of 10.64.0.16/28 of pool default by node n1 is damaged",
        ),
        (&[("restored", r#"{"v":1,"node":"n9"}"#)], "a backup was restored"),
        (&[("schema", r#"{"v":1,"layout":3}"#)], "layout 3"),
    ] {
        let (source, target) = (version_1().await, memory().await);
        for (key, value) in written {
            put(&target, key, value.as_bytes()).await;
        }
        let before = dump(&target).await;
        let error = import(&source, &target).await.expect_err(reason);
        assert!(error.contains(reason), "{reason:?} is not in: {error}");
        assert_eq!(dump(&target).await, before, "{reason}: something was written");
    }
}

#[tokio::test]
async fn a_later_import_follows_what_version_1_did_since() {
    let (source, target) = (version_1().await, memory().await);
    import(&source, &target).await.expect("imported");
    // n1 gives one address more, and its block of the team is n2's now.
    let late =
        br#"{"container_id":"c9","namespace":"n","pod":"late","created_at":"2020-01-01T00:00:00+09:00"}"#;
    put(&source, "ip/10.64.0.16/9", late).await;
    put(&source, "block/team/10.65.0.0", br#"{"free":[],"nodes":{"n2":["10.65.0.32/27"]}}"#).await;
    import(&source, &target).await.expect("imported again");
    let fresh = memory().await;
    import(&source, &fresh).await.expect("imported");
    assert_eq!(dump(&target).await, dump(&fresh).await);
    // A node that has run sees to its leases itself.
    put(&target, "node/n1", br#"{"v":1,"instance":"i","boot":"b","started":1}"#).await;
    put(&source, "block/default/10.64.0.0", br#"{"free":[],"nodes":{"n2":["10.64.0.0/28"]}}"#).await;
    delete(&source, "ip/10.64.0.16/3").await;
    delete(&source, "ip/10.64.0.16/9").await;
    let before = dump(&target).await;
    import(&source, &target).await.expect("nothing to do");
    assert_eq!(dump(&target).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_version_1_in_between_are_told() {
    let (source, target) = (version_1().await, memory().await);
    let first = Cell::new(true);
    let changing = Import { source: &source, target: &target };
    let changing = changing.run(|_| {
        if first.replace(false) {
            let write = async {
                put(&source, "ip/10.64.0.0/1", b"shop/new").await;
                put(&source, "subnet/10.64.0.0", b"").await;
                delete(&source, "ip/10.64.0.16/3").await;
            };
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(write));
        }
    });
    let error = changing.await.expect_err("changed").to_string();
    for part in
        ["\"ip/10.64.0.0/1\" is new", "\"subnet/10.64.0.0\" was written", "\"ip/10.64.0.16/3\" is gone"]
    {
        assert!(error.contains(part), "{error}");
    }
    import(&source, &target).await.expect("again");
    let fresh = memory().await;
    import(&source, &fresh).await.expect("imported");
    assert_eq!(dump(&target).await, dump(&fresh).await);
}

#[tokio::test]
async fn a_large_cluster_takes_several_transactions() {
    let (source, target) = (memory().await, memory().await);
    put(&source, "pool/default", br#"{"subnets":["10.64.0.0/16"],"block_size":4}"#).await;
    let blocks = |node: u32| {
        let net = |number: u32| format!("\"10.64.{}.{}/28\"", node * 8 + number / 16, number % 16 * 16);
        format!("\"n{node}\":[{}]", (0..100).map(net).collect::<Vec<_>>().join(","))
    };
    let nodes: Vec<String> = (0..3).map(blocks).collect();
    let value = format!("{{\"free\":[],\"nodes\":{{{}}}}}", nodes.join(","));
    put(&source, "block/default/10.64.0.0", value.as_bytes()).await;
    // Holders with names as long as they may be: much for one transaction.
    let name = "n".repeat(500);
    for offset in 0..16 {
        for block in 0..100 {
            let key = format!("ip/10.64.{}.{}/{offset}", block / 16, block % 16 * 16);
            let holder = format!(
                r#"{{"container_id":"{key}","namespace":"{name}","pod":"{name}","created_at":"2020-01-01T00:00:00Z"}}"#
            );
            put(&source, &key, holder.as_bytes()).await;
        }
    }
    let mut seen = Vec::new();
    let import = Import { source: &source, target: &target };
    let size = import.run(|progress| seen.push((progress.done, progress.all))).await.expect("imported");
    assert_eq!(size, Size { pools: 1, nodes: 3, blocks: 300, held: 1_600 });
    // The pool; one node's blocks in three parts by their size, the others' by their number.
    assert!(seen.len() == 1 + 3 + 3 + 3 && seen.last() == Some(&(301, 301)), "{seen:?}");
    assert!(seen.is_sorted_by(|a, b| a.0.cmp(&b.0) == Ordering::Less), "{seen:?}");
}

proptest! {
    /// Whatever the bytes, something is said of the key, and nothing panics.
    #[test]
    fn any_bytes_are_read_or_refused(
        key in "(pool|subnet|block|ip)/[a-z0-9./:-]{0,20}",
        value in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let entry = Entry { key, value: value.into(), create_revision: 1, mod_revision: 1 };
        if let Err(faults) = version1::read(std::iter::once(&entry)) {
            prop_assert!(faults.iter().any(|fault| fault.key == entry.key || fault.key.starts_with("block/")));
        }
    }
}
