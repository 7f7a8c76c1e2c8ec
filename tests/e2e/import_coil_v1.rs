//! A cluster of Coil version 1 goes over: wherever its import is cut short, the next one ends in the same state; its
//! containers keep their addresses, and nobody else gets one of them.

use anyhow::{Context, Result, bail, ensure};
use coil_tests::binaries::binary;
use coil_tests::cluster::held;
use coil_tests::coild::Coild;
use coil_tests::containerd::{Containerd, Sandbox};
use coil_tests::controller::Controller;
use coil_tests::etcd::Etcd;
use coil_tests::machine::Machine;
use coil_tests::place::Place;
use coil_tests::plugin::ipam_config;
use coil_tests::tools::{run, text};
use coil_tests::wait::wait_until;
use nix::libc::SIGABRT;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// Writes a key as version 1 does.
fn put(etcd: &Etcd, key: &str, value: &str) -> Result<()> {
    run(etcd.etcdctl()?.args(["put", &format!("/coil/{key}"), "--", value])).map(|_| ())
}

fn pool(etcd: &Etcd, name: &str, subnet: &str, block_size: u8) -> Result<()> {
    let (first, _) = subnet.split_once('/').context("a prefix")?;
    put(etcd, &format!("pool/{name}"), &json!({"subnets": [subnet], "block_size": block_size}).to_string())?;
    put(etcd, &format!("subnet/{first}"), "")
}

fn blocks(etcd: &Etcd, pool: &str, subnet: &str, nodes: &Value) -> Result<()> {
    put(etcd, &format!("block/{pool}/{subnet}"), &json!({"free": null, "nodes": nodes}).to_string())
}

fn holder(etcd: &Etcd, place: &str, container: &str, pod: &str) -> Result<()> {
    let value = json!({
        "container_id": container, "namespace": "ns", "pod": pod, "created_at": "2020-10-01T02:03:04.056789Z",
    });
    put(etcd, &format!("ip/{place}"), &value.to_string())
}

fn import(place: Place, etcd: &Etcd, args: &[&str], failpoints: &str) -> Result<Output> {
    let mut command = place.command(binary("coil-controller")?);
    command.args(["import", "coil-v1", "--etcd-endpoints", &etcd.endpoint()]).args(args);
    command.env("FAILPOINTS", failpoints).output().context("can't start coil-controller")
}

fn imported(place: Place, etcd: &Etcd, args: &[&str]) -> Result<String> {
    let output = import(place, etcd, args, "")?;
    ensure!(output.status.success(), "{}", text(&output));
    Ok(String::from_utf8(output.stdout)?)
}

/// Keys and values below a prefix.
fn dump(etcd: &Etcd, prefix: &str) -> Result<BTreeMap<String, String>> {
    let output = run(etcd.etcdctl()?.args(["get", "--prefix", prefix]))?;
    let printed = String::from_utf8(output.stdout)?;
    let lines: Vec<&str> = printed.lines().collect();
    let pairs = lines.chunks_exact(2).map(|pair| (pair[0].replacen(prefix, "", 1), pair[1].to_owned()));
    Ok(pairs.collect())
}

/// Two pools and four nodes.
fn cluster() -> Result<Etcd> {
    let etcd = Etcd::start()?;
    pool(&etcd, "default", "10.64.0.0/24", 4)?;
    pool(&etcd, "team", "10.65.0.0/24", 5)?;
    let nodes = json!({
        "n1": ["10.64.0.0/28", "10.64.0.64/28"], "n2": ["10.64.0.16/28"], "n3": ["10.64.0.32/28"],
    });
    blocks(&etcd, "default", "10.64.0.0", &nodes)?;
    blocks(&etcd, "team", "10.65.0.0", &json!({"n1": ["10.65.0.0/27"], "n4": ["10.65.0.32/27"]}))?;
    for (place, container) in
        [("10.64.0.0/0", "a"), ("10.64.0.0/15", "b"), ("10.64.0.16/7", "c"), ("10.65.0.0/1", "d")]
    {
        holder(&etcd, place, container, container)?;
    }
    put(&etcd, "ip/10.65.0.32/9", "ns/old")?;
    Ok(etcd)
}

