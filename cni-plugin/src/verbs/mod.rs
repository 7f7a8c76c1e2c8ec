//! One file per CNI command.

pub mod add;
pub mod check;
pub mod del;
pub mod gc;
pub mod status;
pub mod version;

use crate::client::{AttachmentPath, Coild};
use crate::config::{ConfigError, NetworkConfig, version_of};
use crate::datapath::veth::HostNames;
use crate::env::{Call, Command, EnvError, Target};
use crate::error::Error;
use crate::version::SpecVersion;
use common::name::PodText;
use std::io::{self, Read};

/// The longest configuration that is read.
const INPUT_LIMIT: u64 = 16 * 1024 * 1024;

/// A failed command: the error, and the version in which to report it.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong.
    pub error: Error,
    /// The configuration's version, or the newest if it is not known.
    pub version: SpecVersion,
}

/// Runs a command and gives what belongs on standard output, which may be nothing. `own_name` is the name of the
/// program as it was called.
pub fn run(call: Result<Call, EnvError>, input: impl Read, own_name: &str) -> Result<String, Failure> {
    let mut version = SpecVersion::NEWEST;
    let outcome = (|| {
        let call = call?;
        if call == Call::Version {
            return version::run(&read(input)?);
        }
        let document = serde_json::from_slice(&read(input)?).map_err(ConfigError::Json)?;
        version = version_of(&document)?;
        must_have(call.command(), version)?;
        let config = NetworkConfig::parse(document, own_name)?;
        match call {
            Call::Add(target, netns) => add::run(&config, &target, &netns),
            Call::Del(target) => del::run(&config, &target),
            Call::Check(target, netns) => check::run(&config, &target, &netns),
            Call::Gc => gc::run(&config),
            Call::Status => status::run(&config),
            Call::Version => Ok(String::new()),
        }
    })();
    outcome.map_err(|error| Failure { error, version })
}

/// Refuses a command that the version of the specification does not have.
fn must_have(command: Command, version: SpecVersion) -> Result<(), Error> {
    let since = match command {
        Command::Add | Command::Del | Command::Version => SpecVersion::V0_3_0,
        Command::Check => SpecVersion::V0_4_0,
        Command::Gc | Command::Status => SpecVersion::V1_1_0,
    };
    if version < since { Err(Error::TooOld { command, since, version }) } else { Ok(()) }
}

/// Reads standard input.
fn read(input: impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    match input.take(INPUT_LIMIT + 1).read_to_end(&mut bytes) {
        Ok(length) if length as u64 > INPUT_LIMIT => Err(Error::Io(
            "read the network configuration on stdin",
            io::Error::other(format!("it is longer than {INPUT_LIMIT} bytes")),
        )),
        Ok(_) => Ok(bytes),
        Err(error) => Err(Error::Io("read the network configuration on stdin", error)),
    }
}

fn coild(config: &NetworkConfig) -> Coild<'_> {
    Coild::new(&config.socket, config.timeout)
}

/// What coild calls the attachment. Where the runtime names no namespace, the network stands for it, and the
/// container for a pod without a name.
fn path_of(config: &NetworkConfig, target: &Target) -> Result<AttachmentPath, EnvError> {
    let container_id = target.container_id.clone();
    let namespace = target.args.namespace.clone().unwrap_or_else(|| config.network.clone().into());
    let pod = match &target.args.pod {
        Some(pod) => pod.clone(),
        None => pod_named(container_id.as_str())?,
    };
    Ok(AttachmentPath { namespace, pod, container_id, interface: target.interface.clone() })
}

/// The names that the host end of the attachment may have.
fn names_of(path: &AttachmentPath) -> HostNames {
    HostNames::of(&path.namespace, &path.pod, &path.container_id, &path.interface)
}

fn pod_named(container_id: &str) -> Result<PodText, EnvError> {
    PodText::new(container_id).map_err(|reason| EnvError::Name { variable: "CNI_CONTAINERID", reason })
}

#[cfg(test)]
mod tests;
