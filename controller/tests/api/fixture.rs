//! The real router on a real store in memory, and the writes that a coild does.

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use common::ipam::{Pool, Unit};
use common::name::{NodeName, PoolName};
use common::server::Peer;
use common::store::embedded::Embedded;
use common::store::record::{self, Alive, Allocation, BlockMirror, Lease, Node};
use common::store::{Compare, Op, Revision, Store, StoreError, Txn, keys};
use controller::api::{Context, router};
use controller::auth::Authentication;
use http_body_util::BodyExt;
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;
use tower::ServiceExt;

pub(crate) struct Api {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) router: Router,
}

pub(crate) fn pool(name: &str) -> PoolName {
    PoolName::new(name).expect("pool name")
}

pub(crate) fn node(name: &str) -> NodeName {
    NodeName::new(name).expect("node name")
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

impl Api {
    pub(crate) async fn new() -> Self {
        Self::on(Arc::new(Embedded::in_memory().await.expect("store")))
    }

    pub(crate) fn on(store: Arc<dyn Store>) -> Self {
        Self::guarded(store, Authentication::default())
    }

    pub(crate) fn guarded(store: Arc<dyn Store>, authentication: Authentication) -> Self {
        Self::of(Context::new(store, authentication))
    }

    pub(crate) fn of(context: Context) -> Self {
        Self { store: Arc::clone(&context.store), router: router(context) }
    }

    /// Sends a request, and answers status and body, which must be JSON unless empty.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, text) = self.raw(method, path, Body::from(body.to_owned())).await;
        let value =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{method} {path}: not JSON: {text:?}"));
        (status.as_u16(), value)
    }

    pub(crate) async fn raw(&self, method: &str, path: &str, body: Body) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(body).expect("request");
        let response = self.send(Peer::Process { uid: 0, gid: 0, pid: None }, request).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.expect("body").to_bytes();
        (status, String::from_utf8(bytes.to_vec()).expect("text"))
    }

    /// Sends a request as somebody.
    pub(crate) async fn send(&self, peer: Peer, mut request: Request<Body>) -> Response {
        request.extensions_mut().insert(ConnectInfo(peer));
        self.router.clone().oneshot(request).await.expect("infallible")
    }

    /// How many changes the store has seen.
    pub(crate) async fn revision(&self) -> Revision {
        self.store.list_keys(&keys::pools(), 1).await.expect("list").revision
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, "").await
    }

    /// A request that must succeed with this status.
    pub(crate) async fn ok(&self, status: u16, method: &str, path: &str, body: &str) -> Value {
        let (got, value) = self.call(method, path, body).await;
        assert_eq!(got, status, "{method} {path} {body}: {value}");
        value
    }

    /// A request that must fail with this status and a text that has all of these in it.
    pub(crate) async fn fails(&self, status: u16, method: &str, path: &str, body: &str, reasons: &[&str]) {
        let (got, value) = self.call(method, path, body).await;
        assert_eq!(got, status, "{method} {path} {body}: {value}");
        assert_eq!(value["status"], status, "{value}");
        let error = value["error"].as_str().expect("error is a text");
        for reason in reasons {
            assert!(error.contains(reason), "{method} {path} {body}: {error:?} lacks {reason:?}");
        }
    }

    pub(crate) async fn create(&self, name: &str, subnets: &[&str]) {
        let body = serde_json::json!({"name": name, "subnets": subnets}).to_string();
        self.ok(201, "POST", "/v1/pools", &body).await;
    }

    /// All items of a list, page by page.
    pub(crate) async fn pages(&self, path: &str, limit: usize) -> Vec<Value> {
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let token = next.map(|token| format!("&continue={token}")).unwrap_or_default();
            let page = self.ok(200, "GET", &format!("{path}{sign}limit={limit}{token}"), "").await;
            let found = page["items"].as_array().expect("items");
            assert!(found.len() <= limit, "a page is too long");
            items.extend(found.iter().cloned());
            match page["continue"].as_str() {
                Some(token) => next = Some(token.to_owned()),
                None => return items,
            }
        }
    }

    pub(crate) async fn put(&self, key: String, value: bytes::Bytes) -> Revision {
        self.store.txn(Txn::new().then(Op::Put(key, value))).await.expect("put")
    }

    /// Registers a node.
    pub(crate) async fn register(&self, name: &str, alive: bool) {
        let record = Node { instance: format!("i-{name}"), boot: "b".to_owned(), started: 1_000 };
        self.put(keys::node(&node(name)), record::encode(&record)).await;
        if alive {
            self.put(keys::alive(&node(name)), record::encode(&Alive { instance: record.instance })).await;
        }
    }

    /// Leases a block as a coild does: only if the pool is as it was read, and the block is free.
    pub(crate) async fn lease(
        &self,
        holder: &str,
        name: &str,
        address: &str,
    ) -> Result<Revision, StoreError> {
        let key = keys::pool(&pool(name));
        let Some(entry) = self.store.get(&key).await? else { return Err(StoreError::Conflict) };
        let spec: Pool = record::decode(&key, &entry.value).expect("pool");
        let address = ip(address);
        let unit = Unit::containing(address, spec.block_bits(common::ipam::Family::of(address)));
        if spec.disabled || spec.space(unit.family()).expect("space").index_of(unit).is_none() {
            return Err(StoreError::Conflict);
        }
        let lease = keys::lease(&pool(name), unit);
        let mirror = BlockMirror { prefix: unit.net().prefix_len(), ..BlockMirror::default() };
        let txn = Txn::new()
            .when(Compare::ModRevision(key, entry.mod_revision))
            .when(Compare::Absent(lease.clone()))
            .then(Op::Put(lease, record::encode(&Lease::of_node(holder))))
            .then(Op::Put(keys::block(&node(holder), &pool(name), unit), record::encode(&mirror)));
        self.store.txn(txn).await
    }

    /// Releases a block.
    pub(crate) async fn release(&self, holder: &str, name: &str, address: &str) {
        let unit = Unit::containing(ip(address), 4);
        let txn = Txn::new().then(Op::Delete(keys::lease(&pool(name), unit))).then(Op::Delete(keys::block(
            &node(holder),
            &pool(name),
            unit,
        )));
        self.store.txn(txn).await.expect("released");
    }

    /// Writes the mirror of a /28 or /124 with these offsets held.
    pub(crate) async fn mirror(&self, holder: &str, name: &str, address: &str, offsets: &[u32]) {
        let unit = Unit::containing(ip(address), 4);
        let held = offsets.iter().map(|offset| allocation(*offset)).collect();
        let mirror = BlockMirror { prefix: unit.net().prefix_len(), held, ..BlockMirror::default() };
        self.put(keys::block(&node(holder), &pool(name), unit), record::encode(&mirror)).await;
    }
}

pub(crate) fn allocation(offset: u32) -> Allocation {
    Allocation {
        offset,
        sequence: 100 + u64::from(offset),
        container: format!("c{offset}").parse().expect("container"),
        interface: "eth0".parse().expect("interface"),
        namespace: "team".parse().expect("namespace"),
        pod: format!("pod-{offset}").parse().expect("pod"),
        network: None,
        netns: None,
        since: 5_000,
        conflict: false,
    }
}
