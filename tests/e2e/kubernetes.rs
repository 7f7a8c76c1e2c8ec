//! What follows from what Kubernetes knows.

use anyhow::{Result, ensure};
use coil_tests::cluster::Cluster;
use coil_tests::coild::Coild;
use coil_tests::controller::Controller;
use coil_tests::fake_kubernetes::FakeKubernetes;
use coil_tests::place::Place;
use coil_tests::wait::wait_until;
use common::wire::node::AddressReply;
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

struct Site {
    kubernetes: FakeKubernetes,
    asking: Controller,
    node: Coild,
    cluster: Cluster,
}

impl Site {
    fn start() -> Result<Self> {
        let (kubernetes, cluster) = (FakeKubernetes::start()?, Cluster::start("--subnet 10.64.0.0/16")?);
        let body = json!({
            "name": "web", "namespace": "ns", "subnet": "10.9.0.0/24", "start": "10.9.0.5", "end": "10.9.0.24",
            "gateway": "10.9.0.1", "vlanid": 0
        });
        cluster.controller.http().post("/nsippool", &body)?.expect(200)?;
        let node = cluster.coild("n1", &[])?;
        let kubeconfig = kubernetes.kubeconfig().display().to_string();
        let args = ["--kubernetes", kubeconfig.as_str(), "--kubernetes-interval", "100ms"];
        kubernetes.set_sets(&[("ns", "db"), ("ns", "web"), ("other", "web")]);
        let asking = Controller::serve_with(Place::Here, &cluster.etcd, &args)?;
        Ok(Self { kubernetes, asking, node, cluster })
    }

    /// A pod with a fixed address.
    fn add(&self, pod: &str) -> Result<String> {
        let annotations = json!({"hcipam_ns_ippool": "web", "hcipm_ip_fixed": "true"});
        let body = json!({
            "pod-namespace": "ns", "pod-name": pod, "container-id": pod, "annotations": annotations
        });
        let reply: AddressReply = self.node.http().post("/ip", &body)?.expect(200)?.parse()?;
        Ok(reply.first.address.to_string())
    }

    fn delete(&self, pod: &str) -> Result<()> {
        self.node.http().delete(&format!("/ip/ns/{pod}/{pod}"))?.expect(200).map(|_| ())
    }

    /// `held`, `kept` or `unleased`, and for which pod it is kept.
    fn state(&self, address: &str) -> Result<(String, Value)> {
        let shown = self.cluster.controller.coilctl_json(&format!("address show {address}"))?;
        Ok((shown["state"].as_str().unwrap_or_default().to_owned(), shown["kept_for"].clone()))
    }

    fn becomes(&self, address: &str, state: &str) -> Result<()> {
        wait_until(&format!("{address} to be {state}"), SOON, || Ok(self.state(address)?.0 == state))
    }

    /// Waits until Kubernetes was asked so often that the answer was acted on.
    fn rounds(&self) -> Result<()> {
        let before = self.kubernetes.lists();
        wait_until("Kubernetes to be asked", SOON, || Ok(self.kubernetes.lists() >= before + 4))
    }
}

