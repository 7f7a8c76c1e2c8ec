//! The workspace's programs, built once per run.

use crate::tools::{show, text};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Path of one of the programs: `coil`, `coild`, `coil-controller`, `coilctl`. The first call builds them all
/// as the test itself was built, unless `COIL_TEST_BINARIES` names a directory that has them.
pub fn binary(name: &str) -> Result<PathBuf> {
    static DIRECTORY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| directory().map_err(|error| format!("{error:#}")));
    let file = directory.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?.join(name);
    if !file.is_file() {
        bail!("{} is missing", file.display());
    }
    Ok(file)
}

fn directory() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("COIL_TEST_BINARIES") {
        return Ok(std::path::absolute(directory)?);
    }
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("a test lies in target/<profile>/deps")?;
    build(profile)?;
    Ok(profile.to_owned())
}

fn build(profile: &Path) -> Result<()> {
    let name = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => bail!("{} names no profile", profile.display()),
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--workspace", "--bins", "--profile", name])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    // What `cargo test` says about this package is not what build scripts of others should see: they would
    // run again each time.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    let output = command.output().with_context(|| format!("can't start {}", show(&command)))?;
    if !output.status.success() {
        bail!("the programs don't build: {}\n{}", show(&command), text(&output));
    }
    Ok(())
}
