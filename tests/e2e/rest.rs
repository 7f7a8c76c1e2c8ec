//! coild's REST API: every documented status and field, pools, families, interfaces, load and exhaustion.

use anyhow::{Context, Result, ensure};
use coil_tests::cluster::Cluster;
use coil_tests::coild::{Coild, path, request};
use coil_tests::http::Reply;
use coil_tests::load::at_once;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

const DUAL: &str = "--subnet 10.64.0.0/16 --subnet fd00:64::/64";

/// Fails unless the reply is the documented failure with this status.
pub(crate) fn failure(reply: &Reply, status: u16) -> Result<String> {
    ensure!(reply.status == status, "status {}, expected {status}: {}", reply.status, reply.text());
    ensure!(reply.header("content-type") == Some("application/json"), "not JSON: {}", reply.text());
    let body = reply.json()?;
    ensure!(body["status"] == json!(status), "status in the body: {body}");
    let error = body["error"].as_str().filter(|text| !text.is_empty()).context("an error text")?;
    Ok(error.to_owned())
}

fn success(reply: &Reply) -> Result<Value> {
    ensure!(reply.status == 200, "status {}: {}", reply.status, reply.text());
    ensure!(reply.header("content-type") == Some("application/json"), "not JSON: {}", reply.text());
    let body = reply.json()?;
    ensure!(body["status"] == json!(200), "status in the body: {body}");
    Ok(body)
}

fn address(body: &Value) -> Result<IpAddr> {
    Ok(body["address"].as_str().with_context(|| format!("no address: {body}"))?.parse()?)
}

fn with(container: &str, more: &Value) -> Value {
    let mut body = request(container);
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body
}

#[test]
fn an_address_lives_from_post_to_delete() -> Result<()> {
    let cluster = Cluster::start(DUAL)?;
    let coild = cluster.coild("n1", &[])?;
    let http = coild.http();

    let empty = success(&http.get("/status")?)?;
    assert_eq!(empty["pods"], json!({}));
    assert!(empty["address-blocks"].is_object(), "{empty}");

    let given = address(&success(&coild.add("c1")?)?)?;
    assert!(given.to_string().starts_with("10.64."), "{given} is not of the pool");
    assert_eq!(address(&success(&http.get(&path("c1"))?)?)?, given);
    let status = success(&http.get("/status")?)?;
    assert_eq!(status["pods"], json!({"c1": given}));
    let blocks: Vec<ipnet::IpNet> = serde_json::from_value(status["address-blocks"]["default"].clone())?;
    assert!(blocks.iter().any(|block| block.contains(&given) && block.prefix_len() == 28), "{blocks:?}");

    failure(&coild.add("c1")?, 409)?;
    // A new container of the same pod has an address of its own.
    let twin = json!({"pod-namespace": "ns", "pod-name": "c1", "container-id": "c2"});
    let other = address(&success(&http.post("/ip", &twin)?)?)?;
    assert_ne!(other, given);

    let freed = success(&http.delete(&path("c1"))?)?;
    assert_eq!(address(&freed)?, given);
    let again = success(&http.delete(&path("c1"))?)?;
    assert_eq!(again["address"], json!(""));
    failure(&http.get(&path("c1"))?, 404)?;
    assert_eq!(success(&http.get("/status")?)?["pods"], json!({"c2": other}));
    Ok(())
}

#[test]
fn another_pods_name_finds_and_frees_nothing() -> Result<()> {
    let cluster = Cluster::start(DUAL)?;
    let coild = cluster.coild("n1", &[])?;
    let given = coild.allocate("c1")?;
    for wrong in ["/ip/other/c1/c1", "/ip/ns/other/c1"] {
        failure(&coild.http().get(wrong)?, 404)?;
        assert_eq!(success(&coild.http().delete(wrong)?)?["address"], json!(""), "{wrong}");
    }
    assert_eq!(coild.free("c1")?, given);
    Ok(())
}

