//! The lease keeper on a store of which a backup was restored.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use async_trait::async_trait;
use coild::allocator::Allocator;
use coild::annotations::{Choice, Chosen};
use coild::journal::Journal;
use coild::lease_keeper::{LeaseError, LeaseKeeper, LeaseRequests, Want};
use coild::metrics::Metrics;
use coild::state::{Ask, Need, Origin, Settings};
use common::ipam::{Family, NamespacePool, Pool, RangeSpec, ServiceRange, Span, Unit};
use common::name::{IfName, NodeName, PodText, PoolName};
use common::pool_id::{PoolId, Scoped};
use common::store::embedded::Embedded;
use common::store::{
    Entry, KeyRange, Op, Page, Revision, Store, StoreError, TtlId, Txn, Watch, keys, record,
};
use common::wire::node::AttachmentId;
use serde::Serialize;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// A store that goes back when it is told to.
struct Restored {
    store: Embedded,
    /// Another task hears of it while the next transaction is on its way.
    goes_back: AtomicBool,
    rewinds: AtomicU64,
    interruptions: AtomicU64,
    lead: AtomicI64,
    /// What another history has as records, at the same revisions.
    others: Mutex<HashMap<String, Entry>>,
}

impl Restored {
    /// One with a pool of 16 blocks.
    async fn start() -> Arc<Self> {
        let store = Embedded::in_memory().await.expect("store");
        let put = Op::Put(keys::pool(&PoolName::default_pool()), record::encode(&pool()));
        store.txn(Txn::new().then(put)).await.expect("written");
        Arc::new(Self {
            store,
            goes_back: AtomicBool::new(false),
            rewinds: AtomicU64::new(0),
            interruptions: AtomicU64::new(0),
            lead: AtomicI64::new(10),
            others: Mutex::default(),
        })
    }

    /// Another history has another record at the same revision.
    async fn has(&self, key: String, record: &impl Serialize) {
        let entry = self.store.get(&key).await.expect("read").expect("written");
        let other = Entry { value: record::encode(record), ..entry };
        self.others.lock().expect("not poisoned").insert(key, other);
    }

    async fn put(&self, key: String, record: &impl Serialize) {
        self.txn(Txn::new().then(Op::Put(key, record::encode(record)))).await.expect("written");
    }

    async fn leases(&self) -> u64 {
        self.count(&keys::leases(&PoolName::default_pool())).await.expect("read")
    }

    /// The announcement ends.
    async fn settle(&self) {
        assert!(self.get(keys::RESTORED).await.expect("read").is_some(), "it was announced");
        self.txn(Txn::new().then(Op::Delete(keys::RESTORED.to_owned()))).await.expect("as if expired");
    }
}

#[async_trait]
impl Store for Restored {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let other = self.others.lock().expect("not poisoned").get(key).cloned();
        if other.is_some() { Ok(other) } else { self.store.get(key).await }
    }

    async fn list(&self, range: &KeyRange, limit: usize) -> Result<Page<Entry>, StoreError> {
        self.store.list(range, limit).await
    }

    async fn list_keys(&self, range: &KeyRange, limit: usize) -> Result<Page<String>, StoreError> {
        self.store.list_keys(range, limit).await
    }

    async fn count(&self, range: &KeyRange) -> Result<u64, StoreError> {
        self.store.count(range).await
    }

    async fn txn(&self, txn: Txn) -> Result<Revision, StoreError> {
        let outcome = self.store.txn(txn).await;
        self.rewinds.fetch_add(u64::from(self.goes_back.swap(false, Ordering::Relaxed)), Ordering::Relaxed);
        outcome
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

    fn rewinds(&self) -> u64 {
        self.rewinds.load(Ordering::Relaxed)
    }

    fn interruptions(&self) -> u64 {
        self.interruptions.load(Ordering::Relaxed)
    }

    async fn lead(&self) -> Result<Option<i64>, StoreError> {
        Ok(Some(self.lead.load(Ordering::Relaxed)))
    }
}

fn pool() -> Pool {
    Pool::of_subnets(vec!["10.0.0.0/24".parse().expect("net")])
}

