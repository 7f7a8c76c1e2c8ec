//! Control groups of a machine's containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

const CGROUPS: &str = "/sys/fs/cgroup";

/// A parent of its own for the containers' control groups, removed with them when dropped.
#[derive(Debug)]
pub(crate) struct Cgroup(String);

impl Cgroup {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(format!("coil-test-{}-{count}", std::process::id()))
    }

    /// The name, as an absolute path.
    pub(crate) fn parent(&self) -> String {
        format!("/{}", self.0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // In version 1 each controller has its own tree.
        let controllers = fs::read_dir(CGROUPS).into_iter().flatten().flatten().map(|entry| entry.path());
        for root in controllers.chain([PathBuf::from(CGROUPS)]) {
            remove(&root.join(&self.0));
        }
    }
}

/// Removes a tree of control groups: of all it contains, only the directories can and must be removed.
fn remove(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(cgroup);
}
