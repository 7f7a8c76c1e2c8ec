//! Requests to the controller's platform API: a line `METHOD path`, an empty line, and a body.

use super::split;
use crate::operator;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::Request;
use common::store::embedded::Embedded;
use common::store::{Revision, Store, keys};
use controller::api::{Context, router};
use controller::auth::Authentication;
use serde_json::Value;
use std::sync::Arc;
use tower::ServiceExt;

/// A request is carried out, or refused with a code, a status and a reason, and then nothing is changed. What was made
/// is shown as it was made, and can be removed; everything can be shown whatever was asked before.
pub fn platform_http(data: &[u8]) {
    let (line, body) = split(data);
    let (method, path) = line.split_once(' ').unwrap_or(("GET", &line));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let store: Arc<dyn Store> = Arc::new(Embedded::in_memory().await.expect("store"));
        let api = router(Context::new(Arc::clone(&store), Authentication::default()));
        must(&api, "POST", "/namespace", br#"{"name":"demo"}"#).await;
        must(&api, "POST", "/namespace/demo/service", br#"{"name":"web","image":"i"}"#).await;
        let before = revision(store.as_ref()).await;
        let Some((status, answer)) = call(&api, method, path, body).await else { return };
        let request = format!("{method} {path} {}: {status} {answer}", String::from_utf8_lossy(body));
        assert!(status < 500, "{request}");
        if status >= 400 {
            assert_eq!(revision(store.as_ref()).await, before, "{request}: something was changed");
            refused(&request, path, status, &answer);
        }
        if (status, method) == (200, "POST") {
            made(&api, path, &answer).await;
        }
        all_is_shown(&api).await;
    });
}

fn refused(request: &str, path: &str, status: u16, answer: &str) {
    let failure: Value = serde_json::from_str(answer).unwrap_or_else(|_| panic!("{request}: not JSON"));
    if path.starts_with("/namespace") && !matches!(status, 405) && failure.get("code").is_some() {
        assert_eq!(failure["code"], status, "{request}");
        let name = failure["status"].as_str().unwrap_or_default();
        assert!(
            name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') && !name.is_empty(),
            "{request}"
        );
        assert!(failure["message"].as_str().is_some_and(|message| !message.is_empty()), "{request}");
    }
}

/// What was made right now is there, and can be removed.
async fn made(api: &Router, path: &str, answer: &str) {
    let Ok(made) = serde_json::from_str::<Value>(answer) else { return };
    let meta = &made["meta"];
    let (Some(name), parent) = (meta["name"].as_str(), meta["namespace"].as_str()) else { return };
    let place = match parent {
        Some(namespace) => format!("/namespace/{namespace}/service/{name}"),
        None if path.starts_with("/namespace") => format!("/namespace/{name}"),
        None => return,
    };
    let shown: Value = serde_json::from_str(&must(api, "GET", &place, b"").await).expect("JSON");
    assert_eq!((&shown["meta"], &shown["spec"]), (&made["meta"], &made["spec"]), "{place}");
    must(api, "DELETE", &place, b"").await;
    assert_eq!(call(api, "GET", &place, b"").await.map(|(status, _)| status), Some(404), "{place}");
}

async fn all_is_shown(api: &Router) {
    let all: Value = serde_json::from_str(&must(api, "GET", "/namespace", b"").await).expect("JSON");
    for namespace in all.as_array().expect("a list") {
        let name = namespace["meta"]["name"].as_str().expect("a name");
        must(api, "GET", &format!("/namespace/{name}/activity"), b"").await;
        must(api, "GET", &format!("/namespace/{name}/service"), b"").await;
    }
}

async fn revision(store: &dyn Store) -> Revision {
    store.list_keys(&keys::pools(), 1).await.expect("listed").revision
}

async fn must(api: &Router, method: &str, path: &str, body: &[u8]) -> String {
    let (status, answer) = call(api, method, path, body).await.expect("a request");
    assert_eq!(status, 200, "{method} {path}: {answer}");
    answer
}

/// Status and body; nothing if it is no request of HTTP.
async fn call(api: &Router, method: &str, path: &str, body: &[u8]) -> Option<(u16, String)> {
    let mut request = Request::builder().method(method).uri(path).body(Body::from(body.to_vec())).ok()?;
    request.extensions_mut().insert(ConnectInfo(operator().peer));
    let Ok(response) = api.clone().oneshot(request).await;
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body in memory");
    Some((status, String::from_utf8(body.to_vec()).expect("replies are text")))
}
