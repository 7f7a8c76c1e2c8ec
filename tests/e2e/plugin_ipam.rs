//! `coil` as ipam under Debian's plugins, called by hand.

use anyhow::{Context, Result};
use coil_tests::cluster::Cluster;
use coil_tests::coild::Coild;
use coil_tests::machine::Machine;
use coil_tests::plugin::{Plugin, ipam_config};
use coil_tests::tools::cni_plugin;
use serde_json::{Value, json};

/// Debian's plugins know versions up to 1.0.0.
const VERSIONS: [&str; 4] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0"];

fn coild_on(machine: &Machine, cluster: &Cluster) -> Result<Coild> {
    machine.forward()?;
    let mut coild = cluster.node("n1")?;
    coild.run()?;
    Ok(coild)
}

#[test]
fn ptp_in_every_version() -> Result<()> {
    let machine = Machine::start()?;
    let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/16 --subnet fd00:64::/64")?;
    let coild = coild_on(&machine, &cluster)?;
    for (n, version) in VERSIONS.into_iter().enumerate() {
        let mut config = ipam_config("ptp", &coild.socket());
        config["cniVersion"] = json!(version);
        config["ipam"]["addressTypes"] = json!(["ipv4", "ipv6"]);
        let name = format!("pod{n}");
        let pod = Plugin::other(machine.place(), &cni_plugin("ptp")?)?;
        let pod = pod.attachment(&name, &machine.netns(&name)?);
        let result = pod.result("ADD", &config).with_context(|| version.to_owned())?;
        let given = coil_tests::plugin::addresses(&result)?;
        assert_eq!(given.len(), 2, "{result}");
        machine.reach(None, &given[0].to_string())?;
        let mut with_result = config.clone();
        with_result["prevResult"] = result;
        pod.del(&with_result)?;
        pod.del(&config)?;
    }
    assert!(coild.status()?.attachments.is_empty());
    Ok(())
}

/// Called as a main plugin would, without one: the bare result of ipam.
#[test]
fn the_bare_result() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let coild = cluster.coild("n1", &[])?;
    let plugin = Plugin::coil(coil_tests::place::Place::Here)?.attachment("c1", "/proc/self/ns/net");
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let mut config = ipam_config("macvlan", &coild.socket());
        config["cniVersion"] = json!(version);
        let result = plugin.result("ADD", &config)?;
        assert_eq!(result["cniVersion"], json!(version));
        assert!(result.get("interfaces").is_none_or(|list| list == &json!([])), "{result}");
        let address = result["ips"][0]["address"].as_str().context("an address")?;
        assert!(address.ends_with("/32"), "{result}");
        assert_eq!(result["ips"][0]["gateway"], json!("169.254.1.1"));
        assert_eq!(result["routes"][0]["dst"], json!("0.0.0.0/0"));
        plugin.del(&config)?;
    }
    Ok(())
}

#[test]
fn a_failing_main_plugin_gives_the_address_back() -> Result<()> {
    let machine = Machine::start()?;
    let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/16")?;
    let coild = coild_on(&machine, &cluster)?;
    let netns = machine.netns("pod")?;
    machine.in_netns(&netns, "ip link add eth0 type veth peer name other")?;
    let config: Value = ipam_config("ptp", &coild.socket());
    let pod = Plugin::other(machine.place(), &cni_plugin("ptp")?)?.attachment("pod", &netns);
    pod.error("ADD", &config)?;
    assert!(coild.status()?.attachments.is_empty(), "{:?}", coild.status()?.attachments);
    Ok(())
}
