//! Every route × every kind of caller: what is let through is done and told in the audit log, and what is refused
//! changes nothing.

use crate::engine::OneLog;
use crate::fixture::{Api, ip, node};
use crate::log::Log;
use crate::melange::world::furnish;
use axum::body::{Body, Bytes};
use axum::http::{Request, header};
use common::server::Peer;
use common::store::embedded::Embedded;
use common::store::record::{self, Evict};
use common::store::{Entry, KeyRange, Op, Revision, Store, Txn, keys, list_all};
use controller::api::{Context, REQUEST_ID, routes};
use controller::auth::{Authentication, NewToken, Tokens};
use controller::lastbackend::Platform;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// What each route does, written down once more: `public`, `read`, `change` or `force`, and whether it belongs to a
/// namespace or a tenant. Then a body that it accepts, if it takes one.
fn table() -> BTreeMap<&'static str, (&'static str, Value)> {
    let mut table = operators();
    table.extend(tenants());
    table
}

/// The same of the tenants' API.
#[expect(clippy::too_many_lines, reason = "a table")]
fn tenants() -> BTreeMap<&'static str, (&'static str, Value)> {
    let none = Value::Null;
    let nat =
        |block: &str, address: &str| json!({"ip_addresses": [{"ip_block_id": block, "ip_address": address}]});
    BTreeMap::from([
        ("GET /", ("public", none.clone())),
        ("GET /v0.1", ("public", none.clone())),
        ("GET /extensions", ("public", none.clone())),
        ("GET /extensions/{alias}", ("public", none.clone())),
        ("GET /v0.1/extensions", ("public", none.clone())),
        ("GET /v0.1/extensions/{alias}", ("public", none.clone())),
        ("GET /v0.1/ipam/allocated_ip_addresses", ("read", none.clone())),
        ("GET /v0.1/ipam/instances/{instance_id}/ip_addresses", ("read", none.clone())),
        ("GET /v0.1/ipam/tenants/{tenant_id}/ip_blocks", ("read tenant", none.clone())),
        (
            "POST /v0.1/ipam/tenants/{tenant_id}/ip_blocks",
            ("change tenant", json!({"ip_block": {"type": "private", "cidr": "10.77.0.0/24"}})),
        ),
        ("GET /v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}", ("read tenant", none.clone())),
        (
            "PUT /v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}",
            ("change tenant", json!({"ip_block": {"network_id": "other"}})),
        ),
        ("DELETE /v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}", ("change tenant", none.clone())),
        ("GET /v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/subnets", ("read tenant", none.clone())),
        (
            "POST /v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/subnets",
            ("change tenant", json!({"subnet": {"cidr": "10.201.0.64/26"}})),
        ),
        ("GET /v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/usage", ("read tenant", none.clone())),
        (
            "GET /v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/ip_addresses",
            ("read tenant", none.clone()),
        ),
        (
            "POST /v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/ip_addresses",
            ("change tenant", json!({"ip_address": {}})),
        ),
        (
            "GET /v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/ip_addresses/{address}",
            ("read tenant", none.clone()),
        ),
        (
            "DELETE /v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/ip_addresses/{address}",
            ("change tenant", none.clone()),
        ),
        (
            "PUT /v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/ip_addresses/{address}/restore",
            ("change tenant", none.clone()),
        ),
        ("GET /v0.1/ipam/tenants/{tenant_id}/allocated_ip_addresses", ("read tenant", none.clone())),
        (
            "GET /v0.1/ipam/tenants/{tenant_id}/instances/{instance_id}/ip_addresses",
            ("read tenant", none.clone()),
        ),
        (
            "GET /v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/ip_routes",
            ("read tenant", none.clone()),
        ),
        (
            "POST /v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/ip_routes",
            ("change tenant", json!({"ip_route": {"destination": "10.9.9.9", "gateway": "10.1.0.1"}})),
        ),
        (
            "GET /v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/ip_routes/{id}",
            ("read tenant", none.clone()),
        ),
        (
            "PUT /v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/ip_routes/{id}",
            ("change tenant", json!({"ip_route": {"gateway": "10.1.0.9"}})),
        ),
        (
            "DELETE /v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/ip_routes/{id}",
            ("change tenant", none.clone()),
        ),
        (
            "GET /v0.1/ipam/tenants/{tenant_id}/networks/{network_id}/interfaces/{interface_id}/ip_allocations",
            ("read tenant", none.clone()),
        ),
        (
            "POST /v0.1/ipam/tenants/{tenant_id}/networks/{network_id}/interfaces/{interface_id}/ip_allocations",
            ("change tenant", json!({"network": {}})),
        ),
        (
            "DELETE /v0.1/ipam/tenants/{tenant_id}/networks/{network_id}/interfaces/{interface_id}/ip_allocations",
            ("change tenant", none.clone()),
        ),
        (
            "GET /v0.1/ipam/ip_blocks/{ip_block_id}/ip_addresses/{address}/inside_globals",
            ("read tenant", none.clone()),
        ),
        (
            "POST /v0.1/ipam/ip_blocks/{ip_block_id}/ip_addresses/{address}/inside_globals",
            ("change tenant", nat("<public>", "203.0.<n>.10")),
        ),
        (
            "DELETE /v0.1/ipam/ip_blocks/{ip_block_id}/ip_addresses/{address}/inside_globals",
            ("change tenant", none.clone()),
        ),
        (
            "DELETE /v0.1/ipam/ip_blocks/{ip_block_id}/ip_addresses/{address}/inside_globals/{inside_globals_address}",
            ("change tenant", none.clone()),
        ),
        (
            "GET /v0.1/ipam/ip_blocks/{ip_block_id}/ip_addresses/{address}/inside_locals",
            ("read tenant", none.clone()),
        ),
        (
            "POST /v0.1/ipam/ip_blocks/{ip_block_id}/ip_addresses/{address}/inside_locals",
            ("change tenant", nat("<block>", "10.<n>.0.20")),
        ),
        (
            "DELETE /v0.1/ipam/ip_blocks/{ip_block_id}/ip_addresses/{address}/inside_locals",
            ("change tenant", none.clone()),
        ),
        (
            "DELETE /v0.1/ipam/ip_blocks/{ip_block_id}/ip_addresses/{address}/inside_locals/{inside_locals_address}",
            ("change tenant", none.clone()),
        ),
        ("GET /v0.1/ipam/tenants/{tenant_id}/policies", ("read tenant", none.clone())),
        (
            "POST /v0.1/ipam/tenants/{tenant_id}/policies",
            ("change tenant", json!({"policy": {"name": "new"}})),
        ),
        ("GET /v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}", ("read tenant", none.clone())),
        (
            "PUT /v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}",
            ("change tenant", json!({"policy": {"name": "new"}})),
        ),
        ("DELETE /v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}", ("change tenant", none.clone())),
        (
            "GET /v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}/unusable_ip_ranges",
            ("read tenant", none.clone()),
        ),
        (
            "POST /v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}/unusable_ip_ranges",
            ("change tenant", json!({"ip_range": {"offset": 3, "length": 1}})),
        ),
        (
            "GET /v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}/unusable_ip_ranges/{id}",
            ("read tenant", none.clone()),
        ),
        (
            "PUT /v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}/unusable_ip_ranges/{id}",
            ("change tenant", json!({"ip_range": {"length": 7}})),
        ),
        (
            "DELETE /v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}/unusable_ip_ranges/{id}",
            ("change tenant", none.clone()),
        ),
        (
            "GET /v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}/unusable_ip_octets",
            ("read tenant", none.clone()),
        ),
        (
            "POST /v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}/unusable_ip_octets",
            ("change tenant", json!({"ip_octet": {"octet": 9}})),
        ),
        (
            "GET /v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}/unusable_ip_octets/{id}",
            ("read tenant", none.clone()),
        ),
        (
            "PUT /v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}/unusable_ip_octets/{id}",
            ("change tenant", json!({"ip_octet": {"octet": 9}})),
        ),
        (
            "DELETE /v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}/unusable_ip_octets/{id}",
            ("change tenant", none),
        ),
    ])
}