/// Dies at a point, the first time, the second time and so on, until an import comes through; answers how often it died.
fn die_at(etcd: &Etcd, point: &str, expected: &BTreeMap<String, String>) -> Result<usize> {
    for occurrence in 0.. {
        let prefix = format!("/{point}/{occurrence}/");
        let args = ["--etcd-prefix", prefix.as_str()];
        let output = import(Place::Here, etcd, &args, &format!("{point}={occurrence}*off->return"))?;
        if output.status.success() {
            return Ok(occurrence);
        }
        ensure!(output.status.signal() == Some(SIGABRT), "{}", text(&output));
        imported(Place::Here, etcd, &args)?;
        let left = dump(etcd, &prefix)?;
        ensure!(left == *expected, "cut short at {point} for the {occurrence}th time: {left:#?}");
    }
    bail!("unreachable: it goes on until an import comes through")
}

#[test]
fn wherever_it_is_cut_short_the_next_one_ends_in_the_same_state() -> Result<()> {
    let etcd = cluster()?;
    imported(Place::Here, &etcd, &["--etcd-prefix", "/expected/"])?;
    let expected = dump(&etcd, "/expected/")?;
    // Layout and plan, two pools, and for each of six blocks a lease and an index.
    ensure!(expected.len() == 2 + 2 + 6 * 2, "{expected:#?}");
    // The layout, each pool, and what each node has.
    for point in ["store.txn.before", "store.txn.after"] {
        let died = die_at(&etcd, point, &expected)?;
        ensure!(died == 1 + 2 + 4, "it died {died} times at {point}");
    }
    // Each one gets a transaction further than the last.
    let args = ["--etcd-prefix", "/steps/"];
    let mut deaths = 0;
    while !import(Place::Here, &etcd, &args, "store.txn.after=return")?.status.success() {
        deaths += 1;
        ensure!(deaths <= 7, "it does not get further");
    }
    ensure!(deaths == 7 && dump(&etcd, "/steps/")? == expected, "{deaths}: {:#?}", dump(&etcd, "/steps/")?);
    Ok(())
}

#[test]
fn what_is_wrong_is_named_and_version_1_is_left_as_it_was() -> Result<()> {
    let etcd = cluster()?;
    let before = dump(&etcd, "/coil/")?;
    let plan = imported(Place::Here, &etcd, &["--dry-run"])?;
    for line in [
        "pool team: 10.65.0.0/24 in blocks of /27: to import",
        "node n1: 10.64.0.0/28 of pool default, 2 in use: to import",
        "  10.64.0.15 ns/b b",
        "  10.65.0.41 ns/old: the node finds its container",
        "2 pools, 6 blocks of 4 nodes, 5 addresses in use; 8 steps to do",
    ] {
        ensure!(plan.lines().any(|other| other == line), "{line:?} is not in:\n{plan}");
    }
    ensure!(dump(&etcd, "/coil/")? == before, "a dry run has written something");
    put(&etcd, "ip/10.64.0.16/16", "ns/beyond")?;
    put(&etcd, "block/team/10.65.0.0", "{")?;
    let before = dump(&etcd, "/coil/")?;
    let output = import(Place::Here, &etcd, &[], "")?;
    let said = text(&output);
    for part in ["\"ip/10.64.0.16/16\": 10.64.0.16/28 ends before", "\"block/team/10.65.0.0\": its value"] {
        ensure!(output.status.code() == Some(1) && said.contains(part), "{part:?}: {said}");
    }
    ensure!(dump(&etcd, "/coil/")? == before, "something was written");
    Ok(())
}

fn network(ipam: &Value) -> Value {
    let mut plugin = json!({"type": "ptp"});
    plugin["ipam"] = ipam.clone();
    json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]})
}

