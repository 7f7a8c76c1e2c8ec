//! The platform API.
//!
//! * [`conformance`]: every route × every documented failure
//! * [`logs`]: the output of containers

mod conformance;
mod logs;

use crate::fixture::Api;
use axum::body::Body;
use axum::http::Request;
use common::server::Peer;
use common::store::{KeyRange, keys::lastbackend as keys};
use serde_json::{Value, json};

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
