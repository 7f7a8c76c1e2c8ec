//! Blocks that back pools: what is refused, of pools and of tenants, and what happens at the same instant.

use super::{addresses, embedded, text};
use crate::etcd::Etcd;
use crate::fixture::Api;
use common::store::Store;
use serde_json::{Value, json};
use std::sync::Arc;

const T: &str = "/v0.1/ipam/tenants/t";

impl Api {
    /// Makes a pool of a tenant's block.
    pub(super) async fn back(&self, name: &str, tenant: &str, block: &str) -> Value {
        self.ok(201, "POST", "/v1/pools", &from_block(name, tenant, block)).await
    }

    /// A request of a tenant that must be refused, with its reason.
    async fn denied(&self, status: u16, method: &str, path: &str, body: &Value, reason: &str) {
        let fault = self.m(status, method, path, body).await;
        let detail =
            fault.as_object().and_then(|fault| fault.values().next()).map(|fault| text(&fault["detail"]));
        let detail = detail.expect("a failure");
        assert!(detail.contains(reason), "{method} {path} {body}: {detail:?} lacks {reason:?}");
    }

    async fn subnet(&self, parent: &str, cidr: &str) -> String {
        let path = format!("{T}/ip_blocks/{parent}/subnets");
        text(&self.m(201, "POST", &path, &json!({"subnet": {"cidr": cidr}})).await["subnet"]["id"])
    }
}

fn from_block(name: &str, tenant: &str, block: &str) -> String {
    json!({"name": name, "from_block": format!("{tenant}/{block}")}).to_string()
}