fn operators() -> BTreeMap<&'static str, (&'static str, Value)> {
    let none = Value::Null;
    let pool = json!({
        "name": "new", "namespace": "{namespace}", "subnet": "172.16.0.0/24", "cidr": "172.16.0.128/25",
        "gateway": "172.16.0.1", "vlanid": 7,
    });
    let service = json!({
        "name": "new", "namespace": "{namespace}", "cidr": "172.{net}.0.64/28", "serviceName": "shop",
        "nsIPPoolName": "web",
    });
    let range = |start: &str, end: &str| {
        let address = |host| format!("172.{{net}}.0.{host}");
        json!({"start": address(start), "end": address(end)})
    };
    BTreeMap::from([
        ("GET /v1/pools", ("read", none.clone())),
        ("POST /v1/pools", ("change", json!({"name": "new", "subnets": ["10.8.0.0/24"]}))),
        ("GET /v1/pools/{pool}", ("read", none.clone())),
        ("DELETE /v1/pools/{pool}", ("change", none.clone())),
        ("POST /v1/pools/{pool}/subnets", ("change", json!({"subnet": "10.7.0.0/24"}))),
        ("DELETE /v1/pools/{pool}/subnets", ("change", json!({"subnet": "10.9.0.0/24"}))),
        ("PUT /v1/pools/{pool}/disabled", ("change", none.clone())),
        ("DELETE /v1/pools/{pool}/disabled", ("change", none.clone())),
        ("GET /v1/nodes", ("read", none.clone())),
        ("GET /v1/nodes/{node}", ("read", none.clone())),
        ("DELETE /v1/nodes/{node}", ("force", none.clone())),
        ("GET /v1/blocks", ("read", none.clone())),
        ("GET /v1/addresses", ("read", none.clone())),
        ("GET /v1/addresses/{address}", ("read", none.clone())),
        ("DELETE /v1/addresses/{address}", ("force", none.clone())),
        ("POST /nsippool", ("change namespace", pool)),
        ("GET /nsippool/{namespace}/{name}", ("read namespace", none.clone())),
        ("DELETE /nsippool/{namespace}/{name}", ("change namespace", none.clone())),
        ("GET /getAllPool/{namespace}", ("read namespace", none.clone())),
        ("POST /serviceIPPool", ("change namespace", service)),
        ("GET /serviceIPPool/{namespace}/{name}", ("read namespace", none.clone())),
        ("DELETE /serviceIPPool/{namespace}/{name}", ("change namespace", none.clone())),
        ("GET /v1/check", ("read", none.clone())),
        ("POST /v1/check", ("force", none.clone())),
        ("GET /v1/nspools", ("read", none.clone())),
        ("GET /v1/nspools/{namespace}", ("read namespace", none.clone())),
        ("GET /v1/nspools/{namespace}/{name}", ("read namespace", none.clone())),
        ("PUT /v1/nspools/{namespace}/{name}/range", ("change namespace", range("2", "20"))),
        ("PUT /v1/nspools/{namespace}/{name}/disabled", ("change namespace", none.clone())),
        ("DELETE /v1/nspools/{namespace}/{name}/disabled", ("change namespace", none.clone())),
        ("GET /v1/svcpools", ("read", none.clone())),
        ("GET /v1/svcpools/{namespace}", ("read namespace", none.clone())),
        ("GET /v1/svcpools/{namespace}/{name}", ("read namespace", none.clone())),
        ("PUT /v1/svcpools/{namespace}/{name}/range", ("change namespace", range("80", "95"))),
        ("PUT /v1/svcpools/{namespace}/{name}/disabled", ("change namespace", none.clone())),
        ("DELETE /v1/svcpools/{namespace}/{name}/disabled", ("change namespace", none.clone())),
        ("GET /healthz", ("public", none.clone())),
        ("GET /readyz", ("public", none.clone())),
        ("GET /metrics", ("read", none.clone())),
        ("GET /openapi.json", ("public", none.clone())),
        ("GET /docs", ("public", none)),
    ])
    .into_iter()
    .chain(platform())
    .collect()
}

