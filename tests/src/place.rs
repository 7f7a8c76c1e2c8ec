//! Where a process runs.

use std::ffi::OsStr;
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
