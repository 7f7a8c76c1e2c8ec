//! Pools of namespaces and services: from the API over coild to the pod, on several nodes.

use anyhow::{Context, Result, ensure};
use coil_tests::cluster::Cluster;
use coil_tests::coild::Coild;
use coil_tests::http::Reply;
use coil_tests::wait::wait_until;
use common::wire::node::AddressReply;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

fn cluster() -> Result<Cluster> {
    Cluster::start("--subnet 10.64.0.0/16")
}

/// Makes a pool `name` in namespace `ns` with the addresses from 10.9.0.`start` on.
fn pool(cluster: &Cluster, name: &str, start: &str, end: &str) -> Result<Value> {
    let body = json!({
        "name": name, "namespace": "ns", "subnet": "10.9.0.0/16", "start": start, "end": end,
        "gateway": "10.9.255.254", "vlanid": 100
    });
    cluster.controller.http().post("/nsippool", &body)?.expect(200)?.json()
}

fn service(cluster: &Cluster, name: &str, of: &str, start: &str, end: &str) -> Result<Value> {
    let body = json!({
        "name": name, "namespace": "ns", "start": start, "end": end, "serviceName": "svc", "nsIPPoolName": of
    });
    cluster.controller.http().post("/serviceIPPool", &body)?.expect(200)?.json()
}

fn shown(cluster: &Cluster, path: &str) -> Result<Value> {
    cluster.controller.http().get(path)?.expect(200)?.json()
}

/// Asks for an address for a pod with these annotations; the container is named as given.
fn add(coild: &Coild, container: &str, pod: &str, annotations: &Value) -> Result<Reply> {
    let body = json!({
        "pod-namespace": "ns", "pod-name": pod, "container-id": container, "annotations": annotations
    });
    coild.http().post("/ip", &body)
}

fn given(reply: Reply) -> Result<String> {
    let reply: AddressReply = reply.expect(200)?.parse()?;
    Ok(reply.first.address.to_string())
}

fn delete(coild: &Coild, container: &str, pod: &str) -> Result<()> {
    coild.http().delete(&format!("/ip/ns/{pod}/{container}"))?.expect(200).map(|_| ())
}

fn of_pools(names: &str) -> Value {
    json!({"hcipam_ns_ippool": names})
}

fn fixed(names: &str) -> Value {
    json!({"hcipam_ns_ippool": names, "hcipm_ip_fixed": "true"})
}

#[test]
fn an_address_comes_with_its_network_and_goes_with_its_pod() -> Result<()> {
    let cluster = cluster()?;
    let (a, b) = (cluster.coild("a", &[])?, cluster.coild("b", &[])?);
    pool(&cluster, "web", "10.9.0.5", "10.9.0.24")?;
    let reply = add(&a, "c1", "p1", &of_pools("web"))?.expect(200)?.json()?;
    let expected = json!({
        "address": "10.9.0.5", "prefix": 16, "gateway": "10.9.255.254", "vlan": 100, "pool": "ns:ns:web",
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.9.255.254"}]
    });
    assert_eq!(reply["addresses"], json!([expected]));
    assert_eq!(a.http().get("/ip/ns/p1/c1")?.expect(200)?.json()?, reply);
    add(&a, "c1", "p1", &of_pools("web"))?.expect(409)?;
    // Round robin goes on over nodes.
    assert_eq!(given(add(&b, "c2", "p2", &of_pools("web"))?)?, "10.9.0.6");
    assert_eq!(given(add(&a, "c3", "p3", &of_pools("web"))?)?, "10.9.0.7");
    let view = shown(&cluster, "/nsippool/ns/web")?;
    assert_eq!((&view["used"], &view["lastAssignedIP"]), (&json!(3), &json!("10.9.0.7")));
    assert_eq!(view["PodMap"]["10.9.0.6"]["podName"], "p2");
    delete(&a, "c1", "p1")?;
    wait_until("the lease to be given back", SOON, || Ok(shown(&cluster, "/nsippool/ns/web")?["used"] == 2))?;
    assert_eq!(given(add(&b, "c4", "p4", &of_pools("web"))?)?, "10.9.0.8", "the next, and not the first gap");
    for (node, container, pod) in [(&b, "c2", "p2"), (&a, "c3", "p3"), (&b, "c4", "p4")] {
        delete(node, container, pod)?;
    }
    wait_until("the pool to be empty", SOON, || {
        Ok(cluster.controller.http().delete("/nsippool/ns/web")?.status == 200)
    })?;
    assert!(cluster.mirror("a")?.is_empty() && cluster.mirror("b")?.is_empty());
    Ok(())
}

