//! What Kubernetes is told of coil: Events on pods that get no address, what nodes have free, and that they are ready.

use anyhow::{Context, Result, ensure};
use coil_tests::cluster::Cluster;
use coil_tests::coild::Coild;
use coil_tests::controller::Controller;
use coil_tests::fake_kubernetes::FakeKubernetes;
use coil_tests::place::Place;
use coil_tests::plugin::{Plugin, ipam_config};
use coil_tests::tools::run;
use coil_tests::wait::{wait_for, wait_until};
use k8s_openapi::api::core::v1::Taint;
use serde_json::{Value, json};
use std::slice::from_ref;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// A cluster with a pool of one block, an API server, and controllers that tell it.
struct Site {
    kubernetes: FakeKubernetes,
    telling: Vec<Controller>,
    cluster: Cluster,
}

impl Site {
    fn start(controllers: usize) -> Result<Self> {
        let (kubernetes, cluster) = (FakeKubernetes::start()?, Cluster::start("--subnet 10.64.0.0/28")?);
        let mut site = Self { kubernetes, telling: Vec::new(), cluster };
        for _ in 0..controllers {
            let another = site.another("100ms")?;
            site.telling.push(another);
        }
        Ok(site)
    }

    fn another(&self, interval: &str) -> Result<Controller> {
        let kubeconfig = self.kubernetes.kubeconfig().display().to_string();
        let args = ["--kubernetes", kubeconfig.as_str(), "--kubernetes-interval", interval];
        Controller::serve_with(Place::Here, &self.cluster.etcd, &args)
    }

    fn logs(&self) -> Result<String> {
        self.telling.iter().map(Controller::log).collect()
    }

    /// Keys and values by turns.
    fn stored(&self, prefix: &str) -> Result<Vec<String>> {
        let output =
            run(self.cluster.etcd.etcdctl()?.args(["get", "--prefix", &format!("/coil/v2/{prefix}")]))?;
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }

    fn somebody_tells(&self) -> Result<()> {
        wait_until("a controller to tell Kubernetes", SOON, || {
            Ok(!self.stored("kubernetes-events")?.is_empty() && !self.stored("kubernetes-nodes")?.is_empty())
        })
    }

    fn until(&self, what: &str, is: impl Fn(&FakeKubernetes) -> bool) -> Result<()> {
        wait_until(what, SOON, || Ok(is(&self.kubernetes))).with_context(|| {
            let (kubernetes, log) = (&self.kubernetes, self.logs().unwrap_or_default());
            format!("{:#?}\n{:#?}\n{log}", kubernetes.events(), kubernetes.node_patches())
        })
    }

    /// No request was one that an API server would not take.
    fn is_correct(&self) -> Result<()> {
        ensure!(self.kubernetes.wrong().is_empty(), "{:#?}", self.kubernetes.wrong());
        Ok(())
    }
}

/// What the plugin says when a runtime adds a pod for which there is no address.
fn refused(coild: &Coild, namespace: &str, pod: &str) -> Result<String> {
    let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={pod}");
    let plugin = Plugin::coil(Place::Here)?.attachment(pod, "/proc/self/ns/net").with("ARGS", &args);
    let error = plugin.error("ADD", &ipam_config("ptp", &coild.socket()))?;
    ensure!(error.code == 11, "code {}: {}", error.code, error.text);
    Ok(error.text)
}

fn fill(coild: &Coild) -> Result<()> {
    (0..16).try_for_each(|n| coild.allocate(&format!("other{n}")).map(drop))
}

fn free(kubernetes: &FakeKubernetes, node: &str) -> Option<Value> {
    let node = kubernetes.node(node)?;
    serde_json::from_str(node["metadata"]["annotations"]["coil.io/free"].as_str()?).ok()
}

fn taints(kubernetes: &FakeKubernetes, node: &str) -> Vec<String> {
    let node = kubernetes.node(node).unwrap_or_default();
    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    taints.iter().filter_map(|taint| taint["key"].as_str().map(str::to_owned)).collect()
}

fn taint(key: &str) -> Taint {
    Taint { key: key.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() }
}

