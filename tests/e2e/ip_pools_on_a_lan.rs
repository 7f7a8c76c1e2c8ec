//! Pods with addresses of namespace and service pools in the network of their hosts: under a real container runtime,
//! and under Debian's bridge and macvlan. The hosts are network namespaces.

use anyhow::{Context, Result, ensure};
use coil_tests::cluster::Cluster;
use coil_tests::coild::Coild;
use coil_tests::containerd::Containerd;
use coil_tests::machine::Machine;
use coil_tests::plugin::{Plugin, addresses, ipam_config, main_config};
use coil_tests::tools::cni_plugin;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

const ROUTER: &str = "10.9.0.1";

/// A node whose interface `up0` leads to a router.
struct Site {
    coild: Coild,
    cluster: Cluster,
    // Dropped last: all the others run in it.
    machine: Machine,
}

impl Site {
    /// With the pool `web` of the addresses from 10.9.0.5 on, and the service pool `front` of those from 10.9.0.20 on.
    fn start() -> Result<Self> {
        let machine = Machine::start()?;
        machine.netns("router")?;
        for line in [
            "ip link add up0 type veth peer name gw0 netns router",
            "ip link set up0 up",
            "ip -n router link set gw0 up",
            "ip -n router addr add 10.9.0.1/24 dev gw0",
        ] {
            machine.run(line)?;
        }
        let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/16")?;
        let http = cluster.controller.http();
        let web = json!({
            "name": "web", "namespace": "ns", "subnet": "10.9.0.0/24", "start": "10.9.0.5", "end": "10.9.0.24",
            "gateway": ROUTER, "vlanid": 0
        });
        http.post("/nsippool", &web)?.expect(200)?;
        let front = json!({
            "name": "front", "namespace": "ns", "start": "10.9.0.20", "end": "10.9.0.24", "serviceName": "shop",
            "nsIPPoolName": "web"
        });
        http.post("/serviceIPPool", &front)?.expect(200)?;
        let coild = cluster.coild("n1", &[])?;
        Ok(Self { coild, cluster, machine })
    }

    /// The pods that have addresses of `web`, as the controller shows them.
    fn pods(&self) -> Result<BTreeSet<(IpAddr, String)>> {
        let shown = self.cluster.controller.http().get("/nsippool/ns/web")?.expect(200)?.json()?;
        let pod = |(address, pod): (&String, &Value)| {
            Ok((address.parse()?, pod["podName"].as_str().context("a name")?.to_owned()))
        };
        shown["PodMap"].as_object().into_iter().flatten().map(pod).collect()
    }

    /// Two pods under another main plugin; `prepare` is run before.
    fn under(&self, plugin: &str, extra: &Value, prepare: &[&str]) -> Result<()> {
        for line in prepare {
            self.machine.run(line)?;
        }
        let mut config = ipam_config(plugin, &self.coild.socket());
        for (key, value) in extra.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let main = Plugin::other(self.machine.place(), &cni_plugin(plugin)?)?;
        let mut pods = Vec::new();
        for name in ["a", "b"] {
            let netns = self.machine.netns(name)?;
            let args =
                format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME={name};hcipam_ns_ippool=web");
            let pod = main.clone().attachment(name, &netns).with("ARGS", &args);
            let result = pod.result("ADD", &config)?;
            let ip = &result["ips"][0];
            ensure!(ip["address"].as_str().is_some_and(|text| text.ends_with("/24")), "{result}");
            ensure!(ip["gateway"] == ROUTER, "{result}");
            pods.push((netns, pod, addresses(&result)?));
        }
        let [(netns_a, _, a), (netns_b, _, b)] = pods.as_slice() else { unreachable!("two pods") };
        assert_ne!(a, b);
        self.machine.reach(Some(netns_a), &b[0].to_string())?;
        self.machine.reach(Some(netns_b), ROUTER)?;
        self.machine.reach(Some("/run/netns/router"), &a[0].to_string())?;
        for (_, pod, _) in &pods {
            pod.del(&config)?;
        }
        ensure!(self.coild.status()?.attachments.is_empty(), "not all is free");
        Ok(())
    }
}

