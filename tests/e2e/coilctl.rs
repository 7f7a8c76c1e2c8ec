//! The operator's story: pools, nodes, blocks and addresses by coilctl, on etcd.

use anyhow::{Context, Result, ensure};
use coil_tests::cluster::Cluster;
use coil_tests::coild::Coild;
use coil_tests::controller::Controller;
use coil_tests::etcd::Etcd;
use coil_tests::load::at_once;
use coil_tests::place::Place;
use coil_tests::wait::wait_until;
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(5);

/// The items of a list, whether it comes with its page's token or not.
pub(crate) fn items(list: &Value) -> Result<Vec<Value>> {
    let items = list.get("items").unwrap_or(list).as_array();
    Ok(items.with_context(|| format!("not a list: {list}"))?.clone())
}

fn refused(controller: &Controller, line: &str, mention: &str) -> Result<()> {
    let (code, text) = controller.coilctl_fails(line)?;
    ensure!(
        code != 0 && text.contains(mention),
        "coilctl {line}: {code}, {text:?} does not mention {mention:?}"
    );
    Ok(())
}

#[test]
fn pools() -> Result<()> {
    let etcd = Etcd::start()?;
    let controller = Controller::serve(Place::Here, &etcd)?;
    assert!(items(&controller.coilctl_json("pool list")?)?.is_empty());
    controller.coilctl(
        "pool create default --subnet 10.64.0.0/16 --subnet fd00:64::/64 --block-size 27 --block-size-v6 122 \
         --exclude 10.64.0.0/30",
    )?;
    let shown = controller.coilctl_json("pool show default")?;
    assert_eq!(shown["name"], json!("default"));
    assert_eq!(shown["subnets"], json!(["10.64.0.0/16", "fd00:64::/64"]));
    assert_eq!(shown["usage"][0]["family"], json!("ipv4"));
    assert_eq!(shown["usage"][0]["blocks"], json!(2048));
    assert_eq!(shown["usage"][0]["leased"], json!(0));
    let table = controller.coilctl("pool list")?;
    assert!(table.contains("default") && table.contains("10.64.0.0/16"), "{table}");

    for (line, mention) in [
        ("pool create default --subnet 10.80.0.0/16", "default"),
        ("pool create other --subnet 10.64.8.0/24", "10.64."),
        ("pool create other --subnet 10.0.0.0/8", "10."),
        ("pool create other --subnet 10.80.0.1/16", "10.80.0.0/16"),
        ("pool create other --subnet nonsense", "nonsense"),
        ("pool create Other --subnet 10.80.0.0/16", "Other"),
        ("pool create other --subnet 10.80.0.0/30", "/28"),
        ("pool show nosuch", "nosuch"),
        ("pool delete nosuch", "nosuch"),
        ("pool add-subnet default 10.64.128.0/24", "10.64."),
        ("pool remove-subnet default 10.99.0.0/16", "10.99.0.0/16"),
    ] {
        refused(&controller, line, mention)?;
    }
    controller.coilctl("pool add-subnet default 10.65.0.0/16")?;
    assert_eq!(controller.coilctl_json("pool show default")?["usage"][0]["blocks"], json!(4096));
    controller.coilctl("pool remove-subnet default 10.65.0.0/16")?;
    let yaml = controller.coilctl("-o yaml pool show default")?;
    assert!(yaml.lines().any(|line| line == "name: default"), "{yaml}");
    controller.coilctl("pool delete default")?;
    assert!(items(&controller.coilctl_json("pool list")?)?.is_empty());
    Ok(())
}

#[test]
fn overlapping_pools_at_the_same_instant() -> Result<()> {
    let etcd = Etcd::start()?;
    let controllers = at_once(4, |_| Controller::serve(Place::Here, &etcd))?;
    let outcomes = at_once(16, |n| {
        controllers[n % 4].try_coilctl(&format!("pool create p{n} --subnet 10.64.0.0/{}", 12 + n % 8))
    })?;
    let made = outcomes.iter().filter(|output| output.status.success()).count();
    assert_eq!(made, 1, "pools that overlap were made");
    assert_eq!(items(&controllers[0].coilctl_json("pool list")?)?.len(), 1);
    Ok(())
}

struct Busy {
    cluster: Cluster,
    coild: Coild,
}

fn busy() -> Result<Busy> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let coild = cluster.coild("node-a", &["--cooldown", "0s"])?;
    for n in 0..20 {
        coild.allocate(&format!("c{n}"))?;
    }
    let busy = Busy { cluster, coild };
    busy.wait_for_held(20)?;
    Ok(busy)
}

impl Busy {
    fn wait_for_held(&self, count: usize) -> Result<()> {
        wait_until(&format!("{count} addresses to be listed"), SOON, || {
            Ok(items(&self.cluster.controller.coilctl_json("address list")?)?.len() == count)
        })
    }
}

