//! A container image made of busybox alone.

use crate::tools::{find, run};
use anyhow::{Context, Result};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The image's name; no registry has it.
pub const IMAGE: &str = "coil.test/busybox:1";
/// What a container of the image runs unless it is told something else: nothing, for a long time.
pub const IDLE: [&str; 3] = ["/bin/busybox", "sleep", "2147483647"];

/// Makes the image as a tar, in the format of `docker save`, in a directory that exists.
pub fn archive(dir: &Path) -> Result<PathBuf> {
    let layer = layer(dir)?;
    let digest = String::from_utf8(run(Command::new("sha256sum").arg(&layer))?.stdout)?;
    let digest = digest.split_whitespace().next().context("sha256sum prints a digest")?;
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Entrypoint": IDLE, "Env": ["PATH=/bin"], "StopSignal": "SIGKILL"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
    fs::write(dir.join("config.json"), config.to_string())?;
    fs::write(dir.join("manifest.json"), manifest.to_string())?;
    let archive = dir.join("image.tar");
    run(tar(dir, &archive).args(["manifest.json", "config.json", "layer.tar"]))?;
    Ok(archive)
}

fn layer(dir: &Path) -> Result<PathBuf> {
    let bin = dir.join("rootfs/bin");
    fs::create_dir_all(&bin)?;
    fs::copy(find("busybox", "busybox-static")?, bin.join("busybox"))?;
    let layer = dir.join("layer.tar");
    run(tar(&dir.join("rootfs"), &layer).arg("."))?;
    Ok(layer)
}

fn tar(from: &Path, to: &Path) -> Command {
    let mut command = Command::new("tar");
    command.args(["--owner=0", "--group=0", "-C"]).arg(from).arg("-cf").arg(to);
    command
}
