//! What happens, in order. Each step checks what it shows.

use crate::narrator::Narrator;
use crate::netns;
use crate::ping::ping;
use crate::programs::{Attachment, Standalone, coilctl, wait_for};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

const CONTAINERS: [&str; 3] = ["demo-a", "demo-b", "demo-c"];
const STANDALONE: &str = "standalone --data-dir /run/coil --node-name demo";
const POOL: &str = "pool create default --subnet 10.64.0.0/16 --subnet fd00:64::/64";

/// A container, which consists of a network namespace only.
struct Container {
    name: &'static str,
    netns: PathBuf,
    addresses: Vec<IpAddr>,
}

impl Container {
    fn attachment(&self) -> Attachment<'_> {
        Attachment { container: self.name, netns: &self.netns }
    }
}

/// Tells it all.
pub(crate) fn tell() -> Result<()> {
    let mut narrator = Narrator::new();
    narrator.say("Coil, the whole system on one machine. All of it runs in namespaces of its own:")?;
    narrator.say("your network, processes and files are not touched.")?;

    narrator.step("Controller and node daemon in one process, on the embedded store")?;
    narrator.command(&format!("coil-controller {STANDALONE}"))?;
    let standalone = Standalone::start(&words(STANDALONE))?;

    narrator.step("A pool of IPv4 and IPv6 addresses")?;
    show(&narrator, POOL)?;

    let families = if netns::has_ipv6() { vec!["ipv4", "ipv6"] } else { vec!["ipv4"] };
    let config = json!({"cniVersion": "1.0.0", "name": "demo", "type": "coil", "addressTypes": families});
    narrator.step("Three containers; for each, the call that a container runtime makes")?;
    narrator.command("cat net.json")?;
    narrator.output(&config.to_string())?;
    let containers = add(&narrator, &config, families.len())?;

    narrator.step("They reach each other through the host's routes, and the host reaches them")?;
    reach(&narrator, &containers)?;

    narrator.step("What the operator sees")?;
    wait_for_addresses(containers.len() * families.len())?;
    for noun in ["pool", "node", "block", "address"] {
        show(&narrator, &format!("{noun} list"))?;
    }

    narrator.step("The containers go, and everything is free again")?;
    delete(&narrator, &config, &containers)?;

    narrator.step("Stop")?;
    standalone.stop()?;
    narrator.say("   Stopped cleanly. With the demo end its namespaces: nothing is left behind.")
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn show(narrator: &Narrator, line: &str) -> Result<()> {
    narrator.command(&format!("coilctl {line}"))?;
    narrator.output(&coilctl(&words(line))?)
}

fn add(narrator: &Narrator, config: &Value, families: usize) -> Result<Vec<Container>> {
    let mut containers = Vec::new();
    for name in CONTAINERS {
        let mut container = Container { name, netns: netns::create(name)?, addresses: Vec::new() };
        narrator.command(&container.attachment().typed("ADD"))?;
        container.addresses = container.attachment().add(config)?;
        let has_v4 = container.addresses.iter().any(IpAddr::is_ipv4);
        ensure!(has_v4 && container.addresses.len() == families, "{name} lacks an address");
        narrator.output(&list(&container.addresses))?;
        containers.push(container);
    }
    let all: BTreeSet<IpAddr> = containers.iter().flat_map(|container| container.addresses.clone()).collect();
    ensure!(all.len() == CONTAINERS.len() * families, "an address was given twice");
    Ok(containers)
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join("  ")
}

fn reach(narrator: &Narrator, containers: &[Container]) -> Result<()> {
    for to in containers {
        let times = to.addresses.iter().map(|&address| told(address, ping(address)));
        narrator.output(&format!(
            "host   -> {}  {}",
            to.name,
            times.collect::<Result<Vec<_>>>()?.join("   ")
        ))?;
    }
    for from in containers {
        for to in containers.iter().filter(|to| to.name != from.name) {
            let times = to
                .addresses
                .iter()
                .map(|&address| told(address, netns::inside(&from.netns, || ping(address))));
            let times = times.collect::<Result<Vec<_>>>();
            let times = times.with_context(|| format!("from {} to {}", from.name, to.name))?.join("   ");
            narrator.output(&format!("{} -> {}  {times}", from.name, to.name))?;
        }
    }
    Ok(())
}

fn told(address: IpAddr, time: Result<std::time::Duration>) -> Result<String> {
    Ok(format!("{address} {:.2} ms", time?.as_secs_f64() * 1_000.0))
}

/// The controller learns of the node's allocations within a second.
fn wait_for_addresses(count: usize) -> Result<()> {
    wait_for(&format!("the controller to list {count} addresses"), || {
        let list: Value = serde_json::from_str(&coilctl(&["-o", "json", "address", "list"])?)?;
        let items = list.get("items").unwrap_or(&list).as_array().context("a list")?;
        Ok((items.len() == count).then_some(()))
    })
}

fn delete(narrator: &Narrator, config: &Value, containers: &[Container]) -> Result<()> {
    for container in containers {
        narrator.command(&container.attachment().typed("DEL"))?;
        container.attachment().del(config)?;
        let left = netns::inside(&container.netns, netns::interfaces)?;
        ensure!(left == ["lo"], "{} still has {left:?}", container.name);
    }
    let left = netns::interfaces()?;
    ensure!(left == ["lo"], "the host still has {left:?}");
    wait_for_addresses(0)?;
    show(narrator, "address list")?;
    narrator.output("(and no interface is left, on the host or in a container)")
}
