//! The machine: what the figures depend on.

use crate::durable;
use crate::report::{Unit, millis};
use anyhow::{Context, Result, ensure};
use coil_tests::binaries::binary;
use coil_tests::tools::{cni_plugin, find, run};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Types of file systems that keep nothing on a disk.
const VOLATILE: [&str; 2] = ["tmpfs", "ramfs"];
/// Synced writes that are timed to know the disk.
const SYNCS: usize = 200;

/// The machine and what runs on it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Host {
    cpu: String,
    cores: usize,
    memory: String,
    kernel: String,
    data: String,
    sync: String,
    load: String,
    etcd: String,
    rival: String,
    coil: String,
}

impl Host {
    /// Looks at the machine; `data` is where the daemons keep their data.
    pub(crate) fn look(data: &Disk) -> Result<Self> {
        let syncs = durable::sync_times(&data.dir, SYNCS)?;
        let show = |percent| Unit::Milliseconds.show(millis(syncs.percentile(percent)));
        Ok(Self {
            cpu: field("/proc/cpuinfo", "model name")?,
            cores: std::thread::available_parallelism()?.get(),
            memory: field("/proc/meminfo", "MemTotal")?,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            data: format!("{} on {}", data.kind, data.device),
            sync: format!("{} (p99 {})", show(50), show(99)),
            load: fs::read_to_string("/proc/loadavg")?.split(' ').take(1).collect(),
            etcd: first_line(Command::new(find("etcd", "etcd-server")?).arg("--version"))?,
            rival: package_of(&cni_plugin("host-local")?),
            coil: first_line(Command::new(binary("coild")?).arg("--version"))?,
        })
    }

    /// The facts, with their names.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        [
            ("CPU", self.cpu.clone()),
            ("cores", self.cores.to_string()),
            ("memory", self.memory.clone()),
            ("kernel", self.kernel.clone()),
            ("data directories", self.data.clone()),
            ("write of 4 KiB with fdatasync there", self.sync.clone()),
            ("load before the run", self.load.clone()),
            ("etcd", self.etcd.clone()),
            ("host-local", self.rival.clone()),
            ("Coil", self.coil.clone()),
            ("command", "`make bench`".to_owned()),
        ]
        .map(|(name, fact)| (name.to_owned(), fact))
        .to_vec()
    }
}

/// A directory for data that really reach a disk.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    kind: String,
    device: String,
}

/// Makes every daemon of this run keep its data on a disk: where `/tmp` is in memory, a sync costs nothing.
pub(crate) fn use_real_disk() -> Result<Disk> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let candidates = [std::env::temp_dir(), PathBuf::from("/var/tmp")];
    for dir in candidates {
        let Ok(dir) = dir.canonicalize() else { continue };
        let Some((kind, device)) = file_system(&mounts, &dir) else { continue };
        if !VOLATILE.contains(&kind.as_str()) {
            let changed = tempfile::env::override_temp_dir(&dir);
            ensure!(changed.is_ok(), "the directory for temporary files was chosen before");
            return Ok(Disk { dir, kind, device });
        }
    }
    anyhow::bail!("no directory for data is on a disk: set TMPDIR to one that is")
}

/// Type and device of the file system of a directory, by the text of `/proc/self/mountinfo` (proc(5)).
fn file_system(mounts: &str, dir: &Path) -> Option<(String, String)> {
    let parse = |line: &str| {
        let (mount, system) = line.split_once(" - ")?;
        let point = PathBuf::from(mount.split(' ').nth(4)?);
        let mut words = system.split(' ');
        Some((point, words.next()?.to_owned(), words.next()?.to_owned()))
    };
    let over = mounts.lines().filter_map(parse).filter(|(point, ..)| dir.starts_with(point));
    // Of several mounts at one point, the last one is seen.
    let (_, kind, device) = over.max_by_key(|(point, ..)| point.components().count())?;
    Some((kind, device))
}

fn field(file: &str, name: &str) -> Result<String> {
    let text = fs::read_to_string(file)?;
    let found = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name);
    Ok(found.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned()))
}

fn first_line(command: &mut Command) -> Result<String> {
    let output = String::from_utf8(run(command)?.stdout)?;
    Ok(output.lines().next().context("it printed nothing")?.to_owned())
}

/// Debian's plugins don't know their own version.
fn package_of(file: &Path) -> String {
    let found = Command::new("dpkg-query").arg("--search").arg(file).output();
    let package = found.ok().and_then(|output| {
        String::from_utf8(output.stdout).ok()?.split_once(':').map(|(package, _)| package.to_owned())
    });
    let version = package.and_then(|package| {
        let show = "--showformat=${Package} ${Version}";
        first_line(Command::new("dpkg-query").args(["--show", show, &package])).ok()
    });
    version.unwrap_or_else(|| "of no package".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_decides() {
        let mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
            23 22 0:21 / /tmp rw shared:3 - tmpfs tmpfs rw,size=1g\n\
            24 23 254:1 / /tmp/data rw shared:4 master:1 - xfs /dev/vdb rw\n\
            25 24 0:30 / /tmp/data rw - btrfs /dev/vdc rw\n";
        let of = |dir: &str| file_system(mounts, Path::new(dir)).expect("a file system");
        assert_eq!(of("/var/tmp"), ("ext4".to_owned(), "/dev/vda".to_owned()));
        assert_eq!(of("/tmp").0, "tmpfs");
        assert_eq!(of("/tmpfiles").0, "ext4");
        assert_eq!(of("/tmp/data/x").0, "btrfs");
    }
}
