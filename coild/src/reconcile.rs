//! Reconciliation of the journal with what really runs: orphans are freed, and rebuilt blocks are opened once it
//! is certain that all their holders are known.

use crate::allocator::{Allocator, AllocatorError};
use crate::lease_keeper::LeaseRequests;
use crate::metrics::Metrics;
use crate::sandboxes::{self, Sighting};
use crate::state::{BlockId, Exact, State};
use common::error::chain;
use common::name::{ContainerId, IfName, PodText};
use common::store::record::Allocation;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Holds the journal against what runs.
pub struct Reconciler {
    /// Where the allocations are.
    pub allocator: Allocator,
    /// The lease keeper, which is made to hold the leases against the store at the same times.
    pub leases: LeaseRequests,
    /// Counts orphans.
    pub metrics: Arc<Metrics>,
    /// How often.
    pub interval: Duration,
    /// Allocations whose container was seen to be gone last time.
    suspects: HashSet<Exact>,
    /// Scans since blocks are in quarantine that told all addresses in use.
    scans: u32,
}

/// After this many complete scans, an interval apart, every address that was given before the journal was
/// lost has been seen on its interface: a plugin that was still at work at the first one is done by then.
const SCANS: u32 = 2;

impl Reconciler {
    /// A reconciler that has seen nothing yet.
    pub fn new(
        allocator: Allocator,
        leases: LeaseRequests,
        metrics: Arc<Metrics>,
        interval: Duration,
    ) -> Self {
        Self { allocator, leases, metrics, interval, suspects: HashSet::new(), scans: 0 }
    }

    /// Reconciles at once, and then for ever.
    pub async fn run(mut self) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.reconcile().await {
                Ok(()) => {}
                Err(AllocatorError::Stopped) => return,
                Err(error) => tracing::error!(error = %chain(&error), "reconciliation failed"),
            }
        }
    }

    async fn reconcile(&mut self) -> Result<(), AllocatorError> {
        self.leases.reconcile();
        self.free_orphans().await?;
        self.examine_quarantine().await
    }

    /// Frees the allocations whose network namespace was gone both this time and the time before.
    async fn free_orphans(&mut self) -> Result<(), AllocatorError> {
        let evidence = self.allocator.run(|state, _| evidence(state)).await?;
        let gone = tokio::task::spawn_blocking(move || {
            let gone = |(exact, netns): (Exact, String)| {
                (sandboxes::look(&netns) == Sighting::Gone).then_some(exact)
            };
            evidence.into_iter().filter_map(gone).collect::<HashSet<Exact>>()
        });
        let Ok(gone) = gone.await else { return Ok(()) };
        let orphans: Vec<Exact> = gone.intersection(&self.suspects).cloned().collect();
        self.suspects = gone;
        if orphans.is_empty() {
            return Ok(());
        }
        let freed = self.allocator.run(move |state, now| state.release_exactly(&orphans, now)).await?;
        self.metrics.orphans.add(freed.len() as u64);
        for address in freed {
            tracing::warn!(%address, "freed an orphan: its network namespace is gone");
        }
        Ok(())
    }

    async fn examine_quarantine(&mut self) -> Result<(), AllocatorError> {
        if self.allocator.run(|state, _| state.quarantined()).await?.is_empty() {
            self.scans = 0;
            return Ok(());
        }
        let scanned = tokio::task::spawn_blocking(sandboxes::addresses).await;
        let in_use = match scanned {
            Ok(Ok(in_use)) => in_use,
            Ok(Err(error)) => {
                tracing::warn!(error = %chain(&error), "rebuilt blocks stay in quarantine");
                return Ok(());
            }
            Err(_) => return Ok(()),
        };
        self.scans += 1;
        let last = self.scans >= SCANS;
        let (found, opened) = self
            .allocator
            .run(move |state, now| {
                let found = hold_in_use(state, &in_use, now);
                (found, if last { state.end_quarantine() } else { 0 })
            })
            .await?;
        tracing::info!(found, opened, "looked for the holders of rebuilt blocks");
        Ok(())
    }
}

fn evidence(state: &State) -> Vec<(Exact, String)> {
    let exact = |holder: &crate::state::Holder| Exact {
        attachment: holder.attachment.clone(),
        sequence: holder.sequence,
    };
    state.allocations().filter_map(|(_, _, holder)| Some((exact(holder), holder.netns.clone()?))).collect()
}

/// Gives a holder to every address of a quarantined block that is in use though nobody is known to hold it.
/// The mirror had not seen its container yet; it is known by its network namespace alone, and freed with it.
fn hold_in_use(state: &mut State, in_use: &BTreeMap<IpAddr, PathBuf>, now: u64) -> usize {
    let quarantined: Vec<BlockId> = state.quarantined();
    let mut found = 0;
    for (address, netns) in in_use {
        for id in &quarantined {
            let Some(offset) = id.unit.offset_of(*address) else { continue };
            let sequence = state.next_sequence();
            let record = recovered(*address, offset, netns, sequence, now);
            found += usize::from(record.is_some_and(|record| state.hold_recorded(id, record, now)));
        }
    }
    found
}

fn recovered(
    address: IpAddr,
    offset: u32,
    netns: &std::path::Path,
    sequence: u64,
    now: u64,
) -> Option<Allocation> {
    Some(Allocation {
        offset,
        sequence,
        container: ContainerId::new(format!("recovered-{address}")).ok()?,
        interface: IfName::eth0(),
        namespace: PodText::new("unknown").ok()?,
        pod: PodText::new("unknown").ok()?,
        network: None,
        netns: Some(netns.to_str()?.to_owned()),
        since: now,
    })
}
