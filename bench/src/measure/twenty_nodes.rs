//! Many nodes that take their first addresses at the same moment.

use super::Effort;
use crate::at_once::at_once;
use crate::keep_alive::{KeepAlive, container_id};
use crate::report::{Bound, Section, Unit, millis};
use crate::rig::{Cluster, take};
use crate::samples::median;
use anyhow::Result;
use coil_tests::coild::Coild;
use std::collections::BTreeSet;
use std::time::Duration;

const ROUNDS: usize = 5;
const NODES: usize = 20;
const EACH: usize = 33;
/// Milliseconds from the first request to the last reply.
const LIMIT: f64 = 1_000.0;

/// Measures.
pub(super) fn run(effort: Effort) -> Result<Section> {
    let rounds = effort.of(ROUNDS);
    let mut section = Section::new(
        "20 nodes at once",
        format!(
            "{NODES} coilds on one etcd, all just started; {EACH} clients of each ask for an address, all {} at \
             the same moment, from one pool of a /14. The time is that from the first request to the last reply; \
             the figure is the median of {rounds} rounds, each with a new etcd and new coilds.",
            NODES * EACH,
        ),
    );
    let mut times = Vec::new();
    let mut twice = 0;
    for round in 1..=rounds {
        let (addresses, elapsed) = start_all()?;
        let different = addresses.iter().collect::<BTreeSet<_>>().len();
        twice += addresses.len() - different;
        times.push(millis(elapsed));
        section.figure(format!("round {round}"), millis(elapsed), Unit::Milliseconds);
    }
    section.goal("20 nodes × 33 addresses at once", Bound::AtMost(LIMIT), median(times), Unit::Milliseconds);
    let twice = f64::from(u32::try_from(twice)?);
    section.goal("addresses that two of them were given", Bound::AtMost(0.0), twice, Unit::Count);
    Ok(section)
}

fn start_all() -> Result<(Vec<std::net::IpAddr>, Duration)> {
    let cluster = Cluster::start()?;
    let mut nodes: Vec<Coild> =
        (0..NODES).map(|number| cluster.node(&format!("node-{number}"))).collect::<Result<_>>()?;
    for node in &mut nodes {
        node.spawn()?;
    }
    for node in &mut nodes {
        node.ready()?;
    }
    let mut clients = Vec::new();
    for number in 0..EACH {
        for (index, node) in nodes.iter().enumerate() {
            clients.push((KeepAlive::connect(&node.socket())?, container_id(index, number)));
        }
    }
    at_once(clients, |(mut connection, container)| take(&mut connection, &container))
}
