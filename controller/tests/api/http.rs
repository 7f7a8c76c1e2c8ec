//! What is refused before a use case sees it, health, and metrics.

use crate::fixture::Api;
use axum::body::Body;
use axum::http::StatusCode;
use common::store::Store;
use common::store::embedded::Embedded;
use serde_json::Value;
use std::sync::Arc;
use tower::ServiceExt;

#[tokio::test]
async fn unknown_paths_and_wrong_methods() {
    let api = Api::new().await;
    for path in
        ["/v1", "/v1/", "/v1/pool", "/v1/pools/", "/v1/pools/a/b", "/v2/pools", "/v1/pools/a/subnets/x"]
    {
        api.fails(404, "GET", path, "", &["nothing at this path"]).await;
    }
    for (method, path) in [
        ("PUT", "/v1/pools"),
        ("DELETE", "/v1/pools"),
        ("POST", "/v1/pools/a"),
        ("GET", "/v1/pools/a/subnets"),
        ("GET", "/v1/pools/a/disabled"),
        ("POST", "/v1/nodes"),
        ("PUT", "/v1/nodes/a"),
        ("DELETE", "/v1/blocks"),
        ("DELETE", "/v1/addresses"),
        ("POST", "/v1/addresses/10.0.0.1"),
        ("POST", "/healthz"),
        ("DELETE", "/metrics"),
    ] {
        api.fails(405, method, path, "", &["does not have this method"]).await;
    }
    let request = axum::http::Request::put("/v1/pools").body(Body::empty()).expect("request");
    let response = api.router.clone().oneshot(request).await.expect("infallible");
    assert_eq!(response.headers()["allow"], "GET,HEAD,POST");
}

#[tokio::test]
async fn bodies_are_bounded() {
    let api = Api::new().await;
    let body = Body::from(vec![b' '; 3 << 20]);
    let (status, text) = api.raw("POST", "/v1/pools", body).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let failure: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(failure["status"], 413);
}

#[tokio::test]
async fn odd_characters_in_paths() {
    let api = Api::new().await;
    for path in ["/v1/pools/%20", "/v1/pools/a%2Fb", "/v1/pools/%FF", "/v1/pools/%C3%BC", "/v1/nodes/a%00"] {
        let (status, body) = api.get(path).await;
        assert_eq!(status, 400, "{path}: {body}");
    }
    api.fails(404, "GET", "/v1/pools/a%2Eb", "", &["no pool a.b"]).await;
}

#[tokio::test]
async fn health_and_metrics() {
    let api = Api::new().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(api.raw("GET", path, Body::empty()).await, (StatusCode::OK, "ok\n".to_owned()));
    }
    api.create("default", &["10.64.0.0/24", "fd00::/64"]).await;
    api.register("n1", true).await;
    api.register("n2", false).await;
    api.lease("n1", "default", "10.64.0.0").await.expect("leased");
    let (_, text) = api.raw("GET", "/metrics", Body::empty()).await;
    for line in [
        concat!("coil_controller_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "coil_store_up 1",
        "coil_pool_blocks{pool=\"default\",family=\"ipv4\"} 16",
        "coil_pool_blocks_leased{pool=\"default\",family=\"ipv4\"} 1",
        "coil_pool_blocks_leased{pool=\"default\",family=\"ipv6\"} 0",
        "coil_pool_disabled{pool=\"default\"} 0",
        "coil_nodes 2",
        "coil_nodes_alive 1",
    ] {
        assert!(text.lines().any(|got| got == line), "{line} is missing:\n{text}");
    }
}

/// The store's writer lives on a runtime that has ended: it still reads, and can't write any more.
#[test]
fn a_store_that_can_not_write_is_503() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let gone = runtime();
    let store: Arc<dyn Store> =
        gone.block_on(async { Arc::new(Embedded::in_memory().await.expect("store")) });
    drop(gone);
    runtime().block_on(async {
        let api = Api::on(store);
        api.ok(200, "GET", "/v1/pools", "").await;
        let body = r#"{"name":"p","subnets":["10.0.0.0/24"]}"#;
        api.fails(503, "POST", "/v1/pools", body, &["the store is unavailable"]).await;
    });
}
