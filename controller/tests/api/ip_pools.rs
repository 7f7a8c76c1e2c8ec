//! The pools of namespaces and services: every field, check and failure, and what the leases tell.

use crate::fixture::{Api, ip};
use common::ipam::{NamespacePool, Unit};
use common::name::PodText;
use common::pool_id::{PoolId, Scoped};
use common::store::embedded::Embedded;
use common::store::record::{self, Claim, Fixed, Lease};
use common::store::{Compare, Op, Revision, Store, StoreError, Txn, keys};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

pub(crate) fn scoped(namespace: &str, name: &str) -> Scoped {
    Scoped { namespace: text(namespace), name: text(name) }
}

fn text(text: &str) -> PodText {
    PodText::new(text).expect("text")
}

fn example() -> Value {
    json!({
        "name": "example-ns-pool", "namespace": "default", "subnet": "192.168.1.0/24", "start": "192.168.1.5",
        "end": "192.168.1.24", "gateway": "192.168.1.1", "vlanid": 100
    })
}

fn service() -> Value {
    json!({
        "name": "example-svc-pool", "namespace": "default", "start": "192.168.1.5", "end": "192.168.1.14",
        "serviceName": "example-service", "nsIPPoolName": "example-ns-pool"
    })
}

/// The value with these fields changed; null takes one away.
fn with(mut value: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("an object") };
    let fields = value.as_object_mut().expect("an object");
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(&name)
        } else {
            fields.insert(name, change)
        };
    }
    value
}

impl Api {
    async fn made(&self, path: &str, body: &Value) -> Value {
        self.ok(200, "POST", path, &body.to_string()).await
    }

    async fn refused(&self, method: &str, path: &str, body: &str, reason: &str) {
        let (status, value) = self.call(method, path, body).await;
        assert_eq!(status, 400, "{method} {path} {body}: {value}");
        let error = value["Error"].as_str().unwrap_or_else(|| panic!("{method} {path} {body}: {value}"));
        assert!(error.contains(reason), "{method} {path} {body}: {error:?} lacks {reason:?}");
        assert_eq!(value.as_object().map(serde_json::Map::len), Some(1), "{value}");
    }

    /// Leases an address as a coild does: only if the pool's record is as it was read, and has the address, and the
    /// address is free.
    pub(crate) async fn lease_address(
        &self,
        pool: &Scoped,
        by: String,
        address: &str,
        claim: Claim,
    ) -> Result<Revision, StoreError> {
        let Some(entry) = self.store.get(&by).await? else { return Err(StoreError::Conflict) };
        let space = record::decode::<NamespacePool>(&by, &entry.value).map(|pool| pool.space());
        if space.is_ok_and(|space| !space.contains(ip(address))) {
            return Err(StoreError::Conflict);
        }
        let key = keys::lease(&PoolId::Namespace(pool.clone()), Unit::containing(ip(address), 0));
        let lease = Lease { node: "n1".to_owned(), pod: Some(claim) };
        let txn = Txn::new()
            .when(Compare::ModRevision(by, entry.mod_revision))
            .when(Compare::Absent(key.clone()))
            .then(Op::Put(key, record::encode(&lease)));
        self.store.txn(txn).await
    }
}

pub(crate) fn claim(pod: &str, service_pool: Option<&str>) -> Claim {
    Claim {
        namespace: text("default"),
        name: text(pod),
        service_pool: service_pool.map(text),
        fixed: false,
        changed: 1_704_067_199_000,
    }
}

