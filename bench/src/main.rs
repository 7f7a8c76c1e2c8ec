//! `make bench`: measures speed and size on this machine, against rivals in the same run, and writes what it
//! found, goals met or missed, to `docs/benchmarks.md`, `docs/benchmarks.json` and `docs/benchmarks/`.
//!
//! * [`samples`]: times, and their percentiles
//! * [`report`]: what was found, as Markdown and JSON
//! * [`processor`], [`memory`]: what processes take
//! * [`plot`]: curves, as SVG
//! * [`host`]: the machine
//! * [`durable`]: the floor: the least that a durable answer can cost
//! * [`elf`]: whether a program is static and stripped
//! * [`at_once`]: many threads that begin at the same moment
//! * [`keep_alive`]: clients that keep their connection
//! * [`contender`]: programs that are run as a container runtime runs plugins
//! * [`netns`], [`kernel`]: network namespaces, and what the kernel alone takes for a pod's interfaces
//! * [`rig`]: the daemons
//! * [`others`], [`filler`]: the keys of nodes that don't run
//! * [`simulated`]: many nodes in this process
//! * [`counters`]: what etcd counts of its own work
//! * [`measure`]: one module per measure

mod at_once;
mod contender;
mod counters;
mod durable;
mod elf;
mod filler;
mod host;
mod keep_alive;
mod kernel;
mod measure;
mod memory;
mod netns;
mod others;
mod plot;
mod processor;
mod report;
mod rig;
mod samples;
mod simulated;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use measure::{Effort, Measure};
use report::{Report, Section};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Measures Coil's speed and size on this machine
#[derive(Debug, Parser)]
#[command(name = "coil-bench")]
struct Arguments {
    /// A tenth of the work: the figures are rough, and printed instead of written
    #[arg(long)]
    quick: bool,
    /// Only this measure, or several with commas between; the figures are printed instead of written
    #[arg(long, value_name = "MEASURE", value_delimiter = ',')]
    only: Vec<String>,
    /// List the measures
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coil-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    if let Some(socket) = durable::asked_for_round_trip() {
        return durable::round_trip(&socket);
    }
    let arguments = Arguments::parse();
    if arguments.list {
        return list(&mut std::io::stdout());
    }
    coil_tests::tools::need_root()?;
    let measures = chosen(&arguments.only)?;
    let disk = host::use_real_disk()?;
    let effort = if arguments.quick { Effort::Quick } else { Effort::Full };
    let mut failed = Vec::new();
    let mut report = Report { host: host::Host::look(&disk)?, sections: Vec::new() };
    for measure in measures {
        eprintln!("{}", measure.name);
        let section = (measure.run)(effort).unwrap_or_else(|error| {
            failed.push(measure.name);
            Section::new(measure.about, format!("This could not be measured: {error:#}."))
        });
        for verdict in &section.verdicts {
            eprintln!("    {verdict}");
        }
        report.sections.push(section);
    }
    if arguments.quick || !arguments.only.is_empty() {
        eprintln!("\n{}", report.markdown());
    } else {
        write(&report)?;
    }
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

fn list(out: &mut impl Write) -> Result<()> {
    for measure in measure::ALL {
        writeln!(out, "{:<16}{}", measure.name, measure.about)?;
    }
    Ok(())
}

fn chosen(only: &[String]) -> Result<Vec<&'static Measure>> {
    let names = || measure::ALL.iter().map(|measure| measure.name).collect::<Vec<_>>().join(", ");
    for name in only {
        let known = measure::ALL.iter().any(|measure| measure.name == name);
        ensure!(known, "there is no measure {name:?}; there are {}", names());
    }
    let wanted = |measure: &&Measure| only.is_empty() || only.iter().any(|name| name == measure.name);
    Ok(measure::ALL.iter().filter(wanted).collect())
}

fn write(report: &Report) -> Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let put = |name: String, text: String| {
        let file = docs.join(name);
        std::fs::write(&file, text).with_context(|| format!("can't write {}", file.display()))
    };
    std::fs::create_dir_all(docs.join(report::PLOTS))?;
    for plot in report.sections.iter().flat_map(|section| &section.plots) {
        put(format!("{}/{}.svg", report::PLOTS, plot.file), plot.svg()?)?;
    }
    put("benchmarks.md".to_owned(), report.markdown())?;
    put("benchmarks.json".to_owned(), report.json()?)?;
    let missed = report.verdicts().filter(|verdict| !verdict.met()).count();
    eprintln!("\ndocs/benchmarks.md is written: {missed} of {} goals missed", report.verdicts().count());
    Ok(())
}