async fn life(api: Api) {
    let policy = api.policy(&[(-10, 10)], &[13]).await;
    let body = json!({"type": "private", "cidr": "10.1.0.0/24", "network_id": "net", "policy_id": policy});
    let block = api.block("t", body).await;
    let pool = api.back("pods", "t", &block).await;
    let expected = json!({
        "name": "pods", "subnets": ["10.1.0.0/24"], "block_size": 28, "block_size_v6": 124,
        "exclude": ["10.1.0.1/32", "10.1.0.13/32", "10.1.0.246/31", "10.1.0.248/29"],
        "block_gateway": "none", "disabled": false, "from_block": format!("t/{block}"),
        "usage": [{"family": "ipv4", "blocks": 16, "leased": 0}]
    });
    assert_eq!(pool, expected);
    assert_eq!(api.ok(200, "GET", "/v1/pools", "").await, json!({"items": [expected]}));

    // The tenant has nothing to give or to cut any more, and may change what does not matter.
    let (path, of_block) = (addresses("t", &block), format!("{T}/ip_blocks/{block}"));
    let interface = format!("{T}/networks/net/interfaces/i/ip_allocations");
    let subnet = json!({"subnet": {"cidr": "10.1.0.0/26"}});
    for (method, path, body, reason) in [
        ("POST", &path, Value::Null, "backs pool pods: its addresses are given to pods"),
        ("POST", &path, json!({"ip_address": {"address": "10.1.0.9"}}), "backs pool pods"),
        ("POST", &interface, Value::Null, "back pools"),
        ("POST", &interface, json!({"network": {"addresses": ["10.1.0.9"]}}), "backs pool pods"),
        ("POST", &format!("{of_block}/subnets"), subnet, "backs pool pods: it can't have subnets"),
        ("DELETE", &of_block, Value::Null, "backs pool pods: the pool must be deleted first"),
    ] {
        api.denied(422, method, path, &body, reason).await;
    }
    let nat = json!({"ip_addresses": [{"ip_block_id": block, "ip_address": "10.1.0.9"}]});
    let inside = format!("/v0.1/ipam/ip_blocks/{block}/ip_addresses/10.1.0.8/inside_globals");
    api.denied(422, "POST", &inside, &nat, "backs pool pods").await;
    api.m(200, "PUT", &of_block, &json!({"ip_block": {"network_id": "other"}})).await;
    api.m(200, "DELETE", &format!("{T}/policies/{policy}"), &Value::Null).await;
    api.denied(422, "POST", &path, &Value::Null, "backs pool pods").await;

    // The pool has these addresses, all its life.
    for (method, body) in [("POST", r#"{"subnet":"10.2.0.0/24"}"#), ("DELETE", r#"{"subnet":"10.1.0.0/24"}"#)]
    {
        let reason = format!("pool pods has the addresses of block t/{block}");
        api.fails(409, method, "/v1/pools/pods/subnets", body, &[&reason]).await;
    }
    api.lease("n1", "pods", "10.1.0.16").await.expect("leased");
    api.fails(409, "DELETE", "/v1/pools/pods", "", &["1 block is leased by n1"]).await;
    api.release("n1", "pods", "10.1.0.16").await;
    assert_eq!(api.ok(200, "DELETE", "/v1/pools/pods", "").await["from_block"], format!("t/{block}"));
    api.m(201, "POST", &path, &Value::Null).await;
    api.m(200, "DELETE", &of_block, &Value::Null).await;
}

#[tokio::test]
async fn from_create_to_delete() {
    life(Api::new().await).await;
}

#[tokio::test]
async fn from_create_to_delete_on_etcd() {
    let etcd = Etcd::start().await;
    life(Api::on(etcd.store().await)).await;
}

#[tokio::test]
async fn what_can_not_back_a_pool() {
    let api = Api::new().await;
    api.create("default", &["10.64.0.0/16"]).await;
    api.block("u", json!({"type": "public", "cidr": "203.0.113.0/24"})).await;
    let held = api.private("t", "10.2.0.0/24").await;
    api.m(201, "POST", &addresses("t", &held), &Value::Null).await;
    let freed = api.private("t", "10.3.0.0/24").await;
    api.m(201, "POST", &addresses("t", &freed), &Value::Null).await;
    api.m(200, "DELETE", &format!("{}/10.3.0.0", addresses("t", &freed)), &Value::Null).await;
    let parent = api.private("t", "10.4.0.0/24").await;
    api.subnet(&parent, "10.4.0.0/26").await;
    let backs = api.private("t", "10.5.0.0/24").await;
    api.back("backed", "t", &backs).await;
    let taken = api.private("t", "10.64.3.0/24").await;
    let public = api.private("t", "203.0.113.0/26").await;
    let same = api.private("u", "10.5.0.0/25").await;
    let of_policy = async |cidr: &str, ranges: &[(i64, u64)], octets: &[u8]| {
        let policy = api.policy(ranges, octets).await;
        api.block("t", json!({"type": "private", "cidr": cidr, "policy_id": policy})).await
    };
    let nothing = of_policy("10.6.0.0/24", &[(0, 999)], &[]).await;
    let huge = of_policy("11.0.0.0/8", &[], &[7]).await;
    let endless = of_policy("fd00::/64", &[], &[7]).await;
    for (status, tenant, block, reason) in [
        (400, "u", backs.as_str(), "from_block: there is no block u/"),
        (400, "t", "01a1ff4f-de69-75d7-b160-dd3f860eadbd", "`coilctl melange block list t` shows"),
        (400, "t", "x", "from_block: block id has 1 bytes"),
        (409, "t", &held, "has addresses that are allocated"),
        (409, "t", &freed, "deallocated and not yet given again"),
        (409, "t", &parent, "has subnets"),
        (409, "t", &backs, "backs pool backed already"),
        (409, "t", &taken, "subnet 10.64.3.0/24 overlaps 10.64.0.0/16 of pool default"),
        (409, "t", &public, "overlaps 203.0.113.0/24, a public block of tenant u"),
        (409, "u", &same, "overlaps 10.5.0.0/24 of pool backed"),
        (400, "t", &nothing, "the exclusions leave no ipv4 address of subnet 10.6.0.0/24"),
        (400, "t", &huge, "is more than 1000 networks"),
        (400, "t", &endless, "is more than 1000 networks"),
    ] {
        let reason = if block == "x" { "from_block: block id" } else { reason };
        api.fails(status, "POST", "/v1/pools", &from_block("x", tenant, block), &[reason]).await;
    }
    let free = api.private("t", "10.9.0.0/24").await;
    for (body, reason) in [
        (
            json!({"name": "x", "from_block": format!("t/{free}"), "subnets": ["10.9.0.0/24"]}),
            "must be left out",
        ),
        (
            json!({"name": "x", "from_block": format!("t/{free}"), "exclude": ["10.8.0.0/30"]}),
            "lies in no subnet",
        ),
        (json!({"name": "x", "from_block": "t"}), "from_block: it must be TENANT/BLOCK"),
        (json!({"name": "x", "from_block": {"tenant": "t"}}), "from_block"),
        (json!({"name": "x"}), "`subnets` must name one"),
    ] {
        api.fails(400, "POST", "/v1/pools", &body.to_string(), &[reason]).await;
    }
    api.fails(409, "POST", "/v1/pools", &from_block("default", "t", &free), &["exists already"]).await;
    // None of this has taken anything.
    api.m(201, "POST", &addresses("t", &free), &Value::Null).await;
    assert_eq!(api.pages("/v1/pools", 9).await.len(), 2);
}

#[tokio::test]
async fn more_may_be_excluded_and_small_blocks_are_leased_as_a_whole() {
    let api = Api::new().await;
    for (name, cidr, sizes, exclude) in [
        ("p30", "10.0.0.0/30", (30, 124), json!(["10.0.0.1/32", "10.0.0.3/32"])),
        ("p31", "10.0.1.0/31", (31, 124), json!(["10.0.1.1/32"])),
        ("p32", "10.0.2.0/32", (32, 124), Value::Null),
        ("p127", "fd00::/127", (28, 127), json!(["fd00::1/128"])),
    ] {
        let block = api.private("t", cidr).await;
        let pool = api.back(name, "t", &block).await;
        assert_eq!(
            (&pool["block_size"], &pool["block_size_v6"]),
            (&json!(sizes.0), &json!(sizes.1)),
            "{pool}"
        );
        assert_eq!((&pool["subnets"], &pool["exclude"]), (&json!([cidr]), &exclude), "{pool}");
        assert_eq!(pool["usage"][0]["blocks"], 1, "{pool}");
    }
    let block = api.private("t", "10.9.0.0/24").await;
    let body = json!({"name": "p", "from_block": format!("t/{block}"), "block_size": 26, "exclude": ["10.9.0.64/26"]});
    let pool = api.ok(201, "POST", "/v1/pools", &body.to_string()).await;
    assert_eq!(pool["exclude"], json!(["10.9.0.64/26", "10.9.0.1/32", "10.9.0.255/32"]));
    assert_eq!((&pool["block_size"], &pool["usage"][0]["blocks"]), (&json!(26), &json!(3)));
    let block = api.private("t", "10.8.0.0/31").await;
    let body = json!({"name": "x", "from_block": format!("t/{block}"), "block_gateway": "first"});
    api.fails(400, "POST", "/v1/pools", &body.to_string(), &["block_size 31 is not between 22 and 30"]).await;
}

/// A public block, and the pools that it and its subnets back, are one part of the address plan.
#[tokio::test]
async fn public_blocks() {
    let api = Api::new().await;
    let parent = api.block("t", json!({"type": "public", "cidr": "203.0.113.0/24"})).await;
    let (one, two) =
        (api.subnet(&parent, "203.0.113.0/26").await, api.subnet(&parent, "203.0.113.64/26").await);
    let three = api.subnet(&parent, "203.0.113.128/26").await;
    api.back("one", "t", &one).await;
    api.back("two", "t", &two).await;
    api.m(201, "POST", &addresses("t", &three), &Value::Null).await;
    let private = api.private("u", "203.0.113.192/26").await;
    for (body, reason) in [
        (json!({"name": "x", "subnets": ["203.0.113.16/28"]}).to_string(), "of pool one"),
        (json!({"name": "x", "subnets": ["203.0.113.192/28"]}).to_string(), "a public block of tenant t"),
        (from_block("x", "u", &private), "a public block of tenant t"),
        (from_block("x", "t", &parent), "has subnets"),
    ] {
        api.fails(409, "POST", "/v1/pools", &body, &[reason]).await;
    }
    // What others make does not slip in between, whatever the plan is asked for first.
    for cidr in ["203.0.113.0/26", "203.0.113.96/27", "203.0.113.192/26", "203.0.112.0/22"] {
        let body = json!({"ip_block": {"type": "public", "cidr": cidr}});
        api.denied(400, "POST", &format!("{T}/ip_blocks"), &body, "cidr: ").await;
    }
    // Of a block with one that backs a pool in it nothing is deleted.
    api.denied(422, "DELETE", &format!("{T}/ip_blocks/{parent}"), &Value::Null, "backs pool").await;
    for block in [&one, &two, &three] {
        api.read(&format!("{T}/ip_blocks/{block}")).await;
    }
    assert_eq!(api.all(&addresses("t", &three), 9).await.len(), 1);
    for pool in ["one", "two"] {
        api.ok(200, "DELETE", &format!("/v1/pools/{pool}"), "").await;
    }
    api.m(200, "DELETE", &format!("{T}/ip_blocks/{parent}"), &Value::Null).await;
    api.create("x", &["203.0.113.0/24"]).await;
}

/// The statuses of a request of a pool and of one of the tenant, made at the same instant on controllers of their own.
async fn at_once(
    [one, two]: &[Arc<Api>; 2],
    pool: (&'static str, &'static str, String),
    tenant: (&str, &str, Value),
) -> (u16, u16) {
    let one = Arc::clone(one);
    let pool = tokio::spawn(async move { one.call(pool.0, pool.1, &pool.2).await.0 });
    let body = if tenant.2.is_null() { String::new() } else { tenant.2.to_string() };
    let tenant = two.with(tenant.0, tenant.1, &[("content-type", "application/json")], &body).await.status;
    (pool.await.expect("no panic"), tenant)
}

/// Either the pool comes first or what the tenant wants, and then the other one is refused.
async fn races(store: Arc<dyn Store>, rounds: u32) {
    let controllers = [(); 2].map(|()| Arc::new(Api::on(Arc::clone(&store))));
    let api = &controllers[0];
    for round in 0..rounds {
        let made = |block: &str| ("POST", "/v1/pools", from_block("pods", "t", block));
        let block = api.private("t", "10.0.0.0/24").await;
        let (path, of_block) = (addresses("t", &block), format!("{T}/ip_blocks/{block}"));
        // An address.
        let wanted =
            if round % 2 == 0 { Value::Null } else { json!({"ip_address": {"address": "10.0.0.77"}}) };
        match at_once(&controllers, made(&block), ("POST", &path, wanted)).await {
            (201, 422) => api.ok(200, "DELETE", "/v1/pools/pods", "").await,
            (409, 201) => api.m(200, "DELETE", &of_block, &Value::Null).await,
            both => panic!("{both:?}"),
        };
        // A subnet.
        let block = api.private("t", "10.0.0.0/24").await;
        let (of_block, subnet) =
            (format!("{T}/ip_blocks/{block}"), json!({"subnet": {"cidr": "10.0.0.0/26"}}));
        match at_once(&controllers, made(&block), ("POST", &format!("{of_block}/subnets"), subnet)).await {
            (201, 422) => api.ok(200, "DELETE", "/v1/pools/pods", "").await,
            (409, 201) => api.m(200, "DELETE", &of_block, &Value::Null).await,
            both => panic!("{both:?}"),
        };
        // The end of the block, and then the end of the pool.
        let block = api.private("t", "10.0.0.0/24").await;
        let (path, of_block) = (addresses("t", &block), format!("{T}/ip_blocks/{block}"));
        match at_once(&controllers, made(&block), ("DELETE", &of_block, Value::Null)).await {
            (201, 422) => {}
            (400, 200) => continue,
            both => panic!("{both:?}"),
        }
        let deleted = ("DELETE", "/v1/pools/pods", String::new());
        match at_once(&controllers, deleted, ("POST", &path, Value::Null)).await {
            (200, 201 | 422) => {}
            both => panic!("{both:?}"),
        }
        api.m(200, "DELETE", &of_block, &Value::Null).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pool_never_meets_what_a_tenant_does() {
    races(embedded().await, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pool_never_meets_what_a_tenant_does_on_etcd() {
    let etcd = Etcd::start().await;
    races(etcd.store().await, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_pools_one_has_the_block() {
    let store = embedded().await;
    let controllers = [(); 4].map(|()| Arc::new(Api::on(Arc::clone(&store))));
    for round in 0..20 {
        let block = controllers[0].private("t", &format!("10.{round}.0.0/24")).await;
        let tasks: Vec<_> = controllers
            .iter()
            .enumerate()
            .map(|(number, api)| {
                let (api, body) = (Arc::clone(api), from_block(&format!("p{round}-{number}"), "t", &block));
                tokio::spawn(async move { api.call("POST", "/v1/pools", &body).await.0 })
            })
            .collect();
        let mut statuses = Vec::new();
        for task in tasks {
            statuses.push(task.await.expect("no panic"));
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409]);
    }
}
