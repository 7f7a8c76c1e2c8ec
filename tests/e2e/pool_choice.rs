//! Pools that a pod names by annotation, in order, and those that its namespace names for it.

use anyhow::{Context, Result, ensure};
use coil_tests::cluster::Cluster;
use coil_tests::coild::Coild;
use coil_tests::containerd::{Containerd, Sandbox};
use coil_tests::controller::Controller;
use coil_tests::fake_kubernetes::FakeKubernetes;
use coil_tests::machine::Machine;
use coil_tests::place::Place;
use coil_tests::plugin::main_config;
use coil_tests::tools::run;
use coil_tests::wait::wait_until;
use common::wire::node::AddressReply;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
const LIST: &str = "coil.io/pool";

/// A cluster, a controller that follows its namespaces, and pools beside `default`: `red` has two addresses, `blue` many.
struct Site {
    kubernetes: FakeKubernetes,
    _asking: Controller,
    cluster: Cluster,
}

impl Site {
    /// `interval`: how often Kubernetes is asked whatever its watches tell.
    fn start(place: Place, cluster: Cluster, interval: &str) -> Result<Self> {
        for pool in ["red --subnet 10.65.0.0/31 --block-size 31", "blue --subnet 10.66.0.0/24"] {
            cluster.controller.coilctl(&format!("pool create {pool}"))?;
        }
        let kubernetes = FakeKubernetes::start_in(place)?;
        let kubeconfig = kubernetes.kubeconfig().display().to_string();
        let args = ["--kubernetes", kubeconfig.as_str(), "--kubernetes-interval", interval];
        let asking = Controller::serve_with(place, &cluster.etcd, &args)?;
        Ok(Self { kubernetes, _asking: asking, cluster })
    }

    fn here(interval: &str) -> Result<Self> {
        Self::start(Place::Here, Cluster::start("--subnet 10.64.0.0/24")?, interval)
    }

    fn is_correct(&self) -> Result<()> {
        ensure!(self.kubernetes.wrong().is_empty(), "{:?}", self.kubernetes.wrong());
        Ok(())
    }
}

/// Asks for an IPv4 address for pod `ns/<container>`.
fn add(coild: &Coild, container: &str, list: Option<&str>) -> Result<(u16, String)> {
    let mut annotations = json!({});
    annotations[LIST] = json!(list.unwrap_or_default());
    let body = json!({
        "pod-namespace": "ns", "pod-name": container, "container-id": container, "annotations": annotations
    });
    let reply = coild.http().post("/ip", &body)?;
    let text = match reply.status {
        200 => reply.parse::<AddressReply>()?.first.pool.to_string(),
        _ => reply.text(),
    };
    Ok((reply.status, text))
}

/// The pool that it gets it from.
fn pool(coild: &Coild, container: &str, list: Option<&str>) -> Result<String> {
    let (status, text) = add(coild, container, list)?;
    ensure!(status == 200, "{status}: {text}");
    Ok(text)
}

/// What a pod of the namespace gets that names no pool: a pool, or why nothing.
fn by_namespace(coild: &Coild) -> Result<String> {
    let (_, text) = add(coild, "looks", None)?;
    coild.free("looks")?;
    Ok(text)
}

fn becomes(coild: &Coild, expected: &str) -> Result<()> {
    wait_until(&format!("pods of the namespace to get {expected}"), SOON, || {
        Ok(by_namespace(coild)?.contains(expected))
    })
}

