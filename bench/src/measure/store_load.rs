//! What a node with steady churn costs etcd.

use super::Effort;
use crate::counters::{Counters, RECEIVED, TRANSACTIONS, WRITTEN};
use crate::keep_alive::{KeepAlive, container_id, delete_of, post_of};
use crate::report::{Bound, Section, Unit};
use crate::rig::{self, Cluster};
use anyhow::{Context, Result, ensure};
use coil_tests::wait::wait_until;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pods that come in a second, and as many that go.
const RATE: u32 = 50;
/// Pods at a time: as many as a kubelet runs by default, less those that stay.
const PODS: usize = 100;
const TIME: Duration = Duration::from_secs(12);
/// Transactions for each ADD or DEL.
const SHARE: f64 = 0.125;
/// Bytes for each pod that comes and goes.
const BYTES: f64 = 300.0;

/// Pods that come and go at a node.
struct Churn {
    connection: KeepAlive,
    namespaces: PathBuf,
    running: VecDeque<(String, PathBuf)>,
    started: usize,
}

/// Measures.
pub(super) fn run(effort: Effort) -> Result<Section> {
    let mut section = Section::new(
        "Load of etcd",
        format!(
            "{RATE} pods come and {RATE} go in a second at one coild with the default settings, for {:.0} s; {PODS} \
             run at a time, and the oldest goes first. Ids, names and paths are as long as a kubelet's. Counted is \
             what etcd itself counts, liveness and leases included, until the mirror is up to date: the \
             transactions, the bytes of the keys and values that were written, and all bytes that coild sent.",
            effort.time(TIME).as_secs_f64(),
        ),
    );
    let cluster = Cluster::start()?;
    let mut coild = cluster.node("worker-17.example.net")?;
    coild.run()?;
    let namespaces = tempfile::tempdir()?;
    let connection = KeepAlive::connect(&coild.socket())?;
    let namespaces = namespaces.path().to_owned();
    let mut churn = Churn { connection, namespaces, running: VecDeque::new(), started: 0 };
    churn.go_on(Duration::from_secs(PODS as u64) / RATE + Duration::from_secs(1))?;
    let (before, started) = (Counters::read(&cluster.etcd)?, churn.started);
    churn.go_on(effort.time(TIME))?;
    let mirrored = || Ok(rig::metric(&coild.http(), "coild_mirror_lag_seconds")? <= 0.0);
    wait_until("the mirror to catch up", Duration::from_secs(10), mirrored)?;
    let after = Counters::read(&cluster.etcd)?;
    let pods = f64::from(u32::try_from(churn.started - started)?);
    let transactions = after.grown(&before, TRANSACTIONS.0, TRANSACTIONS.1)?;
    let written = after.grown(&before, WRITTEN.0, WRITTEN.1)?;
    section.goal(
        "transactions of etcd for each ADD or DEL",
        Bound::AtMost(SHARE),
        transactions / (2.0 * pods),
        Unit::Count,
    );
    section.goal("bytes written to etcd for each pod", Bound::AtMost(BYTES), written / pods, Unit::Bytes);
    let received = after.grown(&before, RECEIVED.0, RECEIVED.1)?;
    section.figure("pods that came and went", pods, Unit::Count);
    section.figure("transactions", transactions, Unit::Count);
    section.figure("bytes written in a transaction", written / transactions, Unit::Bytes);
    section.figure("bytes sent to etcd for each pod, all in all", received / pods, Unit::Bytes);
    Ok(section)
}

impl Churn {
    /// Lets pods come and go for a time.
    fn go_on(&mut self, time: Duration) -> Result<()> {
        let start = Instant::now();
        let mut ticks = 0;
        while start.elapsed() < time {
            self.come()?;
            if self.running.len() > PODS {
                self.go()?;
            }
            ticks += 1;
            wait(start + Duration::from_secs(1) * ticks / RATE);
        }
        Ok(())
    }

    fn come(&mut self) -> Result<()> {
        let container = container_id(0x5eed_ca5e_0bad_cafe, self.started);
        let netns = self.namespaces.join(format!("cni-9f1c2d3e-4b5a-6c7d-8e9f-{:012x}", self.started));
        File::create(&netns)?;
        self.connection.exchange(&post_of(&request(&container, &netns)?))?;
        self.running.push_back((container, netns));
        self.started += 1;
        Ok(())
    }

    fn go(&mut self) -> Result<()> {
        let (container, netns) = self.running.pop_front().context("a pod")?;
        let path = format!("/ip/checkout/{}/{container}", pod(&container));
        self.connection.exchange(&delete_of(&path))?;
        Ok(fs::remove_file(netns)?)
    }
}

fn request(container: &str, netns: &Path) -> Result<Value> {
    ensure!(netns.is_file(), "coild must see the namespace");
    Ok(json!({
        "pod-namespace": "checkout", "pod-name": pod(container), "container-id": container,
        "interface": "eth0", "network": "pods", "netns": netns,
    }))
}

fn pod(container: &str) -> String {
    format!("frontend-7d4b9c6f5d-{}", &container[container.len() - 5..])
}

#[expect(clippy::disallowed_methods, reason = "pods come at their time")]
fn wait(until: Instant) {
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
}
