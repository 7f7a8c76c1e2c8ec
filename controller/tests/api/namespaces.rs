//! `/v1/nspools` and `/v1/svcpools`: lists, maps, and changes of what exists.

use crate::fixture::{Api, allocation, ip, node};
use crate::ip_pools::{claim, scoped};
use common::ipam::{Family, Segment, Unit};
use common::pool_id::PoolId;
use common::store::record::{self, Allocation, BlockMirror, Claim, Fixed, Lease};
use common::store::{Op, StoreError, Txn, keys};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

/// A namespace's pool of 20 addresses with a service's of ten, and another one.
async fn populated() -> Api {
    let api = Api::new().await;
    for (name, namespace, net, vlan) in
        [("web", "default", "192.168.1", 100), ("web", "other", "192.168.2", 0)]
    {
        let body = json!({
            "name": name, "namespace": namespace, "subnet": format!("{net}.0/24"), "start": format!("{net}.5"),
            "end": format!("{net}.24"), "gateway": format!("{net}.1"), "vlanid": vlan
        });
        api.ok(200, "POST", "/nsippool", &body.to_string()).await;
    }
    let body = json!({
        "name": "front", "namespace": "default", "start": "192.168.1.10", "end": "192.168.1.19",
        "serviceName": "shop", "nsIPPoolName": "web"
    });
    api.ok(200, "POST", "/serviceIPPool", &body.to_string()).await;
    api
}

impl Api {
    /// Leases an address of default/web, or of its service pool.
    async fn given(&self, address: &str, pod: &str, service: bool) -> Result<(), StoreError> {
        let by = if service {
            keys::service_pool(&scoped("default", "front"))
        } else {
            keys::namespace_pool(&scoped("default", "web"))
        };
        let claim = claim(pod, service.then_some("front"));
        self.lease_address(&scoped("default", "web"), by, address, claim).await.map(|_| ())
    }

    /// Writes the lease of a fixed address of default/web; nobody's if the node is empty.
    async fn fixed(&self, address: &str, pod: &str, node: &str) {
        let (owner, address) = (PoolId::Namespace(scoped("default", "web")), ip(address));
        let lease = Lease { node: node.to_owned(), pod: Some(Claim { fixed: true, ..claim(pod, None) }) };
        let fixed = Fixed { pool: owner.clone(), address };
        self.put(keys::lease(&owner, Unit::containing(address, 0)), record::encode(&lease)).await;
        self.put(keys::fixed(&scoped("default", pod), Family::V4), record::encode(&fixed)).await;
    }

    async fn set_range(&self, pool: &str, start: &str, end: &str) -> (u16, Value) {
        let body = json!({"start": start, "end": end}).to_string();
        self.call("PUT", &format!("/v1/{pool}/range"), &body).await
    }

    async fn range_refused(&self, status: u16, pool: &str, start: &str, end: &str, reason: &str) {
        let before = self.revision().await;
        let (got, answer) = self.set_range(pool, start, end).await;
        assert_eq!(got, status, "{start}-{end}: {answer}");
        let error = answer["error"].as_str().expect("text");
        assert!(error.contains(reason), "{start}-{end}: {error:?} lacks {reason:?}");
        assert_eq!(self.revision().await, before, "something changed");
    }
}

#[tokio::test]
async fn lists() {
    let api = populated().await;
    api.given("192.168.1.5", "p1", false).await.expect("leased");
    api.given("192.168.1.10", "p2", true).await.expect("leased");
    let web = json!({
        "namespace": "default", "name": "web", "subnet": "192.168.1.0/24", "start": "192.168.1.5",
        "end": "192.168.1.24", "gateway": "192.168.1.1", "vlan": 100, "disabled": false, "total": 20, "leased": 2,
        "reserved": 10, "services": ["front"]
    });
    let front = json!({
        "namespace": "default", "name": "front", "pool": "web", "service": "shop", "start": "192.168.1.10",
        "end": "192.168.1.19", "disabled": false, "total": 10, "leased": 1
    });
    for limit in 1..4 {
        let all = api.pages("/v1/nspools", limit).await;
        assert_eq!(all.len(), 2);
        assert_eq!((&all[0], &all[1]["namespace"]), (&web, &json!("other")));
        assert_eq!(api.pages("/v1/nspools/default", limit).await, std::slice::from_ref(&web));
        assert_eq!(api.pages("/v1/svcpools", limit).await, std::slice::from_ref(&front));
        assert_eq!(api.pages("/v1/svcpools/default", limit).await, std::slice::from_ref(&front));
        for none in ["/v1/nspools/defaul", "/v1/svcpools/other"] {
            assert!(api.pages(none, limit).await.is_empty(), "{none}");
        }
    }
    api.fails(400, "GET", "/v1/nspools?continue=00", "", &["`continue`"]).await;
    api.fails(400, "GET", "/v1/nspools?namespace=a", "", &["no parameter \"namespace\""]).await;
    api.fails(400, "GET", "/v1/svcpools/a%00", "", &["malformed"]).await;
}

