//! POST and DELETE /ip of coild, over connections that are kept.

use super::Effort;
use crate::keep_alive::{Churn, Until, churn};
use crate::report::{Bound, Section, Unit, millis};
use crate::rig::{self, Cluster};
use anyhow::{Context, Result, ensure};
use coil_tests::coild::Coild;
use std::time::Duration;

const CLIENTS: [usize; 3] = [1, 16, 256];
const TIME: Duration = Duration::from_secs(5);
/// Milliseconds that half of the POSTs of a single client may take.
const SERIAL_POST: f64 = 0.5;
/// Requests in a second that 16 clients have to get.
const RATE: f64 = 5_000.0;

/// Addresses taken and given back beforehand: so many rest then that coild gives them again, rather than leasing
/// further blocks.
const WARM_UP: usize = 1_500;

/// Measures.
pub(super) fn run(effort: Effort) -> Result<Section> {
    let time = effort.time(TIME);
    let mut section = Section::new(
        "POST and DELETE /ip of coild",
        format!(
            "Clients keep a connection to coild's socket; each takes an address and gives it back, again and again \
             for {:.1} s. Every POST and every DELETE is one request, durable in the journal when it is answered; \
             those that are in progress together share a commit. coild is on etcd, with the default settings, and \
             has given and taken back {WARM_UP} addresses before.",
            time.as_secs_f64(),
        ),
    );
    let cluster = Cluster::start()?;
    let mut coild = cluster.node("churn")?;
    coild.run()?;
    churn(&coild.socket(), CLIENTS[1], Until::Taken(WARM_UP))?;
    for clients in CLIENTS {
        eprintln!("    {clients} at once");
        let before = commits(&coild)?;
        let seen = churn(&coild.socket(), clients, Until::Over(time))?;
        let committed = commits(&coild)? - before;
        add(&mut section, clients, seen, committed);
    }
    let left = rig::held(&coild.socket())?;
    ensure!(left == 0, "coild still holds {left} addresses");
    Ok(section)
}

fn add(section: &mut Section, clients: usize, seen: Churn, committed: f64) {
    let (rate, post) = (seen.rate(), millis(seen.posts.median()));
    let who = if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") };
    section.figure(format!("{who}: requests"), rate, Unit::PerSecond);
    let shared = rate * seen.elapsed.as_secs_f64() / committed;
    section.figure(format!("{who}: requests in a commit"), shared, Unit::Count);
    let serial = Bound::AtMost(SERIAL_POST);
    match clients {
        1 => section.goal("POST /ip of a single client, p50", serial, post, Unit::Milliseconds),
        16 => section.goal("POST and DELETE /ip of 16 clients", Bound::AtLeast(RATE), rate, Unit::PerSecond),
        _ => {}
    }
    section.times(format!("POST, {who}"), seen.posts);
    section.times(format!("DELETE, {who}"), seen.deletes);
}

/// Commits of the journal so far.
fn commits(coild: &Coild) -> Result<f64> {
    let metrics = coild.http().get("/metrics")?.expect(200)?.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("coild_journal_commits_total "));
    Ok(line.context("coild counts its commits")?.parse()?)
}