#[tokio::test]
async fn the_documents_examples() {
    let api = Api::new().await;
    let made = api.made("/nsippool", &example()).await;
    let more = json!({
        "total": 20, "used": 0, "PodMap": Value::Null, "cidr": "192.168.1.0/24", "lastAssignedIP": "",
    });
    let mut full = example();
    full.as_object_mut().expect("object").extend(more.as_object().expect("object").clone());
    assert_eq!(made, full);
    let path = "/nsippool/default/example-ns-pool";
    assert_eq!(api.ok(200, "GET", path, "").await, full);
    assert_eq!(api.ok(200, "GET", "/getAllPool/default", "").await, json!([full]));

    let made = api.made("/serviceIPPool", &service()).await;
    let more = json!({
        "total": 10, "used": 0, "deleted": false, "cidr": "192.168.1.0/24", "lastAssignedIP": "",
    });
    let mut of_service = service();
    of_service.as_object_mut().expect("object").extend(more.as_object().expect("object").clone());
    assert_eq!(made, of_service);
    let of_service_path = "/serviceIPPool/default/example-svc-pool";
    assert_eq!(api.ok(200, "GET", of_service_path, "").await, of_service);
    full["used"] = 10.into();
    assert_eq!(api.ok(200, "GET", path, "").await, full, "a service's addresses are used");

    api.refused("DELETE", path, "", "has service pools, which must be deleted first: example-svc-pool").await;
    assert_eq!(api.ok(200, "DELETE", of_service_path, "").await, of_service);
    full["used"] = 0.into();
    assert_eq!(api.ok(200, "DELETE", path, "").await, full);
    for (method, path) in [("GET", path), ("DELETE", path)] {
        api.refused(method, path, "", "there is no namespace pool default/example-ns-pool").await;
    }
    for method in ["GET", "DELETE"] {
        api.refused(method, of_service_path, "", "there is no service pool default/example-svc-pool").await;
    }
    api.refused("GET", "/getAllPool/default", "", "no namespace pool in namespace default").await;
}

#[tokio::test]
async fn what_a_namespace_pool_is_refused_for() {
    let api = Api::new().await;
    for (changes, reason) in [
        (json!({"name": null}), "missing field `name`"),
        (json!({"namespace": null}), "missing field `namespace`"),
        (json!({"subnet": null}), "missing field `subnet`"),
        (json!({"gateway": null}), "missing field `gateway`"),
        (json!({"vlanid": null}), "missing field `vlanid`"),
        (json!({"start": null}), "start is missing"),
        (json!({"end": ""}), "end is missing"),
        (json!({"start": null, "end": null}), "give start and end, or cidr"),
        (json!({"name": ""}), "name: pod namespace or name is empty"),
        (json!({"name": 7}), "name: invalid type"),
        (json!({"namespace": "a\u{0}"}), "namespace"),
        (json!({"subnet": "192.168.1.0"}), "subnet: "),
        (json!({"subnet": "192.168.1.7/24"}), "did you mean 192.168.1.0/24?"),
        (json!({"subnet": "192.168.1.0/31"}), "smaller than /30"),
        (json!({"start": "192.168.1"}), "start: "),
        (json!({"start": "192.168.1.25"}), "start 192.168.1.25 is behind end 192.168.1.24"),
        (json!({"start": "192.168.0.5"}), "start 192.168.0.5 is not in subnet"),
        (json!({"end": "192.168.2.5"}), "end 192.168.2.5 is not in subnet"),
        (json!({"end": "fd00::5"}), "end fd00::5 is not in subnet"),
        (json!({"gateway": "192.168.2.1"}), "gateway 192.168.2.1 is not in subnet"),
        (json!({"gateway": "192.168.1.5"}), "gateway 192.168.1.5 lies in the range"),
        (
            json!({"start": null, "end": null, "cidr": "192.168.1.0/24"}),
            "gateway 192.168.1.1 lies in the range",
        ),
        (json!({"start": null, "end": null, "cidr": "192.168.1.9/29"}), "did you mean 192.168.1.8/29?"),
        (json!({"start": null, "end": null, "cidr": "192.168.0.0/16"}), "is not in subnet"),
        (json!({"cidr": "192.168.1.8/29"}), "contradicts start and end"),
        (json!({"vlanid": -1}), "vlanid -1"),
        (json!({"vlanid": 4095}), "vlanid 4095"),
        (json!({"vlanid": "100"}), "vlanid: invalid type"),
        (json!({"vlanid": 1.5}), "vlanid: invalid type"),
    ] {
        let body = with(example(), changes).to_string();
        api.refused("POST", "/nsippool", &body, reason).await;
    }
    for (body, reason) in [
        ("", "JSON object"),
        ("[]", "JSON object"),
        ("{", "EOF"),
        ("null", "JSON object"),
        ("{}{}", "missing field"),
    ] {
        api.refused("POST", "/nsippool", body, reason).await;
        api.refused("POST", "/serviceIPPool", body, reason).await;
    }
    let large = " ".repeat(3 << 20);
    api.refused("POST", "/nsippool", &large, "length limit exceeded").await;
    for path in ["/nsippool/a/%FF", "/nsippool/a/%00", "/getAllPool/%FF", "/serviceIPPool/%0A/b"] {
        api.refused("GET", path, "", "").await;
    }
    assert_eq!(api.store.count(&keys::namespace_pools()).await.expect("count"), 0);
    for (method, path) in
        [("PUT", "/nsippool"), ("GET", "/nsippool"), ("POST", "/nsippool/a/b"), ("POST", "/getAllPool/a")]
    {
        assert_eq!(api.call(method, path, "").await.0, 405, "{method} {path}");
    }
}

