//! `coil` as main plugin: interfaces, routes, every verb in every version, and nothing left on failure.

use anyhow::{Context, Result};
use coil_tests::cluster::Cluster;
use coil_tests::coild::Coild;
use coil_tests::machine::Machine;
use coil_tests::plugin::{Plugin, addresses, main_config};
use serde_json::{Value, json};

const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const DUAL: &str = "--subnet 10.64.0.0/16 --subnet fd00:64::/64";

struct Node {
    plugin: Plugin,
    coild: Coild,
    _cluster: Cluster,
    // Dropped last: all the others run in it.
    machine: Machine,
}

impl Node {
    fn start() -> Result<Self> {
        let machine = Machine::start()?;
        let cluster = Cluster::start_on(&machine, DUAL)?;
        let mut coild = cluster.node("n1")?;
        coild.run()?;
        let plugin = Plugin::coil(machine.place())?;
        Ok(Self { plugin, coild, _cluster: cluster, machine })
    }

    fn config(&self, version: &str) -> Value {
        let mut config = main_config(&self.coild.socket());
        config["cniVersion"] = json!(version);
        config
    }

    fn dual(&self, version: &str) -> Value {
        let mut config = self.config(version);
        config["addressTypes"] = json!(["ipv4", "ipv6"]);
        config
    }

    /// A new network namespace, and the plugin called for it.
    fn pod(&self, name: &str) -> Result<(String, Plugin)> {
        let netns = self.machine.netns(name)?;
        let plugin = self.plugin.clone().attachment(name, &netns);
        Ok((netns, plugin))
    }

    fn veths(&self) -> Result<usize> {
        Ok(self.machine.output("ip -o link show type veth")?.lines().count())
    }

    fn assert_nothing_left(&self) -> Result<()> {
        assert_eq!(self.veths()?, 0, "{}", self.machine.output("ip link")?);
        let held = self.coild.status()?.attachments;
        assert!(held.is_empty(), "{held:?}");
        Ok(())
    }
}

fn after_add(config: &Value, result: &Value) -> Value {
    let mut config = config.clone();
    config["prevResult"] = result.clone();
    config
}

#[test]
fn every_verb_in_every_version() -> Result<()> {
    let node = Node::start()?;
    for (n, version) in VERSIONS.into_iter().enumerate() {
        let config = node.dual(version);
        let (netns, pod) = node.pod(&format!("pod{n}"))?;
        let versions = pod.result("VERSION", &json!({"cniVersion": version}))?;
        assert_eq!(versions["cniVersion"], json!(version));
        assert_eq!(versions["supportedVersions"], json!(VERSIONS));

        let result = pod.result("ADD", &config).with_context(|| version.to_owned())?;
        assert_eq!(result["cniVersion"], json!(version));
        assert_eq!(result["interfaces"][1]["name"], json!("eth0"));
        assert_eq!(result["interfaces"][1]["sandbox"], json!(netns));
        assert_eq!(result["ips"][0]["interface"], json!(1));
        assert_eq!(result["ips"][0]["gateway"], json!("169.254.1.1"));
        assert_eq!(result["ips"][1]["gateway"], json!("fe80::1"));
        let family = if version < "1.0.0" { json!("4") } else { Value::Null };
        assert_eq!(result["ips"][0].get("version").cloned().unwrap_or(Value::Null), family, "{version}");

        if version >= "0.4.0" {
            let check = pod.result("CHECK", &after_add(&config, &result));
            assert!(check.context(version)?.is_null());
        }
        pod.del(&after_add(&config, &result))?;
        pod.del(&config).context("DEL again")?;
    }
    let pod = node.plugin.clone();
    assert!(pod.result("STATUS", &node.config("1.1.0"))?.is_null());
    node.assert_nothing_left()
}

#[test]
fn pods_reach_each_other_and_the_host() -> Result<()> {
    let node = Node::start()?;
    let config = node.dual("1.0.0");
    let (netns_a, a) = node.pod("a")?;
    let (netns_b, b) = node.pod("b")?;
    let (of_a, of_b) = (a.add(&config)?, b.add(&config)?);
    for ip in of_a.iter().chain(&of_b) {
        node.machine.reach(None, &ip.to_string())?;
    }
    for (from, to) in [(&netns_a, &of_b), (&netns_b, &of_a)] {
        for ip in to {
            node.machine.reach(Some(from), &ip.to_string())?;
        }
    }
    // A container's address is its alone: a /32, reached through its gateway.
    let shown = String::from_utf8(node.machine.in_netns(&netns_a, "ip -4 addr show eth0")?.stdout)?;
    assert!(shown.contains(&format!("{}/32", of_a[0])), "{shown}");
    let routes = String::from_utf8(node.machine.in_netns(&netns_a, "ip -4 route")?.stdout)?;
    assert!(routes.contains("default via 169.254.1.1 dev eth0"), "{routes}");
    a.del(&config)?;
    b.del(&config)?;
    node.assert_nothing_left()
}

#[test]
fn interfaces_of_one_container() -> Result<()> {
    let node = Node::start()?;
    let config = node.config("1.0.0");
    let (netns, eth0) = node.pod("a")?;
    let net1 = eth0.clone().with("IFNAME", "net1");
    let (first, second) = (eth0.add(&config)?, net1.add(&config)?);
    assert_ne!(first, second);
    let links = String::from_utf8(node.machine.in_netns(&netns, "ip -o link")?.stdout)?;
    assert!(links.contains("eth0@") && links.contains("net1@"), "{links}");
    net1.del(&config)?;
    node.machine.reach(None, &first[0].to_string())?;
    eth0.del(&config)?;
    node.assert_nothing_left()
}

