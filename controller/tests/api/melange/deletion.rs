//! A block is deleted at once, and its addresses after that, whatever ends in between.

use super::{addresses, embedded, text};
use crate::etcd::Etcd;
use crate::fixture::Api;
use common::name::TenantId;
use common::store::{KeyRange, Store};
use controller::auth::Caller;
use controller::melange::{Melange, Settings};
use controller::plan::PlanCache;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const T: &str = "/v0.1/ipam/tenants/t";
const ALL: &str = "/v0.1/ipam/allocated_ip_addresses";

/// A controller whose requests remove no more than they must.
fn melange(store: &Arc<dyn Store>) -> Melange {
    Melange::new(Arc::clone(store), PlanCache::default(), Settings::default()).with_patience(Duration::ZERO)
}

async fn keys(store: &Arc<dyn Store>, of: &[&str]) -> u64 {
    let mut count = 0;
    for kind in of {
        count += store.count(&KeyRange::prefix(format!("melange/{kind}/"))).await.expect("counted");
    }
    count
}

/// A public block with more addresses than a request removes at once, some of them deallocated, plugged or with NAT.
async fn full(api: &Api) -> String {
    let block = json!({"type": "public", "cidr": "203.0.0.0/22", "network_id": "net"});
    let block = api.block("t", block).await;
    let path = addresses("t", &block);
    for number in 0..500 {
        let body = match number % 50 {
            0 => json!({"ip_address": {"interface_id": format!("i{number}"), "used_by_device": "vm"}}),
            _ => json!({"ip_address": {"tenant_id": "u", "used_by_device": "vm"}}),
        };
        api.m(201, "POST", &path, &body).await;
    }
    for address in ["203.0.0.9", "203.0.1.9"] {
        api.m(200, "DELETE", &format!("{path}/{address}"), &Value::Null).await;
    }
    let route = json!({"ip_route": {"destination": "192.0.2.0/24", "gateway": "203.0.0.1"}});
    api.m(201, "POST", &format!("{T}/ip_blocks/{block}/ip_routes"), &route).await;
    block
}

async fn at_once(store: Arc<dyn Store>) {
    let api = Api::on(Arc::clone(&store));
    let block = full(&api).await;
    let inside = api.private("t", "10.0.0.0/24").await;
    let globals = format!("/v0.1/ipam/ip_blocks/{inside}/ip_addresses/10.0.0.5/inside_globals");
    let nat = json!({"ip_addresses": [{"ip_block_id": block, "ip_address": "203.0.1.200"}]});
    api.m(200, "POST", &globals, &nat).await;
    let (who, tenant) = (Caller::itself("a test"), TenantId::new("t").expect("tenant"));
    melange(&store).delete_block(&who, &tenant, &block).await.expect("deleted");
    let left = keys(&store, &["address"]).await;
    assert!(left > 100, "{left} addresses are left for later");

    // Nobody sees the block, nor anything of it.
    let path = addresses("t", &block);
    for (method, path) in [
        ("GET", format!("{T}/ip_blocks/{block}")),
        ("DELETE", format!("{T}/ip_blocks/{block}")),
        ("GET", format!("{T}/ip_blocks/{block}/usage")),
        ("GET", path.clone()),
        ("POST", path.clone()),
        ("GET", format!("{path}/203.0.1.200")),
        ("GET", format!("/v0.1/ipam/ip_blocks/{block}/ip_addresses/203.0.1.200/inside_locals")),
        ("GET", format!("{T}/networks/net/interfaces/i450/ip_allocations")),
    ] {
        api.m(404, method, &path, &Value::Null).await;
    }
    for list in [
        format!("{T}/ip_blocks?type=public"),
        format!("{T}/instances/vm/ip_addresses"),
        "/v0.1/ipam/tenants/u/allocated_ip_addresses".to_owned(),
        format!("{ALL}?used_by_device=vm"),
        globals.clone(),
    ] {
        assert_eq!(api.all(&list, 100).await, Vec::<Value>::new(), "{list}");
    }
    assert_eq!(api.all(ALL, 100).await.len(), 1, "only the inside address");
    // Its interfaces are free for others, and its place in the plan is not yet.
    let other =
        api.block("u", json!({"type": "private", "cidr": "10.1.0.0/24", "network_id": "other"})).await;
    let plug = json!({"ip_address": {"interface_id": "i450"}});
    api.m(201, "POST", &addresses("u", &other), &plug).await;
    let again = json!({"ip_block": {"type": "public", "cidr": "203.0.2.0/24"}});
    let fault = api.m(400, "POST", &format!("{T}/ip_blocks"), &again).await;
    assert!(text(&fault["BadRequest"]["detail"]).starts_with("cidr: "), "{fault}");

    // Controllers go on, one after the other or at the same time, each as far as it comes before it ends.
    let mut done = 0;
    for _ in 0..9 {
        let [one, two] = [melange(&store), melange(&store)];
        let (one, two) = tokio::join!(one.clear(Duration::ZERO), two.clear(Duration::ZERO));
        done += one.expect("cleared") + two.expect("cleared");
        if done > 0 {
            break;
        }
    }
    assert!(done > 0, "something is done each time");
    assert_eq!(keys(&store, &["gone", "route", "nat", "public", "due"]).await, 0);
    assert_eq!(keys(&store, &["address"]).await, 2, "what is of other blocks");
    assert_eq!(keys(&store, &["interface"]).await, 1);
    api.m(201, "POST", &format!("{T}/ip_blocks"), &again).await;
}

#[tokio::test]
async fn a_large_block_goes_at_once() {
    at_once(embedded().await).await;
}

#[tokio::test]
async fn a_large_block_goes_at_once_on_etcd() {
    let etcd = Etcd::start().await;
    at_once(etcd.store().await).await;
}

/// The controllers that purge do it, too, and requests remove what they have time for.
#[tokio::test]
async fn what_is_left_is_purged() {
    let store = embedded().await;
    let api = Api::on(Arc::clone(&store));
    let block = full(&api).await;
    let (who, tenant) = (Caller::itself("a test"), TenantId::new("t").expect("tenant"));
    melange(&store).delete_block(&who, &tenant, &block).await.expect("deleted");
    assert!(keys(&store, &["gone"]).await == 1);
    melange(&store).purge_alone().await.expect("purged").expect("nobody else does");
    assert_eq!(keys(&store, &["gone", "address", "list", "public", "interface"]).await, 0);
    let block = full(&api).await;
    api.m(200, "DELETE", &format!("{T}/ip_blocks/{block}"), &Value::Null).await;
    assert_eq!(keys(&store, &["gone", "address", "list", "public", "interface"]).await, 0);
}
