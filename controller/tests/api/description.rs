//! What the controller says of its own API.

use crate::fixture::Api;
use axum::body::Body;
use axum::http::Request;
use common::server::Peer;
use controller::api::{Rule, describe, routes};
use serde_json::Value;

/// Where people and tools that don't run a controller find the description.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api/openapi.json");

#[tokio::test]
async fn the_file_is_what_is_served() {
    let api = Api::new().await;
    let (status, served) = api.raw("GET", "/openapi.json", Body::empty()).await;
    assert_eq!(status, 200);
    if std::env::var_os("COIL_UPDATE_OPENAPI").is_some() {
        std::fs::write(FILE, &served).expect("written");
    }
    let file = std::fs::read_to_string(FILE).expect("docs/api/openapi.json");
    assert!(
        file == served,
        "docs/api/openapi.json is not what the controller serves; after a wanted change of the API run `make openapi`"
    );
}

#[test]
fn every_route_is_described() {
    let api = serde_json::to_value(describe(&routes())).expect("JSON");
    let mut ids = std::collections::BTreeSet::new();
    for route in routes() {
        let name = format!("{} {}", route.method, route.path);
        let operation = &api["paths"][route.path][route.method.as_str().to_lowercase()];
        assert!(operation["summary"].is_string(), "{name} has no summary");
        assert!(ids.insert(operation["operationId"].to_string()), "{name}: the id is taken");
        let responses = operation["responses"].as_object().expect("responses");
        assert!(responses.keys().any(|status| status.starts_with('2')), "{name} never succeeds");
        let guarded = route.rule != Rule::Public;
        for status in ["401", "403"] {
            assert_eq!(responses.contains_key(status), guarded, "{name}: {status}");
        }
        assert_eq!(operation["security"].is_array(), guarded, "{name}");
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let mut in_path: Vec<&str> =
            parameters.filter(|one| one["in"] == "path").filter_map(|one| one["name"].as_str()).collect();
        let mut braced: Vec<&str> =
            route.path.split('{').skip(1).filter_map(|part| part.split('}').next()).collect();
        in_path.sort_unstable();
        braced.sort_unstable();
        assert_eq!(in_path, braced, "{name}: parameters of the path");
    }
    let mut links = Vec::new();
    find_links(&api, &mut links);
    for link in links {
        assert!(api.pointer(&link[1..]).is_some(), "{link} leads nowhere");
    }
}

fn find_links(value: &Value, links: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            links.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| find_links(value, links));
        }
        Value::Array(items) => items.iter().for_each(|value| find_links(value, links)),
        _ => {}
    }
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let api = Api::new().await;
    let request = Request::get("/docs").body(Body::empty()).expect("request");
    let response = api.send(Peer::Unknown, request).await;
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    let policy = response.headers()["content-security-policy"].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 22).await.expect("body");
    let page = String::from_utf8(bytes.to_vec()).expect("text");
    for route in routes() {
        let heading = format!("<code>{} {}</code>", route.method, route.path);
        assert!(page.contains(&heading), "{heading} is missing");
    }
    for word in ["<script", "<link", "src=", "http://", "https://", "@import"] {
        assert!(!page.contains(word), "the page has {word}");
    }
}