fn text(text: &str) -> PodText {
    PodText::new(text).expect("text")
}

fn web() -> Scoped {
    Scoped { namespace: text("team"), name: text("web") }
}

/// A namespace's pool of 15 addresses.
fn namespace_pool() -> NamespacePool {
    let range = RangeSpec { cidr: Some("10.1.0.0/28".parse().expect("net")), ..RangeSpec::default() };
    NamespacePool::new("10.1.0.0/24".parse().expect("net"), range, "10.1.0.254".parse().expect("ip"), 0)
        .expect("valid")
}

/// A node that has just been started, and knows the pool.
struct Node {
    allocator: Allocator,
    leases: LeaseRequests,
    _dir: TempDir,
}

impl Node {
    async fn start(name: &str, store: &Arc<Restored>) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let settings = Settings { cooldown: Duration::ZERO, low_water: 1 };
        let journal = Journal::open(&dir.path().join("journal")).expect("journal");
        let state = journal.load(settings, 0).expect("state");
        let (allocator, worker) = Allocator::new(journal, state, settings);
        tokio::spawn(worker.run());
        let pools = [(PoolName::default_pool(), pool())].into();
        allocator.run(move |state, _| state.set_pools(pools)).await.expect("it runs");
        let (keeper, leases, inbox) = LeaseKeeper::new(
            NodeName::new(name).expect("name"),
            Arc::clone(store) as Arc<dyn Store>,
            allocator.clone(),
            Arc::new(Metrics::default()),
            settings.low_water,
        );
        tokio::spawn(keeper.run(inbox));
        Self { allocator, leases, _dir: dir }
    }

    async fn want(&self) -> Result<(), LeaseError> {
        self.leases.want(Want::Any(Need { pool: PoolName::default_pool(), family: Family::V4 })).await
    }

    /// Asks for an address of [`web`] for a pod of a `StatefulSet`, which keeps it.
    async fn ask(&self, pod: &str) -> Result<IpAddr, LeaseError> {
        let ask = Ask {
            attachment: AttachmentId {
                container_id: pod.parse().expect("container"),
                interface: IfName::eth0(),
            },
            namespace: text("team"),
            pod: text(pod),
            families: vec![Family::V4],
            choice: Some(Choice { pools: vec![Chosen::Namespace(web())], fixed: true, any_family: false }),
            adopt: false,
            origin: Origin::Namespace,
            addresses: Vec::new(),
            network: None,
            netns: None,
        };
        self.leases.addresses(ask).await.map(|given| given[0].address)
    }

    async fn is_refused(&self) {
        let refused = self.want().await.expect_err("whose the blocks are must be found out first");
        assert!(matches!(refused, LeaseError::Restored), "{refused}");
    }

    async fn held(&self) -> usize {
        self.allocator.run(|state, _| state.leases().len()).await.expect("it runs")
    }
}

#[tokio::test]
async fn nothing_is_given_from_a_lease_of_the_moment_of_a_restore() {
    let store = Restored::start().await;
    let node = Node::start("n1", &store).await;
    store.goes_back.store(true, Ordering::Relaxed);
    node.is_refused().await;
    assert_eq!(node.held().await, 0);
    // It is announced, and the lease goes as one that nobody uses.
    node.is_refused().await;
    assert_eq!((node.held().await, store.leases().await), (0, 0));
    store.settle().await;
    node.want().await.expect("leased");
    assert_eq!((node.held().await, store.leases().await), (1, 1));
}

#[tokio::test]
async fn a_node_without_a_past_notices_that_the_store_has_another_one() {
    let store = Restored::start().await;
    let old = Node::start("n1", &store).await;
    old.want().await.expect("leased, and the history noted");
    store.lead.store(-500, Ordering::Relaxed);
    let new = Node::start("n2", &store).await;
    new.is_refused().await;
    assert_eq!((new.held().await, store.leases().await), (0, 1));
    store.settle().await;
    new.want().await.expect("leased");
    Node::start("n3", &store).await.want().await.expect("this history is known now");
}