/// Version 1 gave a pod its address. Of pod `c` it did not write the container down.
fn written_down(etcd: &Etcd, pod: &Sandbox) -> Result<()> {
    let IpAddr::V4(address) = pod.ips[0] else { bail!("{pod:?}") };
    let place = format!("10.64.0.0/{}", address.octets()[3]);
    match pod.name.as_str() {
        "c" => put(etcd, &format!("ip/{place}"), "ns/c"),
        name => holder(etcd, &place, &pod.id, name),
    }
}

/// The containers are those of another plugin, with the addresses that version 1 says it gave.
#[test]
fn containers_keep_their_addresses() -> Result<()> {
    let machine = Machine::start()?;
    machine.forward()?;
    let host_local =
        json!({"type": "host-local", "subnet": "10.64.0.0/27", "routes": [{"dst": "0.0.0.0/0"}]});
    let mut containerd = Containerd::start(&machine, &network(&host_local))?;
    let old = containerd.run_sandboxes(&["a", "b", "c"].map(str::to_owned))?;
    let addresses: BTreeSet<IpAddr> = old.iter().map(|pod| pod.ips[0]).collect();

    let etcd = Etcd::start_in(machine.place())?;
    pool(&etcd, "default", "10.64.0.0/24", 5)?;
    blocks(&etcd, "default", "10.64.0.0", &json!({"n1": ["10.64.0.0/27"], "n2": ["10.64.0.32/27"]}))?;
    old.iter().try_for_each(|pod| written_down(&etcd, pod))?;
    // These went while nobody looked.
    holder(&etcd, "10.64.0.0/20", "gone", "gone")?;
    put(&etcd, "ip/10.64.0.0/21", "ns/gone-too")?;

    imported(machine.place(), &etcd, &[])?;
    let runtime = containerd.socket().display().to_string();
    let args = ["--reconcile-interval", "1s", "--cooldown", "0s", "--cri-socket", &runtime];
    let coild = Coild::start(machine.place(), &etcd, "n1", &args)?;
    let other = Coild::start(machine.place(), &etcd, "n2", &["--route-table", "none"])?;
    let controller = Controller::serve(machine.place(), &etcd)?;
    // Nothing is given before the pools are enabled, whatever the nodes know by then.
    coild.add("early")?.expect(503)?;
    wait_until("the node to know what runs and nothing else", SOON, || {
        Ok(held(&coild.status()?).into_keys().collect::<BTreeSet<_>>() == addresses)
    })?;
    let ids: BTreeSet<String> = held(&coild.status()?).into_values().collect();
    ensure!(ids == old.iter().map(|pod| pod.id.clone()).collect(), "{ids:?}");
    // It runs already, and has all that version 1 gave it.
    wait_until("the mirror to be written", SOON, || {
        Ok(controller.coilctl("address list")?.lines().count() == 1 + old.len())
    })?;

    controller.coilctl("pool enable default")?;
    let coil = ipam_config("ptp", &coild.socket())["ipam"].clone();
    std::fs::write(machine.dir().join("net.d/10-net.conflist"), network(&coil).to_string())?;
    containerd.kill()?;
    containerd.run()?;
    let names: Vec<String> = (0..6).map(|number| format!("new-{number}")).collect();
    let new = containerd.run_sandboxes(&names)?;
    for pod in &new {
        ensure!(!addresses.contains(&pod.ips[0]), "{} was given twice", pod.ips[0]);
        machine.reach(None, &pod.ips[0].to_string())?;
    }
    let given: BTreeSet<IpAddr> = new.iter().map(|pod| pod.ips[0]).chain(addresses).collect();
    for number in 0..40 {
        for (node, coild) in [("n1", &coild), ("n2", &other)] {
            let address: IpAddr = coild.allocate(&format!("{node}-{number}"))?.parse()?;
            ensure!(!given.contains(&address), "{address} was given twice");
        }
    }
    for pod in &old {
        machine.reach(None, &pod.ips[0].to_string())?;
    }
    // The runtime frees what version 1 gave as it frees any other address.
    containerd.remove_sandboxes(&old)?;
    containerd.remove_sandboxes(&new)?;
    let left = held(&coild.status()?);
    ensure!(left.len() == 40 && given.is_disjoint(&left.keys().copied().collect()), "{left:?}");
    Ok(())
}
