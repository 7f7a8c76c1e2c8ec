//! Two machines with one node name: the second refuses to start while the first is alive.

use anyhow::Result;
use coil_tests::cluster::Cluster;
use coil_tests::tools::text;
use std::time::Duration;

/// The second waits for as long as a first one that died could still count as alive.
const REFUSAL: Duration = Duration::from_secs(40);

#[test]
fn the_second_of_a_name_refuses() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let first = cluster.coild("same", &[])?;
    first.allocate("c1")?;
    let mut second = cluster.node("same")?;
    let status = second.spawn()?.wait(REFUSAL)?;
    assert_eq!(status.code(), Some(1), "{}", second.log());
    assert!(second.log().contains("same") && second.log().contains("alive"), "{}", second.log());
    assert!(!second.socket().exists(), "the second had opened a socket");
    // The first does not notice.
    assert_eq!(first.status()?.pods.len(), 1);
    first.allocate("c2")?;
    Ok(())
}

#[test]
fn a_replacement_takes_over_from_one_that_stopped() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let mut first = cluster.coild("same", &[])?;
    let given = first.allocate("c1")?;
    first.stop()?;
    // Another data directory: the name's addresses are known from the mirror.
    let second = cluster.coild("same", &[])?;
    assert_eq!(second.status()?.pods["c1"].to_string(), given);
    assert_ne!(second.allocate("c2")?, given);
    Ok(())
}

#[test]
fn two_on_one_data_directory_are_told_apart() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let first = cluster.coild("n1", &[])?;
    let output = first.command()?.output()?;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("data directory"), "{}", text(&output));
    first.allocate("c1").map(|_| ())
}