#[tokio::test]
async fn ranges_in_either_form() {
    let api = Api::new().await;
    let trimmed = with(example(), json!({"start": "192.168.1.2", "end": "192.168.1.255"}));
    let made = api.made("/nsippool", &trimmed).await;
    assert_eq!(
        (&made["start"], &made["end"], &made["total"]),
        (&json!("192.168.1.2"), &json!("192.168.1.254"), &json!(253))
    );
    let by_cidr = json!({
        "name": "c", "namespace": "default", "subnet": "10.9.0.0/16", "cidr": "10.9.0.0/28", "start": "",
        "gateway": "10.9.255.254", "vlanid": 0
    });
    let made = api.made("/nsippool", &by_cidr).await;
    assert_eq!(
        (&made["start"], &made["end"], &made["total"]),
        (&json!("10.9.0.1"), &json!("10.9.0.15"), &json!(15))
    );
    assert_eq!((&made["cidr"], &made["vlanid"]), (&json!("10.9.0.0/28"), &json!(0)));
    api.ok(200, "DELETE", "/nsippool/default/c", "").await;
    assert_eq!(api.made("/nsippool", &made).await, made, "what is shown can be given again");
    let v6 = json!({
        "name": "six", "namespace": "default", "subnet": "fd00::/64", "cidr": "fd00::1:0/112", "gateway": "fd00::1",
        "vlanid": 4094
    });
    let made = api.made("/nsippool", &v6).await;
    assert_eq!((&made["start"], &made["total"]), (&json!("fd00::1:0"), &json!(65_536)));
    let names: Vec<Value> = api
        .ok(200, "GET", "/getAllPool/default", "")
        .await
        .as_array()
        .expect("array")
        .iter()
        .map(|pool| pool["name"].clone())
        .collect();
    assert_eq!(names, ["c", "example-ns-pool", "six"]);
}

#[tokio::test]
async fn names_are_any_text() {
    let api = Api::new().await;
    for (number, (namespace, name, path)) in
        [("a/b", "50% ü", "a%2Fb/50%25%20%C3%BC"), ("a", "b/c", "a/b%2Fc"), ("a+b", "..", "a+b/%2E%2E")]
            .into_iter()
            .enumerate()
    {
        let body = json!({
            "name": name, "namespace": namespace, "subnet": format!("10.{number}.0.0/24"),
            "cidr": format!("10.{number}.0.16/28"), "gateway": format!("10.{number}.0.1"), "vlanid": 1
        });
        api.made("/nsippool", &body).await;
        let shown = api.ok(200, "GET", &format!("/nsippool/{path}"), "").await;
        assert_eq!((&shown["name"], &shown["namespace"]), (&json!(name), &json!(namespace)));
    }
    let all = api.ok(200, "GET", "/getAllPool/a", "").await;
    assert_eq!(all.as_array().map(Vec::len), Some(1), "{all}");
}

#[tokio::test]
async fn overlap_with_any_pool_of_the_system() {
    let api = Api::new().await;
    api.create("default", &["10.64.0.0/16", "fd64::/64"]).await;
    api.made("/nsippool", &example()).await;
    api.refused("POST", "/nsippool", &example().to_string(), "namespace pool default/example-ns-pool exists")
        .await;
    for (start, end, overlaps) in [
        ("192.168.1.24", "192.168.1.24", true),
        ("192.168.1.2", "192.168.1.5", true),
        ("192.168.1.2", "192.168.1.200", true),
        ("192.168.1.7", "192.168.1.9", true),
        ("192.168.1.25", "192.168.1.30", false),
        ("192.168.1.2", "192.168.1.4", false),
    ] {
        let changes = json!({"name": start, "namespace": "another", "start": start, "end": end});
        let body = with(example(), changes);
        if overlaps {
            let reason = "overlaps 192.168.1.5-192.168.1.24 of namespace pool default/example-ns-pool";
            api.refused("POST", "/nsippool", &body.to_string(), reason).await;
        } else {
            api.made("/nsippool", &body).await;
        }
    }
    let in_coils = json!({
        "name": "x", "namespace": "default", "subnet": "10.0.0.0/8", "start": "10.64.255.250", "end": "10.65.0.9",
        "gateway": "10.0.0.1", "vlanid": 1
    });
    api.refused("POST", "/nsippool", &in_coils.to_string(), "overlaps 10.64.0.0/16 of pool default").await;
    let body = r#"{"name":"other","subnets":["192.168.0.0/16"]}"#;
    api.fails(409, "POST", "/v1/pools", body, &["of namespace pool"]).await;
    let body = r#"{"subnet":"192.168.1.16/28"}"#;
    api.fails(409, "POST", "/v1/pools/default/subnets", body, &["of namespace pool another/192.168.1.25"])
        .await;
    // What another controller changes is seen too.
    let other = Api::on(Arc::clone(&api.store));
    other.ok(200, "DELETE", "/nsippool/default/example-ns-pool", "").await;
    api.made("/nsippool", &with(example(), json!({"name": "again"}))).await;
    other.refused("POST", "/nsippool", &example().to_string(), "namespace pool default/again").await;
}

