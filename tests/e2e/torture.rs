//! Every fault of `docs/reliability.md` that is left to chance, with a small budget; `make torture` tells the same
//! stories for longer.

use anyhow::Result;
use coil_tests::faults::tell;

#[test]
fn random_load() -> Result<()> {
    tell("random_load")
}

#[test]
fn coild_points() -> Result<()> {
    tell("coild_points")
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