#[test]
fn an_address_is_kept_as_long_as_its_set_exists() -> Result<()> {
    let site = Site::start()?;
    let [db_0, db_1, web_0] = [site.add("db-0")?, site.add("db-1")?, site.add("web-0")?];
    site.kubernetes.set_pods(&[("ns", "db-1")]);
    for (pod, address) in [("db-0", &db_0), ("web-0", &web_0)] {
        site.delete(pod)?;
        site.becomes(address, "kept")?;
    }
    site.becomes(&db_1, "held")?;
    site.rounds()?;
    for (address, state) in [(&db_0, "kept"), (&db_1, "held"), (&web_0, "kept")] {
        ensure!(site.state(address)?.0 == state, "{address}: {:?}", site.state(address)?);
    }
    // The set is gone, and of its two pods one is not.
    site.kubernetes.set_sets(&[("ns", "web"), ("other", "db")]);
    site.becomes(&db_0, "unleased")?;
    site.rounds()?;
    let held = site.state(&db_1)?;
    ensure!(held.0 == "held" && !held.1.is_null(), "{held:?}");
    // Then that one goes too: first for Kubernetes, then for the node.
    site.kubernetes.set_pods(&[]);
    wait_until("the pod's address to be kept no longer", SOON, || Ok(site.state(&db_1)?.1.is_null()))?;
    ensure!(site.state(&db_1)?.0 == "held");
    site.delete("db-1")?;
    site.becomes(&db_1, "unleased")?;
    ensure!(site.state(&web_0)?.0 == "kept");
    let log = site.asking.log()?;
    ensure!(log.contains("the StatefulSet of pod ns/db-0 is gone"), "{log}");
    ensure!(site.kubernetes.wrong().is_empty(), "{:?}", site.kubernetes.wrong());
    Ok(())
}

#[test]
fn what_kubernetes_does_not_say_is_not_concluded() -> Result<()> {
    let site = Site::start()?;
    let address = site.add("web-0")?;
    site.delete("web-0")?;
    site.becomes(&address, "kept")?;
    site.kubernetes.set_broken(true);
    site.kubernetes.set_sets(&[]);
    wait_until("requests to fail", SOON, || Ok(site.kubernetes.failures() >= 6))?;
    ensure!(site.state(&address)?.0 == "kept");
    site.kubernetes.set_broken(false);
    site.becomes(&address, "unleased")
}

#[test]
fn a_node_is_removed_when_kubernetes_has_deleted_it() -> Result<()> {
    let Site { kubernetes, asking, mut node, cluster } = Site::start()?;
    let nodes = || -> Result<Vec<String>> {
        let list = cluster.controller.coilctl_json("node list")?;
        Ok(list
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|node| node["name"].as_str().map(str::to_owned))
            .collect())
    };
    // One that Kubernetes never had, as a machine beside the cluster.
    let mut beside = cluster.coild("beside", &[])?;
    beside.allocate("a")?;
    let held = node.allocate("b")?;
    kubernetes.set_nodes(&["n1", "n2", "n3"]);
    let asked = |times: usize| -> Result<()> {
        let before = kubernetes.node_lists();
        wait_until("Kubernetes to be asked", SOON, || Ok(kubernetes.node_lists() >= before + times))
    };
    asked(3)?;
    // That it is down is no reason, nor that Kubernetes answers nothing, nor that it is gone there while it lives.
    node.kill()?;
    wait_until("it to be away", SOON * 2, || {
        let shown = cluster.controller.coilctl_json("node show n1")?;
        Ok(shown["alive"] == false)
    })?;
    asked(4)?;
    kubernetes.set_broken(true);
    kubernetes.set_nodes(&[]);
    let before = kubernetes.failures();
    wait_until("requests to fail", SOON, || Ok(kubernetes.failures() >= before + 6))?;
    ensure!(nodes()? == ["beside", "n1"], "{:?}", nodes()?);
    node.run()?;
    kubernetes.set_broken(false);
    asked(4)?;
    ensure!(nodes()? == ["beside", "n1"] && node.status()?.fenced.is_empty(), "{:?}", nodes()?);
    // Down and gone: its block goes back, and another one may have its address.
    node.stop()?;
    beside.stop()?;
    wait_until("the node to be removed", SOON, || Ok(nodes()? == ["beside"]))?;
    let shown = cluster.controller.coilctl_json(&format!("address show {held}"))?;
    ensure!(shown["state"] == "unleased", "{shown}");
    asked(4)?;
    ensure!(nodes()? == ["beside"], "{:?}", nodes()?);
    let log = asking.log()?;
    ensure!(
        log.contains("node n1: removed") && kubernetes.wrong().is_empty(),
        "{:?}: {log}",
        kubernetes.wrong()
    );
    Ok(())
}
