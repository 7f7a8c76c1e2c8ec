//! `/v1/addresses`: who holds an address, and freeing one by force.

use crate::fixture::{Api, allocation, ip, node, pool};
use common::store::record::{self, Evict};
use common::store::{Compare, Event, Op, Store, Txn, Watch, keys};
use serde_json::{Value, json};
use std::sync::Arc;

async fn populated() -> Api {
    let api = Api::new().await;
    let body = json!({
        "name": "default", "subnets": ["10.64.0.0/24", "fd00::/64"],
        "exclude": ["10.64.0.4/30", "10.64.0.128/25"]
    });
    api.ok(201, "POST", "/v1/pools", &body.to_string()).await;
    let body = json!({"name": "l2", "subnets": ["10.65.0.0/24"], "block_gateway": "first"});
    api.ok(201, "POST", "/v1/pools", &body.to_string()).await;
    for name in ["n1", "n2"] {
        api.register(name, name == "n1").await;
    }
    for (holder, name, address) in [
        ("n1", "default", "10.64.0.0"),
        ("n2", "default", "10.64.0.16"),
        ("n1", "default", "fd00::10"),
        ("n1", "l2", "10.65.0.0"),
    ] {
        api.lease(holder, name, address).await.expect("leased");
    }
    api.mirror("n1", "default", "10.64.0.0", &[0, 1, 9]).await;
    api.mirror("n2", "default", "10.64.0.16", &[15]).await;
    api.mirror("n1", "default", "fd00::10", &[3]).await;
    api
}

fn addresses(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["address"].as_str().expect("address")).collect()
}

#[tokio::test]
async fn held_addresses_are_listed() {
    let api = populated().await;
    let by_address = ["10.64.0.0", "10.64.0.1", "10.64.0.9", "10.64.0.31", "fd00::13"];
    let by_node = ["10.64.0.0", "10.64.0.1", "10.64.0.9", "fd00::13", "10.64.0.31"];
    for limit in 1..7 {
        assert_eq!(addresses(&api.pages("/v1/addresses", limit).await), by_node, "{limit}");
        assert_eq!(addresses(&api.pages("/v1/addresses?pool=default", limit).await), by_address, "{limit}");
        assert_eq!(addresses(&api.pages("/v1/addresses?node=n1&pool=default", limit).await), by_node[..4]);
        assert_eq!(addresses(&api.pages("/v1/addresses?node=n2", limit).await), ["10.64.0.31"]);
        assert!(api.pages("/v1/addresses?pool=l2", limit).await.is_empty());
    }
    let items = api.pages("/v1/addresses?node=n2", 1).await;
    let expected = json!({
        "node": "n2", "block": "10.64.0.16/28", "address": "10.64.0.31", "pool": "default",
        "pod-namespace": "team", "pod-name": "pod-15", "container-id": "c15", "interface": "eth0", "since": 5000
    });
    assert_eq!(items[0], expected);
    api.fails(404, "GET", "/v1/addresses?pool=none", "", &["no pool none"]).await;
    api.fails(404, "GET", "/v1/addresses?node=n9", "", &["no node n9"]).await;
    api.fails(400, "GET", "/v1/addresses?continue=00", "", &["`continue`"]).await;
}

#[tokio::test]
async fn a_page_goes_on_where_it_ended_although_the_block_is_gone() {
    let api = populated().await;
    let first = api.ok(200, "GET", "/v1/addresses?pool=default&limit=2", "").await;
    api.release("n1", "default", "10.64.0.0").await;
    let next = first["continue"].as_str().expect("more");
    let second = api.ok(200, "GET", &format!("/v1/addresses?pool=default&limit=2&continue={next}"), "").await;
    assert_eq!(addresses(second["items"].as_array().expect("items")), ["10.64.0.31", "fd00::13"]);
}

#[tokio::test]
async fn every_state_of_an_address() {
    let api = populated().await;
    for (address, state, block, node) in [
        ("10.64.0.9", "held", "10.64.0.0/28", json!("n1")),
        ("10.64.0.2", "free", "10.64.0.0/28", json!("n1")),
        ("10.64.0.5", "excluded", "10.64.0.0/28", json!("n1")),
        ("10.64.0.32", "unleased", "10.64.0.32/28", json!(null)),
        ("10.64.0.200", "excluded", "10.64.0.192/28", json!(null)),
        ("10.65.0.0", "excluded", "10.65.0.0/28", json!("n1")),
        ("10.65.0.15", "excluded", "10.65.0.0/28", json!("n1")),
        ("10.65.0.1", "free", "10.65.0.0/28", json!("n1")),
        ("fd00::13", "held", "fd00::10/124", json!("n1")),
        ("fd00:0:0:0:0:0:0:14", "free", "fd00::10/124", json!("n1")),
    ] {
        let detail = api.ok(200, "GET", &format!("/v1/addresses/{address}"), "").await;
        let got = (&detail["state"], &detail["block"], &detail["node"]);
        assert_eq!(got, (&json!(state), &json!(block), &node), "{address}");
        assert_eq!(detail["attachment"].is_null(), state != "held", "{address}: {detail}");
    }
    let detail = api.ok(200, "GET", "/v1/addresses/10.64.0.9", "").await;
    assert_eq!(detail["attachment"]["container-id"], "c9");
    api.fails(404, "GET", "/v1/addresses/10.99.0.1", "", &["10.99.0.1 is in no pool"]).await;
    for bad in ["10.64.0", "10.64.0.0%2F28", "x", "%FF", "fd00::g"] {
        let (status, body) = api.get(&format!("/v1/addresses/{bad}")).await;
        assert_eq!(status, 400, "{bad}: {body}");
    }
}

