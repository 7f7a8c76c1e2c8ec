//! What is another tenant's is not there, in every verb; interfaces belong to one tenant.

use super::world::{fill, furnish};
use super::{addresses, embedded, text};
use crate::fixture::Api;
use axum::body::Body;
use axum::http::{Request, header};
use common::server::Peer;
use common::store::Store;
use controller::api::routes;
use controller::auth::{Authentication, NewToken, Tokens};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;

/// Everything that a tenant has, asked for in another one's name: by an admin in the other's path, and by the other
/// tenant itself in both paths.
#[tokio::test]
async fn nothing_of_another_tenant_is_there() {
    let new =
        |role: &str| NewToken::make(&role.replace(':', "-"), role.parse().expect("role")).expect("made");
    let (admin, own, other) = (new("admin"), new("tenant:t"), new("tenant:u"));
    let file: String = [&admin, &own, &other].iter().map(|token| token.entry()).collect();
    let (_, tokens) = watch::channel(Arc::new(Tokens::parse(&file).expect("tokens")));
    let store: Arc<dyn Store> = embedded().await;
    let api = Api::guarded(store, Authentication { tokens: Some(tokens), certificates: false });
    let ids = furnish(&api, "t", 1).await;
    let of_u = furnish(&api, "u", 2).await;
    let ask = async |token: &NewToken, method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.token));
        let body = json!({
            "ip_block": {"network_id": "x"}, "subnet": {"cidr": "10.201.0.128/26"}, "ip_address": {},
            "ip_route": {"destination": "10.9.9.9", "gateway": "10.1.0.1"}, "policy": {"name": "x"},
            "ip_range": {"offset": 1, "length": 1}, "ip_octet": {"octet": 1}, "network": {},
            "ip_addresses": [{"ip_block_id": of_u["public"], "ip_address": "203.0.2.9"}],
        });
        let body = if method == "GET" { Body::empty() } else { Body::from(body.to_string()) };
        let peer = Peer::Tcp("192.0.2.7:4000".parse().expect("address"));
        api.send(peer, request.body(body).expect("request")).await.status().as_u16()
    };
    let before = api.revision().await;
    let mut asked = 0;
    for route in routes().iter().filter(|route| route.path.starts_with("/v0.1/ipam/")) {
        let path = route.path.replace("{ip_block_id}", "<block>").replace("{address}", "10.1.0.5");
        let path = path.replace("{policy_id}", "<policy>").replace("{network_id}", "net");
        let path = path.replace("{interface_id}", "<interface>").replace("{instance_id}", "vm");
        let rule = if path.contains("octets") { "<octet>" } else { "<range>" };
        let path = path.replace("{id}", if path.contains("ip_routes") { "<route>" } else { rule });
        let path = path
            .replace("{inside_globals_address}", "203.0.1.9")
            .replace("{inside_locals_address}", "10.1.0.5");
        let path = fill(&ids, &path);
        let method = route.method.as_str();
        if path.contains("{tenant_id}") {
            let status = ask(&other, method, &path.replace("{tenant_id}", "t")).await;
            assert_eq!(status, 404, "{method} {path} of another tenant's path");
            // A network of that name is u's own.
            let names_a_thing = !route.path.contains("networks") && route.path.matches('{').count() > 1;
            if names_a_thing && !route.path.contains("instances") {
                for token in [&admin, &other] {
                    let status = ask(token, method, &path.replace("{tenant_id}", "u")).await;
                    assert_eq!(status, 404, "{method} {path} in the own path");
                }
            }
        } else if path.contains("inside_") {
            assert_eq!(ask(&other, method, &path).await, 404, "{method} {path}");
        } else {
            assert_eq!(ask(&other, method, &path).await, 403, "{method} {path} is the provider's");
        }
        asked += 1;
    }
    assert!(asked > 40, "{asked}");
    assert_eq!(api.revision().await, before, "something changed");
    // What it has it may use.
    for path in [
        "/v0.1/ipam/tenants/t/ip_blocks",
        "/v0.1/ipam/ip_blocks/<block>/ip_addresses/10.1.0.5/inside_globals",
    ] {
        assert_eq!(ask(&own, "GET", &fill(&ids, path)).await, 200, "{path}");
    }
}

