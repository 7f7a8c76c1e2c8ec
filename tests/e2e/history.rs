//! Who held an address, and when: `coilctl address history`.

use anyhow::{Context, Result, ensure};
use coil_tests::cluster::Cluster;
use coil_tests::coild::Coild;
use coil_tests::wait::wait_until;
use serde_json::Value;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// The tenures of an address, as coilctl tells them.
fn tenures(cluster: &Cluster, coild: &Coild, address: &str, more: &str) -> Result<Vec<Value>> {
    let dir = coild.data().join("history");
    let told = cluster
        .controller
        .coilctl_json(&format!("address history {address} --dir {} {more}", dir.display()))?;
    Ok(told.as_array().context("a list")?.clone())
}

/// Waits until the last tenure of an address is a container's, which holds it or does not any more.
fn until_last(
    cluster: &Cluster,
    coild: &Coild,
    address: &str,
    container: &str,
    holds: bool,
) -> Result<Value> {
    let mut last = Value::Null;
    wait_until(&format!("{container} to be the last holder of {address}"), SOON, || {
        // There is no file before the first line.
        last = tenures(cluster, coild, address, "").ok().and_then(|mut all| all.pop()).unwrap_or_default();
        Ok(last["container"] == container && last["until"].is_null() == holds)
    })
    .with_context(|| last.to_string())?;
    Ok(last)
}

#[test]
fn who_held_an_address() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/28")?;
    let mut coild = cluster.coild("n1", &["--cooldown", "0s"])?;
    let address = coild.allocate("c1")?;
    let first = until_last(&cluster, &coild, &address, "c1", true)?;
    assert_eq!(
        (&first["node"], &first["pod"], &first["pool"]),
        (&"n1".into(), &"c1".into(), &"default".into())
    );

    // A crash in the middle of a tenure does not end it, and one before anything is written loses nothing that lasts.
    let second = coild.allocate("c2")?;
    coild.kill()?;
    coild.run()?;
    until_last(&cluster, &coild, &second, "c2", true)?;
    assert_eq!(tenures(&cluster, &coild, &address, "")?, std::slice::from_ref(&first));

    assert_eq!(coild.free("c1")?, address);
    let ended = until_last(&cluster, &coild, &address, "c1", false)?;
    let body = serde_json::json!({"pod-namespace": "ns", "pod-name": "c3", "container-id": "c3", "address": address});
    coild.http().post("/ip", &body)?.expect(200)?;
    let third = until_last(&cluster, &coild, &address, "c3", true)?;
    let at = |moment: &Value| -> Result<Vec<Value>> {
        tenures(&cluster, &coild, &address, &format!("--at {}", moment.as_str().context("a time")?))
    };
    assert_eq!(at(&first["since"])?, std::slice::from_ref(&ended));
    assert_eq!(at(&third["since"])?, std::slice::from_ref(&third));
    assert_eq!(tenures(&cluster, &coild, &address, "--at 1999-12-31T00:00:00Z")?, [] as [Value; 0]);

    // The machine starts anew: what ran is gone.
    coild.stop()?;
    std::fs::write(coild.boot_id_file(), "22222222-2222-4222-8222-222222222222\n")?;
    coild.run()?;
    until_last(&cluster, &coild, &address, "c3", false)?;
    until_last(&cluster, &coild, &second, "c2", false)?;
    let table = cluster
        .controller
        .coilctl(&format!("address history {address} --dir {}", coild.data().join("history").display()))?;
    ensure!(table.lines().count() == 3 && table.contains("c1") && table.contains("n1"), "{table}");
    Ok(())
}

#[test]
fn what_is_not_wanted_or_not_there() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/28")?;
    let mut coild = cluster.coild("n1", &["--history", "0"])?;
    coild.allocate("c1")?;
    coild.stop()?;
    ensure!(!coild.data().join("history").exists());
    let dir = coild.data().join("history").display().to_string();
    let (code, said) = cluster.controller.coilctl_fails(&format!("address history 10.64.0.1 --dir {dir}"))?;
    ensure!(code == 2 && said.contains("can't read the history in"), "{said}");
    let (code, said) =
        cluster.controller.coilctl_fails(&format!("address history 10.64.0.1 --at noon --dir {dir}"))?;
    ensure!(code == 2 && said.contains("--at"), "{said}");
    Ok(())
}
