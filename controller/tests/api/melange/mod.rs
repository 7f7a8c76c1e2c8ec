//! The tenants' API: every route, verb and code, on the embedded store and on a real etcd.

mod allocation;
mod backing;
mod deletion;
mod forms;
mod input;
mod ipv6;
mod lists;
mod plan;
mod pods;
mod policy;
mod restart;
mod routes;
mod tenants;
pub(crate) mod world;

use crate::fixture::Api;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use common::server::Peer;
use common::store::Store;
use common::store::embedded::Embedded;
use serde_json::{Value, json};
use std::sync::Arc;

/// A reply as it came.
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {:?}", self.text))
    }
}

pub(crate) async fn embedded() -> Arc<dyn Store> {
    Arc::new(Embedded::in_memory().await.expect("store"))
}

impl Api {
    /// A request with headers.
    pub(crate) async fn with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost:9898");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).expect("request");
        let response = self.send(Peer::Process { uid: 0, gid: 0, pid: None }, request).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("body");
        Got { status, headers, text: String::from_utf8(bytes.to_vec()).expect("text") }
    }

    /// A request with a JSON body, which must be answered with this status.
    pub(crate) async fn m(&self, status: u16, method: &str, path: &str, body: &Value) -> Value {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let got = self.with(method, path, &[("content-type", "application/json")], &text).await;
        assert_eq!(got.status, status, "{method} {path} {body}: {}", got.text);
        if got.status >= 400 {
            check_fault(&got);
        }
        if got.text.is_empty() { Value::Null } else { got.json() }
    }

    pub(crate) async fn read(&self, path: &str) -> Value {
        self.m(200, "GET", path, &Value::Null).await
    }

    /// Makes a block, and answers its id.
    pub(crate) async fn block(&self, tenant: &str, body: Value) -> String {
        let path = format!("/v0.1/ipam/tenants/{tenant}/ip_blocks");
        let made = self.m(201, "POST", &path, &json!({"ip_block": body})).await;
        text(&made["ip_block"]["id"])
    }

    pub(crate) async fn private(&self, tenant: &str, cidr: &str) -> String {
        self.block(tenant, json!({"type": "private", "cidr": cidr})).await
    }

    /// The addresses of a list, in its order.
    pub(crate) async fn all(&self, path: &str, limit: usize) -> Vec<Value> {
        let mut items = Vec::new();
        let sign = if path.contains('?') { '&' } else { '?' };
        let mut next = Some(format!("{path}{sign}limit={limit}"));
        while let Some(uri) = next {
            let page = self.read(&uri).await;
            let (name, found) = page
                .as_object()
                .expect("object")
                .iter()
                .find(|(_, list)| {
                    list.as_array().is_some_and(|list| list.iter().all(|item| item.get("rel").is_none()))
                })
                .expect("a list");
            let found = found.as_array().expect("list");
            assert!(found.len() <= limit, "the page is too long");
            items.extend(found.iter().cloned());
            let link = &page[format!("{name}_links")][0];
            assert!(link.is_null() || link["rel"] == "next", "{link}");
            next = link["href"]
                .as_str()
                .map(|href| href.strip_prefix("http://localhost:9898").expect("an absolute link").to_owned());
        }
        items
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

pub(crate) fn addresses(tenant: &str, block: &str) -> String {
    format!("/v0.1/ipam/tenants/{tenant}/ip_blocks/{block}/ip_addresses")
}

/// The form of all failures.
pub(crate) fn check_fault(got: &Got) -> String {
    let body = got.json();
    let fields = body.as_object().expect("object");
    let (name, fault) = fields.iter().next().expect("a field");
    let status = StatusCode::from_u16(got.status).expect("status");
    let expected = match status.as_u16() {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        409 => "Conflict",
        413 => "ContentTooLarge",
        422 => "UnprocessableEntity",
        503 => "ServiceUnavailable",
        other => panic!("{other}: {body}"),
    };
    assert_eq!((fields.len(), name.as_str()), (1, expected), "{body}");
    assert_eq!(fault["code"], got.status, "{body}");
    assert!(!text(&fault["message"]).is_empty(), "{body}");
    text(&fault["detail"])
}
