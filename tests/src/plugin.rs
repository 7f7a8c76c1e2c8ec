//! One call of the real plugin, as a container runtime makes it.

use crate::binaries::binary;
use crate::place::Place;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

/// A plugin and the environment that it is called with. Every call says what changes.
#[derive(Debug, Clone)]
pub struct Plugin {
    place: Place,
    binary: PathBuf,
    path: PathBuf,
    env: BTreeMap<String, String>,
}

/// A CNI error object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniError {
    /// The code of the specification.
    pub code: u64,
    /// `msg` and `details`.
    pub text: String,
}

impl Plugin {
    /// The workspace's `coil`.
    pub fn coil(place: Place) -> Result<Self> {
        let binary = binary("coil")?;
        let path = binary.parent().context("a program lies in a directory")?.to_owned();
        Ok(Self { place, binary, path, env: BTreeMap::new() })
    }

    /// Another plugin, which will find the workspace's `coil` for its ipam.
    pub fn other(place: Place, file: &Path) -> Result<Self> {
        let coil = Self::coil(place)?;
        Ok(Self { binary: file.to_owned(), ..coil })
    }

    /// Sets a variable, without its `CNI_`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.env.insert(format!("CNI_{name}"), value.to_owned());
        self
    }

    /// Sets container, network namespace and interface `eth0`.
    #[must_use]
    pub fn attachment(self, container: &str, netns: &str) -> Self {
        self.with("CONTAINERID", container).with("NETNS", netns).with("IFNAME", "eth0")
    }

    /// Sets what it does at named points, in the language of `common::fault`.
    #[must_use]
    pub fn with_failpoints(mut self, failpoints: &str) -> Self {
        self.env.insert("FAILPOINTS".to_owned(), failpoints.to_owned());
        self
    }

    /// Runs it to its end.
    pub fn call(&self, verb: &str, config: &Value) -> Result<Output> {
        self.call_with(verb, config.to_string().as_bytes())
    }

    /// Runs it with any bytes for a configuration.
    pub fn call_with(&self, verb: &str, config: &[u8]) -> Result<Output> {
        let mut child = self
            .place
            .command(&self.binary)
            .env("CNI_COMMAND", verb)
            .env("CNI_PATH", &self.path)
            .envs(&self.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start {}", self.binary.display()))?;
        let mut stdin = child.stdin.take().context("a pipe")?;
        match stdin.write_all(config) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.into()),
            _ => drop(stdin),
        }
        Ok(child.wait_with_output()?)
    }

    /// The result of a call that must succeed; null if it prints nothing.
    pub fn result(&self, verb: &str, config: &Value) -> Result<Value> {
        let output = self.call(verb, config)?;
        let out = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "{verb} failed with {}: {out}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        if out.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&out).with_context(|| format!("{verb} did not print JSON: {out}"))
    }

    /// The error of a call that must fail.
    pub fn error(&self, verb: &str, config: &Value) -> Result<CniError> {
        self.error_with(verb, config.to_string().as_bytes())
    }

    /// The error of a call with any bytes for a configuration.
    pub fn error_with(&self, verb: &str, config: &[u8]) -> Result<CniError> {
        let output = self.call_with(verb, config)?;
        let out = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            bail!("{verb} succeeded: {out}");
        }
        let object: Value =
            serde_json::from_str(&out).with_context(|| format!("not a CNI error object: {out}"))?;
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let code = object["code"].as_u64().with_context(|| format!("no code: {out}"))?;
        Ok(CniError { code, text: format!("{} {}", text("msg"), text("details")) })
    }

    /// ADD, and the addresses of its result.
    pub fn add(&self, config: &Value) -> Result<Vec<IpAddr>> {
        addresses(&self.result("ADD", config)?)
    }

    /// DEL.
    pub fn del(&self, config: &Value) -> Result<()> {
        let printed = self.result("DEL", config)?;
        ensure!(printed.is_null(), "DEL printed {printed}");
        Ok(())
    }
}

/// The addresses of a result, without prefix lengths.
pub fn addresses(result: &Value) -> Result<Vec<IpAddr>> {
    let ips = result["ips"].as_array().with_context(|| format!("no ips: {result}"))?;
    ips.iter()
        .map(|ip| {
            let text = ip["address"].as_str().with_context(|| format!("no address: {ip}"))?;
            let (address, _) = text.split_once('/').with_context(|| format!("no prefix length: {text}"))?;
            Ok(address.parse()?)
        })
        .collect()
}

/// A configuration of `coil` as main plugin.
pub fn main_config(socket: &Path) -> Value {
    json!({"cniVersion": "1.0.0", "name": "net", "type": "coil", "socket": socket})
}

/// A configuration of another main plugin with `coil` as its ipam.
pub fn ipam_config(main: &str, socket: &Path) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "net", "type": main,
        "ipam": {"type": "coil", "socket": socket},
    })
}
