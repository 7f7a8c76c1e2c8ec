//! `/v1/nodes` and `/v1/blocks`.

use crate::fixture::{Api, node, pool};
use common::ipam::Unit;
use common::store::record::{self, Evict, Lease};
use common::store::{Op, Txn, keys};
use serde_json::{Value, json};

/// Two pools, three nodes: n1 alive with three blocks, n2 dead with one, n3 alive with none.
async fn populated() -> Api {
    let api = Api::new().await;
    api.create("default", &["10.64.0.0/24", "fd00::/64"]).await;
    api.create("other", &["10.65.0.0/24"]).await;
    for (name, alive) in [("n1", true), ("n2", false), ("n3", true)] {
        api.register(name, alive).await;
    }
    for (holder, pool, address) in [
        ("n1", "default", "10.64.0.16"),
        ("n1", "default", "fd00::"),
        ("n1", "other", "10.65.0.0"),
        ("n2", "default", "10.64.0.0"),
    ] {
        api.lease(holder, pool, address).await.expect("leased");
    }
    api.mirror("n1", "default", "10.64.0.16", &[1, 2]).await;
    api.mirror("n2", "default", "10.64.0.0", &[5]).await;
    api
}

fn block(block: &str, pool: &str, node: &str, allocated: u64) -> Value {
    json!({"block": block, "pool": pool, "node": node, "allocated": allocated})
}

#[tokio::test]
async fn nodes_are_listed_and_shown() {
    let api = populated().await;
    let view = |name: &str, alive: bool, blocks: u64| json!({"name": name, "alive": alive, "instance": format!("i-{name}"), "started": 1000, "blocks": blocks});
    let all = json!([view("n1", true, 3), view("n2", false, 1), view("n3", true, 0)]);
    for limit in [1, 2, 500] {
        assert_eq!(json!(api.pages("/v1/nodes", limit).await), all);
    }
    let detail = api.ok(200, "GET", "/v1/nodes/n1", "").await;
    let leases = [
        block("10.64.0.16/28", "default", "n1", 2),
        block("fd00::/124", "default", "n1", 0),
        block("10.65.0.0/28", "other", "n1", 0),
    ];
    assert_eq!((&detail["alive"], &detail["leases"]), (&json!(true), &json!(leases)));
    api.fails(404, "GET", "/v1/nodes/n9", "", &["no node n9", "coilctl node list"]).await;
    api.fails(400, "GET", "/v1/nodes/-n", "", &["node name \"-n\" is malformed"]).await;
}

#[tokio::test]
async fn blocks_are_listed_by_pool_and_node() {
    let api = populated().await;
    let default = [
        block("10.64.0.0/28", "default", "n2", 1),
        block("10.64.0.16/28", "default", "n1", 2),
        block("fd00::/124", "default", "n1", 0),
    ];
    let other = block("10.65.0.0/28", "other", "n1", 0);
    let by_node = json!([default[1], default[2], other, default[0]]);
    for limit in [1, 2, 3, 4, 500] {
        assert_eq!(json!(api.pages("/v1/blocks", limit).await), by_node);
        assert_eq!(json!(api.pages("/v1/blocks?pool=default", limit).await), json!(default));
        assert_eq!(json!(api.pages("/v1/blocks?pool=default&node=n1", limit).await), json!(default[1..]));
        assert_eq!(json!(api.pages("/v1/blocks?node=n2", limit).await), json!(default[..1]));
        assert_eq!(json!(api.pages("/v1/blocks?node=n3", limit).await), json!([]));
    }
    api.fails(404, "GET", "/v1/blocks?pool=none", "", &["no pool none"]).await;
    api.fails(404, "GET", "/v1/blocks?node=n9", "", &["no node n9"]).await;
    api.fails(400, "GET", "/v1/blocks?pool=No", "", &["parameter \"pool\"", "pool name \"No\""]).await;
    api.fails(400, "GET", "/v1/blocks?nod=n1", "", &["no parameter \"nod\""]).await;
    let token = api.ok(200, "GET", "/v1/blocks?limit=1", "").await["continue"].clone();
    let of_another = format!("/v1/blocks?pool=default&continue={}", token.as_str().expect("token"));
    api.fails(400, "GET", &of_another, "", &["`continue` is not a token of this list"]).await;
}

