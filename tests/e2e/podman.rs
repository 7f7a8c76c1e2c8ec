//! Podman with its CNI backend, which knows no pods of Kubernetes.

use anyhow::Result;
use coil_tests::cluster::Cluster;
use coil_tests::machine::Machine;
use coil_tests::plugin::{ipam_config, main_config};
use coil_tests::podman::Podman;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const CONTAINERS: [&str; 3] = ["a", "b", "c"];

fn containers_come_and_go(plugin: impl Fn(&std::path::Path) -> Value) -> Result<()> {
    let machine = Machine::start()?;
    machine.forward()?;
    let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/16")?;
    let mut coild = cluster.node("n1")?;
    coild.run()?;
    let network = json!({"cniVersion": "0.4.0", "name": "net", "plugins": [plugin(&coild.socket())]});
    let podman = Podman::new(&machine, &network)?;
    let ids: Vec<String> = CONTAINERS.iter().map(|name| podman.run(name)).collect::<Result<_>>()?;
    let status = coild.status()?;
    assert_eq!(status.pods.keys().collect::<BTreeSet<_>>(), ids.iter().collect());
    assert_eq!(status.pods.values().collect::<BTreeSet<_>>().len(), CONTAINERS.len());
    for (n, id) in ids.iter().enumerate() {
        let address = status.pods[id].to_string();
        machine.reach(None, &address)?;
        let other = podman.netns(CONTAINERS[(n + 1) % CONTAINERS.len()])?;
        machine.reach(Some(&other), &address)?;
    }
    for name in CONTAINERS {
        podman.remove(name)?;
    }
    assert!(coild.status()?.attachments.is_empty(), "{:?}", coild.status()?.attachments);
    Ok(())
}

#[test]
fn main_plugin() -> Result<()> {
    containers_come_and_go(main_config)
}

#[test]
fn ipam_under_ptp() -> Result<()> {
    containers_come_and_go(|socket| ipam_config("ptp", socket))
}