#[test]
fn a_pod_without_an_address_has_one_event() -> Result<()> {
    let site = Site::start(2)?;
    let node = site.cluster.coild("n1", &[])?;
    fill(&node)?;
    for (pod, on) in [("web-0", "n1"), ("elsewhere-0", "n2")] {
        site.kubernetes.add_pod("shop", pod, on);
    }
    site.somebody_tells()?;
    let text = refused(&node, "shop", "web-0")?;
    // Nobody in Kubernetes is meant by these.
    for (namespace, pod) in
        [("shop", "elsewhere-0"), ("shop", "gone-0"), ("../shop", "web-0"), ("shop", "..")]
    {
        refused(&node, namespace, pod)?;
    }
    site.until("an Event", |kubernetes| !kubernetes.events().is_empty())?;
    let event = site.kubernetes.events().remove(0);
    let message = event["message"].as_str().context("a text")?;
    ensure!(text.contains(message) && message.contains("pool default"), "{text:?} {event}");
    ensure!(event["reason"] == "NoFreeAddress" && event["source"]["host"] == "n1", "{event}");
    ensure!(
        event["involvedObject"]["name"] == "web-0" && event["involvedObject"]["uid"] == "shop-web-0",
        "{event}"
    );
    // The others come after it, in the same transaction or the next one.
    wait_until("all of them to be told", SOON, || Ok(site.stored("refused/n1/")?.len() == 2 * 5))?;
    // Whoever takes over tells them all again: it stays one Event.
    let Site { mut telling, kubernetes, cluster } = site;
    let before = kubernetes.applied_events();
    telling.iter_mut().try_for_each(Controller::kill)?;
    let site = Site { telling: Vec::new(), kubernetes, cluster };
    let another = site.another("100ms")?;
    site.until("the Event to be applied again", |kubernetes| kubernetes.applied_events() > before)
        .with_context(|| another.log().unwrap_or_default())?;
    let events = site.kubernetes.events();
    ensure!(events == [event], "{events:#?}");
    site.is_correct()
}

#[test]
fn without_a_controller_that_tells_nothing_is_written() -> Result<()> {
    let site = Site::start(0)?;
    let mut node = site.cluster.coild("n1", &[])?;
    fill(&node)?;
    for n in 0..100 {
        ensure!(node.add(&format!("more{n}"))?.status == 503);
    }
    ensure!(site.stored("refused/")?.is_empty());
    // Of many pods, some are told, and of one namespace no more than its part.
    let _telling = site.another("100ms")?;
    site.somebody_tells()?;
    wait_until("some to be told", SOON, || {
        ensure!(node.add("one-more")?.status == 503);
        Ok(!site.stored("refused/")?.is_empty())
    })?;
    let keys = site.stored("refused/")?.len() / 2;
    ensure!((1..=16).contains(&keys), "{keys}");
    // Nobody waits for a store that is away.
    let mut cluster = site.cluster;
    cluster.etcd.stop()?;
    for n in 0..3 {
        ensure!(node.add(&format!("away{n}"))?.status == 503);
    }
    node.stop()?;
    Ok(())
}

#[test]
fn nodes_are_told_what_they_have_free() -> Result<()> {
    let site = Site::start(2)?;
    site.kubernetes.set_nodes(&["n1", "n2"]);
    site.somebody_tells()?;
    let node = site.cluster.coild("n1", &[])?;
    site.until("the node to be told", |kubernetes| free(kubernetes, "n1") == Some(json!({})))?;
    node.allocate("a")?;
    let has = |count: u64| {
        move |kubernetes: &FakeKubernetes| free(kubernetes, "n1") == Some(json!({"default": {"ipv4": count}}))
    };
    site.until("15 to be free", has(15))?;
    node.allocate("b")?;
    site.until("14 to be free", has(14))?;
    node.free("a")?;
    site.until("one more to be free", has(15))?;
    // An exclusion is a change of the pool; what somebody else writes is put right.
    site.cluster.controller.coilctl("pool disable default")?;
    site.until("nothing to be given", has(0))?;
    site.cluster.controller.coilctl("pool enable default")?;
    site.until("it to be given again", has(15))?;
    ensure!(free(&site.kubernetes, "n2").is_none(), "n2 has no coild");
    // The watch is too old, and everything is listed anew. Where nothing changes nothing is written.
    let written = site.kubernetes.node_patches().len();
    let lists = site.kubernetes.node_lists();
    site.kubernetes.forget_nodes();
    site.until("the nodes to be listed", |kubernetes| kubernetes.node_lists() >= lists + 20)?;
    ensure!(site.kubernetes.node_patches().len() == written, "{:#?}", site.kubernetes.node_patches());
    node.allocate("c")?;
    site.until("14 to be free", has(14))?;
    site.is_correct()
}

