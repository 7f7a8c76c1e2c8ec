//! Memory and binary sizes.

use super::Effort;
use crate::elf::Program;
use crate::memory::{megabytes, memory};
use crate::others;
use crate::report::{Bound, Section, Unit};
use crate::rig::{self, Cluster};
use anyhow::Result;
use coil_tests::binaries::binary;
use coil_tests::http::Http;
use common::wire::admin::{AddressView, BlockView, List, NodeView};
use serde::de::DeserializeOwned;
use std::time::Instant;

/// Addresses held, and the megabytes that coild may have in memory with them.
const HELD: [(usize, f64); 3] = [(0, 12.0), (250, 15.0), (10_000, 30.0)];
/// Megabytes of the programs.
const PROGRAMS: [(&str, Option<f64>); 4] =
    [("coil", Some(2.0)), ("coild", Some(12.0)), ("coil-controller", None), ("coilctl", None)];
/// Nodes, blocks of each, and addresses held of each block, that the controller has to show.
const NODES: usize = 5_000;
const BLOCKS: usize = 20;
const IN_BLOCK: u32 = 8;
/// Megabytes that the controller may have in memory with them.
const CONTROLLER: f64 = 150.0;

/// Measures.
pub(super) fn run(effort: Effort) -> Result<Section> {
    let nodes = effort.of(NODES);
    let mut section = Section::new(
        "Memory and size",
        format!(
            "Resident memory is VmRSS of a coild on etcd, after the addresses were given over 16 connections at \
             once. The controller's is read after it showed everything of {} leases of {nodes} nodes, with {} \
             addresses held: each list to its last page, and the pool. A program is static if it asks for no \
             loader, and stripped if it has no symbol table, by its own headers. A megabyte is a million bytes.",
            nodes * BLOCKS,
            nodes * BLOCKS * usize::try_from(IN_BLOCK)?,
        ),
    );
    programs(&mut section)?;
    for (held, limit) in HELD {
        coild(&mut section, held, limit)?;
    }
    controller(&mut section, nodes)?;
    Ok(section)
}

fn programs(section: &mut Section) -> Result<()> {
    for (name, limit) in PROGRAMS {
        let program = Program::read(&binary(name)?)?;
        let linked = if program.is_static { "static" } else { "dynamic" };
        let symbols = if program.is_stripped { "stripped" } else { "with symbols" };
        section.figure(format!("{name}, {linked}, {symbols}"), megabytes(program.size)?, Unit::Megabytes);
        if let Some(limit) = limit {
            let size =
                if program.is_static && program.is_stripped { megabytes(program.size)? } else { f64::NAN };
            section.goal(format!("{name}, static and stripped"), Bound::AtMost(limit), size, Unit::Megabytes);
        }
    }
    Ok(())
}

fn coild(section: &mut Section, held: usize, limit: f64) -> Result<()> {
    eprintln!("    coild with {held} addresses");
    let cluster = Cluster::start()?;
    let mut coild = cluster.node("footprint")?;
    coild.run()?;
    rig::hold(&coild.socket(), held)?;
    let process = coild.process()?;
    let resident = memory(process, "VmRSS")?;
    let what = format!("coild in memory, {held} addresses held");
    section.goal(what, Bound::AtMost(limit), resident, Unit::Megabytes);
    for (part, key) in [("program and shared", "RssFile"), ("its own", "RssAnon"), ("at most", "VmHWM")] {
        let figure = memory(process, key)?;
        section.figure(format!("coild, {held} addresses held: {part}"), figure, Unit::Megabytes);
    }
    Ok(())
}

fn controller(section: &mut Section, nodes: usize) -> Result<()> {
    eprintln!("    the controller with {} leases", nodes * BLOCKS);
    let mut cluster = Cluster::start()?;
    others::write(&cluster.etcd.endpoint(), nodes, BLOCKS, IN_BLOCK)?;
    let http = cluster.controller.http();
    let fresh = memory(cluster.controller.process()?, "VmRSS")?;
    section.figure("coil-controller, nothing shown yet", fresh, Unit::Megabytes);
    let start = Instant::now();
    http.get(&format!("/v1/pools/{}", others::POOL))?.expect(200)?;
    let figure = start.elapsed().as_secs_f64() * 1e3;
    section.figure("a pool with its use and the addresses held", figure, Unit::Milliseconds);
    for (what, path, count) in [
        ("all nodes", "/v1/nodes", count::<NodeView> as fn(&Http, &str) -> Result<usize>),
        ("all blocks", "/v1/blocks", count::<BlockView>),
        ("all addresses", "/v1/addresses", count::<AddressView>),
    ] {
        let start = Instant::now();
        let shown = count(&http, path)?;
        let figure = start.elapsed().as_secs_f64() * 1e3;
        section.figure(format!("{what}: {shown}, in pages"), figure, Unit::Milliseconds);
    }
    let process = cluster.controller.process()?;
    let (resident, peak) = (memory(process, "VmRSS")?, memory(process, "VmHWM")?);
    section.figure("coil-controller, at most", peak, Unit::Megabytes);
    let what = format!("coil-controller in memory, {} leases", nodes * BLOCKS);
    section.goal(what, Bound::AtMost(CONTROLLER), resident, Unit::Megabytes);
    Ok(())
}

/// Reads a list to its last page; answers how many items it has.
fn count<T: DeserializeOwned>(http: &Http, path: &str) -> Result<usize> {
    let (mut count, mut next) = (0, None);
    loop {
        let query = next.map_or_else(String::new, |token: String| format!("&continue={token}"));
        let page: List<T> = http.get(&format!("{path}?limit=5000{query}"))?.expect(200)?.parse()?;
        count += page.items.len();
        match page.next {
            Some(token) => next = Some(token),
            None => return Ok(count),
        }
    }
}