#[tokio::test]
async fn maps() {
    let api = populated().await;
    api.given("192.168.1.5", "p1", false).await.expect("leased");
    api.given("192.168.1.10", "p2", true).await.expect("leased");
    api.fixed("192.168.1.24", "db-0", "n1").await;
    api.fixed("192.168.1.23", "db-1", "").await;
    let shown = api.ok(200, "GET", "/v1/nspools/default/web", "").await;
    assert_eq!((&shown["leased"], &shown["services"]), (&json!(4), &json!(["front"])));
    let part = |start: &str, end: &str, state: &str, more: Value| {
        let mut part = json!({
            "start": format!("192.168.1.{start}"), "end": format!("192.168.1.{end}"), "state": state
        });
        part.as_object_mut().expect("object").extend(more.as_object().expect("object").clone());
        part
    };
    let pod = |name: &str| json!({"namespace": "default", "name": name});
    let front = json!({"service_pool": "front"});
    let expected = json!([
        part("5", "5", "used", json!({"pod": pod("p1"), "node": "n1"})),
        part("6", "9", "free", json!({})),
        part("10", "10", "used", json!({"pod": pod("p2"), "node": "n1", "service_pool": "front"})),
        part("11", "19", "reserved", front),
        part("20", "22", "free", json!({})),
        part("23", "23", "kept", json!({"pod": pod("db-1")})),
        part("24", "24", "fixed", json!({"pod": pod("db-0"), "node": "n1"})),
    ]);
    assert_eq!(shown["map"], expected);
    // Its node found that somebody else uses an address.
    let found = Allocation { conflict: true, ..allocation(0) };
    let segment = Some(Segment { prefix: 24, gateway: ip("192.168.1.1"), vlan: 100 });
    let mirror = BlockMirror { prefix: 32, segment, held: vec![found] };
    let owner = PoolId::Namespace(scoped("default", "web"));
    let index = keys::block(&node("n1"), &owner, Unit::containing(ip("192.168.1.5"), 0));
    api.put(index, record::encode(&mirror)).await;
    let again = api.ok(200, "GET", "/v1/nspools/default/web", "").await;
    assert_eq!(again["map"][0], part("5", "5", "quarantined", json!({"pod": pod("p1"), "node": "n1"})));
    assert_eq!(again["map"].as_array().map(|map| &map[1..]), expected.as_array().map(|map| &map[1..]));
    let shown = api.ok(200, "GET", "/v1/svcpools/default/front", "").await;
    let expected = json!([
        part("10", "10", "used", json!({"pod": pod("p2"), "node": "n1"})),
        part("11", "19", "free", json!({})),
    ]);
    assert_eq!((&shown["leased"], &shown["map"]), (&json!(1), &expected));
    api.fails(404, "GET", "/v1/nspools/default/none", "", &["there is no namespace pool default/none"]).await;
    api.fails(404, "GET", "/v1/svcpools/other/front", "", &["there is no service pool other/front"]).await;
}

