//! POST and DELETE /ip of coild, over connections that are kept.

use super::Effort;
use crate::at_once::at_once;
use crate::keep_alive::{Churn, KeepAlive, Until, churn, container_id};
use crate::plot::{Axis, Plot, Series};
use crate::processor::Spending;
use crate::report::{Bound, Section, Unit, millis};
use crate::rig::{self, Cluster};
use anyhow::{Result, ensure};
use coil_tests::coild::Coild;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

const CLIENTS: [usize; 5] = [1, 4, 16, 64, 256];
const TIME: Duration = Duration::from_secs(4);
/// Milliseconds that half of the POSTs of a single client may take.
const SERIAL_POST: f64 = 0.5;
/// Requests in a second that 16 clients have to get.
const RATE: f64 = 10_000.0;
/// Milliseconds that 99 of 100 requests of 256 clients may take.
const MANY: f64 = 10.0;
/// Addresses that each of the 256 clients takes before coild is killed.
const EACH: usize = 4;

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
             has given and taken back {WARM_UP} addresses before. The clients share a thread, and the processors with coild. At the \
             end {} clients take {EACH} addresses each, coild is killed with the last reply (SIGKILL), and must \
             know each of them when it is back.",
            time.as_secs_f64(),
            CLIENTS[CLIENTS.len() - 1],
        ),
    );
    let cluster = Cluster::start()?;
    let mut coild = cluster.node("churn")?;
    coild.run()?;
    churn(&coild.socket(), 16, Until::Taken(WARM_UP))?;
    let (mut rates, mut floor) = (Vec::new(), Vec::new());
    for clients in CLIENTS {
        eprintln!("    {clients} at once");
        let before = commits(&coild)?;
        let spending = Spending::of([coild.process()?.id(), std::process::id()])?;
        let seen = churn(&coild.socket(), clients, Until::Over(time))?;
        let committed = commits(&coild)? - before;
        if clients == CLIENTS[CLIENTS.len() - 1] {
            section.note(note(clients, &seen, spending.seconds()?)?);
        }
        let at = f64::from(u32::try_from(clients)?);
        rates.push((at, seen.rate()));
        floor.push((at, committed / seen.elapsed.as_secs_f64()));
        add(&mut section, clients, seen, committed);
    }
    section.plot(plot(rates, floor));
    let left = rig::held(&coild.socket())?;
    ensure!(left == 0, "coild still holds {left} addresses");
    let lost = f64::from(u32::try_from(lost_by_kill(&mut coild)?)?);
    section.goal("addresses lost by a kill after the reply", Bound::AtMost(0.0), lost, Unit::Count);
    Ok(section)
}

/// Where the time of many clients goes.
fn note(clients: usize, seen: &Churn, [coild, client]: [f64; 2]) -> Result<String> {
    let each = f64::from(u32::try_from(clients)?) / seen.rate() * 1e3;
    let (elapsed, requests) = (seen.elapsed.as_secs_f64(), seen.rate() * seen.elapsed.as_secs_f64());
    Ok(format!(
        "{clients} clients that never pause wait for each other: at {:.0} requests in a second, one takes {each:.1} ms on \
         average, whatever its own work is. coild's work for one is {:.0} µs of a processor, the clients' {:.0} µs; in \
         {elapsed:.1} s coild took {coild:.1} s of processor time, of which its one thread that answers has one second in a \
         second at most, and the clients' thread {client:.1} s.",
        seen.rate(),
        coild / requests * 1e6,
        client / requests * 1e6,
    ))
}

/// How many of the addresses that clients were given coild does not know after it was killed.
fn lost_by_kill(coild: &mut Coild) -> Result<usize> {
    let clients = CLIENTS[CLIENTS.len() - 1];
    let connections: Vec<_> = (0..clients)
        .map(|client| Ok((client, KeepAlive::connect(&coild.socket())?)))
        .collect::<Result<_>>()?;
    let (given, _) = at_once(connections, |(client, mut connection)| {
        (0..EACH)
            .map(|number| {
                let container = container_id(client, number);
                Ok((rig::take(&mut connection, &container)?, container))
            })
            .collect::<Result<Vec<_>>>()
    })?;
    coild.kill()?;
    coild.run()?;
    let known = coild.status()?.attachments;
    let known: HashMap<IpAddr, &str> =
        known.iter().map(|held| (held.address, held.container_id.as_str())).collect();
    let is_known = |(address, container): &(IpAddr, String)| known.get(address) == Some(&container.as_str());
    Ok(given.iter().flatten().filter(|given| !is_known(given)).count())
}

fn plot(rates: Vec<(f64, f64)>, commits: Vec<(f64, f64)>) -> Plot {
    let series = [("POST and DELETE /ip", rates), ("commits of the journal", commits)];
    Plot {
        file: "throughput-clients",
        title: "POST and DELETE /ip of coild, per second",
        x: Axis { label: "clients", logarithmic: true },
        y: Axis { label: "1/s", logarithmic: true },
        series: series.map(|(name, points)| Series { name: name.to_owned(), points }).to_vec(),
    }
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
        256 => {
            let posts = [("POST", &seen.posts), ("DELETE", &seen.deletes)];
            for (verb, samples) in posts {
                let p99 = millis(samples.percentile(99));
                let what = format!("{verb} /ip of 256 clients, p99");
                section.goal(what, Bound::AtMost(MANY), p99, Unit::Milliseconds);
            }
        }
        _ => {}
    }
    section.times(format!("POST, {who}"), seen.posts);
    section.times(format!("DELETE, {who}"), seen.deletes);
}

/// Commits of the journal so far.
fn commits(coild: &Coild) -> Result<f64> {
    rig::metric(&coild.http(), "coild_journal_commits_total")
}