/// The platform API: its namespaces are those of the roles.
fn platform() -> Vec<(&'static str, (&'static str, Value))> {
    let none = Value::Null;
    let service = json!({"name": "new", "image": "i"});
    vec![
        ("GET /namespace", ("read", none.clone())),
        ("POST /namespace", ("change", json!({"name": "new"}))),
        ("GET /namespace/{namespace}", ("read namespace", none.clone())),
        ("PUT /namespace/{namespace}", ("change namespace", json!({"description": "d"}))),
        ("DELETE /namespace/{namespace}", ("change namespace", none.clone())),
        ("GET /namespace/{namespace}/activity", ("read namespace", none.clone())),
        ("GET /namespace/{namespace}/service", ("read namespace", none.clone())),
        ("POST /namespace/{namespace}/service", ("change namespace", service)),
        ("GET /namespace/{namespace}/service/{service}", ("read namespace", none.clone())),
        ("PUT /namespace/{namespace}/service/{service}", ("change namespace", json!({"replicas": 2}))),
        ("DELETE /namespace/{namespace}/service/{service}", ("change namespace", none.clone())),
        ("GET /namespace/{namespace}/service/{service}/activity", ("read namespace", none.clone())),
        ("GET /namespace/{namespace}/service/{service}/logs", ("read namespace", none.clone())),
        ("POST /namespace/{namespace}/service/{service}/spec", ("change namespace", json!({"image": "i"}))),
        (
            "PUT /namespace/{namespace}/service/{service}/spec/{id}",
            ("change namespace", json!({"memory": 8})),
        ),
        ("DELETE /namespace/{namespace}/service/{service}/spec/{id}", ("change namespace", none.clone())),
        ("OPTIONS /namespace", ("public", none.clone())),
        ("OPTIONS /namespace/{namespace}", ("public", none.clone())),
        ("OPTIONS /namespace/{namespace}/activity", ("public", none.clone())),
        ("OPTIONS /namespace/{namespace}/service", ("public", none.clone())),
        ("OPTIONS /namespace/{namespace}/service/{service}", ("public", none.clone())),
        ("OPTIONS /namespace/{namespace}/service/{service}/activity", ("public", none.clone())),
        ("OPTIONS /namespace/{namespace}/service/{service}/logs", ("public", none.clone())),
        ("OPTIONS /namespace/{namespace}/service/{service}/spec", ("public", none.clone())),
        ("OPTIONS /namespace/{namespace}/service/{service}/spec/{id}", ("public", none)),
    ]
}

