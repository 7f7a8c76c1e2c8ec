//! `/v1/check`: each thing that can be abnormal, made so in a store that is sound otherwise.

use crate::fixture::{Api, allocation, ip, node, pool};
use crate::ip_pools::{claim, scoped};
use common::clock;
use common::ipam::{Family, NamespacePool, Segment, ServicePool, Unit};
use common::name::NodeName;
use common::pool_id::PoolId;
use common::store::record::{self, BlockMirror, Claim, Evict, Fixed, Lease, Restored};
use common::store::{KeyRange, Op, Txn, keys, list_all};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const WEEK: u64 = 7 * 24 * 3_600_000;

fn web() -> PoolId {
    PoolId::Namespace(scoped("default", "web"))
}

fn unit(address: &str) -> Unit {
    Unit::containing(ip(address), 0)
}

fn lease_key(address: &str) -> String {
    keys::lease(&web(), unit(address))
}

fn block_key(holder: &str, address: &str) -> String {
    keys::block(&node(holder), &web(), unit(address))
}

fn fixed_key(pod: &str) -> String {
    keys::fixed(&scoped("default", pod), Family::V4)
}

/// The lease of an address of default/web with all that belongs to it; nobody's if there is no node.
fn hold(holder: &str, address: &str, pod: &str, fixed: bool, age: u64, held: bool) -> Txn {
    let changed = clock::now_millis() - age;
    let pod_claim = Claim { fixed, changed, ..claim(pod, None) };
    let lease = Lease { node: holder.to_owned(), pod: Some(pod_claim) };
    let mut txn = Txn::new().then(Op::Put(lease_key(address), record::encode(&lease)));
    if NodeName::new(holder).is_ok() {
        let segment = Some(Segment { prefix: 24, gateway: ip("192.168.1.1"), vlan: 0 });
        let held = if held { vec![allocation(0)] } else { Vec::new() };
        let mirror = BlockMirror { prefix: 32, segment, held };
        txn = txn.then(Op::Put(block_key(holder, address), record::encode(&mirror)));
    }
    if fixed {
        let kept = Fixed { pool: web(), address: ip(address) };
        txn = txn.then(Op::Put(fixed_key(pod), record::encode(&kept)));
    }
    txn
}

/// Two nodes, a block, a namespace's pool with a service's, an address in use, a fixed one, and one that is kept.
async fn sound() -> Api {
    let api = Api::new().await;
    api.create("default", &["10.64.0.0/24"]).await;
    api.register("n1", true).await;
    api.register("n2", false).await;
    api.lease("n1", "default", "10.64.0.0").await.expect("leased");
    api.mirror("n1", "default", "10.64.0.0", &[1, 2]).await;
    let body = json!({
        "name": "web", "namespace": "default", "subnet": "192.168.1.0/24", "start": "192.168.1.5",
        "end": "192.168.1.24", "gateway": "192.168.1.1", "vlanid": 0
    });
    api.ok(200, "POST", "/nsippool", &body.to_string()).await;
    let body = json!({
        "name": "front", "namespace": "default", "start": "192.168.1.10", "end": "192.168.1.19",
        "serviceName": "shop", "nsIPPoolName": "web"
    });
    api.ok(200, "POST", "/serviceIPPool", &body.to_string()).await;
    api.write(hold("n1", "192.168.1.5", "p1", false, 0, true)).await;
    api.write(hold("n1", "192.168.1.24", "db-0", true, 0, true)).await;
    api.write(hold("", "192.168.1.23", "db-1", true, 0, false)).await;
    // One that was leased just now, and not given yet.
    api.write(hold("n1", "192.168.1.6", "p2", false, 0, false)).await;
    api
}

impl Api {
    async fn write(&self, txn: Txn) {
        self.store.txn(txn).await.expect("written");
    }

    async fn remove(&self, keys: &[String]) {
        self.write(keys.iter().fold(Txn::new(), |txn, key| txn.then(Op::Delete(key.clone())))).await;
    }

    /// The node was removed, but not what it held.
    async fn lose(&self, name: &str) {
        self.remove(&[keys::node(&node(name)), keys::alive(&node(name))]).await;
    }

