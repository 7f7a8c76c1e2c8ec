//! Requests to the tenants' API: a line `METHOD path` with headers in the lines behind it, an empty line, and a body.
//! `BLOCK`, `POLICY` and `ADDRESS` stand for ids of what there is.

use super::split;
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

const TENANT: &str = "/v0.1/ipam/tenants/t";

/// A request is carried out, or refused in the form that it wants and with the status that it has. What lists show, and
/// no other, can be shown by itself.
pub fn melange_http(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let store: Arc<dyn Store> = Arc::new(Embedded::in_memory().await.expect("store"));
        let api = router(Context::new(store, Authentication::default()));
        let ids = furnish(&api).await;
        let fill = |text: &str| ids.iter().fold(text.to_owned(), |text, (name, id)| text.replace(name, id));
        let (head, body) = split(data);
        let (head, body) = (fill(&head), fill(&String::from_utf8_lossy(body)));
        let mut lines = head.lines();
        let (method, path) = lines.next().and_then(|line| line.split_once(' ')).unwrap_or(("GET", "/"));
        let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
        let Some((status, answer)) = call(&api, method, path, &headers, &body).await else { return };
        check(&format!("{method} {path} {body}"), status, &answer);
        let (_, all) =
            call(&api, "GET", &format!("{TENANT}/allocated_ip_addresses"), &[], "").await.expect("list");
        let all: Value = serde_json::from_str(&all).expect("JSON");
        for address in all["ip_addresses"].as_array().expect("a list") {
            let [block, ip] = ["ip_block_id", "address"].map(|name| address[name].as_str().expect("text"));
            let one = format!("{TENANT}/ip_blocks/{block}/ip_addresses/{ip}");
            let (status, shown) = call(&api, "GET", &one, &[], "").await.expect("a request");
            // It may be of a subnet that was made for another tenant.
            assert!(status == 404 || (status == 200 && shown.contains(ip)), "{one}: {status} {shown}");
        }
    });
}

async fn furnish(api: &axum::Router) -> [(&'static str, String); 2] {
    let make = async |path: &str, envelope: &str, body: &str| {
        let body = format!("{{\"{envelope}\":{body}}}");
        let (status, made) =
            call(api, "POST", &format!("{TENANT}/{path}"), &[], &body).await.expect("a request");
        assert_eq!(status, 201, "{made}");
        let made: Value = serde_json::from_str(&made).expect("JSON");
        made[envelope]["id"].as_str().expect("an id").to_owned()
    };
    let policy = make("policies", "policy", r#"{"name":"p"}"#).await;
    let block =
        make("ip_blocks", "ip_block", r#"{"type":"private","cidr":"10.0.0.0/24","network_id":"n"}"#).await;
    make(&format!("ip_blocks/{block}/ip_addresses"), "ip_address", r#"{"address":"10.0.0.5"}"#).await;
    [("BLOCK", block), ("POLICY", policy)]
}

/// Every failure has a form, and none of them is the server's own.
fn check(request: &str, status: u16, body: &str) {
    assert!(status < 500, "{request}: {status} {body}");
    if status < 400 {
        return;
    }
    if body.starts_with('<') {
        assert!(body.contains(&format!(" code=\"{status}\"><message>")), "{request}: {body}");
        return;
    }
    let failure: Value =
        serde_json::from_str(body).unwrap_or_else(|_| panic!("{request}: neither JSON nor XML: {body:?}"));
    let fault = failure.as_object().and_then(|fields| fields.values().next());
    // What is of no API is refused as operators are.
    let code = fault.and_then(|fault| fault.get("code")).unwrap_or(&failure["status"]);
    assert_eq!(code, status, "{request}: {body}");
}

/// Status and body; nothing if it is no request of HTTP.
async fn call(
    api: &axum::Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<(u16, String)> {
    let request = Request::builder().method(method).uri(path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let mut request = request.body(Body::from(body.to_owned())).ok()?;
    request.extensions_mut().insert(ConnectInfo(operator().peer));
    let Ok(response) = api.clone().oneshot(request).await;
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body in memory");
    Some((status, String::from_utf8(body.to_vec()).expect("replies are text")))
}
