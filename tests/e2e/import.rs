//! A node that gave its addresses by host-local goes over to coil: its pods keep running, and nobody gets an address twice.

use anyhow::{Context, Result, ensure};
use coil_tests::binaries::binary;
use coil_tests::cluster::Cluster;
use coil_tests::coild::Coild;
use coil_tests::containerd::Containerd;
use coil_tests::machine::Machine;
use coil_tests::plugin::ipam_config;
use coil_tests::tools::text;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Output;

const SUBNET: &str = "10.1.0.0/24";

fn network(ipam: &Value) -> Value {
    let mut plugin = json!({"type": "ptp"});
    plugin["ipam"] = ipam.clone();
    json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]})
}

fn import(machine: &Machine, coild: &Coild, more: &[&str]) -> Result<Output> {
    let mut coilctl = machine.place().command(binary("coilctl")?);
    coilctl.args(["-o", "json", "import", "host-local", "pods", "--socket"]).arg(coild.socket()).args(more);
    coilctl.output().context("can't start coilctl")
}

/// The states of all that was found; the exit code must be this.
fn states(output: &Output, code: i32) -> Result<Vec<String>> {
    ensure!(output.status.code() == Some(code), "{}", text(output));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    ensure!(rows.iter().all(|row| row["namespace"] == "ns" && row["pod"].is_string()), "{rows:?}");
    rows.iter().map(|row| Ok(row["state"].as_str().context("a state")?.to_owned())).collect()
}

#[test]
fn pods_of_host_local_are_adopted() -> Result<()> {
    let machine = Machine::start()?;
    machine.forward()?;
    let host_local = json!({"type": "host-local", "subnet": SUBNET, "routes": [{"dst": "0.0.0.0/0"}]});
    let mut containerd = Containerd::start(&machine, &network(&host_local))?;
    let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
    let old = containerd.run_sandboxes(&names)?;
    let addresses: BTreeSet<IpAddr> = old.iter().map(|pod| pod.ips[0]).collect();

    let cluster = Cluster::start_on(&machine, &format!("--subnet {SUBNET} --disabled"))?;
    let coild = cluster.coild("n1", &["--cooldown", "0s"])?;
    let other = cluster.coild("n2", &["--route-table", "none"])?;
    coild.add("early")?.expect(503)?;
    assert_eq!(states(&import(&machine, &coild, &["--dry-run"])?, 6)?, ["to-adopt"; 3]);
    ensure!(coild.status()?.attachments.is_empty(), "a dry run has adopted something");
    assert_eq!(states(&import(&machine, &coild, &[])?, 0)?, ["adopted"; 3]);
    assert_eq!(states(&import(&machine, &coild, &[])?, 0)?, ["held"; 3]);
    assert_eq!(states(&import(&machine, &coild, &["--dry-run"])?, 0)?, ["held"; 3]);
    // What another node has can't be adopted; nor what is nowhere in the pool.
    let refused = import(&machine, &other, &[])?;
    ensure!(
        states(&refused, 5)? == ["refused"; 3] && text(&refused).contains("10.1.0.0/28"),
        "{}",
        text(&refused)
    );

    // From here on coil gives the addresses.
    cluster.controller.coilctl("pool enable default")?;
    let coil = ipam_config("ptp", &coild.socket())["ipam"].clone();
    std::fs::write(machine.dir().join("net.d/10-net.conflist"), network(&coil).to_string())?;
    containerd.kill()?;
    containerd.run()?;
    let more: Vec<String> = (0..6).map(|number| format!("new-{number}")).collect();
    let new = containerd.run_sandboxes(&more)?;
    for pod in &new {
        ensure!(!addresses.contains(&pod.ips[0]), "{} was given twice", pod.ips[0]);
        machine.reach(None, &pod.ips[0].to_string())?;
    }
    for number in 0..20 {
        let address: IpAddr = other.allocate(&format!("x{number}"))?.parse()?;
        ensure!(
            !addresses.contains(&address) && new.iter().all(|pod| pod.ips[0] != address),
            "{address} was given twice"
        );
    }
    for pod in &old {
        machine.reach(None, &pod.ips[0].to_string())?;
    }
    // The runtime frees what host-local gave as it frees any other address.
    containerd.remove_sandboxes(&old)?;
    containerd.remove_sandboxes(&new)?;
    ensure!(coild.status()?.attachments.is_empty(), "{:?}", coild.status()?.attachments);
    Ok(())
}

#[test]
fn what_is_missing_is_said() -> Result<()> {
    let machine = Machine::start()?;
    let cluster = Cluster::start_on(&machine, &format!("--subnet {SUBNET}"))?;
    let mut coild = cluster.coild("n1", &[])?;
    let output = import(&machine, &coild, &[])?;
    ensure!(
        output.status.code() == Some(2) && text(&output).contains("/var/lib/cni/networks/pods"),
        "{}",
        text(&output)
    );
    machine.run("mkdir -p /var/lib/cni/networks/pods")?;
    assert_eq!(states(&import(&machine, &coild, &[])?, 0)?, [] as [String; 0]);
    coild.stop()?;
    let output = import(&machine, &coild, &[])?;
    ensure!(
        output.status.code() == Some(3) && text(&output).contains("can't reach coild"),
        "{}",
        text(&output)
    );
    Ok(())
}