#[test]
fn pools_are_tried_in_order_and_a_service_has_its_own() -> Result<()> {
    let cluster = cluster()?;
    let node = cluster.coild("a", &[])?;
    pool(&cluster, "one", "10.9.0.5", "10.9.0.6")?;
    pool(&cluster, "two", "10.9.1.5", "10.9.1.8")?;
    service(&cluster, "svc", "two", "10.9.1.7", "10.9.1.8")?;
    let mut addresses = Vec::new();
    for number in 0..4 {
        let name = format!("c{number}");
        addresses.push(given(add(&node, &name, &name, &of_pools("nosuch, one,two"))?)?);
    }
    assert_eq!(
        addresses,
        ["10.9.0.5", "10.9.0.6", "10.9.1.5", "10.9.1.6"],
        "what is the service's is reserved"
    );
    let refused = add(&node, "c4", "c4", &of_pools("nosuch,one,two"))?.expect(503)?.text();
    for reason in [
        "there is no namespace pool ns/nosuch",
        "every address of namespace pool ns/one is leased",
        "every address of namespace pool ns/two is leased",
    ] {
        assert!(refused.contains(reason), "{refused}");
    }
    let both = json!({"hcipam_service_ippool": "svc", "hcipam_ns_ippool": "one"});
    assert_eq!(given(add(&node, "s1", "s1", &both)?)?, "10.9.1.7");
    let view = shown(&cluster, "/nsippool/ns/two")?;
    assert_eq!(view["PodMap"]["10.9.1.7"]["svcIPPoolName"], "svc");
    assert_eq!((&view["used"], &view["PodMap"]["10.9.1.7"]["svcName"]), (&json!(4), &json!("svc")));
    assert_eq!(shown(&cluster, "/serviceIPPool/ns/svc")?["used"], 1);
    assert_eq!(given(add(&node, "s2", "s2", &both)?)?, "10.9.1.8");
    let refused = add(&node, "s3", "s3", &both)?.expect(503)?.text();
    assert!(refused.contains("every address of service pool ns/svc is leased"), "{refused}");
    let refused = cluster.controller.http().delete("/serviceIPPool/ns/svc")?.expect(400)?.text();
    assert!(refused.contains("10.9.1.7 of pod ns/s1"), "{refused}");
    // A pool that is full gives again what was freed.
    delete(&node, "c1", "c1")?;
    wait_until("the freed address", SOON, || Ok(add(&node, "c5", "c5", &of_pools("one"))?.status == 200))?;
    // An address of one's own choice.
    let body = json!({
        "pod-namespace": "ns", "pod-name": "x", "container-id": "x", "address": "10.9.7.7",
        "annotations": of_pools("one,two")
    });
    let refused = node.http().post("/ip", &body)?.expect(400)?.text();
    assert!(refused.contains("10.9.7.7 is not an address of a pool that the pod names"), "{refused}");
    Ok(())
}

/// 256 pods want one of 200 addresses, on 4 nodes at once.
#[test]
fn a_rush_gets_each_address_once() -> Result<()> {
    let cluster = cluster()?;
    let nodes: Vec<Coild> =
        (0..4).map(|number| cluster.coild(&format!("n{number}"), &[])).collect::<Result<_>>()?;
    pool(&cluster, "web", "10.9.0.1", "10.9.0.200")?;
    let before = cluster.etcd.calls("Txn")?;
    let outcomes: Vec<Reply> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..256)
            .map(|number| {
                let node = &nodes[number % nodes.len()];
                scope.spawn(move || add(node, &format!("c{number}"), &format!("p{number}"), &of_pools("web")))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Result<_>>()
    })?;
    let mut addresses = BTreeSet::new();
    let mut refused = 0;
    for reply in outcomes {
        if reply.status == 200 {
            let address = given(reply)?;
            ensure!(addresses.insert(address.clone()), "{address} was given twice");
        } else {
            refused += 1;
            let text = reply.expect(503)?.text();
            assert!(text.contains("every address of namespace pool ns/web is leased"), "{text}");
        }
    }
    assert_eq!((addresses.len(), refused), (200, 56));
    let view = shown(&cluster, "/nsippool/ns/web")?;
    let pods: BTreeMap<String, Value> = serde_json::from_value(view["PodMap"].clone())?;
    assert_eq!(pods.into_keys().collect::<BTreeSet<_>>(), addresses);
    // Those that lost a race and those of the mirrors are among them.
    let transactions = cluster.etcd.calls("Txn")? - before;
    assert!((200..=600).contains(&transactions), "{transactions} transactions for 200 addresses");
    println!("{transactions} transactions");
    Ok(())
}