    async fn everything(&self) -> BTreeMap<String, bytes::Bytes> {
        let all = KeyRange { from: String::new(), to: "~".to_owned() };
        let entries = list_all(self.store.as_ref(), &all).await.expect("read").items;
        entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
    }

    /// What a check finds: kind, key, and whether it is certain.
    async fn check(&self) -> Vec<(String, String, bool)> {
        let before = self.revision().await;
        let report = self.ok(200, "GET", "/v1/check", "").await;
        assert_eq!(self.revision().await, before, "a check changes nothing");
        let findings = findings(&report);
        assert!(report["findings"].as_array().expect("array").iter().all(|one| one["mended"] == false));
        assert_eq!(report["found"], findings.len());
        findings
    }

    /// Mends, which must do what is certain, and nothing else. Answers the keys that are not there any more.
    async fn mend(&self) -> Vec<String> {
        let before = self.everything().await;
        let report = self.ok(200, "POST", "/v1/check", "").await;
        for one in report["findings"].as_array().expect("array") {
            assert_eq!(one["certain"], one["mended"], "{one}");
        }
        let left: Vec<_> = findings(&report).into_iter().filter(|(.., certain)| !certain).collect();
        assert_eq!(self.check().await, left);
        let after = self.everything().await;
        before.into_keys().filter(|key| !after.contains_key(key)).collect()
    }
}

fn findings(report: &Value) -> Vec<(String, String, bool)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let findings = report["findings"].as_array().expect("array").iter();
    findings
        .map(|one| (text(&one["kind"]), text(&one["key"]), one["certain"].as_bool().expect("bool")))
        .collect()
}

fn one(kind: &str, key: &str, certain: bool) -> Vec<(String, String, bool)> {
    vec![(kind.to_owned(), key.to_owned(), certain)]
}

#[tokio::test]
async fn a_sound_store_has_nothing_abnormal() {
    let api = sound().await;
    assert_eq!(api.check().await, []);
    let before = api.revision().await;
    let report = api.ok(200, "POST", "/v1/check", "").await;
    assert_eq!(report, json!({"leases": 5, "findings": [], "found": 0}));
    assert_eq!(api.revision().await, before);
    api.fails(400, "GET", "/v1/check?unused=x", "", &["\"unused\" is invalid"]).await;
    api.fails(400, "POST", "/v1/check?all=true", "", &["no parameter \"all\""]).await;
}

#[tokio::test]
async fn what_a_removed_node_held_goes_back() {
    let api = sound().await;
    api.lose("n1").await;
    let block = keys::block(&node("n1"), &pool("default"), Unit::containing(ip("10.64.0.0"), 4));
    let lease = keys::lease(&pool("default"), Unit::containing(ip("10.64.0.0"), 4));
    let expected: Vec<_> =
        [lease.clone(), lease_key("192.168.1.5"), lease_key("192.168.1.6"), lease_key("192.168.1.24")]
            .map(|key| ("node-gone".to_owned(), key, true))
            .into();
    assert_eq!(api.check().await, expected);
    let mut gone = vec![block, lease];
    gone.extend(["192.168.1.5", "192.168.1.6"].map(lease_key));
    gone.extend(["192.168.1.5", "192.168.1.6", "192.168.1.24"].map(|address| block_key("n1", address)));
    gone.sort();
    assert_eq!(api.mend().await, gone);
    let kept = api.ok(200, "GET", "/v1/addresses/192.168.1.24", "").await;
    assert_eq!(
        (&kept["state"], &kept["kept_for"]["name"]),
        (&json!("kept"), &json!("db-0")),
        "a fixed one stays"
    );
}

#[tokio::test]
async fn a_node_that_is_away_keeps_what_it_has() {
    let api = sound().await;
    api.remove(&[keys::alive(&node("n1"))]).await;
    assert_eq!(api.check().await, one("node-away", "node/n1", false));
    assert!(api.mend().await.is_empty());
}

