//! Requests to the controller: a line `METHOD path`, an empty line, and a body.

use super::{reply, split};
use crate::operator;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::Request;
use common::store::Store;
use common::store::embedded::Embedded;
use controller::api::{Context, router};
use controller::auth::Authentication;
use serde_json::Value;
use std::sync::Arc;
use tower::ServiceExt;

/// A request is carried out, or refused with a reason. A pool that was made is shown as it was asked for, and can
/// be deleted.
pub fn admin_http(data: &[u8]) {
    let (line, body) = split(data);
    let (method, path) = line.split_once(' ').unwrap_or(("GET", &line));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let store: Arc<dyn Store> = Arc::new(Embedded::in_memory().await.expect("store"));
        let pool = br#"{"name":"default","subnets":["10.64.0.0/16","fd00:64::/64"]}"#;
        let api = router(Context::new(store, Authentication::default()));
        call(&api, "POST", "/v1/pools", pool).await.expect("a request");
        let Some((status, answer)) = call(&api, method, path, body).await else { return };
        let request = format!("{method} {path} {}", String::from_utf8_lossy(body));
        reply::check(&request, status, &answer, false);
        if status == 201 && path == "/v1/pools" {
            made(&api, &answer).await;
        }
    });
}

async fn made(api: &axum::Router, answer: &str) {
    let made: Value = serde_json::from_str(answer).expect("a pool is JSON");
    let path = format!("/v1/pools/{}", made["name"].as_str().expect("it has a name"));
    let (status, shown) = call(api, "GET", &path, b"").await.expect("a request");
    let mut shown: Value = serde_json::from_str(&shown).expect("a pool is JSON");
    // Only a single pool that is shown says how many addresses are allocated.
    shown["usage"] = made["usage"].clone();
    assert_eq!((status, &shown), (200, &made));
    let (status, answer) = call(api, "DELETE", &path, b"").await.expect("a request");
    assert_eq!(status, 200, "{answer}");
}

/// Status and body; nothing if it is no request of HTTP.
async fn call(api: &axum::Router, method: &str, path: &str, body: &[u8]) -> Option<(u16, String)> {
    let mut request = Request::builder().method(method).uri(path).body(Body::from(body.to_vec())).ok()?;
    request.extensions_mut().insert(ConnectInfo(operator().peer));
    let Ok(response) = api.clone().oneshot(request).await;
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body in memory");
    Some((status, String::from_utf8(body.to_vec()).expect("replies are text")))
}