/// Who may do what, written down once more. `own` and `other` are the namespace or tenant of the callers that have one,
/// and another.
fn may(role: &str, does: &str) -> bool {
    match (role, does) {
        (_, "public") | ("admin", _) => true,
        ("operator", does) => !does.starts_with("force"),
        ("viewer", does) => does.starts_with("read"),
        (role, does) => match role.split_once(':') {
            Some((kind, _)) => does == format!("read {kind} own") || does == format!("change {kind} own"),
            None => false,
        },
    }
}

const ROLES: [&str; 5] = ["admin", "operator", "viewer", "namespace:own", "tenant:own"];

/// A controller with a token for each role.
struct Guarded {
    api: Api,
    tokens: BTreeMap<&'static str, String>,
    /// Ids of what the tenants `own` and `other` have.
    ids: [BTreeMap<&'static str, String>; 2],
    /// What the store had at first.
    first: BTreeMap<String, Bytes>,
    /// When it last had just that.
    since: Revision,
}

impl Guarded {
    async fn new() -> Self {
        let made = ROLES.map(|role| {
            let name = role.replace(':', "-");
            (role, NewToken::make(&name, role.parse().expect("role")).expect("made"))
        });
        let file: String = made.iter().map(|(_, new)| new.entry()).collect();
        let (_, tokens) = watch::channel(Arc::new(Tokens::parse(&file).expect("tokens")));
        let store: Arc<dyn Store> = Arc::new(Embedded::in_memory().await.expect("store"));
        let authentication = Authentication { tokens: Some(tokens), certificates: true };
        let engine = OneLog { container: "c1", path: "/dev/null".into(), ended: true.into() };
        let (_, ending) = watch::channel(false);
        let platform = Platform::new(Arc::clone(&store)).with_engine(Arc::new(engine), ending);
        let api = Api::of(Context::new(store, authentication).with_platform(platform));
        api.create("p", &["10.9.0.0/24", "10.10.0.0/24"]).await;
        api.create("used", &["10.11.0.0/24"]).await;
        api.register("n", false).await;
        api.lease("n", "used", "10.11.0.0").await.expect("leased");
        api.mirror("n", "used", "10.11.0.0", &[3]).await;
        let order = Evict { sequence: 1, container: "c1".parse().expect("container") };
        api.put(keys::evict(&node("gone"), ip("10.11.0.9")), record::encode(&order)).await;
        for (third, namespace) in [(17, "own"), (18, "other")] {
            let net = |host| format!("172.{third}.0.{host}");
            for (name, start, end) in [("free", net(2), net(9)), ("web", net(64), net(99))] {
                let pool = json!({
                    "name": name, "namespace": namespace, "subnet": net(0) + "/24", "start": start, "end": end,
                    "gateway": net(1), "vlanid": 0,
                });
                api.ok(200, "POST", "/nsippool", &pool.to_string()).await;
            }
            let service = json!({
                "name": "svc", "namespace": namespace, "start": net(90), "end": net(99), "serviceName": "shop",
                "nsIPPoolName": "web",
            });
            api.ok(200, "POST", "/serviceIPPool", &service.to_string()).await;
            api.platform(namespace).await;
        }
        let ids = [furnish(&api, "own", 1).await, furnish(&api, "other", 2).await];
        let tokens = made.into_iter().map(|(role, new)| (role, new.token)).collect();
        let first = api.stored().await.into_iter().map(|(key, entry)| (key, entry.value)).collect();
        let since = api.revision().await;
        Self { api, tokens, ids, first, since }
    }