fn annotated(name: &str, key: &str, pool: &str) -> (String, HashMap<String, String>) {
    (name.to_owned(), HashMap::from([(key.to_owned(), pool.to_owned())]))
}

/// A runtime whose pods are in a bridge with the site's network, and which passes their annotations on.
fn with_runtime(site: &Site) -> Result<Containerd> {
    let mut plugin = main_config(&site.coild.socket());
    plugin["datapath"] = json!("bridge");
    plugin["uplink"] = json!("up0");
    plugin["capabilities"] = json!({"io.kubernetes.cri.pod-annotations": true});
    let network = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]});
    Containerd::start(&site.machine, &network)
}

#[test]
fn a_runtime_passes_the_annotations_on() -> Result<()> {
    let site = Site::start()?;
    let containerd = with_runtime(&site)?;
    let pods = containerd.run_annotated([
        annotated("a", "hcipam_ns_ippool", "web"),
        annotated("b", "hcipam_ns_ippool", "web"),
        annotated("c", "hcipam_service_ippool", "front"),
    ])?;
    let of_runtime: BTreeSet<(IpAddr, String)> =
        pods.iter().map(|pod| (pod.ips[0], pod.name.clone())).collect();
    assert_eq!(of_runtime, site.pods()?);
    ensure!(of_runtime.contains(&("10.9.0.20".parse()?, "c".to_owned())), "{of_runtime:?}");
    for pod in &pods {
        site.machine.reach(Some(&pod.netns), ROUTER)?;
        for other in pods.iter().filter(|other| other.id != pod.id) {
            site.machine.reach(Some(&pod.netns), &other.ips[0].to_string())?;
        }
    }
    containerd.remove_sandboxes(&pods)?;
    ensure!(site.coild.status()?.attachments.is_empty(), "not all is free");
    Ok(())
}

#[test]
fn a_pod_of_a_set_keeps_its_address_under_a_runtime() -> Result<()> {
    let site = Site::start()?;
    let containerd = with_runtime(&site)?;
    let run = |name: &str, annotations: &[(&str, &str)]| {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        containerd.run_annotated([(name.to_owned(), annotations.collect())])
    };
    let kept = [("hcipam_ns_ippool", "web"), ("coil.io/fixed", "true")];
    let first = run("db-0", &kept)?;
    containerd.remove_sandboxes(&first)?;
    // Others come meanwhile, and one that is of no set and asks for the same.
    let others = [run("web-a", &kept)?, run("x", &kept[..1])?].concat();
    let again = run("db-0", &kept)?;
    assert_eq!(again[0].ips, first[0].ips);
    assert_ne!(again[0].id, first[0].id);
    site.machine.reach(Some(&again[0].netns), ROUTER)?;
    containerd.remove_sandboxes(&others)?;
    // Blocks are a node's: no address of them is kept for a pod that may come back elsewhere.
    for annotations in [&kept[1..], &[("coil.io/pool", "default"), kept[1]]] {
        let refused = format!("{:#}", run("db-1", annotations).expect_err("it can't be kept"));
        assert!(refused.contains("annotations.coil.io/fixed: the address can't be kept"), "{refused}");
    }
    containerd.remove_sandboxes(&again)
}

#[test]
fn under_bridge() -> Result<()> {
    let prepare = ["ip link add br0 type bridge", "ip link set br0 up", "ip link set up0 master br0"];
    Site::start()?.under("bridge", &json!({"bridge": "br0"}), &prepare)
}

#[test]
fn under_macvlan() -> Result<()> {
    Site::start()?.under("macvlan", &json!({"master": "up0", "mode": "bridge"}), &[])
}
