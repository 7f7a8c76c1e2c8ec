//! Network namespaces of the benchmark's own: a thread that enters one, and those of pods.

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
use std::os::fd::AsRawFd;

/// A network namespace that exists as long as this value.
#[derive(Debug)]
pub(crate) struct Netns(File);

impl Netns {
    /// Makes a new one.
    pub(crate) fn new() -> Result<Self> {
        in_new(|| Ok(File::open("/proc/thread-self/ns/net")?)).map(Self)
    }

    /// A path by which any process can open it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// The descriptor, by which the kernel takes it.
    pub(crate) fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// Does something in a new network namespace, with all processes that it starts. Namespaces belong to threads:
/// this one's ends with the work.
pub(crate) fn in_new<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("can't make a network namespace")?;
            work()
        });
        thread.join().map_err(|_| anyhow!("the thread in a network namespace panicked"))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn inode(path: &str) -> Result<u64> {
        Ok(std::fs::metadata(path)?.ino())
    }

    #[test]
    fn namespaces_are_different_and_stay() -> Result<()> {
        coil_tests::tools::need_root()?;
        let (one, other) = (Netns::new()?, Netns::new()?);
        let here = inode("/proc/thread-self/ns/net")?;
        let inside = in_new(|| inode("/proc/thread-self/ns/net"))?;
        let all = [here, inside, inode(&one.path())?, inode(&other.path())?];
        let different: std::collections::BTreeSet<u64> = all.into_iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(inode("/proc/thread-self/ns/net")?, here);
        Ok(())
    }
}