#[tokio::test]
async fn interfaces_belong_to_one_tenant_and_network() {
    let api = Api::new().await;
    let one = api.block("t", json!({"type": "private", "cidr": "10.1.0.0/24", "network_id": "a"})).await;
    let two = api.block("t", json!({"type": "private", "cidr": "10.2.0.0/24", "network_id": "b"})).await;
    let of_u = api.block("u", json!({"type": "private", "cidr": "10.1.0.0/24", "network_id": "a"})).await;
    let ask = |interface: &str, mac: Option<&str>| json!({"ip_address": {"interface_id": interface, "mac_address": mac}});
    api.m(201, "POST", &addresses("t", &one), &ask("i", Some("00:16:3e:00:00:01"))).await;
    api.m(201, "POST", &addresses("t", &one), &ask("i", None)).await;
    let fault = api.m(400, "POST", &addresses("u", &of_u), &ask("i", None)).await;
    assert!(text(&fault["BadRequest"]["detail"]).starts_with("interface_id: "), "{fault}");
    api.m(422, "POST", &addresses("t", &two), &ask("i", None)).await;
    let fault = api.m(400, "POST", &addresses("t", &one), &ask("j", Some("00-16-3E-00-00-01"))).await;
    assert!(text(&fault["BadRequest"]["detail"]).starts_with("mac_address: "), "{fault}");
    // It is forgotten with its last address.
    for address in ["10.1.0.0", "10.1.0.2"] {
        api.m(200, "DELETE", &format!("{}/{address}", addresses("t", &one)), &Value::Null).await;
    }
    api.m(201, "POST", &addresses("u", &of_u), &ask("i", Some("00:16:3e:00:00:01"))).await;
    // What it had is restored without it.
    let restored =
        api.m(200, "PUT", &format!("{}/10.1.0.0/restore", addresses("t", &one)), &Value::Null).await;
    assert_eq!(restored["ip_address"]["interface_id"], Value::Null);
}

#[tokio::test]
async fn dual_stack_interfaces() {
    let api = Api::new().await;
    let in_net = |cidr: &str| json!({"type": "private", "cidr": cidr, "network_id": "net"});
    let v4 = api.block("t", in_net("10.1.0.0/24")).await;
    api.block("t", in_net("fd00::/64")).await;
    let route = json!({"ip_route": {"destination": "0.0.0.0/0", "gateway": "10.1.0.1"}});
    api.m(201, "POST", &format!("/v0.1/ipam/tenants/t/ip_blocks/{v4}/ip_routes"), &route).await;
    let path = "/v0.1/ipam/tenants/t/networks/net/interfaces/i/ip_allocations";
    let body =
        json!({"network": {"mac_address": super::world::MAC, "used_by_device": "vm", "tenant_id": "lessee"}});
    let made = api.m(201, "POST", path, &body).await;
    let items = made["ip_addresses"].as_array().expect("list");
    assert_eq!(items.iter().map(|item| item["version"].clone()).collect::<Vec<_>>(), [4, 6]);
    for item in items {
        assert_eq!(
            (&item["interface_id"], &item["ip_block"]["network_id"]),
            (&json!("i"), &json!("net")),
            "{item}"
        );
        assert_eq!(
            (&item["used_by_tenant"], &item["used_by_device"]),
            (&json!("lessee"), &json!("vm")),
            "{item}"
        );
    }
    assert_eq!(items[0]["ip_block"]["ip_routes"][0]["gateway"], "10.1.0.1");
    // Listed by their ids.
    let mut by_id = items.clone();
    by_id.sort_by_key(|item| text(&item["id"]).clone());
    assert_eq!(api.read(path).await["ip_addresses"], json!(by_id));
    // Both or none.
    let before = api.revision().await;
    let body = json!({"network": {"addresses": ["10.1.0.9", "fd00::9", "10.1.0.0"]}});
    api.m(409, "POST", "/v0.1/ipam/tenants/t/networks/net/interfaces/j/ip_allocations", &body).await;
    api.m(400, "POST", "/v0.1/ipam/tenants/t/networks/net/interfaces/j/ip_allocations", &Value::Null).await;
    assert_eq!(api.revision().await, before);
    let body = json!({"network": {"addresses": ["10.1.0.9", "fd00::9"]}});
    let made =
        api.m(201, "POST", "/v0.1/ipam/tenants/t/networks/net/interfaces/j/ip_allocations", &body).await;
    assert_eq!(made["ip_addresses"].as_array().expect("list").len(), 2);
    // Deallocated, they are not the interface's any more.
    api.m(200, "DELETE", path, &Value::Null).await;
    assert_eq!(api.read(path).await["ip_addresses"], json!([]));
    assert_eq!(api.all("/v0.1/ipam/tenants/lessee/allocated_ip_addresses", 9).await.len(), 0);
    assert_eq!(api.all(&addresses("t", &v4), 9).await.len(), 2);
}