#[test]
fn nodes_blocks_and_addresses() -> Result<()> {
    let busy = busy()?;
    let controller = &busy.cluster.controller;
    let nodes = items(&controller.coilctl_json("node list")?)?;
    assert_eq!(nodes.len(), 1);
    assert_eq!((nodes[0]["name"].clone(), nodes[0]["alive"].clone()), (json!("node-a"), json!(true)));
    let node = controller.coilctl_json("node show node-a")?;
    let leases = node["leases"].as_array().context("leases")?;
    let held = busy.coild.status()?;
    assert_eq!(leases.len(), held.address_blocks.values().map(Vec::len).sum::<usize>());
    let blocks = items(&controller.coilctl_json("block list --pool default --node node-a")?)?;
    assert_eq!(&blocks, leases);

    let given = held.pods["c7"].to_string();
    let shown = controller.coilctl_json(&format!("address show {given}"))?;
    assert_eq!((shown["state"].clone(), shown["node"].clone()), (json!("held"), json!("node-a")));
    assert_eq!(shown["attachment"]["container-id"], json!("c7"));
    assert_eq!(shown["attachment"]["pod-namespace"], json!("ns"));
    let table = controller.coilctl("address list --node node-a")?;
    assert!(table.contains(&given) && table.contains("c7"), "{table}");
    for (line, mention) in [
        ("address show 192.0.2.1", "192.0.2.1"),
        ("address show nonsense", "nonsense"),
        ("address free 10.64.255.255", "10.64.255.255"),
        ("block list --node nosuch", "nosuch"),
        ("node show nosuch", "nosuch"),
        ("node remove nosuch", "nosuch"),
    ] {
        refused(controller, line, mention)?;
    }
    let unleased = controller.coilctl_json("address show 10.64.255.255")?;
    assert!(matches!(unleased["state"].as_str(), Some("unleased" | "free")), "{unleased}");
    Ok(())
}

#[test]
fn an_address_is_freed_by_force() -> Result<()> {
    let busy = busy()?;
    let controller = &busy.cluster.controller;
    let given = busy.coild.status()?.pods["c7"].to_string();
    controller.coilctl(&format!("address free {given}"))?;
    wait_until("the node to free it", SOON, || Ok(!busy.coild.status()?.pods.contains_key("c7")))?;
    busy.wait_for_held(19)?;
    // The container's own DEL comes later and frees nobody else's.
    assert_eq!(busy.coild.free("c7")?, "");
    Ok(())
}

#[test]
fn a_disabled_pool_gives_nothing_new() -> Result<()> {
    let busy = busy()?;
    let controller = &busy.cluster.controller;
    refused(controller, "pool delete default", "default")?;
    refused(controller, "pool remove-subnet default 10.64.0.0/16", "10.64.0.0/16")?;
    controller.coilctl("pool disable default")?;
    wait_until("the node to refuse", SOON, || Ok(busy.coild.add("new")?.status == 503))?;
    assert_eq!(busy.coild.status()?.pods.len(), 20, "what is held stays");
    controller.coilctl("pool enable default")?;
    wait_until("the node to give again", SOON, || Ok(busy.coild.add("new")?.status == 200))?;
    controller.coilctl("pool disable default")?;
    for container in busy.coild.status()?.pods.keys() {
        busy.coild.free(container)?;
    }
    wait_until("all blocks to go back", SOON, || {
        Ok(items(&controller.coilctl_json("block list --pool default")?)?.is_empty())
    })?;
    controller.coilctl("pool delete default").map(|_| ())
}

#[test]
fn a_dead_nodes_blocks_are_reclaimed_by_order_only() -> Result<()> {
    let mut busy = busy()?;
    busy.coild.kill()?;
    let controller = &busy.cluster.controller;
    wait_until("the node to count as dead", Duration::from_secs(30), || {
        Ok(items(&controller.coilctl_json("node list")?)?[0]["alive"] == json!(false))
    })?;
    assert!(!items(&controller.coilctl_json("block list")?)?.is_empty(), "pods may still run there");
    let removal = controller.coilctl_json("node remove node-a")?;
    assert_eq!(removal["node"], json!("node-a"));
    assert_eq!(removal["allocated"], json!(20));
    assert!(items(&controller.coilctl_json("block list")?)?.is_empty());
    assert!(items(&controller.coilctl_json("node list")?)?.is_empty());
    assert_eq!(controller.coilctl_json("pool show default")?["usage"][0]["leased"], json!(0));
    Ok(())
}

#[test]
fn help_version_completions_and_exit_codes() -> Result<()> {
    let etcd = Etcd::start()?;
    let mut controller = Controller::serve(Place::Here, &etcd)?;
    assert!(controller.coilctl("--help")?.contains("pool"));
    assert!(controller.coilctl("--version")?.starts_with("coilctl "));
    for shell in ["bash", "zsh", "fish"] {
        assert!(controller.coilctl(&format!("completions {shell}"))?.contains("coilctl"), "{shell}");
    }
    assert_eq!(controller.coilctl_fails("pool")?.0, 2, "wrong usage");
    assert_eq!(controller.coilctl_fails("pool dance")?.0, 2, "wrong usage");
    let server = controller.server();
    controller.stop()?;
    let (code, text) = controller.coilctl_fails("pool list")?;
    let path = server.trim_start_matches("unix:");
    assert!(code != 0 && text.contains(path), "{text:?} does not name the server");
    Ok(())
}
