//! `coil` as main plugin with a bridge: pods of namespace pools in the network of their hosts, untagged. The hosts are
//! network namespaces.

use anyhow::Result;
use coil_tests::cluster::Cluster;
use coil_tests::coild::Coild;
use coil_tests::machine::Machine;
use coil_tests::plugin::{Plugin, main_config};
use common::wire::node::StatusReply;
use serde_json::{Value, json};
use std::net::IpAddr;

struct Site {
    plugin: Plugin,
    coild: Coild,
    _cluster: Cluster,
    // Dropped last: all the others run in it.
    machine: Machine,
}

impl Site {
    /// A node whose `up0` leads to a router, 10.9.0.1, and a pool `web` of the addresses from 10.9.0.5 on.
    fn start() -> Result<Self> {
        let machine = Machine::start()?;
        machine.netns("router")?;
        for line in [
            "ip link add up0 type veth peer name gw0 netns router",
            "ip -n router link set gw0 up",
            "ip -n router addr add 10.9.0.1/24 dev gw0",
        ] {
            machine.run(line)?;
        }
        let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/16")?;
        let body = json!({
            "name": "web", "namespace": "ns", "subnet": "10.9.0.0/24", "start": "10.9.0.5", "end": "10.9.0.24",
            "gateway": "10.9.0.1", "vlanid": 0
        });
        cluster.controller.http().post("/nsippool", &body)?.expect(200)?;
        let coild = cluster.coild("n1", &[])?;
        let plugin = Plugin::coil(machine.place())?;
        Ok(Self { plugin, coild, _cluster: cluster, machine })
    }

    fn config(&self) -> Value {
        let mut config = main_config(&self.coild.socket());
        config["datapath"] = json!("bridge");
        config["uplink"] = json!("up0");
        config["runtimeConfig"] = json!({"io.kubernetes.cri.pod-annotations": {"hcipam_ns_ippool": "web"}});
        config
    }

    /// A new network namespace, and the plugin called for it.
    fn pod(&self, name: &str) -> Result<(String, Plugin)> {
        let netns = self.machine.netns(name)?;
        let args = format!("K8S_POD_NAMESPACE=ns;K8S_POD_NAME={name}");
        Ok((netns.clone(), self.plugin.clone().attachment(name, &netns).with("ARGS", &args)))
    }
}

fn ip(text: &str) -> Result<IpAddr> {
    Ok(text.parse()?)
}

#[test]
fn pods_are_in_the_network_of_their_pool() -> Result<()> {
    let site = Site::start()?;
    let config = site.config();
    let (netns_a, a) = site.pod("a")?;
    let (netns_b, b) = site.pod("b")?;
    let result = a.result("ADD", &config)?;
    let expected = json!([{"address": "10.9.0.5/24", "gateway": "10.9.0.1", "interface": 1}]);
    assert_eq!(result["ips"], expected, "{result}");
    assert_eq!(result["routes"], json!([{"dst": "0.0.0.0/0", "gw": "10.9.0.1"}]));
    assert_eq!(b.add(&config)?, [ip("10.9.0.6")?]);
    site.machine.reach(Some(&netns_a), "10.9.0.6")?;
    site.machine.reach(Some(&netns_b), "10.9.0.1")?;
    site.machine.reach(Some("/run/netns/router"), "10.9.0.5")?;
    let mut after = config.clone();
    after["prevResult"] = result;
    assert!(a.result("CHECK", &after)?.is_null());
    site.machine.run("ip -n a addr flush dev eth0")?;
    assert_eq!(a.error("CHECK", &after)?.code, 104);
    for pod in [&a, &b, &a] {
        pod.del(&config)?;
    }
    assert!(site.coild.status()?.attachments.is_empty());
    let links = site.machine.output("ip -o link show master coil0")?;
    assert!(links.contains("up0") && !links.contains("veth"), "{links}");
    Ok(())
}

#[test]
fn an_address_that_a_foreign_host_uses_is_set_aside() -> Result<()> {
    let mut site = Site::start()?;
    for last in [5, 6] {
        site.machine.run(&format!("ip -n router addr add 10.9.0.{last}/24 dev gw0"))?;
    }
    let config = site.config();
    let (netns, a) = site.pod("a")?;
    assert_eq!(a.add(&config)?, [ip("10.9.0.7")?]);
    site.machine.reach(Some(&netns), "10.9.0.1")?;
    let conflicts = |status: StatusReply| -> Vec<IpAddr> {
        status.conflicts.into_iter().map(|conflict| conflict.address).collect()
    };
    let status = site.coild.status()?;
    assert_eq!(status.attachments.len(), 1, "{status:?}");
    let expected = [ip("10.9.0.5")?, ip("10.9.0.6")?];
    assert_eq!(conflicts(status), expected);
    let metrics = site.coild.http().get("/metrics")?.expect(200)?.text();
    for line in ["coild_conflicts_total 2", "coild_conflict_addresses 2"] {
        assert!(metrics.contains(line), "{line} is missing in:\n{metrics}");
    }
    // It is remembered, whatever happens to coild, and their hosts' going changes nothing for a while.
    site.coild.kill()?;
    site.coild.run()?;
    assert_eq!(conflicts(site.coild.status()?), expected);
    site.machine.run("ip -n router addr flush dev gw0")?;
    let (_, b) = site.pod("b")?;
    assert_eq!(b.add(&config)?, [ip("10.9.0.8")?]);
    // Who asks for one address gets no other.
    site.machine.run("ip -n router addr add 10.9.0.9/24 dev gw0")?;
    let mut wanted = config.clone();
    wanted["runtimeConfig"]["ips"] = json!(["10.9.0.9"]);
    let (_, c) = site.pod("c")?;
    let error = c.error("ADD", &wanted)?;
    assert_eq!(error.code, 11, "{error:?}");
    assert!(error.text.contains("10.9.0.9 is in use by"), "{error:?}");
    assert_eq!(site.coild.status()?.attachments.len(), 2);
    Ok(())
}

#[test]
fn what_fails_leaves_nothing() -> Result<()> {
    let site = Site::start()?;
    let (_, pod) = site.pod("a")?;
    for (key, value, code) in [("uplink", "up9", 7), ("bridge", "up0", 7), ("bridge", "lo", 7)] {
        let mut config = site.config();
        config[key] = json!(value);
        let error = pod.error("ADD", &config)?;
        assert_eq!(error.code, code, "{error:?}");
        assert!(error.text.contains(key), "{error:?}");
    }
    // An address of a routed pool has no place in a bridge.
    let mut config = site.config();
    config["runtimeConfig"] = json!({});
    let error = pod.error("ADD", &config)?;
    assert_eq!(error.code, 2, "{error:?}");
    assert!(site.coild.status()?.attachments.is_empty());
    let links = site.machine.output("ip -o link")?;
    assert!(!links.contains("veth"), "{links}");
    Ok(())
}
