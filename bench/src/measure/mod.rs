//! What is measured: each module states its goals and how it measures them.

mod block_lease;
mod cluster_start;
mod footprint;
mod ip_pools;
mod ipam_add;
mod ipam_rate;
mod main_add;
mod melange;
mod node_api;
mod node_start;
mod platform;
mod store_load;
mod twenty_nodes;

use crate::report::Section;
use crate::samples::Samples;
use anyhow::Result;
use std::time::{Duration, Instant};

/// One measure.
#[derive(Debug)]
pub(crate) struct Measure {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it measures.
    pub(crate) about: &'static str,
    /// Measures.
    pub(crate) run: fn(Effort) -> Result<Section>,
}

/// All of them, in the order of the report.
pub(crate) const ALL: &[Measure] = &[
    Measure { name: "ipam-add", about: "ADD as ipam, by addresses held", run: ipam_add::run },
    Measure { name: "ipam-rate", about: "ADD as ipam, 16 at once", run: ipam_rate::run },
    Measure { name: "main-add", about: "ADD and DEL with network namespaces", run: main_add::run },
    Measure { name: "node-api", about: "POST and DELETE /ip, by clients", run: node_api::run },
    Measure {
        name: "block-lease",
        about: "a block from the store, by size and use of the pool",
        run: block_lease::run,
    },
    Measure { name: "store-load", about: "what steady churn costs etcd", run: store_load::run },
    Measure { name: "twenty-nodes", about: "20 nodes at once", run: twenty_nodes::run },
    Measure { name: "cluster-start", about: "1,000 and 5,000 nodes within seconds", run: cluster_start::run },
    Measure { name: "node-start", about: "coild's start beside 5,000 other nodes", run: node_start::run },
    Measure {
        name: "ip-pools",
        about: "pools of namespaces, and addresses of one that is nearly full",
        run: ip_pools::run,
    },
    Measure { name: "melange", about: "tenants' addresses beside a million others", run: melange::run },
    Measure { name: "platform", about: "services: shown, listed and started", run: platform::run },
    Measure { name: "footprint", about: "memory and size", run: footprint::run },
];

/// How much is done for a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// As much as the report promises.
    Full,
    /// A tenth of it, to try the benchmark itself.
    Quick,
}

impl Effort {
    /// This much of what a full run does, and something in any case.
    pub(crate) fn of(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => full.div_ceil(10),
        }
    }

    /// This much of the time that a full run takes.
    pub(crate) fn time(self, full: Duration) -> Duration {
        match self {
            Self::Full => full,
            Self::Quick => full / 10,
        }
    }
}

/// Times something.
fn timed<T>(samples: &mut Samples, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let done = run()?;
    samples.push(start.elapsed());
    Ok(done)
}