    /// Puts the store back to what it was at first: whatever was written since then is written once more.
    async fn put_back(&mut self) {
        let now = self.api.stored().await;
        let since = self.since;
        let untouched = |key: &String| now.get(key).is_some_and(|entry| entry.mod_revision <= since);
        let puts = self.first.iter().filter(|(key, _)| !untouched(key));
        let puts = puts.map(|(key, value)| Op::Put(key.clone(), value.clone()));
        let deletes = now.keys().filter(|key| !self.first.contains_key(*key));
        let deletes = deletes.map(|key| Op::Delete(key.clone()));
        let txn = puts.chain(deletes).fold(Txn::new(), Txn::then);
        if !txn.ops.is_empty() {
            self.since = self.api.store.txn(txn).await.expect("put back");
        }
    }

    /// The path or body with its parameters filled in.
    fn fill(&self, text: &str, path: &str, own: bool) -> String {
        let ids = &self.ids[usize::from(!own)];
        if !path.starts_with("/v0.1/ipam") {
            return fill(text, own);
        }
        let (block, address) = match path {
            path if path.ends_with("/subnets") => ("<parent>", "10.<n>.0.5"),
            path if path.contains("inside_locals") => ("<public>", "203.0.<n>.9"),
            path if path.ends_with("/restore") => ("<block>", "10.<n>.0.6"),
            _ => ("<block>", "10.<n>.0.5"),
        };
        let id = match path {
            path if path.contains("ranges") => "<range>",
            path if path.contains("octets") => "<octet>",
            _ => "<route>",
        };
        let text = [
            ("{tenant_id}", "<tenant>"),
            ("{ip_block_id}", block),
            ("{address}", address),
            ("{id}", id),
            ("{policy_id}", "<policy>"),
            ("{network_id}", "net"),
            ("{interface_id}", "<interface>"),
            ("{instance_id}", "vm"),
            ("{inside_globals_address}", "203.0.<n>.9"),
            ("{inside_locals_address}", "10.<n>.0.5"),
        ]
        .into_iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
        crate::melange::world::fill(ids, &text)
    }

    /// The status that a request over TCP gets, with a token or without one.
    async fn call(&self, method: &str, path: &str, body: &Value, token: Option<&str>) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path).header(REQUEST_ID, "walk-1");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let peer = Peer::Tcp("192.0.2.7:4000".parse().expect("address"));
        let response = self.api.send(peer, request.body(body).expect("request")).await;
        assert_eq!(response.headers()[REQUEST_ID], "walk-1", "{method} {path}");
        let status = response.status().as_u16();
        if status == 401 {
            assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"coil\"");
        }
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("body");
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

impl Api {
    async fn stored(&self) -> BTreeMap<String, Entry> {
        let range = KeyRange { from: "\u{1}".to_owned(), to: "\u{10ffff}".to_owned() };
        let all = list_all(self.store.as_ref(), &range).await.expect("list").items;
        all.into_iter().map(|entry| (entry.key.clone(), entry)).collect()
    }

