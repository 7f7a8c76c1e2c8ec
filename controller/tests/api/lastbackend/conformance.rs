//! Every route × every documented failure: its code, its name, and that nothing was changed.

use crate::fixture::Api;
use async_trait::async_trait;
use common::store::{Entry, KeyRange, Page, Revision, Snapshot, Store, StoreError, TtlId, Txn, Watch};
use controller::api::routes;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const NS: &str = "/namespace/{namespace}";
const SERVICES: &str = "/namespace/{namespace}/service";
const SERVICE: &str = "/namespace/{namespace}/service/{service}";
const SPECS: &str = "/namespace/{namespace}/service/{service}/spec";
const SPEC: &str = "/namespace/{namespace}/service/{service}/spec/{id}";
const LOGS: &str = "/namespace/{namespace}/service/{service}/logs";

/// Every failure that the documents name, written down once more; 500 is every route's.
const DOCUMENTED: &[(&str, &str, &[&str])] = &[
    ("POST", "/namespace", &["400 INCORRECT_JSON", "406 BAD_PARAMETER_NAME", "400 NAME_NOT_UNIQUE"]),
    ("GET", "/namespace", &[]),
    ("GET", NS, &["404 NAMESPACE_NOT_FOUND"]),
    ("PUT", NS, &["400 INCORRECT_JSON", "404 NAMESPACE_NOT_FOUND", "406 BAD_PARAMETER_DESCRIPTION"]),
    ("DELETE", NS, &["404 NAMESPACE_NOT_FOUND"]),
    ("GET", "/namespace/{namespace}/activity", &["404 NAMESPACE_NOT_FOUND"]),
    (
        "POST",
        SERVICES,
        &[
            "404 TEMPLATE_NOT_FOUND",
            "404 NAMESPACE_NOT_FOUND",
            "400 INCORRECT_JSON",
            "406 BAD_PARAMETER_NAME",
            "406 BAD_PARAMETER_NAMESPACE",
            "406 BAD_PARAMETER_TEMPLATE_NAME",
            "406 BAD_PARAMETER_REPLICAS",
            "406 BAD_PARAMETER_MEMORY",
            "406 BAD_PARAMETER_IMAGE",
            "406 BAD_PARAMETER_URL",
            "406 BAD_PARAMETER_ENV",
            "406 BAD_PARAMETER_PORTS",
            "400 NAME_NOT_UNIQUE",
        ],
    ),
    ("GET", SERVICES, &[]),
    ("GET", SERVICE, &["404 SERVICE_NOT_FOUND"]),
    (
        "PUT",
        SERVICE,
        &[
            "404 TEMPLATE_NOT_FOUND",
            "404 SERVICE_NOT_FOUND",
            "400 INCORRECT_JSON",
            "406 BAD_PARAMETER_REPLICAS",
        ],
    ),
    ("DELETE", SERVICE, &["404 SERVICE_NOT_FOUND"]),
    (
        "GET",
        "/namespace/{namespace}/service/{service}/activity",
        &["404 NAMESPACE_NOT_FOUND", "404 SERVICE_NOT_FOUND"],
    ),
    (
        "GET",
        LOGS,
        &[
            "404 NAMESPACE_NOT_FOUND",
            "404 SERVICE_NOT_FOUND",
            "404 POD_NOT_FOUND",
            "404 CONTAINER_NOT_FOUND",
            "400 INCORRECT_JSON",
        ],
    ),
    ("POST", SPECS, &["404 SERVICE_NOT_FOUND", "400 INCORRECT_JSON", "406 BAD_PARAMETER_IMAGE"]),
    (
        "PUT",
        SPEC,
        &["404 SERVICE_NOT_FOUND", "404 SPEC_NOT_FOUND", "400 INCORRECT_JSON", "406 BAD_PARAMETER_COMMAND"],
    ),
    ("DELETE", SPEC, &["404 SERVICE_NOT_FOUND", "404 SPEC_NOT_FOUND", "406 BAD_PARAMETER_SPEC"]),
];