#[test]
fn check_sees_what_changed() -> Result<()> {
    let node = Node::start()?;
    let config = node.config("1.0.0");
    for (n, damage) in [
        "in ip link set eth0 down",
        "in ip route del default",
        "in ip addr flush dev eth0",
        "in ip link set eth0 name eth9",
        "host ip route del ADDRESS",
        "free",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("pod{n}");
        let (netns, pod) = node.pod(&name)?;
        let result = pod.result("ADD", &config)?;
        let checked = after_add(&config, &result);
        pod.result("CHECK", &checked)?;
        let address = addresses(&result)?[0];
        match damage.split_once(' ') {
            Some(("in", line)) => node.machine.in_netns(&netns, line)?,
            Some((_, line)) => node.machine.run(&line.replace("ADDRESS", &address.to_string()))?,
            None => {
                node.coild.http().delete(&format!("/ip/net/{name}/{name}"))?;
                anyhow::ensure!(!node.coild.status()?.pods.contains_key(&name), "freed under another name");
                node.machine.run("true")?
            }
        };
        let error = pod.error("CHECK", &checked).with_context(|| damage.to_owned())?;
        assert_eq!(error.code, 104, "{damage}: {}", error.text);
        pod.del(&config).with_context(|| format!("DEL after {damage}"))?;
        node.machine.run(&format!("ip netns del {name}"))?;
    }
    Ok(())
}

#[test]
fn a_failed_add_leaves_nothing() -> Result<()> {
    let node = Node::start()?;
    let (netns, pod) = node.pod("a")?;
    node.machine.in_netns(&netns, "ip link add eth0 type veth peer name other")?;
    let error = pod.error("ADD", &node.dual("1.0.0"))?;
    assert!(error.text.contains("eth0"), "{}", error.text);
    node.assert_nothing_left()?;
    // A namespace that is not there.
    let missing = node.plugin.clone().attachment("b", "/run/netns/missing");
    let error = missing.error("ADD", &node.config("1.0.0"))?;
    assert!(error.text.contains("/run/netns/missing"), "{}", error.text);
    node.assert_nothing_left()?;
    // The interface exists already, and it is another container's: the first one's stays.
    node.machine.in_netns(&netns, "ip link del eth0")?;
    let config = node.config("1.0.0");
    let given = pod.add(&config)?;
    assert_eq!(pod.error("ADD", &config)?.code, 102);
    node.machine.reach(None, &given[0].to_string())?;
    assert_eq!(node.coild.status()?.attachments.len(), 1);
    Ok(())
}

#[test]
fn del_works_without_the_namespace() -> Result<()> {
    let node = Node::start()?;
    let config = node.config("1.0.0");
    for (name, netns_for_del) in [("a", Some("/run/netns/a")), ("b", Some("")), ("c", None)] {
        let (_, pod) = node.pod(name)?;
        pod.add(&config)?;
        node.machine.run(&format!("ip netns del {name}"))?;
        let del = node.plugin.clone().with("CONTAINERID", name).with("IFNAME", "eth0");
        let del = match netns_for_del {
            Some(path) => del.with("NETNS", path),
            None => del,
        };
        del.del(&config).with_context(|| name.to_owned())?;
        del.del(&config).with_context(|| format!("{name} again"))?;
    }
    node.assert_nothing_left()
}

#[test]
fn static_addresses() -> Result<()> {
    let node = Node::start()?;
    let config = node.config("1.0.0");
    let (_, a) = node.pod("a")?;
    let given = a.with("ARGS", "IgnoreUnknown=1;IP=10.64.7.7").add(&config)?;
    assert_eq!(given[0].to_string(), "10.64.7.7");
    let mut capability = node.dual("1.0.0");
    capability["runtimeConfig"] = json!({"ips": ["10.64.8.8", "fd00:64::88"]});
    let (_, b) = node.pod("b")?;
    let given: Vec<String> = b.add(&capability)?.iter().map(ToString::to_string).collect();
    assert_eq!(given, ["10.64.8.8", "fd00:64::88"]);
    // Taken.
    let (_, c) = node.pod("c")?;
    let error = c.with("ARGS", "IP=10.64.7.7").error("ADD", &config)?;
    assert!(error.text.contains("10.64.7.7"), "{}", error.text);
    assert_eq!(node.coild.status()?.pods.len(), 2);
    Ok(())
}

#[test]
fn garbage_collection_keeps_valid_attachments() -> Result<()> {
    let node = Node::start()?;
    let mut config = node.config("1.1.0");
    for name in ["a", "b"] {
        node.pod(name)?.1.add(&config)?;
    }
    let mut other = config.clone();
    other["name"] = json!("another");
    node.pod("c")?.1.add(&other)?;
    config["cni.dev/valid-attachments"] = json!([{"containerID": "a", "ifname": "eth0"}]);
    assert!(node.plugin.result("GC", &config)?.is_null());
    let left: Vec<String> = node.coild.status()?.pods.into_keys().collect();
    assert_eq!(left, ["a", "c"]);
    Ok(())
}

#[test]
fn pods_are_named_by_kubernetes() -> Result<()> {
    let node = Node::start()?;
    let config = node.config("1.0.0");
    let (_, pod) = node.pod("a")?;
    let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=team;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=a";
    let pod = pod.with("ARGS", args);
    pod.add(&config)?;
    let held = node.coild.status()?.attachments;
    assert_eq!((held[0].pod_namespace.as_str(), held[0].pod_name.as_str()), ("team", "web-0"));
    let links = node.machine.output("ip -o link show type veth")?;
    let name = links.split(": ").nth(1).and_then(|name| name.split('@').next()).context("a veth")?;
    let digits = name.strip_prefix("veth").context("veth")?;
    assert!(digits.len() == 11 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    pod.del(&config)?;
    node.assert_nothing_left()
}
