//! Waiting until nothing of a pool is in use.

use crate::exit::Failure;
use crate::output::Output;
use crate::parse_time;
use crate::table::plain;
use crate::watch::PERIOD;
use clap::Args;
use common::wire::admin::PoolView;
use common::wire::namespaces::{Part, PartState};
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

/// How long to wait.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// How long to wait until the pool is empty: a number with ms, s or m behind it; without it, as long as it takes
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    wait: Option<Duration>,
}

/// What of a pool is still in use.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Progress {
    /// Addresses that pods have.
    held: u64,
    /// Addresses that are kept for pods that are away.
    kept: u64,
    /// Leases, of blocks or single addresses.
    leased: u64,
    /// Some of the pods, as `namespace/name`.
    pods: Vec<String>,
}

/// Pods that are named.
const SHOWN: usize = 5;

impl Progress {
    /// What a map shows.
    pub(super) fn of_map(map: &[Part]) -> Self {
        let mut progress = Self { held: 0, kept: 0, leased: 0, pods: Vec::new() };
        for part in map {
            match part.state {
                PartState::Free | PartState::Reserved => continue,
                PartState::Used | PartState::Fixed => progress.held += 1,
                // Its node gives it back by itself.
                PartState::Quarantined => {}
                PartState::Kept => progress.kept += 1,
            }
            progress.leased += 1;
            let pod = part.pod.as_ref().filter(|_| progress.pods.len() < SHOWN);
            progress.pods.extend(pod.map(|pod| format!("{}/{}", pod.namespace, pod.name)));
        }
        progress
    }

    /// What a pool that is cut in blocks shows.
    pub(super) fn of_blocks(view: &PoolView) -> Self {
        let sum = |count: fn(&common::wire::admin::PoolUsage) -> u64| view.usage.iter().map(count).sum();
        Self {
            held: sum(|usage| usage.allocated.unwrap_or(0)),
            kept: 0,
            leased: sum(|usage| usage.leased),
            pods: Vec::new(),
        }
    }

    fn text(&self, what: &str) -> String {
        if self.leased == 0 {
            return format!("{what} is empty");
        }
        let mut words = vec![format!("{} leased", self.leased), format!("{} held", self.held)];
        if self.kept > 0 {
            words.push(format!("{} kept for pods that are away (`coilctl address free`)", self.kept));
        }
        let text = format!("{what}: {}", words.join(", "));
        if self.pods.is_empty() {
            return text;
        }
        let pods: Vec<String> = self.pods.iter().map(|pod| plain(pod)).collect();
        let more = if self.leased > pods.len() as u64 { ", …" } else { "" };
        format!("{text}; by {}{more}", pods.join(", "))
    }
}

impl Drain {
    /// Prints what is still in use whenever that has changed, until nothing is.
    pub(super) async fn run(
        &self,
        output: Output,
        what: &str,
        ask: impl AsyncFn() -> Result<Progress, Failure>,
    ) -> Result<(), Failure> {
        let deadline = self.wait.map(|wait| Instant::now() + wait);
        let mut shown = None;
        loop {
            let now = ask().await?;
            if shown.as_ref() != Some(&now) {
                if shown.is_some() && output == Output::Yaml {
                    output.separate()?;
                }
                output.print(&now, |out| writeln!(out, "{}", now.text(what)))?;
            }
            if now.leased == 0 {
                return Ok(());
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Failure::NotYet(format!(
                    "{what} is disabled, but not empty yet; run the command again to go on waiting"
                )));
            }
            let next = Instant::now() + PERIOD;
            tokio::time::sleep_until(deadline.map_or(next, |deadline| deadline.min(next))).await;
            shown = Some(now);
        }
    }
}
