//! Debian's bridge plugin on a pool whose blocks have gateways.

use anyhow::{Context, Result};
use coil_tests::cluster::Cluster;
use coil_tests::machine::Machine;
use coil_tests::plugin::{Plugin, addresses, ipam_config};
use coil_tests::tools::cni_plugin;
use ipnet::IpNet;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::IpAddr;

#[test]
fn the_first_address_of_a_block_is_its_gateway() -> Result<()> {
    let machine = Machine::start()?;
    machine.forward()?;
    let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/28 --block-gateway first")?;
    let mut coild = cluster.node("n1")?;
    coild.run()?;
    let mut config = ipam_config("bridge", &coild.socket());
    config["bridge"] = json!("br0");
    config["isGateway"] = json!(true);
    let bridge = Plugin::other(machine.place(), &cni_plugin("bridge")?)?;
    let mut given = BTreeSet::new();
    let mut last = None;
    // 16 addresses less gateway and broadcast.
    for n in 0..14 {
        let name = format!("pod{n}");
        let netns = machine.netns(&name)?;
        let result = bridge.clone().attachment(&name, &netns).result("ADD", &config)?;
        let ip = &result["ips"][0];
        let net: IpNet = ip["address"].as_str().context("an address")?.parse()?;
        assert_eq!((net.prefix_len(), ip["gateway"].clone()), (28, json!("10.64.0.0")), "{result}");
        given.extend(addresses(&result)?);
        last = Some((netns, net.addr()));
    }
    let reserved: BTreeSet<IpAddr> =
        ["10.64.0.0", "10.64.0.15"].iter().filter_map(|ip| ip.parse().ok()).collect();
    assert!(given.is_disjoint(&reserved), "{given:?}");
    let (netns, address) = last.context("a pod")?;
    machine.reach(None, &address.to_string())?;
    for other in given.iter().filter(|other| **other != address) {
        machine.reach(Some(&netns), &other.to_string())?;
    }
    for n in 0..14 {
        let name = format!("pod{n}");
        bridge.clone().attachment(&name, &format!("/run/netns/{name}")).del(&config)?;
    }
    assert!(coild.status()?.attachments.is_empty());
    Ok(())
}
