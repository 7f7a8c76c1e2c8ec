//! The platform API: what its documents show, and every route × every documented failure.

use crate::fixture::Api;
use async_trait::async_trait;
use axum::body::Body;
use axum::http::Request;
use common::server::Peer;
use common::store::{
    Entry, KeyRange, Page, Revision, Snapshot, Store, StoreError, TtlId, Txn, Watch,
    keys::lastbackend as keys,
};
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

impl Api {
    /// A namespace `demo` with the services `web`, which has pods, and `db`, which has none. Answers the spec of `web`.
    async fn demo(&self) -> String {
        self.ok(200, "POST", "/namespace", r#"{"name":"demo"}"#).await;
        for name in ["web", "db"] {
            let body = json!({"name": name, "image": "busybox"}).to_string();
            self.ok(200, "POST", "/namespace/demo/service", &body).await;
        }
        let web = self.ok(200, "GET", "/namespace/demo/service/web", "").await;
        let spec = web["spec"][0]["meta"]["id"].as_str().expect("id").to_owned();
        self.runs("web", |uid| {
            let running = json!({"id": "c1", "spec": spec, "state": "running"});
            json!({"v": 1, "uid": uid, "pods": [
                {"name": "web-0", "state": "running", "created": 5, "addresses": ["10.0.0.7"], "containers": [running]},
                {"name": "web-1", "state": "provision", "created": 0},
            ]})
        })
        .await;
        spec
    }

    /// An engine tells this of a service.
    async fn runs(&self, name: &str, run: impl FnOnce(&str) -> Value) {
        let named = |text: &str| common::lastbackend::Name::new(text).expect("name");
        let id = common::lastbackend::ServiceId { namespace: named("demo"), name: named(name) };
        let entry = self.store.get(&keys::service(&id)).await.expect("read").expect("the service");
        let service: Value = serde_json::from_slice(&entry.value).expect("JSON");
        let run = run(service["uid"].as_str().expect("uid")).to_string();
        self.put(keys::run(&id), run.into()).await;
    }

    async fn engine(&self, error: Option<&str>) {
        let alive = json!({"v": 1, "machine": "m", "error": error}).to_string();
        self.put(keys::ENGINE_ALIVE.to_owned(), alive.into()).await;
    }
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

/// An answer without the times and ids in it, of which the form is checked.
fn fixed(mut value: Value) -> Value {
    fn visit(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match (&**name, value.as_str()) {
                        ("created" | "updated", Some(time)) => {
                            assert_eq!((time.len(), &time[19..20], &time[29..]), (30, ".", "Z"), "{time}");
                            *value = "TIME".into();
                        }
                        ("id", Some(id)) => {
                            assert_eq!((id.len(), id.matches('-').count()), (36, 4), "{id}");
                            *value = "ID".into();
                        }
                        _ => visit(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(visit),
            _ => {}
        }
    }
    visit(&mut value);
    value
}

#[tokio::test]
async fn the_documents_examples() {
    let api = Api::new().await;
    let meta = |description: &str| json!({"meta": {"name": "test-ns", "description": description, "created": "TIME", "updated": "TIME"}});
    assert_eq!(api.ok(200, "GET", "/namespace", "").await, json!([]));
    let body = r#"{"name": "test-ns", "description": "this description info about this namespace"}"#;
    let made = api.ok(200, "POST", "/namespace", body).await;
    assert_eq!(fixed(made.clone()), meta("this description info about this namespace"));
    assert_eq!(api.ok(200, "GET", "/namespace/test-ns", "").await, made);
    assert_eq!(api.ok(200, "GET", "/namespace", "").await, json!([made]));
    let body = r#"{"description": "this new description info about this namespace", "name": "other"}"#;
    let changed = api.ok(200, "PUT", "/namespace/test-ns", body).await;
    assert_eq!(fixed(changed.clone()), meta("this new description info about this namespace"));
    assert_eq!(changed["meta"]["created"], made["meta"]["created"]);
    assert!(changed["meta"]["updated"].as_str() > made["meta"]["updated"].as_str());

    assert_eq!(api.ok(200, "GET", "/namespace/test-ns/service", "").await, json!([]));
    let body =
        r#"{"name": "redis", "description": "demo description", "image": "redis", "spec": {"memory": 64}}"#;
    let made = api.ok(200, "POST", "/namespace/test-ns/service", body).await;
    let zero = json!({
        "total": 0, "provision": 0, "ready": 0, "running": 0, "created": 0, "stopped": 0, "errored": 0,
    });
    let mut expected = json!({
        "meta": {
            "name": "redis", "description": "demo description", "replicas": 1, "namespace": "test-ns",
            "created": "TIME", "updated": "TIME",
        },
        "state": {"state": "provision", "status": "", "resources": {"memory": 64}, "replicas": zero},
        "spec": [{
            "meta": {
                "id": "ID", "parent": "", "revision": 0, "labels": {}, "created": "TIME", "updated": "TIME",
            },
            "memory": 64, "command": "", "image": "redis", "env": null, "ports": [],
        }],
    });
    assert_eq!(fixed(made), expected);
    api.engine(None).await;
    let shown = api.ok(200, "GET", "/namespace/test-ns/service/redis", "").await;
    assert_eq!(fixed(shown.clone()), expected);
    assert_eq!(api.ok(200, "GET", "/namespace/test-ns/service", "").await, json!([shown]));
    let body = r#"{"description": "new demo description"}"#;
    let changed = api.ok(200, "PUT", "/namespace/test-ns/service/redis", body).await;
    expected["meta"]["description"] = "new demo description".into();
    assert_eq!(fixed(changed.clone()), expected);
    assert_eq!(changed["spec"], shown["spec"], "a description changes no spec");
    for path in ["/namespace/test-ns/service/redis", "/namespace/test-ns"] {
        assert_eq!(
            api.raw("DELETE", path, Body::empty()).await,
            (200.try_into().expect("status"), String::new())
        );
        assert_eq!(api.get(path).await.0, 404);
    }
}

#[tokio::test]
async fn defaults_and_names() {
    let api = Api::new().await;
    let made = api.ok(200, "POST", "/namespace", r#"{"name":"Test_NS","nsIPPool":"web","x":1}"#).await;
    assert_eq!(made["meta"]["name"], "test_ns");
    assert_eq!(made["meta"]["nsIPPool"], "web");
    let body = r#"{"image":"reg.example:5000/team/Shop:1","replicas":3,"spec":null,"serviceIPPool":"front"}"#;
    let made = api.ok(200, "POST", "/namespace/test_ns/service", body).await;
    assert_eq!((&made["meta"]["name"], &made["meta"]["replicas"]), (&json!("shop"), &json!(3)));
    assert_eq!(made["meta"]["serviceIPPool"], "front");
    assert_eq!(made["state"]["resources"]["memory"], 96, "32 for each replica");
    assert_eq!(made["spec"][0]["image"], "reg.example:5000/team/Shop:1");
    assert!(made.get("pods").is_none(), "{made}");
    let cleared = api.ok(200, "PUT", "/namespace/test_ns/service/shop", r#"{"serviceIPPool":""}"#).await;
    assert!(cleared["meta"].get("serviceIPPool").is_none(), "{cleared}");
}

#[tokio::test]
async fn specs_have_a_history() {
    let api = Api::new().await;
    let first = api.demo().await;
    let path = "/namespace/demo/service/web";
    let body = r#"{"spec":{"command":"-f -p 80","env":["A=b"]}}"#;
    let second = api.ok(200, "PUT", path, body).await["spec"][0].clone();
    assert_eq!((&second["meta"]["parent"], &second["meta"]["revision"]), (&json!(first), &json!(1)));
    assert_eq!((&second["image"], &second["command"]), (&json!("busybox"), &json!("-f -p 80")));
    let id = second["meta"]["id"].as_str().expect("id").to_owned();
    api.ok(200, "POST", &format!("{path}/spec"), r#"{"image":"sidecar","memory":16}"#).await;
    let changed = api.ok(200, "PUT", &format!("{path}/spec/{id}"), r#"{"memory":48}"#).await;
    assert_eq!(changed["spec"].as_array().map(Vec::len), Some(2));
    let third = &changed["spec"][0];
    assert_eq!((&third["meta"]["parent"], &third["meta"]["revision"]), (&json!(id), &json!(2)));
    assert_eq!(
        (&third["command"], &third["env"]),
        (&json!("-f -p 80"), &json!(["A=b"])),
        "what was not given stays"
    );
    assert_eq!(changed["state"]["resources"]["memory"], 64);
    let third = third["meta"]["id"].as_str().expect("id").to_owned();
    let (status, body) = api.raw("DELETE", &format!("{path}/spec/{third}"), Body::empty()).await;
    assert_eq!((status.as_u16(), &*body), (200, ""));
    let left = api.ok(200, "GET", path, "").await;
    assert_eq!(
        (left["spec"].as_array().map(Vec::len), &left["spec"][0]["image"]),
        (Some(1), &json!("sidecar"))
    );
}

#[tokio::test]
async fn activity_is_the_last_first_and_bounded() {
    let api = Api::new().await;
    api.ok(200, "POST", "/namespace", r#"{"name":"demo"}"#).await;
    assert_eq!(api.ok(200, "GET", "/namespace/demo/activity", "").await, json!([]));
    api.ok(200, "POST", "/namespace/demo/service", r#"{"name":"web","image":"i"}"#).await;
    let path = "/namespace/demo/service/web";
    assert_eq!(api.ok(200, "GET", &format!("{path}/activity"), "").await, json!([]));
    for replicas in 2..=110 {
        api.ok(200, "PUT", path, &json!({"replicas": replicas}).to_string()).await;
    }
    let before = api.revision().await;
    api.ok(200, "PUT", path, r#"{"replicas":110,"description":""}"#).await;
    assert_eq!(api.revision().await, before, "nothing was changed");
    let done = api.ok(200, "GET", &format!("{path}/activity"), "").await;
    let done = done.as_array().expect("array");
    assert_eq!(done.len(), 100);
    assert_eq!(done[0]["action"], "scaled from 109 to 110");
    assert_eq!(done[0]["who"], "uid=0 gid=0 pid=0");
    assert!(done.is_sorted_by(|a, b| a["created"].as_str() > b["created"].as_str()));
    api.ok(200, "PUT", "/namespace/demo", r#"{"description":"d"}"#).await;
    let (status, _) = api.raw("DELETE", path, Body::empty()).await;
    assert_eq!(status, 200);
    let done = api.ok(200, "GET", "/namespace/demo/activity", "").await;
    let actions: Vec<&Value> = done.as_array().expect("array").iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["service web removed", "description changed", "service web created"]);
    let (status, _) = api.raw("DELETE", "/namespace/demo", Body::empty()).await;
    assert_eq!(status, 200);
    let everything = KeyRange { from: String::new(), to: "z".to_owned() };
    let left = api.store.list_keys(&everything, 10).await.expect("list").items;
    assert_eq!(left, [""; 0], "nothing is left behind");
}

#[tokio::test]
async fn state_tells_what_runs() {
    let api = Api::new().await;
    let spec = api.demo().await;
    let path = "/namespace/demo/service/web";
    let state = async || {
        let shown = api.ok(200, "GET", path, "").await;
        (shown["state"]["state"].clone(), shown["state"]["status"].clone())
    };
    let (name, reason) = state().await;
    assert_eq!(name, "error");
    assert!(reason.as_str().is_some_and(|reason| reason.starts_with("no engine runs services")), "{reason}");
    api.engine(Some("the runtime is away")).await;
    assert_eq!(state().await, (json!("error"), json!("the runtime is away")));
    api.engine(None).await;
    assert_eq!(state().await, (json!("provision"), json!("")));
    let shown = api.ok(200, "GET", path, "").await;
    let counts = json!({
        "total": 2, "provision": 1, "ready": 0, "running": 1, "created": 0, "stopped": 0, "errored": 0,
    });
    assert_eq!(shown["state"]["replicas"], counts);
    assert_eq!(
        (&shown["pods"][0]["meta"]["name"], &shown["pods"][0]["addresses"]),
        (&json!("web-0"), &json!(["10.0.0.7"]))
    );
    assert_eq!(shown["pods"][0]["containers"][0]["state"], json!({"state": "running", "status": ""}));
    let one = |spec: &str, state: &str, reason: &str| {
        let container = json!({"id": "c", "spec": spec, "state": state, "reason": reason});
        json!([{"name": "web-0", "state": state, "created": 5, "containers": [container]}])
    };
    api.runs("web", |uid| json!({"v": 1, "uid": uid, "pods": one(&spec, "running", "")})).await;
    assert_eq!(state().await, (json!("started"), json!("")));
    api.runs("web", |uid| json!({"v": 1, "uid": uid, "pods": one("old", "running", "")})).await;
    assert_eq!(state().await, (json!("provision"), json!("")), "a pod of before the change");
    api.runs("web", |uid| json!({"v": 1, "uid": uid, "pods": one(&spec, "error", "ERROR_IMAGE: no")})).await;
    assert_eq!(state().await, (json!("error"), json!("ERROR_IMAGE: no")));
    // One of this name that was there before.
    api.runs("web", |_| json!({"v": 1, "uid": "another", "pods": one(&spec, "running", "")})).await;
    assert_eq!(state().await, (json!("provision"), json!("")));
}

#[tokio::test]
async fn what_has_pods_stays_until_they_are_gone() {
    let api = Api::new().await;
    api.demo().await;
    let delete = async |path: &str| api.raw("DELETE", path, Body::empty()).await.0.as_u16();
    assert_eq!(delete("/namespace/demo/service/web").await, 200);
    assert_eq!(delete("/namespace/demo/service/web").await, 200, "it is being removed");
    let shown = api.ok(200, "GET", "/namespace/demo/service/web", "").await;
    assert_eq!(shown["state"]["state"], "destroyed");
    assert_eq!(delete("/namespace/demo").await, 200);
    assert_eq!(api.get("/namespace/demo/service/db").await.0, 404, "it had no pods");
    assert_eq!(api.get("/namespace/demo").await.0, 200);
    let (status, answer) = api.call("POST", "/namespace/demo/service", r#"{"name":"x","image":"i"}"#).await;
    assert_eq!((status, &answer["status"]), (404, &json!("NAMESPACE_NOT_FOUND")), "nothing is added to it");
}

#[tokio::test]
async fn pages_of_other_sites_may_ask() {
    let api = Api::new().await;
    let paths =
        ["/namespace", "/namespace/demo", "/namespace/demo/service/web/logs", "/namespace/demo/nothing"];
    for (method, path) in
        paths.iter().flat_map(|path| ["OPTIONS", "GET", "PATCH"].map(|method| (method, *path)))
    {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("request");
        let response = api.send(Peer::Process { uid: 0, gid: 0, pid: None }, request).await;
        let headers = response.headers();
        assert_eq!(headers["access-control-allow-origin"], "*", "{method} {path}");
        assert_eq!(headers["access-control-allow-methods"], "OPTIONS,GET,POST,PUT,DELETE");
        assert!(headers["access-control-allow-headers"].to_str().expect("text").contains("Authorization"));
        if method == "OPTIONS" && !path.ends_with("nothing") {
            assert_eq!(response.status(), 200, "{path}");
        }
    }
    let request = Request::get("/v1/pools").body(Body::empty()).expect("request");
    let response = api.send(Peer::Process { uid: 0, gid: 0, pid: None }, request).await;
    assert!(!response.headers().contains_key("access-control-allow-origin"), "of this API alone");
}

/// A list reads its own namespace, and a get one page, however many there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_begin_alike_are_not_mixed() {
    let api = Api::new().await;
    for namespace in ["a", "ab", "a-b"] {
        api.ok(200, "POST", "/namespace", &json!({"name": namespace}).to_string()).await;
        for service in ["x", "x-y", "x1"] {
            let body = json!({"name": service, "image": "i", "description": namespace}).to_string();
            api.ok(200, "POST", &format!("/namespace/{namespace}/service"), &body).await;
        }
    }
    for namespace in ["a", "ab", "a-b"] {
        let list = api.ok(200, "GET", &format!("/namespace/{namespace}/service"), "").await;
        let of: Vec<_> =
            list.as_array().expect("array").iter().map(|one| &one["meta"]["description"]).collect();
        assert_eq!(of, [namespace; 3]);
    }
}

/// Follows a log that grows, is set aside, and ends.
#[tokio::test]
async fn output_is_sent_as_it_comes() {
    use crate::engine::OneLog;
    use controller::api::Context;
    use controller::lastbackend::Platform;
    use http_body_util::BodyExt;
    use std::io::Write;
    use std::sync::atomic::Ordering;

    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("0.log");
    let write = |text: &str| {
        let mut file = std::fs::File::options().create(true).append(true).open(&path).expect("opened");
        writeln!(file, "2016-10-06T00:17:09.669794202Z stdout F {text}").expect("written");
    };
    let engine = Arc::new(OneLog { container: "c1", path: path.clone(), ended: false.into() });
    let store: Arc<dyn Store> = Api::new().await.store;
    let (end, ending) = tokio::sync::watch::channel(false);
    let platform = Platform::new(Arc::clone(&store)).with_engine(engine.clone(), ending);
    let api =
        Api::with(Context::new(store, controller::auth::Authentication::default()).with_platform(platform));
    api.demo().await;
    let open = async |query: &str| {
        let uri = format!("/namespace/demo/service/web/logs{query}");
        let request = Request::get(uri).body(Body::empty()).expect("request");
        let response = api.send(Peer::Process { uid: 0, gid: 0, pid: None }, request).await;
        assert_eq!(response.status(), 200);
        response.into_body()
    };
    async fn until(body: &mut Body, text: &str) -> String {
        let mut got = String::new();
        while !got.contains(text) {
            let frame = body.frame().await.expect("goes on").expect("sent");
            got += std::str::from_utf8(frame.data_ref().expect("data")).expect("text");
        }
        got
    }
    write("one");
    let mut readers = [open("").await, open("?pod=web-0&container=c1").await];
    for reader in &mut readers {
        assert_eq!(until(reader, "one").await, "one\n");
    }
    write("two");
    std::fs::rename(&path, dir.path().join("0.log.1")).expect("set aside");
    write("three");
    for reader in &mut readers {
        assert_eq!(until(reader, "three").await, "two\nthree\n");
    }
    let all = open("?follow=false").await.collect().await.expect("ends").to_bytes();
    assert_eq!(all, "one\ntwo\nthree\n");
    write("last words");
    engine.ended.store(true, Ordering::SeqCst);
    let [first, second] = readers;
    assert_eq!(first.collect().await.expect("ends").to_bytes(), "last words\n");
    drop(second);
    assert_eq!(Arc::strong_count(&engine), 2, "nobody follows it any more");
    engine.ended.store(false, Ordering::SeqCst);
    let endless = open("").await;
    end.send(true).expect("somebody listens");
    endless.collect().await.expect("the controller ends");
}