    /// A namespace with a service of two specs, `s1` and `s2`, that runs.
    async fn platform(&self, namespace: &str) {
        self.ok(200, "POST", "/namespace", &json!({"name": namespace}).to_string()).await;
        let spec = |id| {
            json!({"id": id, "parent": "", "revision": 0, "created": 1, "updated": 1, "memory": 32, "entrypoint": "",
                "command": "", "image": "i", "env": ["PASSWORD=secret"], "ports": []})
        };
        let service = json!({"v": 1, "uid": "u", "description": "", "replicas": 1, "created": 1, "updated": 1,
            "specs": [spec("s1"), spec("s2")]});
        self.put(format!("service/{namespace}/web"), service.to_string().into()).await;
        let container = json!({"id": "c1", "spec": "s1", "state": "running"});
        let pod = json!({"name": "web-0", "state": "running", "created": 1, "containers": [container]});
        let run = json!({"v": 1, "uid": "u", "pods": [pod]});
        self.put(format!("run/{namespace}/web"), run.to_string().into()).await;
    }
}

/// The path or body with its parameters filled in: with what exists, and what is the caller's own or not.
fn fill(text: &str, own: bool) -> String {
    let whose = if own { "own" } else { "other" };
    let filled = text.replace("{pool}", "p").replace("{node}", "n").replace("{address}", "10.11.0.3");
    let filled = filled.replace("{alias}", "block-usage");
    let filled = filled.replace("{net}", if own { "17" } else { "18" });
    let name =
        if text.starts_with("/serviceIPPool") || text.starts_with("/v1/svcpools") { "svc" } else { "free" };
    let filled = filled.replace("{service}", "web").replace("{id}", "s1");
    filled.replace("{name}", name).replace("{namespace}", whose).replace("{tenant}", whose)
}

