//! A real container runtime: twenty pods by CRI, with coil as main plugin and as ipam under ptp.

use anyhow::{Result, ensure};
use coil_tests::cluster::{Cluster, held};
use coil_tests::containerd::{Containerd, Sandbox};
use coil_tests::machine::Machine;
use coil_tests::plugin::{ipam_config, main_config};
use coil_tests::wait::wait_until;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

const PODS: usize = 20;

fn twenty_pods(network: impl Fn(&Path) -> Value, forward: bool) -> Result<()> {
    let machine = Machine::start()?;
    if forward {
        machine.forward()?;
    }
    let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/16 --subnet fd00:64::/64")?;
    let mut coild = cluster.node("n1")?;
    coild.run()?;
    let containerd = Containerd::start(&machine, &network(&coild.socket()))?;
    let names: Vec<String> = (0..PODS).map(|n| format!("pod{n:02}")).collect();
    let pods = containerd.run_sandboxes(&names)?;
    distinct(&pods)?;
    let status = coild.status()?;
    for pod in &pods {
        ensure!(status.pods.get(&pod.id) == pod.ips.first(), "coild and containerd differ: {pod:?}");
        let known = status.attachments.iter().find(|held| held.container_id.as_str() == pod.id);
        ensure!(known.is_some_and(|held| held.pod_name.as_str() == pod.name), "{} has another name", pod.id);
    }
    reachable(&machine, &pods)?;
    containerd.remove_sandboxes(&pods)?;
    assert!(coild.status()?.attachments.is_empty(), "{:?}", coild.status()?.attachments);
    let links = machine.output("ip -o link show type veth")?;
    assert!(links.is_empty(), "{links}");
    wait_until("the store to know that all is free", Duration::from_secs(3), || {
        Ok(cluster.mirror("n1")?.is_empty() && held(&coild.status()?).is_empty())
    })
}

fn distinct(pods: &[Sandbox]) -> Result<()> {
    let all: BTreeSet<IpAddr> = pods.iter().flat_map(|pod| pod.ips.clone()).collect();
    ensure!(all.len() == PODS * 2, "not {PODS} addresses of each family: {all:?}");
    Ok(())
}

fn reachable(machine: &Machine, pods: &[Sandbox]) -> Result<()> {
    for (n, pod) in pods.iter().enumerate() {
        for (family, ip) in pod.ips.iter().enumerate() {
            machine.reach(None, &ip.to_string())?;
            for other in pods.iter().filter(|other| other.id != pod.id) {
                machine.reach(Some(&other.netns), &ip.to_string())?;
            }
            let next = &pods[(n + 1) % pods.len()];
            machine.reach(Some(&pod.netns), &next.ips[family].to_string())?;
        }
    }
    Ok(())
}

fn list(mut plugin: Value) -> Value {
    plugin["addressTypes"] = json!(["ipv4", "ipv6"]);
    json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]})
}

#[test]
fn main_plugin() -> Result<()> {
    twenty_pods(|socket| list(main_config(socket)), false)
}

#[test]
fn ipam_under_ptp() -> Result<()> {
    let network = |socket: &Path| {
        let mut plugin = ipam_config("ptp", socket);
        plugin["ipam"]["addressTypes"] = json!(["ipv4", "ipv6"]);
        json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]})
    };
    twenty_pods(network, true)
}
