//! The workspace's programs, built once per run.

use crate::tools::{show, text};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Path of one of the programs: `coil`, `coild`, `coil-controller`, `coilctl`. The first call builds them all
/// as the caller itself was built, unless `COIL_TEST_BINARIES` names a directory that has them.
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
    let program = std::env::current_exe()?;
    let directory = program.parent().context("a program lies in a directory")?;
    let profile = if directory.ends_with("deps") { directory.parent() } else { Some(directory) };
    let profile = profile.context("a test lies in target/<profile>/deps")?;
    match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") => build("dev", &["--workspace", "--bins"])?,
        // As users get them: built together, the plugin would have the features that daemons need of shared crates.
        Some("release") => {
            build("release", &["-p", "coil"])?;
            build("release", &["-p", "coild", "-p", "coil-controller", "-p", "coilctl"])?;
        }
        Some(name) => build(name, &["--workspace", "--bins"])?,
        None => bail!("{} names no profile", profile.display()),
    }
    Ok(profile.to_owned())
}

fn build(profile: &str, packages: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--profile", profile])
        .args(packages)
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
