//! Everything that can go wrong, its CNI code, and the JSON object that the runtime gets.

use crate::client::ClientError;
use crate::config::ConfigError;
use crate::datapath::DatapathError;
use crate::datapath::netns::NetnsError;
use crate::env::{Command, EnvError};
use crate::version::SpecVersion;
use ipnet::IpNet;
use serde::Serialize;
use std::io;
use std::net::IpAddr;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The environment is wrong.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// Standard input or output failed.
    #[error("can't {0}")]
    Io(&'static str, #[source] io::Error),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command came with a version of the specification that has no such command.
    #[error("{command} needs cniVersion {since} or newer, the configuration has {version}")]
    TooOld {
        /// The command.
        command: Command,
        /// Where it began.
        since: SpecVersion,
        /// The configuration's version.
        version: SpecVersion,
    },
    /// coild failed or refused.
    #[error(transparent)]
    Coild(#[from] ClientError),
    /// coild gave something else than it was asked for.
    #[error("coild was asked for {wanted}, and gave {given}")]
    Answer {
        /// The families.
        wanted: String,
        /// The addresses.
        given: String,
    },
    /// The main plugin ptp can't set up what the pool or the configuration wants.
    #[error(
        "ptp can't add the route {0} for an address of a pool without gateways: it can have the default route or \
         none; use coil as main plugin, or set ipam.routes"
    )]
    Ptp(IpNet),
    /// The pool of an address says nothing of the network that a bridge would lead to.
    #[error(
        "the pool {pool} of {address} has no gateway: \"datapath\": \"bridge\" needs a pool of a namespace or a \
         service, or one whose blocks have gateways"
    )]
    NotOfANetwork {
        /// The address.
        address: IpAddr,
        /// Its pool.
        pool: String,
    },
    /// The addresses of an interface are in different networks.
    #[error("{} is in VLAN {}, {} in VLAN {}: one interface is in one of them", first.0, first.1, second.0, second.1)]
    Vlans {
        /// An address and its VLAN.
        first: (IpAddr, u16),
        /// Another one.
        second: (IpAddr, u16),
    },
    /// An interface can't be made or removed.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// CHECK found a difference.
    #[error("{0}")]
    Differs(String),
    /// STATUS found that no ADD would work.
    #[error(transparent)]
    NotReady(ClientError),
    /// A result can't be written.
    #[error("can't write the result")]
    Result(#[source] serde_json::Error),
    /// A command failed, and so did undoing what it had done until then.
    #[error("{first}; undoing it failed too: {}", texts(.undo))]
    Undo {
        /// Why the command failed.
        first: Box<Self>,
        /// What could not be undone.
        undo: Vec<Self>,
    },
}

/// CNI codes. Those below 100 are the specification's.
pub mod code {
    /// The version of the specification is not supported.
    pub const VERSION: u32 = 1;
    /// A key of the configuration is not supported.
    pub const UNSUPPORTED: u32 = 2;
    /// The container does not exist.
    pub const NO_CONTAINER: u32 = 3;
    /// A variable of the environment is missing or wrong.
    pub const ENVIRONMENT: u32 = 4;
    /// Standard input or output failed.
    pub const IO: u32 = 5;
    /// Standard input is not JSON.
    pub const DECODE: u32 = 6;
    /// The configuration is wrong.
    pub const CONFIG: u32 = 7;
    /// The runtime may try again later.
    pub const TRY_AGAIN: u32 = 11;
    /// STATUS: the plugin can't serve an ADD.
    pub const NOT_READY: u32 = 50;
    /// coild's reply can't be used.
    pub const ANSWER: u32 = 100;
    /// coild refused the request.
    pub const REFUSED: u32 = 101;
    /// The attachment holds an address already.
    pub const HELD: u32 = 102;
    /// An interface, address, route or setting can't be made.
    pub const DATAPATH: u32 = 103;
    /// CHECK found a difference.
    pub const DIFFERS: u32 = 104;
}

impl Error {
    /// The CNI code.
    pub fn code(&self) -> u32 {
        match self {
            Self::Env(_) => code::ENVIRONMENT,
            Self::Io(..) => code::IO,
            Self::Config(ConfigError::Json(_)) => code::DECODE,
            Self::Config(ConfigError::Version { .. }) | Self::TooOld { .. } => code::VERSION,
            Self::Config(ConfigError::Field(_)) => code::CONFIG,
            Self::Config(ConfigError::Unsupported { .. })
            | Self::Ptp(_)
            | Self::NotOfANetwork { .. }
            | Self::Vlans { .. } => code::UNSUPPORTED,
            Self::Coild(error) => coild_code(error),
            Self::Answer { .. } | Self::Result(_) => code::ANSWER,
            Self::Datapath(error) => datapath_code(error),
            Self::Differs(_) => code::DIFFERS,
            Self::NotReady(_) => code::NOT_READY,
            Self::Undo { first, .. } => first.code(),
        }
    }

    /// The error object for the runtime. Text is always possible, so that a failure is never silent.
    pub fn to_json(&self, version: SpecVersion) -> String {
        let details = causes(self);
        let document = Document {
            cni_version: version.as_str(),
            code: self.code(),
            msg: self.to_string(),
            details: (!details.is_empty()).then_some(details),
        };
        serde_json::to_string(&document).unwrap_or_else(|_| format!("{{\"code\":{}}}", self.code()))
    }
}

fn coild_code(error: &ClientError) -> u32 {
    match error {
        ClientError::Unreachable { .. } | ClientError::TimedOut { .. } | ClientError::Broken { .. } => {
            code::TRY_AGAIN
        }
        ClientError::Refused { status: 503, .. } => code::TRY_AGAIN,
        ClientError::Refused { status: 409, .. } => code::HELD,
        ClientError::Refused { .. } => code::REFUSED,
        ClientError::Request(_) | ClientError::Reply { .. } => code::ANSWER,
    }
}

fn datapath_code(error: &DatapathError) -> u32 {
    match error {
        DatapathError::Netns(NetnsError::Missing(_)) => code::NO_CONTAINER,
        DatapathError::Netns(NetnsError::Open { .. } | NetnsError::Host(_) | NetnsError::Enter { .. })
        | DatapathError::InterfaceExists(_) => code::ENVIRONMENT,
        DatapathError::Netns(NetnsError::Return(_))
        | DatapathError::HostNamesTaken(_)
        | DatapathError::Netlink { .. }
        | DatapathError::Neighbours(..)
        | DatapathError::Silent(_)
        | DatapathError::Sysctl(_) => code::DATAPATH,
        // The next ADD gets another address.
        DatapathError::InUse { .. } => code::TRY_AGAIN,
        DatapathError::HostLink { .. } => code::CONFIG,
        DatapathError::Differs(_) => code::DIFFERS,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    cni_version: &'static str,
    code: u32,
    msg: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
}

/// The causes of an error, each with its own text only.
fn causes(error: &Error) -> String {
    let mut causes = Vec::new();
    let mut next: Option<&dyn std::error::Error> = match error {
        Error::Undo { first, .. } => std::error::Error::source(first.as_ref()),
        error => std::error::Error::source(error),
    };
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes.join(": ")
}

fn texts(errors: &[Error]) -> String {
    let whole = |error: &Error| match causes(error) {
        details if details.is_empty() => error.to_string(),
        details => format!("{error}: {details}"),
    };
    errors.iter().map(whole).collect::<Vec<_>>().join("; ")
}