#[test]
fn pods_of_a_runtime_get_the_pools_that_they_or_their_namespace_name() -> Result<()> {
    let machine = Machine::start()?;
    let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/24")?;
    let site = Site::start(machine.place(), cluster, "1h")?;
    let coild = site.cluster.coild("n1", &[])?;
    let mut plugin = main_config(&coild.socket());
    plugin["capabilities"] = json!({"io.kubernetes.cri.pod-annotations": true});
    let network = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]});
    let containerd = Containerd::start(&machine, &network)?;
    let mut pods: Vec<Sandbox> = Vec::new();
    let mut pod = |name: &str, list: Option<&str>| -> Result<String> {
        let annotations: HashMap<String, String> =
            list.iter().map(|list| (LIST.to_owned(), (*list).to_owned())).collect();
        pods.extend(containerd.run_annotated([(name.to_owned(), annotations)])?);
        let address = pods.last().context("a pod")?.ips[0].to_string();
        Ok(address.rsplit_once('.').context("an IPv4 address")?.0.to_owned())
    };
    // The first pool as long as it has an address, then the next one.
    for (name, expected) in [("a", "10.65.0"), ("b", "10.65.0"), ("c", "10.66.0"), ("d", "10.66.0")] {
        assert_eq!(pod(name, Some("red, blue"))?, expected, "{name}");
    }
    let refused = format!("{:#}", pod("full", Some("red")).expect_err("red is full"));
    assert!(refused.contains("annotation coil.io/pool: all ipv4 blocks of pool red are leased"), "{refused}");
    let refused = format!("{:#}", pod("odd", Some("Red,blue")).expect_err("no name"));
    assert!(refused.contains("annotations.coil.io/pool: pool name"), "{refused}");
    // The namespace speaks for those that say nothing.
    assert_eq!(pod("e", None)?, "10.64.0");
    site.kubernetes.set_namespace("other", &[(LIST, "red")])?;
    site.kubernetes.set_namespace("ns", &[(LIST, "blue"), ("other", "x")])?;
    becomes(&coild, "blue")?;
    assert_eq!(pod("f", None)?, "10.66.0");
    assert_eq!(pod("g", Some("default"))?, "10.64.0", "its own word goes before");
    containerd.remove_sandboxes(&pods)?;
    ensure!(coild.status()?.attachments.is_empty(), "not all is free");
    site.is_correct()
}

#[test]
fn what_a_namespace_chooses_follows_its_annotation() -> Result<()> {
    let mut site = Site::here("1h")?;
    let mut coild = site.cluster.coild("n1", &["--etcd-timeout", "1s"])?;
    assert_eq!(by_namespace(&coild)?, "default");
    let set = |site: &Site, list: &str| site.kubernetes.set_namespace("ns", &[(LIST, list)]);
    // By the watch alone: the next list is an hour away.
    for (list, expected) in [
        ("blue", "blue"),
        ("nosuch", "annotation coil.io/pool of namespace ns: there is no pool nosuch"),
        ("blue,,red", "annotation coil.io/pool of namespace ns: a name is missing"),
        ("Blue", "annotation coil.io/pool of namespace ns: pool name"),
        ("nosuch, blue", "blue"),
        (" ", "default"),
        ("blue", "blue"),
    ] {
        set(&site, list)?;
        becomes(&coild, expected)?;
    }
    // A watch that is too old.
    let expired = site.kubernetes.namespace_looks().2;
    site.kubernetes.compact();
    wait_until("a watch to be too old", SOON, || Ok(site.kubernetes.namespace_looks().2 > expired))?;
    set(&site, "default")?;
    becomes(&coild, "default")?;
    set(&site, "blue")?;
    becomes(&coild, "blue")?;
    // What the node knows it knows without the store, also after a restart.
    coild.allocate("keeps-a-block")?;
    site.cluster.etcd.stop()?;
    assert_eq!(by_namespace(&coild)?, "blue");
    coild.kill()?;
    coild.run()?;
    assert_eq!(by_namespace(&coild)?, "blue");
    site.cluster.etcd.run()?;
    // Whatever it missed meanwhile it hears.
    site.kubernetes.remove_namespace("ns");
    becomes(&coild, "default")?;
    site.is_correct()
}

#[test]
fn nothing_is_written_that_is_written_already() -> Result<()> {
    let site = Site::here("100ms")?;
    let coild = site.cluster.coild("n1", &[])?;
    for number in 0..3 {
        site.kubernetes.set_namespace(&format!("quiet-{number}"), &[])?;
    }
    site.kubernetes.set_namespace("ns", &[(LIST, "blue")])?;
    becomes(&coild, "blue")?;
    let revisions = || -> Result<Value> {
        let mut get = site.cluster.etcd.etcdctl()?;
        let output = run(get.args(["get", "--prefix", "-w", "json", "/coil/v2/nschoice/"]))?;
        let keys: Value = serde_json::from_slice(&output.stdout)?;
        let keys = keys["kvs"].as_array().context("keys")?.iter();
        Ok(keys.map(|key| key["mod_revision"].clone()).collect())
    };
    let before = revisions()?;
    ensure!(before.as_array().is_some_and(|keys| keys.len() == 1), "{before}");
    // A second controller says the same.
    let kubeconfig = site.kubernetes.kubeconfig().display().to_string();
    let args = ["--kubernetes", kubeconfig.as_str(), "--kubernetes-interval", "100ms"];
    let _second = Controller::serve_with(Place::Here, &site.cluster.etcd, &args)?;
    let lists = site.kubernetes.namespace_looks().0;
    wait_until("more looks", SOON, || Ok(site.kubernetes.namespace_looks().0 >= lists + 6))?;
    // Nor is anything concluded from an API server that does not answer.
    site.kubernetes.set_broken(true);
    let failures = site.kubernetes.failures();
    wait_until("requests to fail", SOON, || Ok(site.kubernetes.failures() >= failures + 6))?;
    assert_eq!(revisions()?, before);
    assert_eq!(by_namespace(&coild)?, "blue");
    site.kubernetes.set_broken(false);
    site.kubernetes.set_namespace("ns", &[])?;
    becomes(&coild, "default")?;
    site.is_correct()
}