#[tokio::test]
async fn a_range_grows_where_nobody_is() {
    let api = populated().await;
    let pool = "nspools/default/web";
    let (status, wider) = api.set_range(pool, "192.168.1.2", "192.168.1.99").await;
    assert_eq!(
        (status, &wider["total"], &wider["start"]),
        (200, &json!(98), &json!("192.168.1.2")),
        "{wider}"
    );
    api.given("192.168.1.99", "p1", false).await.expect("an address of it");
    let shown = api.ok(200, "GET", "/nsippool/default/web", "").await;
    assert_eq!(
        (&shown["start"], &shown["end"], &shown["cidr"]),
        (&json!("192.168.1.2"), &json!("192.168.1.99"), &json!("192.168.1.0/24"))
    );
    // What is known of all pools has changed with it.
    let body = json!({
        "name": "b", "namespace": "b", "subnet": "192.168.1.0/24", "start": "192.168.1.99", "end": "192.168.1.120",
        "gateway": "192.168.1.1", "vlanid": 0
    });
    let (_, answer) = api.call("POST", "/nsippool", &body.to_string()).await;
    assert!(
        answer["Error"].as_str().is_some_and(|error| error.contains("overlaps 192.168.1.2-192.168.1.99"))
    );
    let mut body = body;
    body["start"] = "192.168.1.100".into();
    api.ok(200, "POST", "/nsippool", &body.to_string()).await;
    for (start, end, status, reason) in [
        ("192.168.1.2", "192.168.1.100", 409, "overlaps 192.168.1.100-192.168.1.120 of namespace pool b/b"),
        ("192.168.1.1", "192.168.1.99", 400, "gateway 192.168.1.1 lies in the range"),
        ("192.168.1.9", "192.168.1.2", 400, "start 192.168.1.9 is behind end 192.168.1.2"),
        ("192.168.2.5", "192.168.2.6", 400, "start 192.168.2.5 is not in subnet 192.168.1.0/24"),
        ("x", "192.168.1.99", 400, "start: "),
        ("", "192.168.1.99", 400, "start is missing"),
    ] {
        api.range_refused(status, pool, start, end, reason).await;
    }
    api.create("coil", &["192.168.1.192/26"]).await;
    api.ok(200, "DELETE", "/nsippool/b/b", "").await;
    api.range_refused(409, pool, "192.168.1.2", "192.168.1.200", "192.168.1.192/26 of pool coil").await;
    let before = api.revision().await;
    assert_eq!(
        api.set_range(pool, "192.168.1.2", "192.168.1.99").await,
        (200, {
            let mut same = wider.clone();
            same["leased"] = 1.into();
            same
        })
    );
    assert_eq!(api.revision().await, before, "nothing is written when nothing changes");
}

#[tokio::test]
async fn a_range_shrinks_by_what_nobody_has() {
    let api = populated().await;
    let pool = "nspools/default/web";
    api.given("192.168.1.6", "p1", false).await.expect("leased");
    api.fixed("192.168.1.23", "db-1", "").await;
    for (start, end, reason) in [
        ("192.168.1.7", "192.168.1.24", "192.168.1.5-192.168.1.6 is in use: 192.168.1.6 of pod default/p1"),
        ("192.168.1.6", "192.168.1.22", "192.168.1.23 of pod default/db-1"),
        ("192.168.1.6", "192.168.1.18", "front (192.168.1.10-192.168.1.19)"),
        ("192.168.1.30", "192.168.1.40", "front (192.168.1.10-192.168.1.19)"),
    ] {
        api.range_refused(409, pool, start, end, reason).await;
    }
    let (status, smaller) = api.set_range(pool, "192.168.1.6", "192.168.1.23").await;
    assert_eq!((status, &smaller["total"], &smaller["leased"]), (200, &json!(18), &json!(2)), "{smaller}");
    assert!(api.given("192.168.1.24", "p2", false).await.is_err(), "not of the pool any more");
    let body = json!({
        "name": "b", "namespace": "b", "subnet": "192.168.1.0/24", "start": "192.168.1.24", "end": "192.168.1.24",
        "gateway": "192.168.1.1", "vlanid": 0
    });
    api.ok(200, "POST", "/nsippool", &body.to_string()).await;
}

