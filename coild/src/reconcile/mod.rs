//! Reconciliation of the journal with what really runs: orphans are freed, a reboot is settled, and rebuilt blocks are
//! opened once it is certain that all their holders are known.

pub mod evidence;
pub mod quarantine;

use crate::allocator::{Allocator, AllocatorError};
use crate::boot::{Boot, survives};
use crate::cri::{Cri, Listing};
use crate::lease_keeper::LeaseRequests;
use crate::metrics::Metrics;
use crate::sandboxes;
use crate::state::{Exact, Holder, State};
use common::error::chain;
use evidence::{Look, Memory, borne_out};
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Holds the journal against what runs.
pub struct Reconciler {
    /// Where the allocations are.
    pub allocator: Allocator,
    /// The lease keeper, which is made to hold the leases against the store at the same times.
    pub leases: LeaseRequests,
    /// Counts orphans.
    pub metrics: Arc<Metrics>,
    /// The container runtime to ask for its sandboxes, if any.
    pub runtime: Option<Cri>,
    /// How often.
    pub interval: Duration,
    /// This boot, as the journal has it.
    boot: Boot,
    memory: Memory,
    /// Complete looks since blocks are in quarantine.
    scans: u32,
    /// Allocations of these blocks of which the last complete look has seen nothing.
    unseen: HashSet<Exact>,
}

/// Pause before a runtime is asked again that did not answer after a reboot.
const RUNTIME_PAUSE: Duration = Duration::from_secs(1);

impl Reconciler {
    /// A reconciler that has seen nothing yet.
    pub fn new(
        allocator: Allocator,
        leases: LeaseRequests,
        metrics: Arc<Metrics>,
        runtime: Option<Cri>,
        boot: Boot,
        interval: Duration,
    ) -> Self {
        Self {
            allocator,
            leases,
            metrics,
            runtime,
            interval,
            boot,
            memory: Memory::default(),
            scans: 0,
            unseen: HashSet::new(),
        }
    }

    /// Reconciles at once, and then for ever.
    pub async fn run(mut self) {
        let mut ticks = tokio::time::interval_at(Instant::now() + self.interval, self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Whoever reads the store first at the start holds the leases against it.
        let mut outcome = self.reconcile().await;
        loop {
            match outcome {
                Ok(()) => {}
                Err(AllocatorError::Stopped) => return,
                Err(error) => tracing::error!(error = %chain(&error), "reconciliation failed"),
            }
            outcome = tokio::select! {
                biased;
                _ = ticks.tick() => {
                    self.leases.reconcile();
                    self.reconcile().await
                }
                () = tokio::time::sleep(RUNTIME_PAUSE), if self.boot.undecided.is_some() => self.try_settle().await,
            };
        }
    }

    async fn reconcile(&mut self) -> Result<(), AllocatorError> {
        for address in self.allocator.run(State::end_conflicts).await? {
            tracing::info!(%address, "set aside no longer: if it is in use still, the next to get it will see");
        }
        let listing = match &self.runtime {
            None => None,
            Some(runtime) => match runtime.list().await {
                Ok(listing) => Some(listing),
                Err(error) => {
                    self.metrics.runtime_errors.inc();
                    tracing::warn!(error = %chain(&error), "nothing is freed, and rebuilt blocks stay in quarantine");
                    self.memory.interrupted();
                    return Ok(());
                }
            },
        };
        if let Some(listing) = &listing {
            self.settle_reboot(listing).await?;
        }
        self.free_orphans(listing.as_ref()).await?;
        self.examine_quarantine(listing.as_ref()).await
    }

    /// Frees the allocations of which both this look and the one before say that their container is gone.
    async fn free_orphans(&mut self, listing: Option<&Listing>) -> Result<(), AllocatorError> {
        let paths = self.allocator.run(|state, _| look_up(state)).await?;
        let held: Vec<IpAddr> = paths.iter().map(|(_, address, _)| *address).collect();
        let looks = tokio::task::spawn_blocking(move || {
            let look = |(allocation, address, netns): (Exact, IpAddr, Option<String>)| Look {
                allocation,
                address,
                netns: netns.as_deref().map(sandboxes::look),
            };
            paths.into_iter().map(look).collect::<Vec<Look>>()
        });
        let Ok(looks) = looks.await else { return Ok(()) };
        let gone = self.memory.gone_twice(&looks, listing);
        if gone.is_empty() {
            return Ok(());
        }
        let in_use = addresses_in_use().await;
        let orphans = borne_out(gone, in_use.as_ref(), &held);
        let freed = self.allocator.run(move |state, now| state.release_exactly(&orphans, now)).await?;
        self.metrics.orphans.inc_by(freed.len() as u64);
        for address in freed {
            tracing::warn!(%address, "freed an orphan: its container is gone");
        }
        Ok(())
    }

    /// Settles the last reboot as soon as the runtime answers.
    async fn try_settle(&mut self) -> Result<(), AllocatorError> {
        let Some(runtime) = &self.runtime else { return Ok(()) };
        match runtime.list().await {
            Ok(listing) => self.settle_reboot(&listing).await,
            // The next regular look tells why.
            Err(_) => Ok(()),
        }
    }

    /// Frees what was given before the reboot and has no sandbox any more. That and the note that it is done are one
    /// commit.
    async fn settle_reboot(&mut self, listing: &Listing) -> Result<(), AllocatorError> {
        let Some(last) = self.boot.undecided else { return Ok(()) };
        let decided = Boot::decided(self.boot.id.clone());
        let (note, listing) = (decided.to_string(), listing.clone());
        let freed = self
            .allocator
            .run(move |state, now| {
                let freed = state.free_stale(|holder| survives(holder, last, &listing), now);
                state.set_boot(note);
                freed
            })
            .await?;
        self.boot = decided;
        tracing::info!(freed, "the machine was rebooted: freed what its containers held");
        Ok(())
    }
}

fn look_up(state: &State) -> Vec<(Exact, IpAddr, Option<String>)> {
    let exact = |holder: &Holder| Exact { attachment: holder.attachment.clone(), sequence: holder.sequence };
    state.allocations().map(|(_, address, holder)| (exact(holder), address, holder.netns.clone())).collect()
}

/// The addresses on all interfaces of the machine's containers; `None` if they can't be read, which is in the log.
async fn addresses_in_use() -> Option<BTreeMap<IpAddr, PathBuf>> {
    match tokio::task::spawn_blocking(sandboxes::addresses).await.ok()? {
        Ok(in_use) => Some(in_use),
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the addresses in use can't be read");
            None
        }
    }
}
