//! What is measured: each module states its goals and how it measures them.

mod cluster_start;
mod footprint;
mod ipam_add;
mod ipam_rate;
mod node_api;

use crate::report::Section;
use anyhow::Result;

/// One measure.
#[derive(Debug)]
pub(crate) struct Measure {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Measures.
    pub(crate) run: fn(Effort) -> Result<Section>,
}

/// All of them, in the order of the report.
pub(crate) const ALL: &[Measure] = &[
    Measure { name: "ipam-add", run: ipam_add::run },
    Measure { name: "ipam-rate", run: ipam_rate::run },
    Measure { name: "node-api", run: node_api::run },
    Measure { name: "footprint", run: footprint::run },
    Measure { name: "cluster-start", run: cluster_start::run },
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
    pub(crate) fn time(self, full: std::time::Duration) -> std::time::Duration {
        match self {
            Self::Full => full,
            Self::Quick => full / 10,
        }
    }
}
