//! Which blocks may be beside which: public ones and pools share a plan, networks and parents have rules.

use super::{addresses, embedded, text};
use crate::fixture::Api;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

const BLOCKS: &str = "/v0.1/ipam/tenants/t/ip_blocks";

async fn refused(api: &Api, tenant: &str, block: Value, field: &str) {
    let path = format!("/v0.1/ipam/tenants/{tenant}/ip_blocks");
    let fault = api.m(400, "POST", &path, &json!({"ip_block": block})).await;
    let detail = text(&fault["BadRequest"]["detail"]);
    assert!(detail.starts_with(field), "{detail}");
}

#[tokio::test]
async fn public_blocks_and_pools_share_no_address() {
    let api = Api::new().await;
    api.create("p", &["203.0.112.0/24", "fd01::/64"]).await;
    let pool = json!({
        "name": "web", "namespace": "n", "subnet": "203.0.114.0/24", "start": "203.0.114.9", "end": "203.0.114.20",
        "gateway": "203.0.114.1", "vlanid": 0,
    });
    api.ok(200, "POST", "/nsippool", &pool.to_string()).await;
    let public = |cidr: &str| json!({"type": "public", "cidr": cidr});
    for cidr in ["203.0.112.128/25", "203.0.0.0/16", "203.0.114.20/32", "fd01::5/128", "0.0.0.0/0"] {
        refused(&api, "t", public(cidr), "cidr: ").await;
    }
    let block = api.block("t", public("203.0.113.0/24")).await;
    for tenant in ["t", "u"] {
        refused(&api, tenant, public("203.0.113.0/24"), "cidr: ").await;
        refused(&api, tenant, public("203.0.113.77/32"), "cidr: ").await;
    }
    // And the other way round.
    api.fails(
        409,
        "POST",
        "/v1/pools",
        r#"{"name":"q","subnets":["203.0.113.0/28"]}"#,
        &["public block of tenant t"],
    )
    .await;
    api.fails(
        409,
        "POST",
        "/v1/pools/p/subnets",
        r#"{"subnet":"203.0.113.0/28"}"#,
        &["public block of tenant t"],
    )
    .await;
    let mut other = pool.clone();
    for (field, value) in [
        ("name", "x"),
        ("subnet", "203.0.113.0/24"),
        ("start", "203.0.113.9"),
        ("end", "203.0.113.9"),
        ("gateway", "203.0.113.1"),
    ] {
        other[field] = json!(value);
    }
    let (status, answer) = api.call("POST", "/nsippool", &other.to_string()).await;
    assert!(
        status == 400 && answer["Error"].as_str().expect("text").contains("public block of tenant t"),
        "{answer}"
    );
    // Private blocks are their tenant's own.
    for tenant in ["t", "u"] {
        api.private(tenant, "203.0.112.0/23").await;
    }
    // What is deleted can be had again.
    api.m(200, "DELETE", &format!("{BLOCKS}/{block}"), &Value::Null).await;
    api.create("q", &["203.0.113.0/24"]).await;
    refused(&api, "u", public("203.0.113.0/25"), "cidr: ").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_overlapping_public_blocks_and_pools_one_wins() {
    for round in 0..5 {
        let store = embedded().await;
        let mut tasks = JoinSet::new();
        for number in 0..16 {
            let api = Api::on(Arc::clone(&store));
            let cidr = format!("10.0.0.0/{}", 16 + number % 9);
            tasks.spawn(async move {
                let (path, body) = if number % 2 == 0 {
                    (BLOCKS, json!({"ip_block": {"type": "public", "cidr": cidr}}))
                } else {
                    ("/v1/pools", json!({"name": format!("p{number}"), "subnets": [cidr]}))
                };
                api.call("POST", path, &body.to_string()).await
            });
        }
        let outcomes = tasks.join_all().await;
        let won = outcomes.iter().filter(|(status, _)| *status == 201).count();
        assert_eq!(won, 1, "round {round}: {outcomes:?}");
    }
}

#[tokio::test]
async fn networks() {
    let api = Api::new().await;
    let in_net = |cidr: &str, kind: &str| json!({"type": kind, "cidr": cidr, "network_id": "net"});
    let one = api.block("t", in_net("10.0.0.0/24", "private")).await;
    refused(&api, "t", in_net("10.0.0.128/25", "private"), "cidr: ").await;
    refused(&api, "t", in_net("203.0.113.0/24", "public"), "type: ").await;
    api.block("t", in_net("10.0.1.0/24", "private")).await;
    api.block("u", in_net("10.0.0.0/24", "private")).await;
    // A block may come into a network later, if it may be there.
    let other = api.private("t", "10.0.0.0/16").await;
    let fault =
        api.m(400, "PUT", &format!("{BLOCKS}/{other}"), &json!({"ip_block": {"network_id": "net"}})).await;
    assert!(text(&fault["BadRequest"]["detail"]).starts_with("cidr: "), "{fault}");
    // A subnet is in its block's network, beside which it can't be.
    let subnet = json!({"subnet": {"cidr": "10.0.0.0/26"}});
    let made = api.m(201, "POST", &format!("{BLOCKS}/{one}/subnets"), &subnet).await["subnet"].clone();
    assert_eq!(
        (&made["network_id"], &made["parent_id"], &made["type"]),
        (&json!("net"), &json!(one), &json!("private"))
    );
    let allocated = "/v0.1/ipam/tenants/t/networks/net/interfaces/i/ip_allocations";
    let given = api.m(201, "POST", allocated, &Value::Null).await;
    assert_ne!(given["ip_addresses"][0]["ip_block"]["id"], one, "a block with subnets gives nothing");
    let wanted = json!({"network": {"addresses": ["10.0.0.9"]}});
    let given = api.m(201, "POST", allocated, &wanted).await;
    assert_eq!(given["ip_addresses"][0]["ip_block"]["id"], made["id"], "its subnet does");
}

#[tokio::test]
async fn subnets() {
    let api = Api::new().await;
    let parent = api.private("t", "10.0.0.0/24").await;
    let path = format!("{BLOCKS}/{parent}/subnets");
    let made =
        api.m(201, "POST", &path, &json!({"subnet": {"cidr": "10.0.0.70/26", "tenant_id": "u"}})).await;
    let subnet = made["subnet"].clone();
    assert_eq!(
        (&subnet["cidr"], &subnet["tenant_id"], &subnet["gateway"]),
        (&json!("10.0.0.64/26"), &json!("u"), &json!("10.0.0.65"))
    );
    for cidr in ["10.0.0.64/26", "10.0.0.0/24", "10.0.0.64/27", "10.0.1.0/26", "fd00::/64"] {
        let fault = api.m(400, "POST", &path, &json!({"subnet": {"cidr": cidr}})).await;
        assert!(text(&fault["BadRequest"]["detail"]).starts_with("cidr: "), "{fault}");
    }
    api.m(201, "POST", &path, &json!({"subnet": {"cidr": "10.0.0.0/26"}})).await;
    assert_eq!(api.all(&path, 1).await.len(), 2);
    // It is its tenant's, and listed among that one's blocks.
    let of_u = api.all("/v0.1/ipam/tenants/u/ip_blocks", 10).await;
    assert_eq!(of_u.len(), 1);
    let id = text(&subnet["id"]);
    api.m(404, "GET", &format!("{BLOCKS}/{id}"), &Value::Null).await;
    api.m(201, "POST", &addresses("u", &id), &Value::Null).await;
    // A block with subnets gives nothing, and one with addresses has no subnets.
    api.m(422, "POST", &addresses("t", &parent), &Value::Null).await;
    let subnets = format!("/v0.1/ipam/tenants/u/ip_blocks/{id}/subnets");
    api.m(400, "POST", &subnets, &json!({"subnet": {"cidr": "10.0.0.64/28"}})).await;
    // It goes with its block.
    api.m(200, "DELETE", &format!("{BLOCKS}/{parent}"), &Value::Null).await;
    api.m(404, "GET", &format!("/v0.1/ipam/tenants/u/ip_blocks/{id}"), &Value::Null).await;
    assert_eq!(api.all("/v0.1/ipam/tenants/u/allocated_ip_addresses", 10).await.len(), 0);
}

/// Either the subnet or the address comes first, and then the other one is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_subnet_never_meets_an_address() {
    for _ in 0..100 {
        let store = embedded().await;
        let api = Api::on(Arc::clone(&store));
        let block = api.private("t", "10.0.0.0/24").await;
        let other = Api::on(store);
        let (path, subnets) = (addresses("t", &block), format!("{BLOCKS}/{block}/subnets"));
        let allocating = tokio::spawn(async move { other.call("POST", &path, "").await.0 });
        let made = api.call("POST", &subnets, r#"{"subnet":{"cidr":"10.0.0.0/26"}}"#).await.0;
        match (allocating.await.expect("no panic"), made) {
            (201, 400) | (422, 201) => {}
            both => panic!("{both:?}"),
        }
    }
}