#[tokio::test]
async fn leases_and_indexes_that_disagree() {
    let api = sound().await;
    let (lease, block) = (lease_key("192.168.1.5"), block_key("n1", "192.168.1.5"));
    api.remove(std::slice::from_ref(&block)).await;
    assert_eq!(api.check().await, one("lease-without-index", &lease, false), "the node may have given it");
    assert!(api.mend().await.is_empty());
    api.lose("n1").await;
    assert!(api.check().await.contains(&("lease-without-index".to_owned(), lease.clone(), true)));
    assert!(api.mend().await.contains(&lease));

    let api = sound().await;
    api.remove(std::slice::from_ref(&lease)).await;
    assert_eq!(api.check().await, one("index-without-lease", &block, false), "the node settles it");
    assert!(api.mend().await.is_empty());
    api.lose("n1").await;
    assert!(api.check().await.contains(&("index-without-lease".to_owned(), block.clone(), true)));
    assert!(api.mend().await.contains(&block));

    // Another node leases what a node that is gone has in its index.
    let api = sound().await;
    api.write(hold("n2", "192.168.1.5", "p9", false, 0, true)).await;
    let found = api.check().await;
    assert_eq!(found[0], ("node-away".to_owned(), "node/n2".to_owned(), false));
    assert_eq!(found[1..], one("index-without-lease", &block, false));
    api.lose("n1").await;
    let gone = api.mend().await;
    assert!(gone.contains(&block) && !gone.contains(&lease), "{gone:?}");
}

#[tokio::test]
async fn a_fixed_address_of_a_lost_index_stays_kept() {
    let api = sound().await;
    api.remove(&[block_key("n1", "192.168.1.24")]).await;
    api.lose("n1").await;
    assert!(!api.mend().await.contains(&lease_key("192.168.1.24")));
    let kept = api.ok(200, "GET", "/v1/addresses/192.168.1.24", "").await;
    assert_eq!((&kept["state"], &kept["kept_for"]["name"]), (&json!("kept"), &json!("db-0")));
}

#[tokio::test]
async fn leases_that_no_pool_has() {
    let api = sound().await;
    let key = keys::namespace_pool(&scoped("default", "web"));
    let entry = api.store.get(&key).await.expect("read").expect("written");
    let mut record: NamespacePool = record::decode(&key, &entry.value).expect("pool");
    record.span.end = ip("192.168.1.23");
    api.put(key, record::encode(&record)).await;
    assert_eq!(api.check().await, one("lease-outside", &lease_key("192.168.1.24"), false));
    let lease = keys::lease(&pool("none"), Unit::containing(ip("10.99.0.0"), 4));
    let block = keys::block(&node("n1"), &pool("none"), Unit::containing(ip("10.99.0.0"), 4));
    let mirror = BlockMirror { prefix: 28, ..BlockMirror::default() };
    let txn = Txn::new()
        .then(Op::Put(lease.clone(), record::encode(&Lease::of_node("n1"))))
        .then(Op::Put(block, record::encode(&mirror)));
    api.write(txn).await;
    assert!(api.check().await.contains(&("lease-outside".to_owned(), lease, false)));
    assert!(api.mend().await.is_empty());
}

#[tokio::test]
async fn what_a_pod_never_got() {
    let api = sound().await;
    // An index that is written over keeps its life: both are made anew.
    api.remove(&[block_key("n1", "192.168.1.6"), lease_key("192.168.1.6")]).await;
    api.write(hold("n1", "192.168.1.6", "p2", false, 600_000, false)).await;
    assert_eq!(api.check().await, one("unheld", &lease_key("192.168.1.6"), false));
    assert!(api.mend().await.is_empty());
}

