//! What was found: figures, and goals met or missed. A goal is stated once, where it is measured.

mod markdown;
mod verdict;

use crate::host::Host;
use crate::plot::Plot;
use crate::samples::Samples;
use anyhow::Result;
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use std::time::Duration;
pub(crate) use verdict::{Bound, Unit, Verdict};

/// Where the plots are, beside the report.
pub(crate) const PLOTS: &str = "benchmarks";

/// All that was found in a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The machine.
    pub(crate) host: Host,
    /// What each measure found.
    pub(crate) sections: Vec<Section>,
}

/// What one measure found.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    /// What was measured.
    pub(crate) title: &'static str,
    /// How.
    pub(crate) method: String,
    /// Times.
    pub(crate) times: Vec<Timing>,
    /// Single figures.
    pub(crate) figures: Vec<Figure>,
    /// The goals, met or missed.
    pub(crate) verdicts: Vec<Verdict>,
    /// Where the time goes: a sentence each.
    pub(crate) notes: Vec<String>,
    /// Curves.
    #[serde(skip)]
    pub(crate) plots: Vec<Plot>,
}

/// Times of one thing that was done many times.
#[derive(Debug)]
pub(crate) struct Timing {
    /// What was done.
    pub(crate) what: String,
    /// How long it took.
    pub(crate) samples: Samples,
}

/// A single figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// Of what.
    pub(crate) what: String,
    /// The figure.
    pub(crate) value: f64,
    /// What it counts.
    pub(crate) unit: Unit,
}

impl Section {
    /// A section that has no figures yet.
    pub(crate) fn new(title: &'static str, method: impl Into<String>) -> Self {
        let method = method.into();
        Self {
            title,
            method,
            times: Vec::new(),
            figures: Vec::new(),
            verdicts: Vec::new(),
            notes: Vec::new(),
            plots: Vec::new(),
        }
    }

    /// Adds times.
    pub(crate) fn times(&mut self, what: impl Into<String>, samples: Samples) {
        self.times.push(Timing { what: what.into(), samples });
    }

    /// Adds a figure.
    pub(crate) fn figure(&mut self, what: impl Into<String>, value: f64, unit: Unit) {
        self.figures.push(Figure { what: what.into(), value, unit });
    }

    /// Adds a sentence that says where the time goes.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Adds curves.
    pub(crate) fn plot(&mut self, plot: Plot) {
        self.plots.push(plot);
    }

    /// Adds a goal, and the figure that decides it.
    pub(crate) fn goal(&mut self, what: impl Into<String>, bound: Bound, value: f64, unit: Unit) {
        self.verdicts.push(Verdict { what: what.into(), bound, value, unit });
    }
}

impl Report {
    /// All goals, met or missed.
    pub(crate) fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.sections.iter().flat_map(|section| &section.verdicts)
    }

    /// The report for programs. Times are in milliseconds.
    pub(crate) fn json(&self) -> Result<String> {
        Ok(format!("{}\n", serde_json::to_string_pretty(self)?))
    }
}

impl Serialize for Timing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Timing", 7)?;
        fields.serialize_field("what", &self.what)?;
        fields.serialize_field("count", &self.samples.len())?;
        for (name, percent) in [("min", 0), ("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)] {
            fields.serialize_field(name, &millis(self.samples.percentile(percent)))?;
        }
        fields.end()
    }
}

/// A time in milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