#[test]
fn a_stateful_pod_keeps_its_address() -> Result<()> {
    let cluster = cluster()?;
    let (mut a, b) = (cluster.coild("a", &[])?, cluster.coild("b", &[])?);
    pool(&cluster, "web", "10.9.0.5", "10.9.0.8")?;
    assert_eq!(given(add(&a, "other", "other", &of_pools("web"))?)?, "10.9.0.5");
    let address = given(add(&a, "c1", "db-0", &fixed("web"))?)?;
    assert_eq!(address, "10.9.0.6");
    // On another node, at once after it was deleted.
    delete(&a, "c1", "db-0")?;
    assert_eq!(given(add(&b, "c2", "db-0", &fixed("web"))?)?, address);
    let view = shown(&cluster, "/nsippool/ns/web")?;
    let pod = &view["PodMap"][&address];
    assert_eq!(
        (&pod["stsName"], &pod["fixedIP"], &pod["stsDeleted"]),
        (&json!("db"), &json!(true), &json!(false))
    );
    // Nobody else gets it while its pod is away, however full the pool.
    delete(&b, "c2", "db-0")?;
    for (container, status) in [("x1", 200), ("x2", 200), ("x3", 503)] {
        add(&b, container, container, &of_pools("web"))?.expect(status)?;
    }
    wait_until("the address to be nobody's", SOON, || {
        Ok(!cluster.mirror("b")?.values().any(|id| id == "c2"))
    })?;
    assert_eq!(shown(&cluster, "/nsippool/ns/web")?["PodMap"][&address]["podName"], "db-0");
    cluster.controller.http().delete("/nsippool/ns/web")?.expect(400)?;
    // After a restart, and on the first node again.
    a.restart()?;
    assert_eq!(given(add(&a, "c3", "db-0", &fixed("web"))?)?, address);
    a.restart()?;
    assert_eq!(given(a.http().get("/ip/ns/db-0/c3")?)?, address);
    // While its pod has it on one node, it does not appear on another.
    let started = Instant::now();
    let refused = add(&b, "c4", "db-0", &fixed("web"))?.expect(503)?.text();
    assert!(
        refused.contains(&format!("{address} is kept for this pod, and node a has not given it back")),
        "{refused}"
    );
    assert!(started.elapsed() < Duration::from_secs(15));
    // The node is removed: the address stays the pod's.
    a.stop()?;
    cluster.controller.coilctl("node remove a --force")?;
    assert_eq!(given(add(&b, "c5", "db-0", &fixed("web"))?)?, address);
    Ok(())
}

#[test]
fn an_operator_gives_a_fixed_address_up() -> Result<()> {
    let cluster = cluster()?;
    let node = cluster.coild("a", &[])?;
    pool(&cluster, "web", "10.9.0.5", "10.9.0.8")?;
    let state = |address: &str| -> Result<Value> {
        Ok(cluster.controller.coilctl_json(&format!("address show {address}"))?["state"].clone())
    };
    // Its pod is away.
    let address = given(add(&node, "c1", "db-0", &fixed("web"))?)?;
    delete(&node, "c1", "db-0")?;
    wait_until("the address to be kept", SOON, || Ok(state(&address)? == "kept"))?;
    let shown_by_coilctl = cluster.controller.coilctl(&format!("address show {address}"))?;
    assert!(shown_by_coilctl.contains("Kept for:   ns/db-0"), "{shown_by_coilctl}");
    let freed = cluster.controller.coilctl(&format!("address free {address}"))?;
    assert!(freed.contains("was kept for pod ns/db-0, and is free now"), "{freed}");
    assert_eq!(state(&address)?, "unleased");
    // Its pod has it: the pod loses it, and the next one gets another.
    let address = given(add(&node, "c2", "db-0", &fixed("web"))?)?;
    wait_until("the mirror", SOON, || Ok(cluster.mirror("a")?.values().any(|container| container == "c2")))?;
    cluster.controller.coilctl(&format!("address free {address}"))?;
    wait_until("the lease to be given back", SOON, || Ok(state(&address)? == "unleased"))?;
    assert_eq!(shown(&cluster, "/nsippool/ns/web")?["used"], 0);
    assert_ne!(given(add(&node, "c3", "db-0", &fixed("web"))?)?, address);
    Ok(())
}

