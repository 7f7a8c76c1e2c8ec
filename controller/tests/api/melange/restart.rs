//! Controllers and etcd end between any two steps, and nothing is lost.

use super::{addresses, text};
use crate::etcd::Etcd;
use crate::fixture::Api;
use common::store::embedded::Embedded;
use serde_json::{Value, json};
use std::sync::Arc;

const T: &str = "/v0.1/ipam/tenants/t";

/// What a client does, step by step; `again` gives it a controller that was just started.
async fn story(again: impl AsyncFn() -> Api) {
    let policy = {
        let api = again().await;
        text(
            &api.m(201, "POST", &format!("{T}/policies"), &json!({"policy": {"name": "p"}})).await["policy"]
                ["id"],
        )
    };
    let rules = format!("{T}/policies/{policy}/unusable_ip_octets");
    again().await.m(201, "POST", &rules, &json!({"ip_octet": {"octet": 2}})).await;
    let block = json!({"type": "private", "cidr": "10.0.0.0/29", "policy_id": policy, "network_id": "net"});
    let block = again().await.block("t", block).await;
    let path = addresses("t", &block);
    let mut given = Vec::new();
    for _ in 0..4 {
        let made = again().await.m(201, "POST", &path, &json!({"ip_address": {"interface_id": "i"}})).await;
        given.push(text(&made["ip_address"]["address"]));
    }
    assert_eq!(given, ["10.0.0.0", "10.0.0.3", "10.0.0.4", "10.0.0.5"]);
    let public = again().await.block("t", json!({"type": "public", "cidr": "203.0.113.0/24"})).await;
    let nat = json!({"ip_addresses": [{"ip_block_id": public, "ip_address": "203.0.113.9"}]});
    let globals = format!("/v0.1/ipam/ip_blocks/{block}/ip_addresses/10.0.0.3/inside_globals");
    again().await.m(200, "POST", &globals, &nat).await;
    again().await.m(200, "DELETE", &format!("{path}/10.0.0.4"), &Value::Null).await;
    assert_eq!(again().await.all(&format!("{T}/allocated_ip_addresses"), 2).await.len(), 4);
    again().await.m(200, "PUT", &format!("{path}/10.0.0.4/restore"), &Value::Null).await;
    assert_eq!(again().await.all(&format!("{T}/allocated_ip_addresses"), 2).await.len(), 5);
    assert_eq!(again().await.read(&globals).await["ip_addresses"][0]["address"], "203.0.113.9");
    let held = again().await.read(&format!("{T}/networks/net/interfaces/i/ip_allocations")).await;
    assert_eq!(held["ip_addresses"].as_array().expect("list").len(), 4);
    again().await.m(201, "POST", &path, &Value::Null).await;
    again().await.m(422, "POST", &path, &Value::Null).await;
    again()
        .await
        .m(
            400,
            "POST",
            &format!("{T}/ip_blocks"),
            &json!({"ip_block": {"type": "public", "cidr": "203.0.113.0/25"}}),
        )
        .await;
    again().await.m(200, "DELETE", &format!("{T}/ip_blocks/{block}"), &Value::Null).await;
    assert_eq!(again().await.all(&format!("{T}/allocated_ip_addresses"), 2).await.len(), 1);
}

#[tokio::test]
async fn of_the_controller_and_its_file() {
    let directory = tempfile::tempdir().expect("directory");
    let open = tokio::sync::Mutex::new(None::<Arc<Embedded>>);
    story(async || {
        let mut open = open.lock().await;
        if let Some(store) = open.take() {
            // The router of the step before is gone, and with it whoever else had the store.
            let store = Arc::into_inner(store).expect("nobody else has it");
            store.close().await;
        }
        let store = Arc::new(Embedded::open(directory.path().join("store")).await.expect("opened"));
        *open = Some(Arc::clone(&store));
        Api::on(store)
    })
    .await;
}

#[tokio::test]
async fn of_the_controller_and_of_etcd() {
    let etcd = Etcd::start().await;
    drop(etcd.store().await);
    let etcd = tokio::sync::Mutex::new(etcd);
    story(async || {
        let mut etcd = etcd.lock().await;
        etcd.kill();
        etcd.run().await;
        Api::on(etcd.same_store())
    })
    .await;
}
