//! The plugin's input: `NAME=value` lines of the environment, an empty line, and standard input.

use super::split;
use cni_plugin::config::{ConfigError, NetworkConfig, version_of};
use cni_plugin::env::{Call, Command};
use cni_plugin::error::Error;
use cni_plugin::field::FieldError;
use cni_plugin::verbs;
use cni_plugin::version::SpecVersion;
use common::ipam::Family;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// A call is understood, or refused with a CNI error that names the variable or key; nothing is carried out but
/// VERSION.
pub fn cni(data: &[u8]) {
    let (environment, stdin) = split(data);
    let variables: BTreeMap<&str, OsString> = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        // What was not UTF-8 in the input is not UTF-8 in the environment.
        .map(|(name, value)| (name, OsString::from_vec(value.replace('\u{fffd}', "\u{1}").into_bytes())))
        .collect();
    let call = Call::parse(|name| variables.get(name).cloned());
    match &call {
        Err(error) => refused(&Error::from(error.clone()), "CNI_"),
        Ok(call) => understood(call, &variables),
    }
    let version_only = call.is_ok_and(|call| call == Call::Version);
    if version_only {
        match verbs::run(Ok(Call::Version), stdin, "coil") {
            Ok(answer) => assert!(answer.contains("supportedVersions"), "{answer}"),
            Err(failure) => refused(&failure.error, ""),
        }
    }
    configuration(stdin);
}

fn understood(call: &Call, variables: &BTreeMap<&str, OsString>) {
    let command = variables.get("CNI_COMMAND").and_then(|text| text.to_str());
    assert_eq!(command, Some(call.command().as_str()));
    let (Call::Add(target, _) | Call::Check(target, _) | Call::Del(target)) = call else { return };
    let is = |name, value: &str| assert_eq!(variables.get(name).and_then(|text| text.to_str()), Some(value));
    is("CNI_CONTAINERID", target.container_id.as_str());
    is("CNI_IFNAME", target.interface.as_str());
    assert!(call.command() == Command::Del || target.netns.is_some());
}

fn configuration(stdin: &[u8]) {
    let document: Value = match serde_json::from_slice(stdin) {
        Ok(document) => document,
        Err(error) => return refused(&Error::Config(error.into()), ""),
    };
    let version = version_of(&document);
    match NetworkConfig::parse(document, "coil") {
        Ok(config) => {
            assert_eq!(version.ok(), Some(config.version));
            assert!(!config.families.is_empty() && config.families.is_sorted());
            assert!(!config.timeout.is_zero() && config.socket.is_absolute(), "{config:?}");
            assert!(config.mtu.is_none_or(|mtu| (68..=65_535).contains(&mtu)), "{config:?}");
            assert!(config.ips.iter().all(|ip| config.families.contains(&Family::of(*ip))), "{config:?}");
            if let Err(error) = config.prev_result() {
                refused(&Error::Config(error), "prevResult");
            }
            if let Err(error) = config.valid_attachments() {
                refused(&Error::Config(error), "cni.dev/valid-attachments");
            }
        }
        Err(error) => {
            let key = match &error {
                ConfigError::Json(_) => String::new(),
                ConfigError::Version { .. } => "cniVersion".to_owned(),
                ConfigError::Field(
                    FieldError::Missing { key }
                    | FieldError::Kind { key, .. }
                    | FieldError::Invalid { key, .. },
                )
                | ConfigError::Unsupported { key, .. } => key.clone(),
            };
            refused(&Error::Config(error), &key);
        }
    }
}

/// An error is one that the runtime understands, and names what is wrong.
fn refused(error: &Error, names: &str) {
    let expected = match error {
        Error::Env(_) => 4,
        Error::Config(ConfigError::Json(_)) => 6,
        Error::Config(ConfigError::Version { .. }) => 1,
        Error::Config(ConfigError::Field(_)) => 7,
        Error::Config(ConfigError::Unsupported { .. }) => 2,
        other => panic!("not an error of input: {other:?}"),
    };
    for version in SpecVersion::ALL {
        let text = error.to_json(version);
        let document: Value = serde_json::from_str(&text).expect("an error is JSON");
        assert_eq!(document["code"], expected, "{text}");
        assert_eq!(document["cniVersion"], version.as_str(), "{text}");
        let message = document["msg"].as_str().expect("an error says what is wrong");
        assert!(!message.is_empty() && message.contains(names), "{text} does not name {names:?}");
    }
}
