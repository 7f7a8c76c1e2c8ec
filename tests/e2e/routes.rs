//! Held blocks are exported to a kernel table; nobody else's routes are touched.

use anyhow::Result;
use coil_tests::cluster::Cluster;
use coil_tests::coild::Coild;
use coil_tests::machine::Machine;
use coil_tests::wait::wait_until;
use std::collections::BTreeSet;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
const POOL: &str = "--subnet 10.64.0.0/16 --subnet fd00:64::/64";

/// Routes of a table and protocol, both families; none if there is no such table.
fn routes(machine: &Machine, table: u32, protocol: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for family in ["-4", "-6"] {
        let mut show = machine.command("ip");
        show.args([family, "route", "show", "table", &table.to_string(), "proto", protocol]);
        let lines = String::from_utf8(show.output()?.stdout)?;
        found.extend(lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    Ok(found)
}

fn destinations(routes: &BTreeSet<String>) -> BTreeSet<String> {
    routes.iter().filter_map(|route| route.split(' ').next()).map(str::to_owned).collect()
}

fn blocks(coild: &Coild) -> Result<BTreeSet<String>> {
    Ok(coild.status()?.address_blocks.into_values().flatten().map(|block| block.to_string()).collect())
}

fn agree(machine: &Machine, coild: &Coild, table: u32) -> Result<()> {
    wait_until("the routes to be those of the blocks", SOON, || {
        let (found, wanted) = (destinations(&routes(machine, table, "30")?), blocks(coild)?);
        anyhow::ensure!(found == wanted, "routes {found:?}, blocks {wanted:?}");
        Ok(true)
    })
}

#[test]
fn blocks_come_and_go_with_their_routes() -> Result<()> {
    let machine = Machine::start()?;
    let cluster = Cluster::start_on(&machine, POOL)?;
    // Somebody else's routes: in the table, in the main table, and of our protocol in another table.
    machine.run("ip route add 192.0.2.0/24 dev lo table 119")?;
    machine.run("ip route add 10.64.0.0/28 dev lo table 119 proto static metric 7")?;
    machine.run("ip route add 198.51.100.0/24 dev lo proto 30")?;
    // A route that we left behind: no block of ours is there.
    machine.run("ip route add 10.99.0.0/28 dev lo table 119 proto 30")?;
    let mut coild = cluster.node("n1")?.with(&["--cooldown", "0s"]);
    coild.run()?;
    for n in 0..40 {
        let both = serde_json::json!({
            "pod-namespace": "ns", "pod-name": "p", "container-id": format!("c{n}"),
            "address-types": ["ipv4", "ipv6"],
        });
        coild.http().post("/ip", &both)?.expect(200)?;
    }
    assert!(blocks(&coild)?.len() >= 6, "{:?}", blocks(&coild)?);
    agree(&machine, &coild, 119)?;
    assert!(routes(&machine, 119, "30")?.iter().all(|route| route.contains("dev lo")));

    // A restart keeps them; a route that was lost meanwhile comes back.
    let lost = blocks(&coild)?.into_iter().next().unwrap_or_default();
    coild.stop()?;
    assert!(!routes(&machine, 119, "30")?.is_empty(), "pods run on while coild is down");
    let family = if lost.contains(':') { "-6" } else { "-4" };
    machine.run(&format!("ip {family} route del {lost} table 119 proto 30"))?;
    coild.run()?;
    agree(&machine, &coild, 119)?;

    for n in 0..40 {
        coild.http().delete(&format!("/ip/ns/p/c{n}"))?.expect(200)?;
    }
    wait_until("idle blocks to be released", SOON, || Ok(blocks(&coild)?.len() <= 2))?;
    agree(&machine, &coild, 119)?;
    let foreign = destinations(&routes(&machine, 119, "boot")?);
    assert!(foreign.contains("192.0.2.0/24"), "{foreign:?}");
    assert_eq!(destinations(&routes(&machine, 119, "static")?), ["10.64.0.0/28".to_owned()].into());
    assert!(destinations(&routes(&machine, 254, "30")?).contains("198.51.100.0/24"));
    Ok(())
}

#[test]
fn the_table_can_be_chosen_or_left_out() -> Result<()> {
    let machine = Machine::start()?;
    let cluster = Cluster::start_on(&machine, POOL)?;
    let mut other = cluster.node("n1")?.with(&["--route-table", "1234"]);
    other.run()?;
    other.allocate("c1")?;
    agree(&machine, &other, 1234)?;
    assert!(routes(&machine, 119, "30")?.is_empty());
    other.stop()?;
    let mut none = cluster.node("n2")?.with(&["--route-table", "none"]);
    none.run()?;
    none.allocate("c1")?;
    assert!(routes(&machine, 119, "30")?.is_empty());
    Ok(())
}
