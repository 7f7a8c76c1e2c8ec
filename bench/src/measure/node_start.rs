//! The start of a coild that holds addresses, in a cluster of many nodes.

use super::Effort;
use crate::counters::{Counters, SENT};
use crate::others;
use crate::report::{Bound, Section, Unit, millis};
use crate::rig::{self, Cluster};
use crate::samples::Samples;
use anyhow::{Context, Result, ensure};
use coil_tests::coild::Coild;
use coil_tests::http::Http;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

const STARTS: usize = 15;
const HELD: usize = 250;
const NODES: usize = 5_000;
/// Blocks of each other node.
const BLOCKS: usize = 3;
/// Milliseconds from the start of the process to its first answer.
const READY: f64 = 100.0;
/// How many times as much etcd may send to a coild that starts, because of the other nodes.
const MORE: f64 = 1.05;

/// Measures.
pub(super) fn run(effort: Effort) -> Result<Section> {
    let starts = effort.of(STARTS);
    let mut section = Section::new(
        "Start of coild",
        format!(
            "A coild on etcd that holds {HELD} addresses is stopped and started again, {starts} times: the time \
             is that from the start of the process until it answers `GET /readyz`. It is done with no other node \
             in etcd, and again with the keys of {NODES} nodes with {BLOCKS} blocks of 16 addresses each. What \
             etcd sends to it until then shows what it reads."
        ),
    );
    let cluster = Cluster::start()?;
    let mut coild = cluster.node("worker")?;
    coild.run()?;
    rig::hold(&coild.socket(), HELD)?;
    let (alone, sent_alone) = start_often(&cluster, &mut coild, starts)?;
    eprintln!("    {NODES} other nodes");
    let keys = others::write(&cluster.etcd.endpoint(), NODES, BLOCKS, 16)?;
    let (among, sent_among) = start_often(&cluster, &mut coild, starts)?;
    ensure!(coild.status()?.attachments.len() == HELD, "coild does not hold {HELD} any more");
    let what = format!("start of coild, {HELD} addresses, {NODES} nodes in etcd, p50");
    section.goal(what, Bound::AtMost(READY), millis(among.median()), Unit::Milliseconds);
    let what = format!("bytes that etcd sends to it: with {NODES} other nodes / with none");
    section.goal(what, Bound::AtMost(MORE), sent_among / sent_alone, Unit::Ratio);
    section.figure("keys of other nodes", f64::from(u32::try_from(keys)?), Unit::Count);
    section.figure("sent by etcd for a start, no other node", sent_alone, Unit::Bytes);
    section.figure(format!("sent by etcd for a start, {NODES} other nodes"), sent_among, Unit::Bytes);
    section.times("start, no other node", alone);
    section.times(format!("start, {NODES} other nodes"), among);
    Ok(section)
}

/// The times of starts, and the bytes that etcd sent for one of them.
fn start_often(cluster: &Cluster, coild: &mut Coild, starts: usize) -> Result<(Samples, f64)> {
    let (mut times, mut sent) = (Samples::new(), Vec::new());
    for _ in 0..starts {
        coild.stop()?;
        let before = Counters::read(&cluster.etcd)?;
        let (mut process, log, time) = start_once(coild)?;
        sent.push(Counters::read(&cluster.etcd)?.grown(&before, SENT.0, SENT.1)?);
        times.push(time);
        end(&mut process)?;
        drop(log);
        coild.run()?;
    }
    Ok((times, crate::samples::median(sent)))
}

/// Starts the process and waits for the line by which it says that it is ready, and for its answer. The log must
/// stay open while it runs.
fn start_once(coild: &Coild) -> Result<(Child, BufReader<ChildStderr>, Duration)> {
    let mut command = coild.command()?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut process = command.spawn().context("can't start coild")?;
    let mut log = BufReader::new(process.stderr.take().context("a pipe")?);
    let mut line = String::new();
    while log.read_line(&mut line)? > 0 {
        if line.contains("coild is ready") {
            Http::Unix(coild.socket()).get("/readyz")?.expect(200)?;
            return Ok((process, log, start.elapsed()));
        }
        line.clear();
    }
    end(&mut process)?;
    anyhow::bail!("coild ended before it was ready")
}

/// Ends it as a service manager does, so that the next start finds its name free.
fn end(process: &mut Child) -> Result<()> {
    let id = nix::unistd::Pid::from_raw(i32::try_from(process.id())?);
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM)?;
    process.wait()?;
    Ok(())
}