#[tokio::test]
async fn what_nobody_holds_is_not_freed() {
    let api = populated().await;
    api.fails(404, "DELETE", "/v1/addresses/10.64.0.2", "", &["nobody holds 10.64.0.2", "leased by node n1"])
        .await;
    api.fails(404, "DELETE", "/v1/addresses/10.64.0.32", "", &["leased by no node"]).await;
    api.fails(404, "DELETE", "/v1/addresses/10.99.0.1", "", &["in no pool"]).await;
    assert_eq!(api.store.count(&keys::evictions(&node("n1"))).await.expect("count"), 0);
}

#[tokio::test]
async fn a_dead_node_frees_when_it_is_back() {
    let api = populated().await;
    let reply = api.ok(202, "DELETE", "/v1/addresses/10.64.0.31", "").await;
    assert_eq!(reply["state"], "held");
    let message = reply["message"].as_str().expect("message");
    assert!(
        message.contains("node n2 is not alive") && message.contains("coilctl node remove n2"),
        "{message}"
    );
    let key = keys::evict(&node("n2"), ip("10.64.0.31"));
    let order = api.store.get(&key).await.expect("get").expect("the order stays");
    let order: Evict = record::decode(&key, &order.value).expect("order");
    assert_eq!(order, Evict { sequence: 115, container: allocation(15).container });
}

#[tokio::test]
async fn a_live_node_frees_exactly_that_allocation() {
    let api = populated().await;
    let orders = keys::evictions(&node("n1"));
    let now = api.store.list_keys(&orders, 1).await.expect("list").revision;
    let watch = api.store.watch(std::slice::from_ref(&orders), now + 1).await.expect("watch");
    let follower = tokio::spawn(follow_one_order(Arc::clone(&api.store), watch));
    let reply = api.ok(200, "DELETE", "/v1/addresses/10.64.0.9", "").await;
    assert_eq!((&reply["state"], &reply["attachment"]["container-id"]), (&json!("free"), &json!("c9")));
    assert!(reply["message"].as_str().expect("message").contains("node n1 has freed 10.64.0.9"));
    assert_eq!(api.ok(200, "GET", "/v1/addresses/10.64.0.9", "").await["state"], "free", "at once");
    let order = follower.await.expect("followed");
    assert_eq!(order, Evict { sequence: 109, container: allocation(9).container });
}

/// Does what a coild does with an order for n1.
async fn follow_one_order(store: Arc<dyn Store>, mut orders: Watch) -> Evict {
    loop {
        match orders.recv().await.expect("event").expect("event") {
            Event::Put(entry) => {
                let order = record::decode(&entry.key, &entry.value).expect("order");
                let done = Txn::new()
                    .when(Compare::ModRevision(entry.key.clone(), entry.mod_revision))
                    .then(Op::Delete(entry.key));
                store.txn(done).await.expect("done");
                let api = Api::on(store);
                api.mirror("n1", "default", "10.64.0.0", &[0, 1]).await;
                return order;
            }
            Event::Delete(..) => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_is_not_waited_for_long() {
    let api = populated().await;
    let reply = api.ok(202, "DELETE", "/v1/addresses/10.64.0.9", "").await;
    let message = reply["message"].as_str().expect("message");
    assert!(message.contains("has not confirmed it yet"), "{message}");
    assert_eq!(reply["state"], "held");
}

#[tokio::test]
async fn a_mirror_that_can_not_be_read_hides_nothing_else() {
    let api = populated().await;
    let unit = common::ipam::Unit::containing(ip("10.64.0.0"), 4);
    api.put(keys::block(&node("n1"), &pool("default"), unit), bytes::Bytes::from_static(b"{\"v\":9}")).await;
    assert_eq!(addresses(&api.pages("/v1/addresses", 2).await), ["fd00::13", "10.64.0.31"]);
    let detail = api.ok(200, "GET", "/v1/addresses/10.64.0.9", "").await;
    assert_eq!(detail["state"], "free", "as far as anybody can tell");
    api.ok(200, "DELETE", "/v1/nodes/n1?force=true", "").await;
}