#[test]
fn a_node_is_ready_when_its_coild_is_alive() -> Result<()> {
    let site = Site::start(2)?;
    site.somebody_tells()?;
    let (own, other) = (taint("coil.io/not-ready"), taint("example.net/gpu"));
    site.kubernetes.register_node("n1", &[other.clone(), own.clone()]);
    site.kubernetes.register_node("n2", from_ref(&own));
    // Another one comes between reading the node and changing it.
    site.kubernetes.race_for_node("n1", taint("example.net/drained"));
    let _first = site.cluster.coild("n1", &[])?;
    site.until("the taint to be gone", |kubernetes| {
        taints(kubernetes, "n1") == ["example.net/gpu", "example.net/drained"]
    })?;
    ensure!(site.kubernetes.conflicts() == 1, "{}", site.kubernetes.conflicts());
    ensure!(taints(&site.kubernetes, "n2") == ["coil.io/not-ready"], "n2 has no coild");
    // A node that comes after its coild, and one that is registered anew.
    let _third = site.cluster.coild("n3", &[])?;
    site.kubernetes.register_node("n3", from_ref(&own));
    site.until("the taint of n3 to be gone", |kubernetes| taints(kubernetes, "n3").is_empty())?;
    site.kubernetes.set_nodes(&["n1", "n2"]);
    site.kubernetes.register_node("n3", &[own.clone(), other]);
    site.until("it to be gone again", |kubernetes| taints(kubernetes, "n3") == ["example.net/gpu"])?;
    let second = site.cluster.coild("n2", &[])?;
    site.until("the taint of n2 to be gone", |kubernetes| taints(kubernetes, "n2").is_empty())?;
    drop(second);
    ensure!(taints(&site.kubernetes, "n2").is_empty());
    site.is_correct()
}

#[test]
fn another_controller_goes_on_and_a_silent_api_server_is_asked_again() -> Result<()> {
    let mut site = Site::start(1)?;
    site.somebody_tells()?;
    let second = site.another("100ms")?;
    let node = site.cluster.coild("n1", &[])?;
    site.kubernetes.set_broken(true);
    site.kubernetes.register_node("n1", &[taint("coil.io/not-ready")]);
    let before = site.kubernetes.failures();
    site.until("requests to fail", |kubernetes| kubernetes.failures() >= before + 4)?;
    ensure!(taints(&site.kubernetes, "n1") == ["coil.io/not-ready"]);
    site.kubernetes.set_broken(false);
    site.until("the taint to be gone", |kubernetes| taints(kubernetes, "n1").is_empty())?;
    for controller in &mut site.telling {
        controller.kill()?;
    }
    node.allocate("a")?;
    site.until("the other one to tell", |kubernetes| {
        free(kubernetes, "n1") == Some(json!({"default": {"ipv4": 15}}))
    })
    .with_context(|| second.log().unwrap_or_default())?;
    // One that ends between the two changes of a node has done no harm.
    drop(second);
    let mut third = site.another("100ms")?;
    third.kill()?;
    site.kubernetes.register_node("n1", &[taint("coil.io/not-ready")]);
    third.set_failpoints("kubernetes.taint.removed=return");
    third.try_run()?;
    third.run_after_failpoint("kubernetes.taint.removed", SOON)?;
    let free = wait_for("the node to be told", SOON, || Ok(free(&site.kubernetes, "n1")))?;
    ensure!(free == json!({"default": {"ipv4": 15}}) && taints(&site.kubernetes, "n1").is_empty(), "{free}");
    site.is_correct()
}