#[test]
fn without_the_store_fixed_addresses_go_on_and_new_ones_are_refused() -> Result<()> {
    let mut cluster = cluster()?;
    let node = cluster.coild("a", &["--etcd-timeout", "1s"])?;
    pool(&cluster, "web", "10.9.0.5", "10.9.0.24")?;
    let address = given(add(&node, "c1", "db-0", &fixed("web"))?)?;
    given(add(&node, "w1", "w1", &of_pools("web"))?)?;
    cluster.etcd.stop()?;
    let started = Instant::now();
    let refused = add(&node, "w2", "w2", &of_pools("web"))?.expect(503)?.text();
    assert!(refused.contains("store is unavailable"), "{refused}");
    assert!(started.elapsed() < Duration::from_secs(10), "and soon: {:?}", started.elapsed());
    delete(&node, "w1", "w1")?;
    delete(&node, "c1", "db-0")?;
    assert_eq!(given(add(&node, "c2", "db-0", &fixed("web"))?)?, address, "the pod comes back to its node");
    node.http().get("/ip/ns/db-0/c2")?.expect(200)?;
    cluster.etcd.run()?;
    wait_until("new addresses", SOON, || Ok(add(&node, "w3", "w3", &of_pools("web"))?.status == 200))?;
    wait_until("the lease of the pod that went", SOON, || {
        Ok(shown(&cluster, "/nsippool/ns/web")?["PodMap"].as_object().context("pods")?.len() == 2)
    })?;
    assert_eq!(shown(&cluster, "/nsippool/ns/web")?["PodMap"][&address]["podName"], "db-0");
    Ok(())
}

/// Extended, disabled, drained and shrunk while a node gives its addresses.
#[test]
fn a_pool_changes_while_it_is_used() -> Result<()> {
    let cluster = cluster()?;
    let node = cluster.coild("a", &[])?;
    let coilctl = |line: &str| cluster.controller.coilctl(line);
    pool(&cluster, "web", "10.9.0.5", "10.9.0.6")?;
    for container in ["c1", "c2"] {
        add(&node, container, container, &of_pools("web"))?.expect(200)?;
    }
    add(&node, "c3", "c3", &of_pools("web"))?.expect(503)?;
    coilctl("nspool extend ns web --start 10.9.0.4 --end 10.9.0.8")?;
    assert_eq!(given(add(&node, "c3", "c3", &of_pools("web"))?)?, "10.9.0.7");
    let map = cluster.controller.coilctl_json("nspool show ns web")?["map"].clone();
    let states: Vec<&Value> = map.as_array().context("array")?.iter().map(|part| &part["state"]).collect();
    assert_eq!(states, ["free", "used", "used", "used", "free"]);
    // Shrinking names who is in the way, and changes nothing.
    let body = json!({"start": "10.9.0.4", "end": "10.9.0.6"}).to_string();
    let path = "/v1/nspools/ns/web/range";
    let http = cluster.controller.http();
    let refused = http.send("PUT", path, body.as_bytes())?.expect(409)?.text();
    assert!(refused.contains("10.9.0.7 of pod ns/c3"), "{refused}");
    // The node keeps to the pool as it is, whatever it has read before.
    coilctl("nspool disable ns web")?;
    let refused = add(&node, "c4", "c4", &of_pools("web"))?.expect(503)?.text();
    assert!(refused.contains("namespace pool ns/web is disabled"), "{refused}");
    delete(&node, "c3", "c3")?;
    wait_until("the range to be free", SOON, || Ok(http.send("PUT", path, body.as_bytes())?.status == 200))?;
    coilctl("nspool enable ns web")?;
    assert_eq!(given(add(&node, "c4", "c4", &of_pools("web"))?)?, "10.9.0.4");
    let refused = add(&node, "c5", "c5", &of_pools("web"))?.expect(503)?.text();
    assert!(refused.contains("every address of namespace pool ns/web is leased"), "{refused}");
    // A drain ends when the last pod has gone.
    let drained = std::thread::scope(|scope| {
        let drain = scope.spawn(|| coilctl("nspool drain ns web --wait 1m"));
        for container in ["c1", "c2", "c4"] {
            delete(&node, container, container)?;
        }
        drain.join().expect("no panic")
    })?;
    assert!(drained.ends_with("namespace pool ns/web is empty\n"), "{drained}");
    assert_eq!(cluster.controller.coilctl_json("address check")?["found"], 0);
    coilctl("nspool delete ns web").map(|_| ())
}
