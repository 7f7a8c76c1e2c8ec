//! POST and DELETE /ip of coild, over connections that are kept.

use super::Effort;
use crate::keep_alive::churn;
use crate::report::{Bound, Section, Unit, millis};
use crate::rig::Cluster;
use anyhow::{Context, Result};
use coil_tests::coild::Coild;
use std::time::Duration;

const CLIENTS: [usize; 3] = [1, 16, 256];
const TIME: Duration = Duration::from_secs(5);
/// Milliseconds that half of the POSTs of a single client may take.
const SERIAL_POST: f64 = 0.5;
/// Requests in a second that 16 clients have to get.
const RATE: f64 = 5_000.0;

/// Measures.
pub(super) fn run(effort: Effort) -> Result<Section> {
    let time = effort.time(TIME);
    let mut section = Section::new(
        "POST and DELETE /ip of coild",
        format!(
            "Clients keep a connection to coild's socket; each takes an address and gives it back, again and again \
             for {:.1} s. Every POST and every DELETE is one request, durable in the journal when it is answered. \
             The store is etcd; the settings are the default ones, so that addresses freed rest, and coild leases \
             blocks all the time. Requests that are in progress together share a commit of the journal.",
            time.as_secs_f64(),
        ),
    );
    let cluster = Cluster::start()?;
    for clients in CLIENTS {
        eprintln!("    {clients} clients");
        let mut coild = cluster.node(&format!("churn-{clients}"))?;
        coild.run()?;
        churn(&coild.socket(), clients, time / 10)?;
        let before = commits(&coild)?;
        let seen = churn(&coild.socket(), clients, time)?;
        let committed = commits(&coild)? - before;
        let who = if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") };
        section.figure(format!("{who}: requests"), seen.rate(), Unit::PerSecond);
        section.figure(
            format!("{who}: requests in a commit"),
            seen.rate() * seen.elapsed.as_secs_f64() / committed,
            Unit::Count,
        );
        match clients {
            1 => section.goal(
                "POST /ip of a single client, p50",
                Bound::AtMost(SERIAL_POST),
                millis(seen.posts.median()),
                Unit::Milliseconds,
            ),
            16 => section.goal(
                "POST and DELETE /ip of 16 clients",
                Bound::AtLeast(RATE),
                seen.rate(),
                Unit::PerSecond,
            ),
            _ => {}
        }
        section.times(format!("POST, {who}"), seen.posts);
        section.times(format!("DELETE, {who}"), seen.deletes);
    }
    Ok(section)
}

/// Commits of the journal so far.
fn commits(coild: &Coild) -> Result<f64> {
    let metrics = coild.http().get("/metrics")?.expect(200)?.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("coild_journal_commits_total "));
    Ok(line.context("coild counts its commits")?.parse()?)
}