#[tokio::test]
async fn a_dead_node_is_removed() {
    let api = populated().await;
    let removal = api.ok(200, "DELETE", "/v1/nodes/n2", "").await;
    assert_eq!(removal, json!({"node": "n2", "released": ["10.64.0.0/28"], "allocated": 1}));
    api.fails(404, "GET", "/v1/nodes/n2", "", &["no node n2"]).await;
    api.fails(404, "DELETE", "/v1/nodes/n2", "", &["no node n2"]).await;
    api.lease("n3", "default", "10.64.0.0").await.expect("the block is free again");
    assert_eq!(api.pages("/v1/blocks?node=n1", 500).await.len(), 3, "others keep theirs");
}

#[tokio::test]
async fn a_live_node_is_removed_by_force_only() {
    let api = populated().await;
    api.fails(409, "DELETE", "/v1/nodes/n1", "", &["node n1 is alive", "--force"]).await;
    api.fails(409, "DELETE", "/v1/nodes/n1?force=false", "", &["node n1 is alive"]).await;
    api.fails(400, "DELETE", "/v1/nodes/n1?force=yes", "", &["parameter \"force\" is invalid"]).await;
    assert_eq!(api.pages("/v1/blocks?node=n1", 500).await.len(), 3);
    let removal = api.ok(200, "DELETE", "/v1/nodes/n1?force=true", "").await;
    assert_eq!(removal["released"], json!(["10.64.0.16/28", "fd00::/124", "10.65.0.0/28"]));
    assert_eq!(removal["allocated"], 2);
    assert_eq!(api.ok(200, "GET", "/v1/pools/other", "").await["usage"][0]["leased"], 0);
}

#[tokio::test]
async fn a_removal_is_more_than_one_transaction_and_is_resumed() {
    let api = populated().await;
    api.create("large", &["10.128.0.0/16"]).await;
    for number in 0..200_u32 {
        let address = format!("10.128.{}.{}", number / 16, number % 16 * 16);
        api.lease("n2", "large", &address).await.expect("leased");
    }
    for number in 0..300_u32 {
        let order = Evict { sequence: 1, container: "c".parse().expect("id") };
        let address = std::net::Ipv4Addr::from_bits(0x0a80_0000 + number).into();
        api.put(keys::evict(&node("n2"), address), record::encode(&order)).await;
    }
    // A removal that was cut short has removed some of the blocks.
    api.release("n2", "large", "10.128.0.0").await;
    let removal = api.ok(200, "DELETE", "/v1/nodes/n2", "").await;
    assert_eq!(removal["released"].as_array().expect("blocks").len(), 200);
    for range in [keys::blocks(&node("n2")), keys::evictions(&node("n2")), keys::leases(&pool("large"))] {
        assert_eq!(api.store.count(&range).await.expect("count"), 0, "{range:?}");
    }
}

#[tokio::test]
async fn a_removal_leaves_what_others_hold() {
    let api = populated().await;
    let unit = Unit::containing("10.64.0.0".parse().expect("address"), 4);
    // The index of n2 is stale: the lease belongs to n3 now.
    api.put(keys::lease(&pool("default"), unit), record::encode(&Lease::of_node("n3"))).await;
    api.ok(200, "DELETE", "/v1/nodes/n2", "").await;
    let lease = api.store.get(&keys::lease(&pool("default"), unit)).await.expect("get");
    assert!(lease.is_some(), "n3's lease is gone");
}

#[tokio::test]
async fn a_node_without_a_record_but_with_blocks_can_be_removed() {
    let api = populated().await;
    let txn = Txn::new().then(Op::Delete(keys::node(&node("n2"))));
    api.store.txn(txn).await.expect("deleted");
    assert_eq!(api.ok(200, "DELETE", "/v1/nodes/n2", "").await["released"], json!(["10.64.0.0/28"]));
}
