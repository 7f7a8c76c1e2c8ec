//! Addresses are given, deallocated, restored, removed and given again.

use super::world::MAC;
use super::{addresses, embedded, text};
use crate::etcd::Etcd;
use crate::fixture::Api;
use common::store::{Store, keys};
use controller::auth::Authentication;
use controller::melange::{Melange, Settings};
use controller::plan::PlanCache;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::JoinSet;

const DAY: u64 = 24 * 60 * 60 * 1_000;

/// Another controller's use cases on the same store.
fn melange(api: &Api) -> Melange {
    Melange::new(Arc::clone(&api.store), PlanCache::default(), Settings::default())
}

fn now() -> u64 {
    common::clock::now_millis()
}

#[tokio::test]
async fn from_the_first_address_on() {
    let api = Api::new().await;
    let block = api.private("t", "10.0.0.9/29").await;
    let shown = api.read(&format!("/v0.1/ipam/tenants/t/ip_blocks/{block}")).await["ip_block"].clone();
    for (field, value) in [
        ("cidr", "10.0.0.8/29"),
        ("gateway", "10.0.0.9"),
        ("broadcast", "10.0.0.15"),
        ("netmask", "255.255.255.248"),
        ("type", "private"),
        ("tenant_id", "t"),
    ] {
        assert_eq!(shown[field], value, "{shown}");
    }
    let path = addresses("t", &block);
    let mut given = Vec::new();
    for _ in 0..6 {
        let made = api.m(201, "POST", &path, &Value::Null).await["ip_address"].clone();
        assert_eq!((&made["version"], &made["used_by_tenant"]), (&json!(4), &json!("t")), "{made}");
        given.push(text(&made["address"]));
    }
    assert_eq!(given, ["10.0.0.8", "10.0.0.10", "10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.14"]);
    api.m(422, "POST", &path, &Value::Null).await;
    for (address, status) in [
        ("10.0.0.9", 409),
        ("10.0.0.15", 409),
        ("10.0.0.8", 409),
        ("10.0.0.7", 422),
        ("fd00::1", 422),
        ("10.0.0", 400),
    ] {
        api.m(status, "POST", &path, &json!({"ip_address": {"address": address}})).await;
    }
}

#[tokio::test]
async fn blocks_of_one_address() {
    let api = Api::new().await;
    for cidr in ["10.0.0.7/32", "fd00::7/128"] {
        let block = api.private("t", cidr).await;
        let shown = api.read(&format!("/v0.1/ipam/tenants/t/ip_blocks/{block}")).await;
        assert_eq!(shown["ip_block"]["gateway"], Value::Null, "{shown}");
        let body = json!({"ip_address": {"mac_address": MAC}});
        api.m(201, "POST", &addresses("t", &block), &body).await;
        api.m(422, "POST", &addresses("t", &block), &body).await;
    }
}