#[test]
fn a_full_pool_is_passed_over_without_asking_for_it_each_time() -> Result<()> {
    let mut site = Site::here("1h")?;
    let (a, b) = (site.cluster.coild("a", &["--etcd-timeout", "1s"])?, site.cluster.coild("b", &[])?);
    for container in ["r1", "r2"] {
        assert_eq!(pool(&b, container, Some("red"))?, "red");
    }
    assert_eq!(pool(&a, "first", Some("red,blue"))?, "blue");
    let before = site.cluster.etcd.calls("Range")?;
    for number in 0..40 {
        assert_eq!(pool(&a, &format!("c{number}"), Some("red,blue"))?, "blue");
    }
    let asked = site.cluster.etcd.calls("Range")? - before;
    ensure!(asked < 40, "{asked} reads of the store for 40 pods");
    // Without the store too, though a pool that may have room is not passed over.
    site.cluster.etcd.stop()?;
    assert_eq!(pool(&a, "away", Some("red,blue"))?, "blue");
    let (status, refused) = add(&a, "unknown", Some("default,blue"))?;
    ensure!(
        status == 503 && refused.contains("pool default") && refused.contains("store is unavailable"),
        "{refused}"
    );
    site.cluster.etcd.run()?;
    // All of them are full: each is named, with its reason.
    let coilctl = |line: &str| site.cluster.controller.coilctl(line);
    wait_until("the controller to reach the store", SOON, || Ok(coilctl("pool list").is_ok()))?;
    coilctl("pool create off --subnet 10.67.0.0/24")?;
    coilctl("pool disable off")?;
    let expected = "annotation coil.io/pool: all ipv4 blocks of pool red are leased, and no address of this node's is \
                    free; pool off is disabled; there is no pool nosuch";
    wait_until("the pool that is disabled to be known", SOON, || {
        let (status, refused) = add(&a, "none", Some("red,off,nosuch"))?;
        ensure!(status == 503, "{status}: {refused}");
        Ok(refused.contains(expected))
    })?;
    // What is made larger has room at once.
    coilctl("pool add-subnet red 10.65.1.0/28")?;
    wait_until("red to have room", SOON, || {
        let pool = pool(&a, "more", Some("red,blue"))?;
        a.free("more")?;
        Ok(pool == "red")
    })?;
    // An address that is free here is no less free because the pool was full a moment ago.
    b.free("r1")?;
    assert_eq!(pool(&b, "r3", Some("red,blue"))?, "red");
    site.is_correct()
}

#[test]
fn both_families_come_from_the_first_pool_that_has_them() -> Result<()> {
    let site = Site::here("1h")?;
    let coild = site.cluster.coild("n1", &[])?;
    site.cluster.controller.coilctl("pool create six --subnet 10.68.0.0/24 --subnet fd00:68::/64")?;
    let dual = |container: &str, list: &str| -> Result<Value> {
        let body = json!({
            "pod-namespace": "ns", "pod-name": container, "container-id": container,
            "address-types": ["ipv4", "ipv6"], "annotations": {LIST: list}
        });
        coild.http().post("/ip", &body)?.json()
    };
    let pools = |reply: &Value| json!([reply["addresses"][0]["pool"], reply["addresses"][1]["pool"]]);
    wait_until("the pool to be known", SOON, || {
        let reply = dual("looks", "six")?;
        coild.free("looks")?;
        Ok(pools(&reply) == json!(["six", "six"]))
    })?;
    assert_eq!(pools(&dual("a", "red,six")?), json!(["red", "six"]));
    assert_eq!(pools(&dual("b", "six,red")?), json!(["six", "six"]));
    let refused = dual("c", "red,blue")?;
    assert_eq!(refused["status"], 503, "{refused}");
    let reasons = "annotation coil.io/pool: pool red has no ipv6 subnet; pool blue has no ipv6 subnet";
    assert_eq!(refused["error"], reasons, "{refused}");
    ensure!(coild.status()?.attachments.len() == 4, "all or nothing");
    Ok(())
}