/// A line of the audit log says who made the change, from where and by which request, and what it was.
fn is_told(line: &Value, role: Option<&str>) {
    let name = format!("token {}", role.unwrap_or_default().replace(':', "-"));
    assert_eq!((&line["who"], &line["request"]), (&json!(name), &json!("walk-1")), "{line}");
    assert_eq!(line["from"], "192.0.2.7:4000", "{line}");
    let sides = [&line["before"], &line["after"]].map(|side| side.as_str().expect("text"));
    assert!(sides[0] != sides[1] && sides.iter().all(|side| !side.is_empty()), "{line}");
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one walk, whose steps share what was made")]
async fn every_route_and_every_role() {
    let log = Log::capture();
    let table = table();
    let known: Vec<String> =
        routes().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    for name in table.keys() {
        assert!(known.iter().any(|known| known == name), "{name} is not served any more");
    }
    let mut guarded = Guarded::new().await;
    for name in &known {
        let (does, body) =
            table.get(name.as_str()).unwrap_or_else(|| panic!("{name} is missing in this test"));
        let (method, path) = name.split_once(' ').expect("method and path");
        let scoped = does.contains(' ');
        for own in if scoped { &[true, false][..] } else { &[true] } {
            let does = if scoped {
                format!("{does} {}", if *own { "own" } else { "other" })
            } else {
                (*does).to_owned()
            };
            for role in ROLES.into_iter().map(Some).chain([None]) {
                guarded.put_back().await;
                if method == "DELETE" && path.ends_with("/disabled") {
                    guarded.api.ok(200, "PUT", &fill(path, *own), "").await;
                }
                let before = guarded.api.revision().await;
                log.take();
                let token = role.map(|role| guarded.tokens[role].clone());
                let token = token.as_deref();
                let body = guarded.fill(&body.to_string(), path, *own);
                let body: Value = serde_json::from_str(&body).expect("JSON");
                let (status, answer) =
                    guarded.call(method, &guarded.fill(path, path, *own), &body, token).await;
                let text = log.take();
                let told = Log::audit(&text);
                let what = format!("{name} ({does}) by {role:?}: {status} {answer}");
                if role.map_or(does == "public", |role| may(role, &does)) {
                    assert_eq!(status / 100, 2, "{what}");
                    let changes = does.starts_with("change") || does.starts_with("force");
                    assert_eq!(guarded.api.revision().await != before, changes, "{what}");
                    // A namespace has a service that goes with it.
                    let lines =
                        if name == "DELETE /namespace/{namespace}" { 2 } else { usize::from(changes) };
                    assert_eq!(told.len(), lines, "{what}: {text}");
                    assert!(!text.contains("secret"), "{what}: {text}");
                    for line in &told {
                        is_told(line, role);
                    }
                } else {
                    let refused = match role {
                        None => 401,
                        // What is another tenant's is not there.
                        Some("tenant:own") if does.ends_with(" tenant other") => 404,
                        Some(_) => 403,
                    };
                    assert_eq!(status, refused, "{what}");
                    // Each API says the code in a place of its own.
                    let faults = || answer.as_object().into_iter().flatten();
                    let code =
                        answer.get("code").or_else(|| faults().find_map(|(_, fault)| fault.get("code")));
                    assert_eq!(code.unwrap_or(&answer["status"]), status, "{what}");
                    assert_eq!(guarded.api.revision().await, before, "{what}: something changed");
                    assert!(told.is_empty(), "{what}: {text}");
                }
                if let Some(token) = token {
                    assert!(!text.contains(&token[5..]), "{what}: the log has the token: {text}");
                }
            }
        }
    }
}

#[tokio::test]
async fn wrong_tokens_are_401() {
    let guarded = Guarded::new().await;
    let good = guarded.tokens["admin"].clone();
    assert_eq!(guarded.call("GET", "/v1/pools", &Value::Null, Some(&good)).await.0, 200);
    for bad in ["", "x", &good[..68], &format!("{good}0"), &good.to_uppercase()] {
        let (status, answer) = guarded.call("GET", "/v1/pools", &Value::Null, Some(bad)).await;
        assert_eq!(status, 401, "{bad:?}: {answer}");
    }
    let (status, answer) = guarded.call("GET", "/nothing", &Value::Null, None).await;
    assert_eq!(status, 404, "{answer}");
}

#[tokio::test]
async fn what_is_malformed_is_told_alike_to_every_role() {
    let guarded = Guarded::new().await;
    for role in ["admin", "namespace:own"] {
        for (method, path, body) in [
            ("POST", "/nsippool", json!({"namespace": 1})),
            ("POST", "/serviceIPPool", json!({})),
            ("POST", "/nsippool", Value::Null),
            ("GET", "/nsippool/%ff/x", Value::Null),
        ] {
            let (status, answer) = guarded.call(method, path, &body, Some(&guarded.tokens[role])).await;
            assert_eq!(status, 400, "{role} {method} {path} {body}: {answer}");
            assert!(answer["Error"].is_string(), "{role} {method} {path} {body}: {answer}");
        }
    }
}

#[tokio::test]
async fn request_ids_are_the_clients_or_new() {
    let api = Api::new().await;
    let ask = async |id: Option<&'static [u8]>| {
        let mut request = Request::get("/healthz");
        if let Some(id) = id {
            request = request.header(REQUEST_ID, id);
        }
        let response = api.send(Peer::Unknown, request.body(Body::empty()).expect("request")).await;
        response.headers()[REQUEST_ID].to_str().expect("text").to_owned()
    };
    assert_eq!(ask(Some(b"3f0b6f0e-6d3c")).await, "3f0b6f0e-6d3c");
    let (first, second) = (ask(None).await, ask(None).await);
    assert!(first != second && first.len() > 16, "{first} {second}");
    for bad in [&b"a b"[..], b"\xff", b"", b"<script>"] {
        let id = ask(Some(bad)).await;
        assert_ne!(id.as_bytes(), bad);
        assert!(id.starts_with(&first[..16]), "{id}");
    }
}

#[tokio::test]
async fn a_removal_that_is_cut_short_is_told() {
    let log = Log::capture();
    let api = Api::new().await;
    api.create("used", &["10.11.0.0/24"]).await;
    api.register("n", true).await;
    api.lease("n", "used", "10.11.0.0").await.expect("leased");
    log.take();
    api.fails(409, "DELETE", "/v1/nodes/n", "", &["is alive"]).await;
    assert!(Log::audit(&log.take()).is_empty(), "nothing was changed");
    api.ok(200, "DELETE", "/v1/nodes/n?force=true", "").await;
    let told = Log::audit(&log.take());
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["what"], "node n: removed by force");
    assert_eq!(told[0]["who"], "uid=0 gid=0 pid=0");
    assert!(told[0]["before"].as_str().expect("text").contains("10.11.0.0/28"), "{}", told[0]);
    api.create("p", &["10.9.0.0/24"]).await;
    api.ok(200, "DELETE", "/v1/pools/p/disabled", "").await;
    assert_eq!(Log::audit(&log.take()).len(), 1, "enabling what is enabled changes nothing");
}
