//! The report for people.

use super::{Figure, PLOTS, Report, Section, Timing, Unit, Verdict, millis};
use std::fmt::Write;

const HEAD: &str = "# Benchmarks

Written by `make bench`, which measures everything on one machine in one run. Goals stand in the program, next
to what is measured; one that is missed is shown as missed. The same figures for programs are in
[benchmarks.json](benchmarks.json).

Read the ratios first. Times depend on the machine, above all on its disk, and wander when it does something
else meanwhile; a ratio compares programs that took turns, call by call, under the same conditions. p50 is the
time that half of the calls did not exceed, p99 that 99 of 100 did not. Where p50 is far above the shortest
time, the machine was busy: even the ratios say little then, as all waited for their turn alike.
";

impl Report {
    /// The report for people.
    pub(crate) fn markdown(&self) -> String {
        let mut text = HEAD.to_owned();
        heading(&mut text, "Goals");
        table(&mut text, &["measure", "goal", "figure", "verdict"], self.verdicts().map(verdict_cells));
        heading(&mut text, "Machine");
        table(
            &mut text,
            &["", ""],
            self.host.facts().iter().map(|(name, fact)| vec![name.clone(), fact.clone()]),
        );
        for section in &self.sections {
            section.write(&mut text);
        }
        text
    }
}

impl Section {
    fn write(&self, text: &mut String) {
        heading(text, self.title);
        line(text, &self.method);
        if !self.times.is_empty() {
            line(text, "");
            table(
                text,
                &["", "count", "shortest", "p50", "p90", "p99", "longest"],
                self.times.iter().map(timing_cells),
            );
        }
        if !self.figures.is_empty() {
            line(text, "");
            table(text, &["", "figure"], self.figures.iter().map(figure_cells));
        }
        for note in &self.notes {
            line(text, &format!("\n{note}"));
        }
        for plot in &self.plots {
            line(text, &format!("\n![{}]({PLOTS}/{}.svg)", plot.title, plot.file));
        }
    }
}

fn verdict_cells(verdict: &Verdict) -> Vec<String> {
    let word = if verdict.met() { "met".to_owned() } else { "**missed**".to_owned() };
    vec![verdict.what.clone(), verdict.goal(), verdict.unit.show(verdict.value), word]
}

fn timing_cells(timing: &Timing) -> Vec<String> {
    let percentile = |percent| Unit::Milliseconds.show(millis(timing.samples.percentile(percent)));
    let mut cells = vec![timing.what.clone(), timing.samples.len().to_string()];
    cells.extend([0, 50, 90, 99, 100].map(percentile));
    cells
}

fn figure_cells(figure: &Figure) -> Vec<String> {
    vec![figure.what.clone(), figure.unit.show(figure.value)]
}

fn heading(text: &mut String, title: &str) {
    line(text, &format!("\n## {title}\n"));
}

fn line(text: &mut String, line: &str) {
    // Writing to a string can't fail.
    let _ = writeln!(text, "{line}");
}

fn table(text: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    line(text, &format!("| {} |", head.join(" | ")));
    line(text, &format!("|{}", "---|".repeat(head.len())));
    for row in rows {
        line(text, &format!("| {} |", row.join(" | ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;
    use crate::report::Bound;
    use crate::samples::Samples;
    use std::time::Duration;

    #[test]
    fn a_missed_goal_stands_out_in_both_forms() {
        let mut section = Section::new("Speed", "Timed.");
        let mut samples = Samples::default();
        samples.push(Duration::from_micros(1_500));
        section.times("a call", samples);
        section.figure("rate", 12.0, Unit::PerSecond);
        section.goal("fast enough", Bound::AtMost(1.0), 1.5, Unit::Milliseconds);
        section.goal("small enough", Bound::AtMost(15.0), 3.25, Unit::Megabytes);
        let report = Report { host: Host::default(), sections: vec![section] };
        let text = report.markdown();
        for line in [
            "| fast enough | ≤ 1 ms | 1.50 ms | **missed** |",
            "| small enough | ≤ 15 MB | 3.25 MB | met |",
            "| a call | 1 | 1.50 ms | 1.50 ms | 1.50 ms | 1.50 ms | 1.50 ms |",
            "| rate | 12.0/s |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
        }
        let json: serde_json::Value = serde_json::from_str(&report.json().expect("JSON")).expect("JSON");
        let verdict = &json["sections"][0]["verdicts"][0];
        assert_eq!((&verdict["met"], &verdict["at_most"]), (&false.into(), &1.0.into()));
        assert_eq!(json["sections"][0]["times"][0]["p99"], 1.5);
    }
}