#[tokio::test]
async fn fixed_addresses() {
    let api = sound().await;
    let (lease, fixed) = (lease_key("192.168.1.23"), fixed_key("db-1"));
    api.remove(std::slice::from_ref(&fixed)).await;
    assert_eq!(api.check().await, one("kept-for-nobody", &lease, true));
    assert_eq!(api.mend().await, std::slice::from_ref(&lease));

    let api = sound().await;
    api.remove(std::slice::from_ref(&lease)).await;
    assert_eq!(api.check().await, one("fixed-without-lease", &fixed, true));
    assert_eq!(api.mend().await, std::slice::from_ref(&fixed));

    // The pod has another one, and this is nobody's.
    let api = sound().await;
    api.write(hold("", "192.168.1.22", "db-1", true, 0, false)).await;
    assert_eq!(api.check().await, one("kept-for-nobody", &lease, true));
    assert_eq!(api.mend().await, std::slice::from_ref(&lease));

    // Of a set that is gone, or just small: that can't be known here.
    let api = sound().await;
    api.write(hold("", "192.168.1.23", "db-1", true, WEEK + 60_000, false)).await;
    assert_eq!(api.check().await, one("unused", &lease, false));
    assert!(api.mend().await.is_empty());
    let report = api.ok(200, "GET", "/v1/check?unused=1209600", "").await;
    assert_eq!(report["found"], 0, "{report}");
}

#[tokio::test]
async fn services_that_disagree() {
    let api = sound().await;
    let (id, owner) = (scoped("default", "front"), scoped("default", "web"));
    let (service, parent) = (keys::service_pool(&id), keys::namespace_pool(&owner));
    let entry = api.store.get(&service).await.expect("read").expect("written");
    api.remove(std::slice::from_ref(&service)).await;
    assert_eq!(api.check().await, one("service-mismatch", &parent, true));
    api.mend().await;
    let shown = api.ok(200, "GET", "/v1/nspools/default/web", "").await;
    assert_eq!((&shown["reserved"], &shown["services"]), (&json!(0), &json!([])));
    // The other way round nothing is certain: its pods may have addresses.
    let record: ServicePool = record::decode(&service, &entry.value).expect("pool");
    api.put(service.clone(), record::encode(&record)).await;
    assert_eq!(api.check().await, one("service-mismatch", &service, false));
    assert!(api.mend().await.is_empty());
}

#[tokio::test]
async fn orders_and_what_is_unreadable() {
    let api = sound().await;
    let order = |holder: &str| keys::evict(&node(holder), ip("192.168.1.5"));
    for holder in ["n1", "n2", "gone"] {
        let evict = Evict { sequence: 1, container: "c1".parse().expect("container") };
        api.put(order(holder), record::encode(&evict)).await;
    }
    assert_eq!(api.check().await, one("order-to-nobody", &order("gone"), true));
    assert_eq!(api.mend().await, [order("gone")]);
    let key = lease_key("192.168.1.7");
    api.put(key.clone(), r#"{"v":2,"node":"n1"}"#.into()).await;
    assert_eq!(api.check().await, one("unreadable", &key, false));
    assert!(api.mend().await.is_empty());
}

#[tokio::test]
async fn nothing_is_mended_while_a_restore_is_dealt_with() {
    let api = sound().await;
    api.remove(&[fixed_key("db-1")]).await;
    api.put(keys::RESTORED.to_owned(), record::encode(&Restored { node: "n1".to_owned() })).await;
    let before = api.everything().await;
    let report = api.ok(200, "POST", "/v1/check", "").await;
    assert_eq!(
        (&report["findings"][0]["certain"], &report["findings"][0]["mended"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(api.everything().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_store_is_not_abnormal() {
    let api = Arc::new(sound().await);
    let done = Arc::new(AtomicBool::new(false));
    let (busy, ended) = (Arc::clone(&api), Arc::clone(&done));
    let work = tokio::spawn(async move {
        for round in 0..300_u64 {
            let address = format!("192.168.1.{}", 7 + round % 3);
            busy.write(hold("n1", &address, "db-5", round % 2 == 0, 0, true)).await;
            let mut keys = vec![lease_key(&address), block_key("n1", &address)];
            keys.extend((round % 2 == 0).then(|| fixed_key("db-5")));
            busy.remove(&keys).await;
        }
        ended.store(true, Ordering::Relaxed);
    });
    let mut looks = 0;
    while !done.load(Ordering::Relaxed) {
        let report = api.ok(200, "GET", "/v1/check", "").await;
        assert_eq!(report["found"], 0, "{report}");
        looks += 1;
    }
    work.await.expect("ended");
    assert!(looks > 0);
}
