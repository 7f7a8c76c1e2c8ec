//! Why a command fails, and the exit code that says so.

use crate::client::Server;
use hyper::StatusCode;
use std::io;
use std::process::ExitCode;

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The controller refused, or failed.
    #[error("{error}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The controller's text.
        error: String,
    },
    /// The configuration is wrong.
    #[error("{0}")]
    Usage(String),
    /// The controller can't be reached.
    #[error(
        "can't reach the controller at {server}: {reason}. Is coil-controller running there? Choose another with --server or \
         COIL_SERVER, https://HOST:PORT, http://HOST:PORT or unix:PATH"
    )]
    Unreachable {
        /// Where it should be.
        server: Server,
        /// Why not.
        reason: String,
    },
    /// The node's daemon can't be reached.
    #[error(
        "can't reach coild at {socket}: {reason}. Is it running on this node? Choose another socket with --socket"
    )]
    NoCoild {
        /// Its socket.
        socket: String,
        /// Why not.
        reason: String,
    },
    /// What answers is no controller, or one of another version.
    #[error("what {server} answers is not understood: {reason}. Is it a coil-controller of this version?")]
    NotUnderstood {
        /// Who answered.
        server: Server,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The controller has accepted the request, but it is not done yet.
    #[error("{0}")]
    NotYet(String),
    /// A dry run found differences.
    #[error("there are differences; without --dry-run they are applied")]
    Differs,
    /// Something abnormal was found, and is still there.
    #[error("something abnormal was found")]
    Abnormal,
    /// The output can't be written.
    #[error("can't write the output: {0}")]
    Io(#[from] io::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Refused { .. } | Self::Io(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } | Self::NoCoild { .. } => 3,
            Self::NotUnderstood { .. } => 4,
            Self::NotYet(_) => 5,
            Self::Differs | Self::Abnormal => 6,
        }
    }

    /// Says what was refused, where the controller's text need not.
    pub(crate) fn about(self, what: &str) -> Self {
        match self {
            Self::Refused { status, error } => Self::Refused { status, error: format!("{what}: {error}") },
            other => other,
        }
    }
}

/// Says why, and answers the exit code. A reader that has seen enough of the output is no failure.
pub(crate) fn report(failure: &Failure) -> ExitCode {
    if matches!(failure, Failure::Io(error) if error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("coilctl: {failure}");
    ExitCode::from(failure.code())
}
