//! Lists and look-ups cost what they show, not what the cluster holds. Reads are counted, which says the same
//! on every machine.

use crate::fixture::{Api, allocation, node, pool};
use common::ipam::Unit;
use common::store::embedded::Embedded;
use common::store::record::{self, BlockMirror, Lease, Node};
use common::store::{Entry, KeyRange, Op, Page, Revision, Store, StoreError, TtlId, Txn, Watch, keys};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const NODES: u32 = 300;
const BLOCKS: u32 = 20;

/// A store that counts what is read from it.
pub(crate) struct Counted {
    store: Embedded,
    calls: AtomicUsize,
    entries: AtomicUsize,
}

impl Counted {
    pub(crate) async fn new() -> Arc<Self> {
        let store = Embedded::in_memory().await.expect("store");
        Arc::new(Self { store, calls: AtomicUsize::new(0), entries: AtomicUsize::new(0) })
    }

    /// Counts from 0 again.
    pub(crate) fn reset(&self) {
        self.calls.store(0, Ordering::Relaxed);
        self.entries.store(0, Ordering::Relaxed);
    }

    /// How many calls, and how many entries they read.
    pub(crate) fn counted(&self) -> (usize, usize) {
        (self.calls.load(Ordering::Relaxed), self.entries.load(Ordering::Relaxed))
    }

    fn add(&self, entries: usize) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.entries.fetch_add(entries, Ordering::Relaxed);
    }
}

#[async_trait::async_trait]
impl Store for Counted {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.add(1);
        self.store.get(key).await
    }

    async fn list(&self, range: &KeyRange, limit: usize) -> Result<Page<Entry>, StoreError> {
        let page = self.store.list(range, limit).await?;
        self.add(page.items.len());
        Ok(page)
    }

    async fn list_keys(&self, range: &KeyRange, limit: usize) -> Result<Page<String>, StoreError> {
        let page = self.store.list_keys(range, limit).await?;
        self.add(page.items.len());
        Ok(page)
    }

    async fn count(&self, range: &KeyRange) -> Result<u64, StoreError> {
        self.add(0);
        self.store.count(range).await
    }

    async fn txn(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.store.txn(txn).await
    }

    async fn watch(&self, ranges: &[KeyRange], from: Revision) -> Result<Watch, StoreError> {
        self.store.watch(ranges, from).await
    }

    async fn grant_ttl(&self, ttl: Duration) -> Result<TtlId, StoreError> {
        self.store.grant_ttl(ttl).await
    }

    async fn renew_ttl(&self, id: TtlId) -> Result<(), StoreError> {
        self.store.renew_ttl(id).await
    }

    async fn revoke_ttl(&self, id: TtlId) -> Result<(), StoreError> {
        self.store.revoke_ttl(id).await
    }
}

/// Every node leases blocks that are spread over the pool.
async fn fill(api: &Api) {
    api.create("default", &["10.0.0.0/8"]).await;
    let mut txn = Txn::new();
    for number in 0..NODES {
        let name = format!("node-{number:04}");
        let record = Node { instance: name.clone(), boot: "b".to_owned(), started: 1 };
        txn.ops.push(Op::Put(keys::node(&node(&name)), record::encode(&record)));
        for block in 0..BLOCKS {
            let first = Ipv4Addr::from_bits(0x0a00_0000 + (block * NODES + number) * 16);
            let unit = Unit::containing(first.into(), 4);
            let mirror = BlockMirror { prefix: 28, held: vec![allocation(3)], ..BlockMirror::default() };
            let lease = Lease::of_node(name.clone());
            txn.ops.push(Op::Put(keys::lease(&pool("default"), unit), record::encode(&lease)));
            txn.ops.push(Op::Put(keys::block(&node(&name), &pool("default"), unit), record::encode(&mirror)));
        }
        if txn.ops.len() + 41 > Txn::MAX {
            api.store.txn(std::mem::take(&mut txn)).await.expect("written");
        }
    }
    api.store.txn(txn).await.expect("written");
}

#[tokio::test]
async fn reads_are_bounded_by_what_is_shown() {
    let store = Counted::new().await;
    let api = Api::on(store.clone());
    fill(&api).await;
    for (path, calls, entries) in [
        ("/v1/pools", 2, 1),
        ("/v1/nodes?limit=50", 52, 50),
        ("/v1/nodes/node-0250", 5, 23),
        ("/v1/blocks?limit=200", 4, 200),
        ("/v1/blocks?node=node-0299", 2, 21),
        // A pool's blocks are spread over the nodes: one read for the block of each.
        ("/v1/blocks?pool=default&limit=100", 103, 201),
        ("/v1/addresses?limit=100", 2, 128),
        ("/v1/addresses?node=node-0001", 2, 21),
        ("/v1/addresses/10.0.77.3", 3, 3),
        // Only this one reads all of a pool: each lease and each mirror of it once.
        ("/v1/pools/default", 310, 12_001),
    ] {
        store.reset();
        api.ok(200, "GET", path, "").await;
        let (called, read) = store.counted();
        assert!(called <= calls && read <= entries, "{path}: {called} calls for {read} entries");
    }
    let usage = api.ok(200, "GET", "/v1/pools/default", "").await["usage"][0].clone();
    assert_eq!((&usage["leased"], &usage["allocated"]), (&(NODES * BLOCKS).into(), &(NODES * BLOCKS).into()));
}

/// Of the platform, too: a namespace's services and nothing else, and one service by three keys.
#[tokio::test]
async fn services_are_read_of_their_namespace_alone() {
    let embedded = Embedded::in_memory().await.expect("store");
    let store =
        Arc::new(Counted { store: embedded, calls: AtomicUsize::new(0), entries: AtomicUsize::new(0) });
    let api = Api::on(store.clone());
    for namespace in ["a", "ab", "a-b"] {
        api.ok(200, "POST", "/namespace", &format!(r#"{{"name":"{namespace}"}}"#)).await;
        for service in 0..30 {
            let body = format!(r#"{{"name":"s{service}","image":"i"}}"#);
            api.ok(200, "POST", &format!("/namespace/{namespace}/service"), &body).await;
        }
    }
    for (path, entries) in [
        ("/namespace", 3),
        ("/namespace/a", 1),
        ("/namespace/a/service", 30),
        ("/namespace/a/service/s7", 1),
        ("/namespace/a/service/s7/activity", 1),
    ] {
        store.calls.store(0, Ordering::Relaxed);
        store.entries.store(0, Ordering::Relaxed);
        api.ok(200, "GET", path, "").await;
        let (called, read) = (store.calls.load(Ordering::Relaxed), store.entries.load(Ordering::Relaxed));
        // On etcd the ranges of a service and its state are one call.
        assert!(called <= 3 && read <= entries, "{path}: {called} calls for {read} entries");
    }
}
