//! What pods have of the blocks that back pools is what tenants see.

use super::{addresses, embedded, text};
use crate::etcd::Etcd;
use crate::fixture::{Api, allocation, ip, node, pool};
use common::ipam::Unit;
use common::store::record::{self, Allocation, BlockMirror};
use common::store::{Store, keys};
use controller::melange::{Melange, Settings};
use controller::plan::PlanCache;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval};

const T: &str = "/v0.1/ipam/tenants/t";
const ALLOCATED: &str = "/v0.1/ipam/tenants/t/allocated_ip_addresses";
/// Longer than it takes until the turn of a controller that was killed is over.
const SOON: Duration = Duration::from_secs(30);

/// A controller that follows the pods, until it is killed.
struct Controller(JoinHandle<()>);

impl Controller {
    fn on(store: &Arc<dyn Store>) -> Self {
        let melange = Melange::new(Arc::clone(store), PlanCache::default(), Settings::default());
        Self(tokio::spawn(async move { melange.keep_following_pods().await }))
    }

    async fn kill(mut self) {
        self.0.abort();
        assert!((&mut self.0).await.expect_err("killed").is_cancelled());
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A pool `pods` of a block of tenant t.
struct Pods {
    api: Api,
    block: String,
}

impl Pods {
    async fn new(store: Arc<dyn Store>) -> Self {
        let api = Api::on(store);
        let block = json!({"type": "private", "cidr": "10.1.0.0/24", "network_id": "net"});
        let block = api.block("t", block).await;
        api.back("pods", "t", &block).await;
        Self { api, block }
    }

    /// Writes a node's mirror of the block of sixteen at an address.
    async fn mirror(&self, holder: &str, first: &str, held: Vec<Allocation>) {
        let unit = Unit::containing(ip(first), 4);
        let mirror = BlockMirror { prefix: 28, held, ..BlockMirror::default() };
        self.api.put(keys::block(&node(holder), &pool("pods"), unit), record::encode(&mirror)).await;
    }

    async fn lease(&self, holder: &str, first: &str, offsets: &[u32]) {
        self.api.lease(holder, "pods", first).await.expect("leased");
        self.api.mirror(holder, "pods", first, offsets).await;
    }

    /// What the tenant sees, as addresses with containers.
    async fn seen(&self) -> Vec<String> {
        let all = self.api.all(ALLOCATED, 7).await;
        let mut seen: Vec<String> = all
            .iter()
            .map(|item| format!("{} {}", text(&item["address"]), text(&item["used_by_device"])))
            .collect();
        seen.sort();
        seen
    }

    async fn until(&self, expected: &[&str]) {
        let (start, mut ticks) = (Instant::now(), interval(Duration::from_millis(10)));
        loop {
            let seen = self.seen().await;
            if seen == expected {
                return;
            }
            assert!(start.elapsed() < SOON, "{seen:?}, expected {expected:?}");
            ticks.tick().await;
        }
    }

    /// How many keys of addresses and their lists there are.
    async fn keys(&self) -> u64 {
        let mut count = 0;
        for kind in ["address", "list", "nat", "interface", "due"] {
            let range = common::store::KeyRange::prefix(format!("melange/{kind}/"));
            count += self.api.store.count(&range).await.expect("counted");
        }
        count
    }
}

async fn seen_like_any_other(store: Arc<dyn Store>) {
    let pods = Pods::new(Arc::clone(&store)).await;
    let _controllers = [Controller::on(&store), Controller::on(&store)];
    pods.lease("n1", "10.1.0.16", &[1, 2]).await;
    pods.until(&["10.1.0.17 c1", "10.1.0.18 c2"]).await;
    on_every_list(&pods).await;
    let public = for_nobody_to_take(&pods).await;
    come_and_go(&pods, &public).await;
    pods.api.ok(200, "DELETE", "/v1/pools/pods", "").await;
    pods.api.m(200, "DELETE", &format!("{T}/ip_blocks/{public}"), &Value::Null).await;
    assert_eq!(pods.keys().await, 0, "nothing is left");
}

/// On every list, by every filter, and counted.
async fn on_every_list(Pods { api, block }: &Pods) {
    let path = addresses("t", block);
    let shown = api.read(&format!("{path}/10.1.0.17")).await["ip_address"].clone();
    for (field, value) in [
        ("address", json!("10.1.0.17")),
        ("ip_block_id", json!(block)),
        ("used_by_tenant", json!("t")),
        ("used_by_device", json!("c1")),
        ("interface_id", json!("eth0")),
        ("created_at", json!("1970-01-01T00:00:05Z")),
    ] {
        assert_eq!(shown[field], value, "{shown}");
    }
    for list in [&path, ALLOCATED, "/v0.1/ipam/allocated_ip_addresses"] {
        assert_eq!(api.all(list, 1).await.len(), 2, "{list}");
    }
    for list in [
        format!("{ALLOCATED}?used_by_device=c1"),
        "/v0.1/ipam/allocated_ip_addresses?used_by_device=c1".to_owned(),
        format!("{T}/instances/c1/ip_addresses"),
        "/v0.1/ipam/instances/c1/ip_addresses".to_owned(),
    ] {
        let found = api.all(&list, 9).await;
        assert_eq!((found.len(), &found[0]["address"]), (1, &json!("10.1.0.17")), "{list}");
    }
    let usage = api.read(&format!("{T}/ip_blocks/{block}/usage")).await;
    assert_eq!(usage["usage"], json!({"total": "254", "used": "2", "free": "252"}));
}

/// Nobody gives or takes them but their node, and an interface is no id of the tenant's. Answers a public block of which
/// an address stands for one of them.
async fn for_nobody_to_take(Pods { api, block }: &Pods) -> String {
    let path = addresses("t", block);
    for (method, path) in
        [("DELETE", format!("{path}/10.1.0.17")), ("PUT", format!("{path}/10.1.0.17/restore"))]
    {
        let fault = api.m(422, method, &path, &Value::Null).await;
        let detail = text(&fault["UnprocessableEntity"]["detail"]);
        assert!(detail.contains("held by the pod of container c1"), "{detail}");
    }
    let interface = format!("{T}/networks/net/interfaces/eth0/ip_allocations");
    assert_eq!(api.read(&interface).await["ip_addresses"], json!([]));
    api.m(200, "DELETE", &interface, &Value::Null).await;
    // A public address may stand for it.
    let public = api.block("t", json!({"type": "public", "cidr": "203.0.113.0/24"})).await;
    let nat = json!({"ip_addresses": [{"ip_block_id": public, "ip_address": "203.0.113.9"}]});
    api.m(200, "POST", &format!("/v0.1/ipam/ip_blocks/{block}/ip_addresses/10.1.0.17/inside_globals"), &nat)
        .await;
    api.m(200, "DELETE", &format!("{}/203.0.113.9", addresses("t", &public)), &Value::Null).await;
    public
}

/// They go with their pods, and others may come: on this node, or on another.
async fn come_and_go(pods: &Pods, public: &str) {
    let api = &pods.api;
    api.mirror("n1", "pods", "10.1.0.16", &[2, 3]).await;
    pods.until(&["10.1.0.18 c2", "10.1.0.19 c3"]).await;
    let locals = format!("/v0.1/ipam/ip_blocks/{public}/ip_addresses/203.0.113.9/inside_locals");
    assert_eq!(api.read(&locals).await["ip_addresses"], json!([]), "the NAT is gone too");
    let other = Allocation { container: "other".parse().expect("id"), since: 6_000, ..allocation(2) };
    let aside = Allocation { conflict: true, ..allocation(4) };
    pods.mirror("n1", "10.1.0.16", vec![other, allocation(3), aside]).await;
    pods.until(&["10.1.0.18 other", "10.1.0.19 c3"]).await;
    pods.lease("n2", "10.1.0.32", &(0..16).collect::<Vec<u32>>()).await;
    pods.lease("n1", "10.1.0.48", &(0..16).collect::<Vec<u32>>()).await;
    let (start, mut ticks) = (Instant::now(), interval(Duration::from_millis(10)));
    while pods.seen().await.len() != 34 {
        assert!(start.elapsed() < SOON, "{:?}", pods.seen().await);
        ticks.tick().await;
    }
    for (holder, first) in [("n1", "10.1.0.48"), ("n2", "10.1.0.32"), ("n1", "10.1.0.16")] {
        api.release(holder, "pods", first).await;
    }
    pods.until(&[]).await;
}

#[tokio::test]
async fn pods_are_seen_like_any_other_holder() {
    seen_like_any_other(embedded().await).await;
}

#[tokio::test]
async fn pods_are_seen_like_any_other_holder_on_etcd() {
    let etcd = Etcd::start().await;
    seen_like_any_other(etcd.store().await).await;
}

async fn killed(store: Arc<dyn Store>) {
    let pods = Pods::new(Arc::clone(&store)).await;
    let first = Controller::on(&store);
    pods.lease("n1", "10.1.0.16", &[1, 2]).await;
    pods.lease("n2", "10.1.0.32", &[5]).await;
    pods.until(&["10.1.0.17 c1", "10.1.0.18 c2", "10.1.0.37 c5"]).await;
    first.kill().await;
    // While no controller looks.
    pods.api.mirror("n1", "pods", "10.1.0.16", &[2, 9]).await;
    pods.api.release("n2", "pods", "10.1.0.32").await;
    pods.lease("n3", "10.1.0.64", &[0]).await;
    let later = [Controller::on(&store), Controller::on(&store), Controller::on(&store)];
    pods.until(&["10.1.0.18 c2", "10.1.0.25 c9", "10.1.0.64 c0"]).await;
    // A pool that comes while they look, of another tenant, and one that goes.
    let block = pods.api.private("u", "10.2.0.0/24").await;
    pods.api.back("other", "u", &block).await;
    pods.api.lease("n9", "other", "10.2.0.16").await.expect("leased");
    pods.api.mirror("n9", "other", "10.2.0.16", &[7]).await;
    let of_u = "/v0.1/ipam/tenants/u/allocated_ip_addresses";
    let (start, mut ticks) = (Instant::now(), interval(Duration::from_millis(10)));
    while pods.api.all(of_u, 9).await.len() != 1 {
        assert!(start.elapsed() < SOON, "the pod of the other tenant is not seen");
        ticks.tick().await;
    }
    for controller in later {
        controller.kill().await;
    }
    // What is left of a pool's pods goes with the pool.
    pods.api.release("n1", "pods", "10.1.0.16").await;
    pods.api.release("n3", "pods", "10.1.0.64").await;
    assert_eq!(pods.seen().await.len(), 3, "nobody looks");
    pods.api.ok(200, "DELETE", "/v1/pools/pods", "").await;
    pods.until(&[]).await;
    assert_eq!(pods.api.all(of_u, 9).await.len(), 1, "the other tenant's stay");
    let given = pods.api.m(201, "POST", &addresses("t", &pods.block), &Value::Null).await;
    assert_eq!(given["ip_address"]["address"], "10.1.0.0");
}

#[tokio::test]
async fn controllers_are_killed_in_between() {
    killed(embedded().await).await;
}

#[tokio::test]
async fn controllers_are_killed_in_between_on_etcd() {
    let etcd = Etcd::start().await;
    killed(etcd.store().await).await;
}
