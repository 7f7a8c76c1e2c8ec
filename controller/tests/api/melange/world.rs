//! A tenant that has one of everything.

use super::{addresses, text};
use crate::fixture::Api;
use common::store::Store;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The API, and the ids of what there is.
pub(crate) struct World {
    pub(crate) api: Api,
    pub(crate) ids: BTreeMap<&'static str, String>,
}

pub(crate) const MAC: &str = "00:16:3e:0a:0b:0c";

impl World {
    pub(crate) async fn new(store: Arc<dyn Store>) -> Self {
        let api = Api::on(store);
        let ids = furnish(&api, "t", 1).await;
        Self { api, ids }
    }

    /// A path or body with ids in the place of their names in angle brackets.
    pub(crate) fn fill(&self, text: &str) -> String {
        fill(&self.ids, text)
    }
}

pub(crate) fn fill(ids: &BTreeMap<&'static str, String>, text: &str) -> String {
    ids.iter().fold(text.to_owned(), |text, (name, id)| text.replace(&format!("<{name}>"), id))
}

/// Gives a tenant: blocks `<block>` (10.n.0.0/24 of network `net`, with 10.n.0.5 of interface `if`, and 10.n.0.6
/// deallocated), `<full>` of network `nfull`, `<v6>` of network `net6`, `<parent>` with `<subnet>`, `<public>` with an
/// address that stands for 10.n.0.5; `<policy>` with `<range>` and `<octet>`; and `<route>`.
pub(crate) async fn furnish(api: &Api, tenant: &str, n: u8) -> BTreeMap<&'static str, String> {
    let base = format!("/v0.1/ipam/tenants/{tenant}");
    let make = async |path: &str, envelope: &str, body: Value| -> String {
        let made = api.m(201, "POST", &format!("{base}/{path}"), &json!({envelope: body})).await;
        text(&made[envelope]["id"])
    };
    let policy = make("policies", "policy", json!({"name": "p"})).await;
    let path = format!("policies/{policy}/unusable_ip_ranges");
    let range = make(&path, "ip_range", json!({"offset": -2, "length": 1})).await;
    let path = format!("policies/{policy}/unusable_ip_octets");
    let octet = make(&path, "ip_octet", json!({"octet": 77})).await;
    let block = api
        .block(tenant, json!({"type": "private", "cidr": format!("10.{n}.0.0/24"), "network_id": "net", "policy_id": policy}))
        .await;
    let full =
        api.block(tenant, json!({"type": "private", "cidr": "10.200.0.0/31", "network_id": "nfull"})).await;
    let v6 = api.block(tenant, json!({"type": "private", "cidr": "fd00::/64", "network_id": "net6"})).await;
    let parent = api.private(tenant, "10.201.0.0/24").await;
    let public = api.block(tenant, json!({"type": "public", "cidr": format!("203.0.{n}.0/24")})).await;
    let subnet =
        make(&format!("ip_blocks/{parent}/subnets"), "subnet", json!({"cidr": "10.201.0.0/26"})).await;
    let route = json!({"destination": "192.168.0.0/16", "gateway": format!("10.{n}.0.1")});
    let route = make(&format!("ip_blocks/{block}/ip_routes"), "ip_route", route).await;
    let interface = format!("if-{tenant}");
    let held = json!({"address": format!("10.{n}.0.5"), "interface_id": interface, "used_by_device": "vm"});
    let address = make(&format!("ip_blocks/{block}/ip_addresses"), "ip_address", held).await;
    make(&format!("ip_blocks/{block}/ip_addresses"), "ip_address", json!({"address": format!("10.{n}.0.6")}))
        .await;
    api.m(200, "DELETE", &format!("{}/10.{n}.0.6", addresses(tenant, &block)), &Value::Null).await;
    make(&format!("ip_blocks/{full}/ip_addresses"), "ip_address", json!({})).await;
    let nat = json!({"ip_addresses": [{"ip_block_id": public, "ip_address": format!("203.0.{n}.9")}]});
    let path = format!("/v0.1/ipam/ip_blocks/{block}/ip_addresses/10.{n}.0.5/inside_globals");
    api.m(200, "POST", &path, &nat).await;
    BTreeMap::from([
        ("tenant", tenant.to_owned()),
        ("n", n.to_string()),
        ("interface", interface),
        ("policy", policy),
        ("range", range),
        ("octet", octet),
        ("block", block),
        ("full", full),
        ("v6", v6),
        ("parent", parent),
        ("public", public),
        ("subnet", subnet),
        ("route", route),
        ("address", address),
    ])
}
