//! Memory and binary sizes.

use super::Effort;
use crate::elf::Program;
use crate::report::{Bound, Section, Unit};
use crate::rig::{self, Cluster};
use anyhow::{Context, Result};
use coil_tests::binaries::binary;
use coil_tests::coild::Coild;

const HELD: usize = 250;
/// Megabytes that coild may have in memory with that many addresses held.
const RESIDENT: f64 = 15.0;
/// Megabytes of the plugin.
const PLUGIN: f64 = 2.5;

/// Measures.
pub(super) fn run(_: Effort) -> Result<Section> {
    let mut section = Section::new(
        "Memory and size",
        "Resident memory is VmRSS of a coild on etcd, after the addresses were given over 16 connections at once. \
         A program is static if it asks for no loader, and stripped if it has no symbol table, by its own headers. \
         A megabyte is a million bytes.",
    );
    for name in ["coil", "coild", "coil-controller", "coilctl"] {
        let program = Program::read(&binary(name)?)?;
        let linked = if program.is_static { "static" } else { "dynamic" };
        let symbols = if program.is_stripped { "stripped" } else { "with symbols" };
        section.figure(format!("{name}, {linked}, {symbols}"), megabytes(program.size)?, Unit::Megabytes);
        if name == "coil" {
            let size =
                if program.is_static && program.is_stripped { megabytes(program.size)? } else { f64::NAN };
            section.goal("the plugin, static and stripped", Bound::AtMost(PLUGIN), size, Unit::Megabytes);
        }
    }
    let cluster = Cluster::start()?;
    let mut coild = cluster.node("footprint")?;
    coild.run()?;
    section.figure("coild, nothing held", memory(&mut coild, "VmRSS")?, Unit::Megabytes);
    rig::hold(&coild.socket(), HELD)?;
    let resident = memory(&mut coild, "VmRSS")?;
    section.figure(format!("coild, {HELD} addresses held"), resident, Unit::Megabytes);
    for (what, key) in [("of it program and shared", "RssFile"), ("of it its own", "RssAnon")] {
        section.figure(what, memory(&mut coild, key)?, Unit::Megabytes);
    }
    section.goal(
        format!("coild in memory, {HELD} addresses held"),
        Bound::AtMost(RESIDENT),
        resident,
        Unit::Megabytes,
    );
    Ok(section)
}

/// A field of the process's status, in megabytes (proc(5)).
fn memory(coild: &mut Coild, key: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", coild.process()?.id()))?;
    let field = status.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| *name == key);
    let (_, value) = field.with_context(|| format!("no {key} in a status"))?;
    let kibibytes: usize = value.trim().trim_end_matches(" kB").parse()?;
    megabytes(kibibytes * 1024)
}

fn megabytes(bytes: usize) -> Result<f64> {
    Ok(f64::from(u32::try_from(bytes)?) / 1e6)
}
