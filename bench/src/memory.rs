//! Memory of processes (proc(5)).

use anyhow::{Context, Result};
use coil_tests::process::Process;

/// A field of the process's status, in megabytes.
pub(crate) fn memory(process: &Process, key: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let field = status.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| *name == key);
    let (_, value) = field.with_context(|| format!("no {key} in a status"))?;
    let kibibytes: usize = value.trim().trim_end_matches(" kB").parse()?;
    megabytes(kibibytes * 1024)
}

/// A megabyte is a million bytes.
pub(crate) fn megabytes(bytes: usize) -> Result<f64> {
    Ok(f64::from(u32::try_from(bytes)?) / 1e6)
}