#[tokio::test]
async fn what_a_service_pool_is_refused_for() {
    let api = Api::new().await;
    api.refused(
        "POST",
        "/serviceIPPool",
        &service().to_string(),
        "no namespace pool default/example-ns-pool",
    )
    .await;
    api.made("/nsippool", &example()).await;
    for (changes, reason) in [
        (json!({"name": null}), "missing field `name`"),
        (json!({"namespace": null}), "missing field `namespace`"),
        (json!({"serviceName": null}), "missing field `serviceName`"),
        (json!({"nsIPPoolName": null}), "missing field `nsIPPoolName`"),
        (json!({"start": null}), "start is missing"),
        (json!({"start": null, "end": null}), "give start and end, or cidr"),
        (json!({"start": "192.168.1.4"}), "is not within 192.168.1.5-192.168.1.24 of namespace pool"),
        (json!({"end": "192.168.1.25"}), "is not within"),
        (json!({"end": "192.168.2.5"}), "end 192.168.2.5 is not in subnet"),
        (json!({"start": null, "end": null, "cidr": "192.168.1.0/28"}), "is not within"),
        (json!({"start": "192.168.1.15"}), "is behind end"),
        (json!({"nsIPPoolName": "other"}), "no namespace pool default/other"),
        (json!({"namespace": "other"}), "no namespace pool other/example-ns-pool"),
    ] {
        api.refused("POST", "/serviceIPPool", &with(service(), changes).to_string(), reason).await;
    }
    api.made("/serviceIPPool", &service()).await;
    api.refused(
        "POST",
        "/serviceIPPool",
        &service().to_string(),
        "service pool default/example-svc-pool exists",
    )
    .await;
    let second = with(service(), json!({"name": "second", "start": "192.168.1.14", "end": "192.168.1.20"}));
    let reason = "overlaps 192.168.1.5-192.168.1.14 of service pool default/example-svc-pool";
    api.refused("POST", "/serviceIPPool", &second.to_string(), reason).await;
    let by_cidr = with(second, json!({"start": null, "end": null, "cidr": "192.168.1.16/29"}));
    let made = api.made("/serviceIPPool", &by_cidr).await;
    assert_eq!(
        (&made["start"], &made["end"], &made["total"]),
        (&json!("192.168.1.16"), &json!("192.168.1.23"), &json!(8))
    );
    assert_eq!(made["cidr"], "192.168.1.16/29");
    assert_eq!(api.ok(200, "GET", "/nsippool/default/example-ns-pool", "").await["used"], 18);
}