#[test]
fn families_are_told_apart() -> Result<()> {
    let cluster = Cluster::start(DUAL)?;
    cluster.controller.coilctl("pool create four --subnet 10.80.0.0/24")?;
    let coild = cluster.coild("n1", &[])?;
    let post = |container: &str, more: Value| coild.http().post("/ip", &with(container, &more));
    assert!(address(&success(&post("a", json!({"address-type": "ipv4"}))?)?)?.is_ipv4());
    assert!(address(&success(&post("b", json!({"address-type": "ipv6"}))?)?)?.is_ipv6());
    failure(&post("c", json!({"address-type": "ipv6", "pool": "four"}))?, 503)?;
    failure(&post("c", json!({"address-type": "IPv4"}))?, 400)?;

    let both = success(&post("d", json!({"address-types": ["ipv4", "ipv6"]}))?)?;
    let addresses = both["addresses"].as_array().context("addresses")?;
    assert_eq!(addresses.len(), 2);
    assert_eq!(addresses[0]["address"], both["address"], "IPv4 comes first");
    assert!(address(&addresses[0])?.is_ipv4() && address(&addresses[1])?.is_ipv6());
    // All or nothing.
    failure(&post("e", json!({"address-types": ["ipv4", "ipv6"], "pool": "four"}))?, 503)?;
    failure(&coild.http().get(&path("e"))?, 404)?;
    Ok(())
}

#[test]
fn the_pool_is_chosen_by_name_then_namespace() -> Result<()> {
    let cluster = Cluster::start(DUAL)?;
    cluster.controller.coilctl("pool create team --subnet 10.80.0.0/28")?;
    cluster.controller.coilctl("pool create other --subnet 10.81.0.0/24")?;
    let coild = cluster.coild("n1", &[])?;
    let post = |container: &str, more: Value| coild.http().post("/ip", &with(container, &more));
    let of = |prefix: &str, reply: Reply| -> Result<()> {
        let given = address(&success(&reply)?)?;
        ensure!(given.to_string().starts_with(prefix), "{given} is not of {prefix}");
        Ok(())
    };
    of("10.64.", post("a", json!({}))?)?;
    of("10.80.", post("b", json!({"pod-namespace": "team"}))?)?;
    of("10.81.", post("c", json!({"pod-namespace": "team", "pool": "other"}))?)?;
    of("10.64.", post("d", json!({"pod-namespace": "No Pool's Name"}))?)?;
    assert!(failure(&post("e", json!({"pool": "nosuch"}))?, 503)?.contains("nosuch"));
    // A full pool does not fall back to another.
    for n in 1..16 {
        success(&post(&format!("t{n}"), json!({"pod-namespace": "team"}))?)?;
    }
    assert!(failure(&post("f", json!({"pod-namespace": "team"}))?, 503)?.contains("team"));
    Ok(())
}

#[test]
fn interfaces_of_a_container_have_their_own() -> Result<()> {
    let cluster = Cluster::start(DUAL)?;
    let coild = cluster.coild("n1", &[])?;
    let http = coild.http();
    let eth0 = address(&success(&coild.add("c1")?)?)?;
    failure(&http.post("/ip", &with("c1", &json!({"interface": "eth0"})))?, 409)?;
    let net1 = address(&success(&http.post("/ip", &with("c1", &json!({"interface": "net1"})))?)?)?;
    assert_ne!(eth0, net1);
    let second = format!("{}?interface=net1", path("c1"));
    assert_eq!(address(&success(&http.get(&second)?)?)?, net1);
    assert_eq!(address(&success(&http.delete(&second)?)?)?, net1);
    assert_eq!(address(&success(&http.get(&path("c1"))?)?)?, eth0);
    Ok(())
}

#[test]
fn a_certain_address_can_be_asked_for() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/24 --exclude 10.64.0.64/30")?;
    let coild = cluster.coild("n1", &[])?;
    let ask = |container: &str, wanted: &str| {
        coild.http().post("/ip", &with(container, &json!({"address": wanted})))
    };
    assert_eq!(address(&success(&ask("a", "10.64.0.200")?)?)?.to_string(), "10.64.0.200");
    failure(&ask("b", "10.64.0.200")?, 503)?;
    failure(&ask("b", "10.65.0.1")?, 400)?;
    failure(&ask("b", "10.64.0.66")?, 400)?;
    failure(&ask("b", "10.64.0")?, 400)?;
    assert_eq!(coild.free("a")?, "10.64.0.200");
    assert_eq!(address(&success(&ask("b", "10.64.0.200")?)?)?.to_string(), "10.64.0.200");
    Ok(())
}