/// 32 clients of two controllers, 1,000 addresses of a /22.
async fn at_once(store: Arc<dyn Store>, controllers: usize) {
    let apis: Vec<Api> = (0..controllers).map(|_| Api::on(Arc::clone(&store))).collect();
    let block = apis[0].private("t", "10.0.0.0/22").await;
    let mut clients = JoinSet::new();
    for client in 0..32 {
        let (router, path) = (apis[client % controllers].router.clone(), addresses("t", &block));
        let api = Api { store: Arc::clone(&store), router };
        let share = 1_000 / 32 + usize::from(client < 1_000 % 32);
        clients.spawn(async move {
            let mut given = Vec::new();
            for _ in 0..share {
                let made = api.m(201, "POST", &path, &json!({"ip_address": {"used_by_device": "d"}})).await;
                given.push(text(&made["ip_address"]["address"]));
            }
            given
        });
    }
    let given: Vec<String> = clients.join_all().await.into_iter().flatten().collect();
    let distinct: BTreeSet<&String> = given.iter().collect();
    assert_eq!((given.len(), distinct.len()), (1_000, 1_000));
    // What is left is given too: none fails while one is free.
    for _ in 0..1_024 - 2 - 1_000 {
        apis[0].m(201, "POST", &addresses("t", &block), &Value::Null).await;
    }
    apis[0].m(422, "POST", &addresses("t", &block), &Value::Null).await;
    assert_eq!(apis[0].all(&addresses("t", &block), 300).await.len(), 1_022);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_two_clients_share_an_address() {
    at_once(embedded().await, 1).await;
    at_once(embedded().await, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_two_clients_share_an_address_on_etcd() {
    let etcd = Etcd::start().await;
    at_once(etcd.store().await, 1).await;
    at_once(etcd.store().await, 2).await;
}

/// Many clients want the last addresses, which come and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn none_fails_while_one_is_free() {
    let store = embedded().await;
    let api = Api::on(Arc::clone(&store));
    let block = api.private("t", "10.0.0.0/28").await;
    let mut clients = JoinSet::new();
    for _ in 0..14 {
        let (api, path) = (Api::on(Arc::clone(&store)), addresses("t", &block));
        clients.spawn(async move { api.m(201, "POST", &path, &Value::Null).await });
    }
    assert_eq!(clients.join_all().await.len(), 14);
}

async fn fill_and_purge(api: &Api) {
    let block = api.private("t", "10.0.0.0/24").await;
    let path = addresses("t", &block);
    for _ in 0..254 {
        api.m(201, "POST", &path, &json!({"ip_address": {"interface_id": "i", "used_by_device": "d"}})).await;
    }
    api.m(422, "POST", &path, &Value::Null).await;
    let one = format!("{path}/10.0.0.77");
    let before = api.read(&one).await;
    api.m(200, "DELETE", &one, &Value::Null).await;
    api.m(200, "DELETE", &one, &Value::Null).await;
    // It is in the block's list and details, and in no other list.
    assert_eq!(api.read(&one).await["ip_address"]["id"], before["ip_address"]["id"]);
    assert_eq!(api.all(&path, 100).await.len(), 254);
    for list in
        ["/v0.1/ipam/allocated_ip_addresses", "/v0.1/ipam/tenants/t/allocated_ip_addresses?used_by_device=d"]
    {
        let all = api.all(list, 100).await;
        assert!(
            all.len() == 253 && all.iter().all(|item| item["address"] != "10.0.0.77"),
            "{list}: {}",
            all.len()
        );
    }
    api.m(422, "POST", &path, &Value::Null).await;
    api.m(409, "POST", &path, &json!({"ip_address": {"address": "10.0.0.77"}})).await;
    // Its days are not over; then they are.
    assert_eq!(melange(api).purge(now()).await.expect("purged"), 0);
    api.m(422, "POST", &path, &Value::Null).await;
    assert_eq!(melange(api).purge(now() + 2 * DAY + 1_000).await.expect("purged"), 1);
    api.m(404, "GET", &one, &Value::Null).await;
    api.m(404, "PUT", &format!("{one}/restore"), &Value::Null).await;
    let again = api.m(201, "POST", &path, &Value::Null).await["ip_address"].clone();
    assert_eq!(again["address"], "10.0.0.77");
    assert_ne!(again["id"], before["ip_address"]["id"], "another one of that address");
    // Restored, it is as it was.
    let two = format!("{path}/10.0.0.78");
    let before = api.read(&two).await;
    api.m(200, "DELETE", &two, &Value::Null).await;
    let restored = api.m(200, "PUT", &format!("{two}/restore"), &Value::Null).await;
    for field in ["id", "address", "interface_id", "used_by_device", "used_by_tenant", "created_at"] {
        assert_eq!(restored["ip_address"][field], before["ip_address"][field], "{restored}");
    }
    assert_eq!(api.all("/v0.1/ipam/tenants/t/allocated_ip_addresses", 100).await.len(), 254);
    assert_eq!(
        melange(api).purge(now() + 9 * DAY).await.expect("purged"),
        0,
        "nothing is left to be removed"
    );
}

#[tokio::test]
async fn full_deallocated_purged_and_given_again() {
    fill_and_purge(&Api::new().await).await;
}

#[tokio::test]
async fn full_deallocated_purged_and_given_again_on_etcd() {
    let etcd = Etcd::start().await;
    fill_and_purge(&Api::on(etcd.store().await)).await;
}

#[tokio::test]
async fn days_are_configured_and_one_controller_purges() {
    let store = embedded().await;
    let settings = Settings { keep_deallocated_ips_days: 0, ..Settings::default() };
    let context =
        controller::api::Context::with(Arc::clone(&store), Authentication::default(), settings.clone());
    let api = Api { store: Arc::clone(&store), router: controller::api::router(context) };
    let block = api.private("t", "10.0.0.0/24").await;
    api.m(201, "POST", &addresses("t", &block), &Value::Null).await;
    api.m(200, "DELETE", &format!("{}/10.0.0.0", addresses("t", &block)), &Value::Null).await;
    let controllers =
        [(); 3].map(|()| Melange::new(Arc::clone(&store), PlanCache::default(), settings.clone()));
    let [one, two, three] = &controllers;
    let (one, two, three) = tokio::join!(one.purge_alone(), two.purge_alone(), three.purge_alone());
    let mut done = [one, two, three].map(|done| done.expect("purged"));
    done.sort_unstable();
    assert_eq!(done, [None, None, Some(1)]);
    assert_eq!(store.count(&keys::melange::due_until(u64::MAX)).await.expect("count"), 0);
}

/// Whatever happened: when all blocks and policies are deleted, nothing is left of this API.
#[tokio::test]
async fn nothing_leaks() {
    let world = super::world::World::new(embedded().await).await;
    let (api, t) = (&world.api, "/v0.1/ipam/tenants/t");
    for block in ["block", "full", "v6", "parent", "public"] {
        api.m(200, "DELETE", &world.fill(&format!("{t}/ip_blocks/<{block}>")), &Value::Null).await;
    }
    api.m(404, "GET", &world.fill(&format!("{t}/ip_blocks/<subnet>")), &Value::Null).await;
    api.m(200, "DELETE", &world.fill(&format!("{t}/policies/<policy>")), &Value::Null).await;
    let left = api.store.list_keys(&common::store::KeyRange::prefix("melange/"), 100).await.expect("list");
    assert_eq!(left.items, Vec::<String>::new());
}