#[tokio::test]
async fn a_service_takes_and_gives_back_what_nobody_has() {
    let api = populated().await;
    let pool = "svcpools/default/front";
    api.given("192.168.1.5", "p1", false).await.expect("leased");
    api.given("192.168.1.19", "p2", true).await.expect("leased");
    for (start, end, reason) in [
        ("192.168.1.5", "192.168.1.19", "192.168.1.5 of pod default/p1"),
        ("192.168.1.10", "192.168.1.18", "192.168.1.19 of pod default/p2"),
        ("192.168.1.10", "192.168.1.25", "not within 192.168.1.5-192.168.1.24 of namespace pool default/web"),
    ] {
        api.range_refused(409, pool, start, end, reason).await;
    }
    let body = json!({
        "name": "back", "namespace": "default", "cidr": "192.168.1.20/30", "serviceName": "s", "nsIPPoolName": "web"
    });
    api.ok(200, "POST", "/serviceIPPool", &body.to_string()).await;
    api.range_refused(409, pool, "192.168.1.10", "192.168.1.20", "service pool default/back").await;
    let (status, moved) = api.set_range(pool, "192.168.1.6", "192.168.1.19").await;
    assert_eq!((status, &moved["total"], &moved["leased"]), (200, &json!(14), &json!(1)), "{moved}");
    let web = api.ok(200, "GET", "/v1/nspools/default/web", "").await;
    assert_eq!((&web["reserved"], &web["services"]), (&json!(18), &json!(["back", "front"])));
    assert!(api.given("192.168.1.7", "p3", false).await.is_err(), "the namespace's own pods get none of it");
    api.given("192.168.1.7", "p3", true).await.expect("the service's do");
}

#[tokio::test]
async fn disabled_pools() {
    let api = populated().await;
    for path in ["/v1/nspools/default/web", "/v1/svcpools/default/front"] {
        for (method, disabled) in [("PUT", true), ("PUT", true), ("DELETE", false), ("DELETE", false)] {
            let answer = api.ok(200, method, &format!("{path}/disabled"), "").await;
            assert_eq!(answer["disabled"], disabled, "{method}");
            assert_eq!(api.ok(200, "GET", path, "").await["disabled"], disabled);
        }
        api.fails(404, "PUT", &format!("{path}x/disabled"), "", &["there is no"]).await;
    }
    // A change of the range leaves it disabled.
    api.ok(200, "PUT", "/v1/nspools/default/web/disabled", "").await;
    let (_, wider) = api.set_range("nspools/default/web", "192.168.1.5", "192.168.1.30").await;
    assert_eq!(wider["disabled"], true);
}

#[tokio::test]
async fn of_those_who_extend_into_the_same_addresses_one_wins() {
    let api = Arc::new(Api::new().await);
    for number in 0..16_u8 {
        let body = json!({
            "name": format!("p{number}"), "namespace": "a", "subnet": "10.0.0.0/16",
            "start": format!("10.0.{number}.5"), "end": format!("10.0.{number}.9"), "gateway": "10.0.255.254",
            "vlanid": 0
        });
        api.ok(200, "POST", "/nsippool", &body.to_string()).await;
    }
    // Every even pool and the one behind it want what lies between them.
    let mut tasks = JoinSet::new();
    for number in 0..16_u8 {
        let api = Arc::clone(&api);
        tasks.spawn(async move {
            let (start, end) = if number % 2 == 0 {
                (format!("10.0.{number}.5"), format!("10.0.{number}.200"))
            } else {
                (format!("10.0.{}.100", number - 1), format!("10.0.{number}.9"))
            };
            (number, api.set_range(&format!("nspools/a/p{number}"), &start, &end).await)
        });
    }
    let mut won = [0; 8];
    while let Some(outcome) = tasks.join_next().await {
        let (number, (status, answer)) = outcome.expect("answered");
        assert!(status == 200 || status == 409, "{status} {answer}");
        won[usize::from(number / 2)] += u32::from(status == 200);
    }
    assert_eq!(won, [1; 8]);
}

#[tokio::test]
async fn a_lease_and_a_shrink_at_the_same_instant() {
    let api = Arc::new(populated().await);
    for round in 0..40 {
        api.set_range("nspools/default/web", "192.168.1.5", "192.168.1.24").await;
        let (leasing, shrinking) = (Arc::clone(&api), Arc::clone(&api));
        let leased = tokio::spawn(async move { leasing.given("192.168.1.24", "p1", false).await });
        let shrunk = tokio::spawn(async move {
            shrinking.set_range("nspools/default/web", "192.168.1.5", "192.168.1.23").await.0
        });
        let (leased, shrunk) = (leased.await.expect("ended"), shrunk.await.expect("ended"));
        assert_eq!(leased.is_ok(), shrunk == 409, "round {round}: {leased:?} {shrunk}");
        let owner = PoolId::Namespace(scoped("default", "web"));
        let lease = keys::lease(&owner, Unit::containing(ip("192.168.1.24"), 0));
        api.store.txn(Txn::new().then(Op::Delete(lease))).await.expect("given back");
    }
}
