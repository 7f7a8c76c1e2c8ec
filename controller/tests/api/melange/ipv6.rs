//! IPv6 addresses are generated, and collide.

use super::world::MAC;
use super::{addresses, embedded, text};
use crate::fixture::Api;
use controller::api::{Context, router};
use controller::auth::Authentication;
use controller::melange::{Generator, Settings};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::JoinSet;

async fn api(generator: Generator) -> Api {
    let store = embedded().await;
    let settings = Settings { generator, ..Settings::default() };
    let context = Context::with(Arc::clone(&store), Authentication::default(), settings);
    Api { router: router(context), store }
}

#[tokio::test]
async fn of_tenant_and_mac() {
    let api = api(Generator::Tenant).await;
    let block = api.private("t", "fd00:0:0:7::/64").await;
    let path = addresses("t", &block);
    // sha1("tenant-a") begins with 0c8d5a8d.
    for (body, host) in [
        (json!({"mac_address": MAC, "tenant_id": "tenant-a"}), "ff0a:0b0c"),
        (json!({"mac_address": MAC, "tenant_id": "tenant-a"}), "ff0a:0b0d"),
        (json!({"mac_address": "00-16-3E-0A-0B-0C", "tenant_id": "tenant-a"}), "ff0a:0b0e"),
        (json!({"mac_address": "ffffffffffff", "tenant_id": "tenant-a"}), "ffff:ffff"),
        (json!({"mac_address": "ffffffffffff", "tenant_id": "tenant-a"}), "0000:0000"),
    ] {
        let made = api.m(201, "POST", &path, &json!({"ip_address": body})).await["ip_address"].clone();
        let address = text(&made["address"]);
        assert!(address.starts_with("fd00:0000:0000:0007:") && address.ends_with(host), "{made}");
        assert_eq!((&made["version"], address.len()), (&json!(6), 39));
    }
    let one = api.m(201, "POST", &path, &json!({"ip_address": {"mac_address": MAC, "tenant_id": "b"}})).await;
    let other =
        api.m(201, "POST", &path, &json!({"ip_address": {"mac_address": MAC, "tenant_id": "c"}})).await;
    assert_ne!(one["ip_address"]["address"], other["ip_address"]["address"]);
    // Any spelling names the same address.
    let address = text(&one["ip_address"]["address"]);
    let short: std::net::Ipv6Addr = address.parse().expect("address");
    for spelling in [short.to_string(), short.to_string().to_uppercase(), address] {
        let shown = api.read(&format!("{path}/{spelling}")).await;
        assert_eq!(shown["ip_address"]["id"], one["ip_address"]["id"]);
    }
    api.m(400, "POST", &path, &json!({"ip_address": {"mac_address": "x"}})).await;
    api.m(400, "POST", &path, &Value::Null).await;
    // Without a MAC address, an address can still be named.
    api.m(201, "POST", &path, &json!({"ip_address": {"address": "fd00:0:0:7::99"}})).await;
    api.m(409, "POST", &path, &json!({"ip_address": {"address": "fd00:0:0:7::1"}})).await;
}

#[tokio::test]
async fn of_the_mac_alone() {
    let api = api(Generator::Eui64).await;
    let block = api.private("t", "fd00::/64").await;
    for expected in ["0216:3eff:fe0a:0b0c", "0216:3eff:fe0a:0b0d"] {
        let made =
            api.m(201, "POST", &addresses("t", &block), &json!({"ip_address": {"mac_address": MAC}})).await;
        assert!(text(&made["ip_address"]["address"]).ends_with(expected), "{made}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn collisions_at_once() {
    let api = api(Generator::Tenant).await;
    let block = api.private("t", "fd00::/64").await;
    let mut clients = JoinSet::new();
    for _ in 0..16 {
        let (api, path) = (Api::on(Arc::clone(&api.store)), addresses("t", &block));
        clients.spawn(async move {
            let mut given = Vec::new();
            for _ in 0..10 {
                let made = api.m(201, "POST", &path, &json!({"ip_address": {"mac_address": MAC}})).await;
                given.push(text(&made["ip_address"]["address"]));
            }
            given
        });
    }
    let given: BTreeSet<String> = clients.join_all().await.into_iter().flatten().collect();
    assert_eq!(given.len(), 160);
}

#[tokio::test]
async fn small_blocks_are_filled() {
    let api = api(Generator::Tenant).await;
    let block = api.private("t", "fd00::/124").await;
    let body = json!({"ip_address": {"mac_address": MAC}});
    for _ in 0..15 {
        api.m(201, "POST", &addresses("t", &block), &body).await;
    }
    api.m(422, "POST", &addresses("t", &block), &body).await;
}
