//! Pools of pods that a tenant's block backs: from the block over coild to the lists of the tenant.

use crate::coilctl::items;
use anyhow::{Context, Result};
use coil_tests::cluster::Cluster;
use coil_tests::coild::Coild;
use coil_tests::controller::Controller;
use coil_tests::place::Place;
use coil_tests::plugin::{Plugin, ipam_config};
use coil_tests::wait::wait_until;
use common::wire::node::AddressReply;
use serde_json::{Value, json};
use std::time::Duration;

/// Longer than it takes until another controller has the turn of one that was killed.
const SOON: Duration = Duration::from_secs(30);

fn add(node: &Coild, container: &str, interface: &str) -> Result<String> {
    let body = json!({
        "pod-namespace": "shop", "pod-name": container, "container-id": container, "interface": interface,
        "pool": "acme"
    });
    let reply: AddressReply = node.http().post("/ip", &body)?.expect(200)?.parse()?;
    Ok(reply.first.address.to_string())
}

fn free(node: &Coild, container: &str, interface: &str) -> Result<()> {
    let path = format!("/ip/shop/{container}/{container}?interface={interface}");
    node.http().delete(&path)?.expect(200).map(|_| ())
}

/// What a tenant sees: address, container and interface of each.
fn seen(controller: &Controller) -> Result<Vec<[String; 3]>> {
    let list = controller.coilctl_json("melange address allocated acme")?;
    let text = |item: &Value, field: &str| item[field].as_str().unwrap_or_default().to_owned();
    let mut seen: Vec<[String; 3]> = items(&list)?
        .iter()
        .map(|item| ["address", "used_by_device", "interface_id"].map(|field| text(item, field)))
        .collect();
    seen.sort();
    Ok(seen)
}

fn until(controller: &Controller, mut expected: Vec<[&str; 3]>) -> Result<()> {
    expected.sort_unstable();
    let mut last = Vec::new();
    wait_until("the tenant to see its pods", SOON, || {
        last = seen(controller)?;
        Ok(last == expected)
    })
    .with_context(|| format!("expected {expected:?}, seen {last:?}"))
}

#[test]
fn a_tenant_sees_the_pods_that_have_its_addresses() -> Result<()> {
    let mut cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let (a, b) = (cluster.coild("a", &[])?, cluster.coild("b", &[])?);
    let controller = &cluster.controller;
    let policy = controller.coilctl_json("melange policy create acme reserve")?;
    let policy = policy["id"].as_str().context("an id")?;
    controller.coilctl(&format!("melange policy forbid-range acme {policy} --offset 0 --length 8"))?;
    let block = controller
        .coilctl_json(&format!("melange block create acme --cidr 10.7.0.0/24 --policy {policy}"))?;
    let block = block["id"].as_str().context("an id")?.to_owned();
    controller.coilctl(&format!("pool create acme --from-block acme/{block}"))?;
    assert!(controller.coilctl("pool list")?.contains("10.7.0.0/24 of acme"));

    // By coild's API on one node, and by the plugin on the other.
    let (web, net1) = (add(&a, "web", "eth0")?, add(&a, "web", "net1")?);
    let plugin = Plugin::coil(Place::Here)?.attachment("db", "/proc/self/ns/net");
    let mut config = ipam_config("macvlan", &b.socket());
    config["ipam"]["pool"] = json!("acme");
    let result = plugin.result("ADD", &config)?;
    let db = coil_tests::plugin::addresses(&result)?[0].to_string();
    until(controller, vec![[&web, "web", "eth0"], [&net1, "web", "net1"], [&db, "db", "eth0"]])?;
    let of_device = controller.coilctl_json("melange address allocated acme --device db")?;
    assert_eq!(items(&of_device)?.len(), 1);
    for line in [
        format!("melange address deallocate acme {block} {db}"),
        format!("melange address allocate acme {block}"),
        format!("melange block delete acme {block}"),
        "pool delete acme".to_owned(),
    ] {
        controller.coilctl_fails(&line)?;
    }

    // Nobody looks while pods come and go. Another controller does later, and then the one that was away.
    cluster.controller.kill()?;
    free(&a, "web", "eth0")?;
    free(&a, "web", "net1")?;
    plugin.del(&config)?;
    let late = add(&b, "late", "eth0")?;
    let other = Controller::serve(Place::Here, &cluster.etcd)?;
    until(&other, vec![[&late, "late", "eth0"]])?;
    cluster.controller.run()?;
    let last = add(&a, "last", "eth0")?;
    until(&cluster.controller, vec![[&late, "late", "eth0"], [&last, "last", "eth0"]])?;
    drop(other);
    free(&b, "late", "eth0")?;
    free(&a, "last", "eth0")?;
    until(&cluster.controller, Vec::new())?;
    cluster.controller.coilctl("pool disable acme")?;
    wait_until("the pool to be empty", Duration::from_mins(2), || {
        Ok(cluster.controller.try_coilctl("pool delete acme")?.status.success())
    })?;
    let given = cluster.controller.coilctl_json(&format!("melange address allocate acme {block}"))?;
    assert_eq!(given["address"], "10.7.0.8");
    Ok(())
}
