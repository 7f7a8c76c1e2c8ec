//! Every fault of `docs/reliability.md` that is left to chance, with a small budget; `make torture` tells the same
//! stories for longer.

use anyhow::Result;
use coil_tests::binaries::binary;
use coil_tests::faults::tell;
use coil_tests::tools::{run, text};
use std::process::Command;

#[test]
fn random_load() -> Result<()> {
    tell("random_load")
}

#[test]
fn coild_points() -> Result<()> {
    tell("coild_points")
}

#[test]
fn controller_points() -> Result<()> {
    tell("controller_points")
}

#[test]
fn plugin_points() -> Result<()> {
    tell("plugin_points")
}

#[test]
fn route_points() -> Result<()> {
    tell("route_points")
}

#[test]
fn store_killed() -> Result<()> {
    tell("store_killed")
}

#[test]
fn store_hangs() -> Result<()> {
    tell("store_hangs")
}

#[test]
fn members_lost() -> Result<()> {
    tell("members_lost")
}

#[test]
fn partition() -> Result<()> {
    tell("partition")
}

#[test]
fn removed_while_cut_off() -> Result<()> {
    tell("removed_while_cut_off")
}

#[test]
fn compaction() -> Result<()> {
    tell("compaction")
}

#[test]
fn backup_restored() -> Result<()> {
    tell("backup_restored")
}

#[test]
fn journal_damaged() -> Result<()> {
    tell("journal_damaged")
}

#[test]
fn clock_jumps() -> Result<()> {
    tell("clock_jumps")
}

#[test]
fn reboots() -> Result<()> {
    tell("reboots")
}

#[test]
fn two_daemons() -> Result<()> {
    tell("two_daemons")
}

#[test]
fn hostile_clients() -> Result<()> {
    tell("hostile_clients")
}

#[test]
fn slow_store() -> Result<()> {
    tell("slow_store")
}

/// The program of `make torture`, for a moment: it tells a story, and finds nothing left on the machine.
#[test]
fn nothing_is_left() -> Result<()> {
    let mut torture = Command::new(binary("torture")?);
    torture.args(["--minutes", "0.02", "--seed", "1", "--story", "partition"]);
    let output = run(torture.env("COIL_TEST_BINARIES", binary("coild")?.with_file_name("")))?;
    assert!(text(&output).contains("nothing was left behind"), "{}", text(&output));
    Ok(())
}
