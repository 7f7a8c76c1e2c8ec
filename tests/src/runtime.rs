//! What the container runtimes have in common.

use crate::binaries::binary;
use crate::tools::{CNI_PLUGINS, cni_plugin};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Makes a directory of CNI plugins: the workspace's `coil`, and Debian's.
pub(crate) fn plugin_directory(dir: &Path) -> Result<PathBuf> {
    cni_plugin("ptp")?;
    let bin = dir.join("bin");
    fs::create_dir(&bin)?;
    symlink(binary("coil")?, bin.join("coil"))?;
    for plugin in fs::read_dir(CNI_PLUGINS)? {
        let plugin = plugin?.path();
        symlink(&plugin, bin.join(plugin.file_name().context("a file has a name")?))?;
    }
    Ok(bin)
}
