//! Where a process runs.

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use std::ffi::OsStr;
use std::fs::File;
use std::net::TcpListener;
use std::process::Command;

/// The machine itself, or the namespaces of a [`Machine`](crate::machine::Machine).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The machine that runs the tests.
    Here,
    /// The network, mount and process namespaces of the process with this id.
    Inside(u32),
}

impl Place {
    /// Listens on a free port of the loopback interface of this place.
    pub fn listen(self) -> Result<TcpListener> {
        let listen = move || -> Result<TcpListener> {
            if let Self::Inside(anchor) = self {
                let path = format!("/proc/{anchor}/ns/net");
                let namespace = File::open(&path).with_context(|| path.clone())?;
                setns(namespace, CloneFlags::CLONE_NEWNET).context(path)?;
            }
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        // The thread stays in that network, and ends.
        std::thread::spawn(listen)
            .join()
            .map_err(|_| anyhow!("the thread that was to listen has panicked"))?
    }

    /// A command that will run in this place.
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Here => Command::new(program),
            Self::Inside(anchor) => {
                let mut command = Command::new("nsenter");
                command
                    .args(["--target", &anchor.to_string(), "--net", "--mount", "--pid", "--"])
                    .arg(program);
                command
            }
        }
    }
}