#[tokio::test]
async fn a_node_compares_histories_after_an_interruption() {
    let store = Restored::start().await;
    let node = Node::start("n1", &store).await;
    node.want().await.expect("leased");
    store.lead.store(-500, Ordering::Relaxed);
    store.interruptions.fetch_add(1, Ordering::Relaxed);
    node.is_refused().await;
    node.is_refused().await;
    store.settle().await;
    node.want().await.expect("leased");
}

#[tokio::test]
async fn what_another_node_announced_long_ago_is_learned_too() {
    let store = Restored::start().await;
    let node = Node::start("n1", &store).await;
    node.want().await.expect("leased");
    store.lead.store(-500, Ordering::Relaxed);
    Node::start("n2", &store).await.is_refused().await;
    store.settle().await;
    store.interruptions.fetch_add(1, Ordering::Relaxed);
    node.is_refused().await;
    node.is_refused().await;
    store.settle().await;
    node.want().await.expect("leased");
}

#[tokio::test]
async fn a_store_that_goes_on_is_not_suspected() {
    let store = Restored::start().await;
    Node::start("n1", &store).await.want().await.expect("leased");
    // Other programs write something that is not theirs, and an answer was inexact once.
    for lead in [400, 10, 8] {
        store.lead.store(lead, Ordering::Relaxed);
        Node::start("n2", &store).await.want().await.expect("leased");
    }
}

#[tokio::test]
async fn what_was_known_of_pools_is_another_historys() {
    let store = Restored::start().await;
    store.put(keys::namespace_pool(&web()), &namespace_pool()).await;
    let node = Node::start("n1", &store).await;
    node.want().await.expect("leased");
    node.ask("db-0").await.expect("given");
    store.has(keys::pool(&PoolName::default_pool()), &Pool { disabled: true, ..pool() }).await;
    store.has(keys::namespace_pool(&web()), &NamespacePool { disabled: true, ..namespace_pool() }).await;
    store.lead.store(-500, Ordering::Relaxed);
    store.interruptions.fetch_add(1, Ordering::Relaxed);
    node.is_refused().await;
    node.want().await.expect_err("it is announced");
    store.settle().await;
    let refused = node.want().await.expect_err("the pool is disabled").to_string();
    assert_eq!(refused, "pool default gives no blocks");
    let refused = node.ask("db-1").await.expect_err("the pool is disabled").to_string();
    assert_eq!(refused, "namespace pool team/web is disabled");
}

#[tokio::test]
async fn a_fixed_address_is_kept_again_that_the_store_has_forgotten() {
    let store = Restored::start().await;
    store.put(keys::namespace_pool(&web()), &namespace_pool()).await;
    let node = Node::start("n1", &store).await;
    let address = node.ask("db-0").await.expect("given");
    // The backup has nothing of it, and a service's pool that the address is of.
    let (id, unit) = (PoolId::Namespace(web()), Unit::containing(address, 0));
    let pod = Scoped { namespace: text("team"), name: text("db-0") };
    let (lease, fixed) = (keys::lease(&id, unit), keys::fixed(&pod, Family::V4));
    let forget = [lease.clone(), fixed.clone(), keys::block(&NodeName::new("n1").expect("name"), &id, unit)];
    let before = store.get(&fixed).await.expect("read").expect("kept").value;
    let span = Span { start: address, end: address };
    let services = vec![ServiceRange { name: text("front"), span }];
    let restored = record::encode(&NamespacePool { services, ..namespace_pool() });
    let txn = forget.into_iter().fold(Txn::new(), |txn, key| txn.then(Op::Delete(key)));
    store.txn(txn.then(Op::Put(keys::namespace_pool(&web()), restored))).await.expect("restored");
    store.rewinds.fetch_add(1, Ordering::Relaxed);
    node.is_refused().await;
    let claimed = async || store.get(&lease).await.expect("read");
    while claimed().await.is_none() {
        node.leases.reconcile();
        tokio::task::yield_now().await;
    }
    let entry = claimed().await.expect("claimed");
    let pod = record::decode::<record::Lease>(&entry.key, &entry.value).expect("lease").pod.expect("pod");
    assert_eq!((pod.fixed, pod.service_pool), (true, Some(text("front"))));
    assert_eq!(store.get(&fixed).await.expect("read").expect("kept again").value, before);
}