#[tokio::test]
async fn what_is_shown_is_computed_from_the_leases() {
    let api = Api::new().await;
    let pool = scoped("default", "example-ns-pool");
    api.made("/nsippool", &example()).await;
    let by = keys::namespace_pool(&pool);
    api.lease_address(&pool, by.clone(), "192.168.1.20", claim("web", None)).await.expect("leased");
    let taken = "1 address of 192.168.1.5-192.168.1.24 is in use: 192.168.1.20 of pod default/web";
    let over = with(service(), json!({"end": "192.168.1.24"}));
    api.refused("POST", "/serviceIPPool", &over.to_string(), taken).await;
    api.made("/serviceIPPool", &service()).await;
    let of_service = keys::service_pool(&scoped("default", "example-svc-pool"));
    let by_service = claim("db-0", Some("example-svc-pool"));
    let fixed = Claim { fixed: true, ..by_service };
    api.lease_address(&pool, of_service, "192.168.1.7", fixed.clone()).await.expect("leased");
    let kept = Fixed { pool: PoolId::Namespace(pool.clone()), address: ip("192.168.1.7") };
    let index = keys::fixed(&scoped("default", "db-0"), common::ipam::Family::V4);
    api.put(index.clone(), record::encode(&kept)).await;

    let shown = api.ok(200, "GET", "/nsippool/default/example-ns-pool", "").await;
    assert_eq!((&shown["used"], &shown["lastAssignedIP"]), (&json!(11), &json!("192.168.1.7")));
    let pod = json!({
        "podIP": "192.168.1.7", "podName": "db-0", "svcName": "example-service", "svcIPPoolName": "example-svc-pool",
        "namespace": "default", "stsName": "db", "stsDeleted": false, "fixedIP": true,
        "modifyTime": "2023-12-31T23:59:59Z", "NsPoolName": "example-ns-pool"
    });
    assert_eq!(shown["PodMap"]["192.168.1.7"], pod);
    let web = &shown["PodMap"]["192.168.1.20"];
    assert_eq!((&web["svcName"], &web["stsName"], &web["fixedIP"]), (&json!(""), &json!(""), &json!(false)));
    let shown = api.ok(200, "GET", "/serviceIPPool/default/example-svc-pool", "").await;
    assert_eq!((&shown["used"], &shown["lastAssignedIP"]), (&json!(1), &json!("192.168.1.7")));
    let all = api.ok(200, "GET", "/getAllPool/default", "").await;
    assert_eq!(all[0]["PodMap"].as_object().map(serde_json::Map::len), Some(2));

    api.refused("DELETE", "/serviceIPPool/default/example-svc-pool", "", "192.168.1.7 of pod default/db-0")
        .await;
    api.store.txn(Txn::new().then(Op::Delete(index))).await.expect("given up");
    let shown = api.ok(200, "GET", "/nsippool/default/example-ns-pool", "").await;
    assert_eq!(shown["PodMap"]["192.168.1.7"]["stsDeleted"], true);
    let lease = |address| keys::lease(&PoolId::Namespace(pool.clone()), Unit::containing(ip(address), 0));
    api.store.txn(Txn::new().then(Op::Delete(lease("192.168.1.7")))).await.expect("freed");
    api.ok(200, "DELETE", "/serviceIPPool/default/example-svc-pool", "").await;
    let reason =
        "1 address of namespace pool default/example-ns-pool is in use: 192.168.1.20 of pod default/web";
    api.refused("DELETE", "/nsippool/default/example-ns-pool", "", reason).await;
    api.store.txn(Txn::new().then(Op::Delete(lease("192.168.1.20")))).await.expect("freed");
    api.ok(200, "DELETE", "/nsippool/default/example-ns-pool", "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_overlapping_pools_one_wins() {
    for of_coil in [false, true] {
        let store: Arc<dyn Store> = Arc::new(Embedded::in_memory().await.expect("store"));
        let apis: Vec<Arc<Api>> = (0..4).map(|_| Arc::new(Api::on(Arc::clone(&store)))).collect();
        let mut tasks = JoinSet::new();
        for number in 0..50_usize {
            let api = Arc::clone(&apis[number % apis.len()]);
            // Every one of them contains 192.168.1.24.
            let start = format!("192.168.1.{}", 5 + number % 20);
            let body = with(example(), json!({"name": format!("p{number}"), "start": start})).to_string();
            let coils = json!({"name": format!("p{number}"), "subnets": ["192.168.1.16/28"]}).to_string();
            let (path, body) =
                if of_coil && number % 2 == 0 { ("/v1/pools", coils) } else { ("/nsippool", body) };
            tasks.spawn(async move { api.call("POST", path, &body).await });
        }
        let outcomes = tasks.join_all().await;
        let won = outcomes.iter().filter(|(status, _)| matches!(status, 200 | 201)).count();
        assert_eq!(won, 1, "{outcomes:?}");
        for (status, body) in outcomes.iter().filter(|(status, _)| !matches!(status, 200 | 201)) {
            let error = body["Error"].as_str().or(body["error"].as_str()).expect("error");
            assert!(matches!(status, 400 | 409) && error.contains("overlaps"), "{status} {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_overlapping_service_pools_one_wins() {
    let store: Arc<dyn Store> = Arc::new(Embedded::in_memory().await.expect("store"));
    let apis: Vec<Arc<Api>> = (0..4).map(|_| Arc::new(Api::on(Arc::clone(&store)))).collect();
    apis[0].made("/nsippool", &example()).await;
    let mut tasks = JoinSet::new();
    for number in 0..50_usize {
        let api = Arc::clone(&apis[number % apis.len()]);
        let body = with(service(), json!({"name": format!("s{number}")})).to_string();
        tasks.spawn(async move { api.call("POST", "/serviceIPPool", &body).await });
    }
    let outcomes = tasks.join_all().await;
    assert_eq!(outcomes.iter().filter(|(status, _)| *status == 200).count(), 1, "{outcomes:?}");
    assert_eq!(store.count(&keys::all_service_pools()).await.expect("count"), 1);
    let used = &apis[1].ok(200, "GET", "/nsippool/default/example-ns-pool", "").await["used"];
    assert_eq!(*used, 10);
}

const ROUNDS: u32 = 60;

/// A pod gets an address while its pool is deleted, or a service's pool is made around it: one comes first, and the
/// other fails. In the first round the pod comes first, in the last one the request.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_address_of_a_pool_that_is_deleted_or_set_aside() {
    #[derive(Clone, Copy, Debug)]
    enum Race {
        DeleteService,
        DeleteNamespace,
        CreateService,
    }
    for race in [Race::DeleteService, Race::DeleteNamespace, Race::CreateService] {
        let mut won = 0;
        for round in 0..ROUNDS {
            let api = Api::new().await;
            let pool = scoped("default", "example-ns-pool");
            api.made("/nsippool", &example()).await;
            let of_service = matches!(race, Race::DeleteService);
            if of_service {
                api.made("/serviceIPPool", &service()).await;
            }
            let by = match race {
                Race::DeleteService => keys::service_pool(&scoped("default", "example-svc-pool")),
                Race::DeleteNamespace | Race::CreateService => keys::namespace_pool(&pool),
            };
            let (method, path, body) = match race {
                Race::DeleteService => ("DELETE", "/serviceIPPool/default/example-svc-pool", String::new()),
                Race::DeleteNamespace => ("DELETE", "/nsippool/default/example-ns-pool", String::new()),
                Race::CreateService => ("POST", "/serviceIPPool", service().to_string()),
            };
            let node = Api::on(Arc::clone(&api.store));
            let leasing = async move {
                let claim = claim("web", of_service.then_some("example-svc-pool"));
                node.lease_address(&pool, by, "192.168.1.9", claim).await.is_ok()
            };
            let request = api.call(method, path, &body);
            let (leased, (status, answer)) = match round {
                0 => (leasing.await, request.await),
                last if last == ROUNDS - 1 => {
                    let answer = request.await;
                    (leasing.await, answer)
                }
                _ => {
                    let leasing = tokio::spawn(leasing);
                    let answer = request.await;
                    (leasing.await.expect("no panic"), answer)
                }
            };
            match status {
                200 => assert!(!leased, "{race:?}, round {round}: {answer}"),
                400 => assert!(leased, "{race:?}, round {round}: refused for nothing: {answer}"),
                other => panic!("{other}: {answer}"),
            }
            won += u32::from(status == 200);
        }
        assert!((1..ROUNDS).contains(&won), "{race:?}: {won}");
    }
}

/// No record grows with the number of addresses that are used, and nothing but leases is written for them.
#[tokio::test]
async fn no_value_is_as_large_as_a_pool() {
    let api = Api::new().await;
    let pool = scoped("default", "example-ns-pool");
    let changes =
        json!({"subnet": "10.0.0.0/16", "start": "10.0.0.5", "end": "10.0.255.9", "gateway": "10.0.0.1"});
    api.made("/nsippool", &with(example(), changes)).await;
    let key = keys::namespace_pool(&pool);
    let before = api.store.get(&key).await.expect("read").expect("there");
    for number in 0..300_u32 {
        let address = format!("10.0.{}.{}", number / 200 + 1, number % 200);
        api.lease_address(&pool, key.clone(), &address, claim("web", None)).await.expect("leased");
    }
    assert_eq!(api.store.get(&key).await.expect("read").expect("there"), before);
    let shown = api.ok(200, "GET", "/nsippool/default/example-ns-pool", "").await;
    assert_eq!((&shown["used"], &shown["lastAssignedIP"]), (&json!(300), &json!("10.0.2.99")));
    let record: NamespacePool = record::decode(&key, &before.value).expect("record");
    assert_eq!(record.span.total(), 65_285);
}