#[test]
fn two_hundred_at_once_are_distinct() -> Result<()> {
    let cluster = Cluster::start(DUAL)?;
    let coild = cluster.coild("n1", &[])?;
    let given = at_once(200, |n| coild.allocate(&format!("c{n}")))?;
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 200);
    assert_eq!(coild.status()?.attachments.len(), 200);
    let freed = at_once(200, |n| coild.free(&format!("c{n}")))?;
    assert_eq!(freed, given);
    assert!(coild.status()?.attachments.is_empty());
    Ok(())
}

#[test]
fn the_same_container_at_once_gets_one_address() -> Result<()> {
    let cluster = Cluster::start(DUAL)?;
    let coild = cluster.coild("n1", &[])?;
    let replies = at_once(50, |_| coild.add("c1"))?;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    assert_eq!(replies.iter().filter(|reply| reply.status == 409).count(), 49);
    assert_eq!(coild.status()?.attachments.len(), 1);
    Ok(())
}

#[test]
fn a_full_pool_refuses_and_recovers() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/27")?;
    let coild = cluster.coild("n1", &[])?;
    let given = at_once(32, |n| coild.allocate(&format!("c{n}")))?;
    // In a routed pool every address of a block is given, its first and last included.
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 32);
    let error = failure(&coild.add("more")?, 503)?;
    assert!(error.contains("default"), "{error} does not name the pool");
    let freed = coild.free("c7")?;
    // Nothing else is free: the cooldown gives way.
    assert_eq!(coild.allocate("more")?, freed);
    failure(&coild.add("even more")?, 503)?;
    Ok(())
}

#[test]
fn a_freed_address_rests() -> Result<()> {
    let cluster = Cluster::start(DUAL)?;
    let coild = cluster.coild("n1", &[])?;
    let mut seen = BTreeSet::new();
    for n in 0..40 {
        let container = format!("c{n}");
        let given = coild.allocate(&container)?;
        assert!(seen.insert(given.clone()), "{given} was given again at once");
        coild.free(&container)?;
    }
    Ok(())
}

#[test]
fn garbage_of_one_network_is_collected() -> Result<()> {
    let cluster = Cluster::start(DUAL)?;
    let coild = cluster.coild("n1", &[])?;
    let add = |container: &str, network: &str| -> Result<IpAddr> {
        address(&success(&coild.http().post("/ip", &with(container, &json!({"network": network})))?)?)
    };
    let (_, gone, _) = (add("a", "net")?, add("b", "net")?, add("c", "other")?);
    let valid = json!({
        "network": "net", "valid-attachments": [{"container-id": "a", "interface": "eth0"}],
    });
    assert_eq!(success(&coild.http().post("/gc", &valid)?)?["freed"], json!([gone]));
    let left: Vec<String> = coild.status()?.pods.into_keys().collect();
    assert_eq!(left, ["a", "c"]);
    Ok(())
}

#[test]
fn health_readiness_and_metrics() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/28")?;
    let coild: Coild = cluster.coild("n1", &[])?;
    let get = |path: &str| coild.http().get(path);
    get("/healthz")?.expect(200)?;
    get("/readyz")?.expect(200)?;
    get("/readyz?pool=default")?.expect(200)?;
    get("/readyz?pool=nosuch")?.expect(503)?;
    get("/readyz?address-type=ipv6")?.expect(503)?;
    get("/readyz?address-type=ipv5")?.expect(400)?;
    for n in 0..16 {
        coild.allocate(&format!("c{n}"))?;
    }
    get("/readyz?pool=default")?.expect(503)?;
    get("/readyz")?.expect(200)?;
    let metrics = get("/metrics")?.expect(200)?;
    assert!(
        metrics.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text"))
    );
    let text = metrics.text();
    let line = "coild_addresses_allocated{pool=\"default\",family=\"ipv4\"} 16";
    assert!(text.lines().any(|found| found == line), "{text}");
    Ok(())
}