/// A request that fails: its route, its path, its body, and how it fails. The path may have `{spec}` for the spec of the
/// service `demo/web`, which has a pod `web-0` with the container `c1`.
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn cases() -> Vec<(&'static str, &'static str, &'static str, String, &'static str)> {
    let long = |field: &str, length: usize| json!({ field: "x".repeat(length) }).to_string();
    let web = |changes: Value| {
        let mut body = json!({"name": "new", "image": "busybox"});
        body.as_object_mut().expect("object").extend(changes.as_object().expect("object").clone());
        body.to_string()
    };
    let plain = |body: &str| body.to_owned();
    let mut cases = vec![
        ("GET", NS, "/namespace/nobody", plain(""), "404 NAMESPACE_NOT_FOUND"),
        ("GET", NS, "/namespace/Demo", plain(""), "404 NAMESPACE_NOT_FOUND"),
        ("GET", NS, "/namespace/%2e%2e", plain(""), "404 NAMESPACE_NOT_FOUND"),
        ("GET", NS, "/namespace/demo%2Fservice", plain(""), "404 NAMESPACE_NOT_FOUND"),
        ("PUT", NS, "/namespace/nobody", plain("{}"), "404 NAMESPACE_NOT_FOUND"),
        ("PUT", NS, "/namespace/demo", plain(r#"{"description":1}"#), "400 INCORRECT_JSON"),
        ("PUT", NS, "/namespace/demo", long("description", 4_097), "406 BAD_PARAMETER_DESCRIPTION"),
        ("PUT", NS, "/namespace/demo", plain(r#"{"nsIPPool":"a\u0000"}"#), "406 BAD_PARAMETER_NSIPPOOL"),
        ("DELETE", NS, "/namespace/nobody", plain(""), "404 NAMESPACE_NOT_FOUND"),
        (
            "GET",
            "/namespace/{namespace}/activity",
            "/namespace/nobody/activity",
            plain(""),
            "404 NAMESPACE_NOT_FOUND",
        ),
        ("POST", SERVICES, "/namespace/nobody/service", web(json!({})), "404 NAMESPACE_NOT_FOUND"),
        ("POST", SERVICES, "/namespace/no_body_/service", web(json!({})), "406 BAD_PARAMETER_NAMESPACE"),
        ("GET", SERVICE, "/namespace/demo/service/nobody", plain(""), "404 SERVICE_NOT_FOUND"),
        ("GET", SERVICE, "/namespace/nobody/service/web", plain(""), "404 SERVICE_NOT_FOUND"),
        ("GET", SERVICE, "/namespace/demo/service/WEB", plain(""), "404 SERVICE_NOT_FOUND"),
        ("PUT", SERVICE, "/namespace/demo/service/nobody", plain("{}"), "404 SERVICE_NOT_FOUND"),
        ("PUT", SERVICE, "/namespace/demo/service/web", plain("{"), "400 INCORRECT_JSON"),
        (
            "PUT",
            SERVICE,
            "/namespace/demo/service/web",
            plain(r#"{"replicas":-1}"#),
            "406 BAD_PARAMETER_REPLICAS",
        ),
        (
            "PUT",
            SERVICE,
            "/namespace/demo/service/web",
            plain(r#"{"replicas":0}"#),
            "406 BAD_PARAMETER_REPLICAS",
        ),
        (
            "PUT",
            SERVICE,
            "/namespace/demo/service/web",
            plain(r#"{"spec":{"memory":-64}}"#),
            "406 BAD_PARAMETER_MEMORY",
        ),
        (
            "PUT",
            SERVICE,
            "/namespace/demo/service/web",
            plain(r#"{"template":"lamp"}"#),
            "404 TEMPLATE_NOT_FOUND",
        ),
        ("DELETE", SERVICE, "/namespace/demo/service/nobody", plain(""), "404 SERVICE_NOT_FOUND"),
        (
            "POST",
            SPECS,
            "/namespace/demo/service/nobody/spec",
            plain(r#"{"image":"i"}"#),
            "404 SERVICE_NOT_FOUND",
        ),
        ("POST", SPECS, "/namespace/demo/service/web/spec", plain("[]"), "400 INCORRECT_JSON"),
        ("POST", SPECS, "/namespace/demo/service/web/spec", plain("{}"), "406 BAD_PARAMETER_IMAGE"),
        ("PUT", SPEC, "/namespace/demo/service/web/spec/x", plain("{}"), "404 SPEC_NOT_FOUND"),
        ("PUT", SPEC, "/namespace/demo/service/nobody/spec/{spec}", plain("{}"), "404 SERVICE_NOT_FOUND"),
        (
            "PUT",
            SPEC,
            "/namespace/demo/service/web/spec/{spec}",
            plain(r#"{"env":"A=b"}"#),
            "400 INCORRECT_JSON",
        ),
        (
            "PUT",
            SPEC,
            "/namespace/demo/service/web/spec/{spec}",
            plain(r#"{"command":"'"}"#),
            "406 BAD_PARAMETER_COMMAND",
        ),
        ("DELETE", SPEC, "/namespace/demo/service/web/spec/x", plain(""), "404 SPEC_NOT_FOUND"),
        ("DELETE", SPEC, "/namespace/demo/service/nobody/spec/x", plain(""), "404 SERVICE_NOT_FOUND"),
        ("DELETE", SPEC, "/namespace/demo/service/web/spec/{spec}", plain(""), "406 BAD_PARAMETER_SPEC"),
    ];
    for (body, failure) in [
        (plain(""), "400 INCORRECT_JSON"),
        (plain("name=demo"), "400 INCORRECT_JSON"),
        (plain(r#"["demo"]"#), "400 INCORRECT_JSON"),
        (plain(r#"{"name":"a","name":"b"}"#), "400 INCORRECT_JSON"),
        (plain(r#"{"name":7}"#), "400 INCORRECT_JSON"),
        (plain("{}"), "406 BAD_PARAMETER_NAME"),
        (plain(r#"{"name":null}"#), "406 BAD_PARAMETER_NAME"),
        (plain(r#"{"name":""}"#), "406 BAD_PARAMETER_NAME"),
        (plain(r#"{"name":"1a"}"#), "406 BAD_PARAMETER_NAME"),
        (plain(r#"{"name":"a--b"}"#), "406 BAD_PARAMETER_NAME"),
        (plain(r#"{"name":"a/b"}"#), "406 BAD_PARAMETER_NAME"),
        (long("name", 65), "406 BAD_PARAMETER_NAME"),
        (plain(r#"{"name":"demo"}"#), "400 NAME_NOT_UNIQUE"),
        (plain(r#"{"name":"DEMO"}"#), "400 NAME_NOT_UNIQUE"),
    ] {
        cases.push(("POST", "/namespace", "/namespace", body, failure));
    }
    for (body, failure) in [
        (plain("{"), "400 INCORRECT_JSON"),
        (web(json!({"replicas": "3"})), "400 INCORRECT_JSON"),
        (web(json!({"replicas": 1.5})), "400 INCORRECT_JSON"),
        (web(json!({"spec": []})), "400 INCORRECT_JSON"),
        (web(json!({"name": "a_"})), "406 BAD_PARAMETER_NAME"),
        (plain(r#"{"image":"Busy..Box"}"#), "406 BAD_PARAMETER_NAME"),
        (web(json!({"name": "web"})), "400 NAME_NOT_UNIQUE"),
        (web(json!({"image": "", "template": "lamp"})), "404 TEMPLATE_NOT_FOUND"),
        (web(json!({"image": "", "template": "la mp"})), "406 BAD_PARAMETER_TEMPLATE_NAME"),
        (web(json!({"image": "", "url": "https://git.example/x"})), "406 BAD_PARAMETER_URL"),
        (web(json!({"image": ""})), "406 BAD_PARAMETER_IMAGE"),
        (web(json!({"replicas": 0})), "406 BAD_PARAMETER_REPLICAS"),
        (web(json!({"replicas": -3})), "406 BAD_PARAMETER_REPLICAS"),
        (web(json!({"replicas": 1e19})), "406 BAD_PARAMETER_REPLICAS"),
        (web(json!({"spec": {"memory": -1}})), "406 BAD_PARAMETER_MEMORY"),
        (web(json!({"spec": {"memory": 1_u64 << 40}})), "406 BAD_PARAMETER_MEMORY"),
        (web(json!({"spec": {"env": ["A"]}})), "406 BAD_PARAMETER_ENV"),
        (web(json!({"spec": {"ports": [{"internal": 70_000}]}})), "406 BAD_PARAMETER_PORTS"),
        (web(json!({"serviceIPPool": "x".repeat(600)})), "406 BAD_PARAMETER_SERVICEIPPOOL"),
    ] {
        cases.push(("POST", SERVICES, "/namespace/demo/service", body, failure));
    }
    for (path, failure) in [
        ("/namespace/nobody/service/web/logs", "404 NAMESPACE_NOT_FOUND"),
        ("/namespace/demo/service/nobody/logs", "404 SERVICE_NOT_FOUND"),
        ("/namespace/demo/service/web/logs?pod=web-7", "404 POD_NOT_FOUND"),
        ("/namespace/demo/service/db/logs", "404 POD_NOT_FOUND"),
        ("/namespace/demo/service/web/logs?pod=web-0&container=c2", "404 CONTAINER_NOT_FOUND"),
        ("/namespace/demo/service/web/logs?pod=web-1", "404 CONTAINER_NOT_FOUND"),
        ("/namespace/demo/service/web/logs?tail=3", "400 INCORRECT_JSON"),
    ] {
        cases.push(("GET", LOGS, path, String::new(), failure));
    }
    let activity = "/namespace/{namespace}/service/{service}/activity";
    cases.push((
        "GET",
        activity,
        "/namespace/nobody/service/web/activity",
        String::new(),
        "404 NAMESPACE_NOT_FOUND",
    ));
    cases.push((
        "GET",
        activity,
        "/namespace/demo/service/nobody/activity",
        String::new(),
        "404 SERVICE_NOT_FOUND",
    ));
    cases
}

#[tokio::test]
async fn every_route_and_every_documented_failure() {
    let api = Api::new().await;
    let spec = api.demo().await;
    let mut shown = BTreeSet::new();
    for (method, route, path, body, failure) in cases() {
        let before = api.revision().await;
        let path = path.replace("{spec}", &spec);
        let (code, answer) = api.call(method, &path, &body).await;
        let what = format!("{method} {path} {body}: {answer}");
        assert_eq!(format!("{code} {}", answer["status"].as_str().unwrap_or_default()), failure, "{what}");
        assert_eq!(answer["code"], code, "{what}");
        assert!(answer["message"].as_str().is_some_and(|message| message.len() > 8), "{what}");
        assert_eq!(answer.as_object().map(serde_json::Map::len), Some(3), "{what}");
        assert_eq!(api.revision().await, before, "{what}: something was changed");
        shown.insert((method, route, failure));
    }
    let served = routes()
        .into_iter()
        .filter(|route| route.path.starts_with("/namespace") && route.method != "OPTIONS");
    for route in served {
        let found =
            DOCUMENTED.iter().find(|(method, path, _)| route.method == *method && route.path == *path);
        let (method, path, failures) =
            found.unwrap_or_else(|| panic!("{} {} is missing in this test", route.method, route.path));
        for failure in *failures {
            assert!(shown.contains(&(*method, *path, *failure)), "{method} {path} has no case of {failure}");
        }
    }
}

/// A store that can't be reached.
struct Away;

fn away<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable { reason: "it is away".to_owned(), source: None })
}

#[async_trait]
impl Store for Away {
    async fn get(&self, _: &str) -> Result<Option<Entry>, StoreError> {
        away()
    }
    async fn list(&self, _: &KeyRange, _: usize) -> Result<Page<Entry>, StoreError> {
        away()
    }
    async fn list_keys(&self, _: &KeyRange, _: usize) -> Result<Page<String>, StoreError> {
        away()
    }
    async fn snapshot(&self, _: &[KeyRange]) -> Result<Snapshot, StoreError> {
        away()
    }
    async fn count(&self, _: &KeyRange) -> Result<u64, StoreError> {
        away()
    }
    async fn txn(&self, _: Txn) -> Result<Revision, StoreError> {
        away()
    }
    async fn watch(&self, _: &[KeyRange], _: Revision) -> Result<Watch, StoreError> {
        away()
    }
    async fn grant_ttl(&self, _: Duration) -> Result<TtlId, StoreError> {
        away()
    }
    async fn renew_ttl(&self, _: TtlId) -> Result<(), StoreError> {
        away()
    }
    async fn revoke_ttl(&self, _: TtlId) -> Result<(), StoreError> {
        away()
    }
}

#[tokio::test]
async fn without_the_store_every_route_says_so() {
    let api = Api::on(Arc::new(Away));
    for (method, path, _) in DOCUMENTED {
        let path = path.replace("{namespace}", "demo").replace("{service}", "web").replace("{id}", "x");
        let body = if *method == "GET" { "" } else { r#"{"name":"web","image":"i","description":"d"}"# };
        let (code, answer) = api.call(method, &path, body).await;
        let expected = json!({
            "code": 500, "status": "INTERNAL_SERVER_ERROR", "message": "the store is unavailable: it is away",
        });
        assert_eq!((code, answer), (500, expected), "{method} {path}");
    }
}
