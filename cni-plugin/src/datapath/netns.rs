//! Network namespaces: opened by path, entered for a moment.

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::fstat;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};

/// The namespace of the thread that reads it.
const OWN: &str = "/proc/thread-self/ns/net";

/// Why a namespace can't be used.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// There is nothing at the path.
    #[error("CNI_NETNS {0}: no such network namespace")]
    Missing(PathBuf),
    /// It can't be opened.
    #[error("CNI_NETNS {path}: can't open the network namespace")]
    Open {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is the host's, where the container's interface must not be.
    #[error("CNI_NETNS {0} is the network namespace of the host, not of a container")]
    Host(PathBuf),
    /// It can't be entered.
    #[error("CNI_NETNS {path}: can't enter the network namespace")]
    Enter {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The thread can't go back to where it was.
    #[error("can't return to the network namespace of the host")]
    Return(#[source] Errno),
}

/// A container's network namespace, and the way back from it.
#[derive(Debug)]
pub struct Netns {
    path: PathBuf,
    container: File,
    host: File,
}

impl Netns {
    /// Opens the namespace at a path. It must not be the one the thread is in.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        let open = |path: &Path| {
            File::open(path).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => NetnsError::Missing(path.to_owned()),
                _ => NetnsError::Open { path: path.to_owned(), source },
            })
        };
        let (container, host) = (open(path)?, open(Path::new(OWN))?);
        let identity = |file: &File| {
            let status = fstat(file)
                .map_err(|error| NetnsError::Open { path: path.to_owned(), source: error.into() })?;
            Ok((status.st_dev, status.st_ino))
        };
        if identity(&container)? == identity(&host)? {
            return Err(NetnsError::Host(path.to_owned()));
        }
        Ok(Self { path: path.to_owned(), container, host })
    }

    /// Runs something in the namespace, on this thread, and returns.
    pub fn run<T>(&self, inside: impl FnOnce() -> T) -> Result<T, NetnsError> {
        setns(&self.container, CloneFlags::CLONE_NEWNET)
            .map_err(|source| NetnsError::Enter { path: self.path.clone(), source })?;
        let result = inside();
        setns(&self.host, CloneFlags::CLONE_NEWNET).map_err(NetnsError::Return)?;
        Ok(result)
    }

    /// The descriptor, for messages to the kernel; it stays open as long as this lives.
    pub(super) fn descriptor(&self) -> RawFd {
        self.container.as_raw_fd()
    }

    /// Its path, as the runtime gave it.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
