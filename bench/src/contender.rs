//! Programs that are run as a container runtime runs plugins: the whole process is timed, from fork to the end
//! of its output and its exit.

use crate::durable::{DurableServer, ROUND_TRIP};
use crate::keep_alive::container_id;
use crate::netns::Netns;
use anyhow::{Context, Result, ensure};
use coil_tests::place::Place;
use coil_tests::plugin::{Plugin, addresses, ipam_config, main_config};
use coil_tests::tools::{CNI_PLUGINS, cni_plugin};
use serde_json::{Value, json};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Name of the network of all configurations.
const NETWORK: &str = "net";

/// A program that takes part.
#[derive(Debug)]
pub(crate) struct Contender {
    /// What it is called in the report.
    pub(crate) name: &'static str,
    plugin: Plugin,
    config: Value,
    kind: Kind,
    /// Path of the network namespace that it is given.
    netns: String,
}

#[derive(Debug)]
enum Kind {
    /// It gives addresses.
    Plugin,
    /// It gives none, and has nothing to free.
    Reference { verb: &'static str },
}

impl Contender {
    pub(crate) const COIL: &str = "coil";
    pub(crate) const HOST_LOCAL: &str = "host-local";
    pub(crate) const NOTHING: &str = "/bin/true";
    pub(crate) const ROUND_TRIP: &str = "bare durable round trip";

    /// The workspace's plugin as ipam, which asks the coild that listens on a socket.
    pub(crate) fn coil(socket: &Path) -> Result<Self> {
        let plugin = Plugin::coil(Place::Here)?;
        Ok(Self::plugin(Self::COIL, plugin, ipam_config("ptp", socket)))
    }

    /// The workspace's plugin as main plugin, which makes interfaces in a namespace.
    pub(crate) fn coil_main(socket: &Path, netns: &Netns) -> Result<Self> {
        let plugin = Plugin::coil(Place::Here)?;
        Ok(Self::plugin(Self::COIL, plugin, main_config(socket)).in_netns(netns))
    }

    fn plugin(name: &'static str, plugin: Plugin, config: Value) -> Self {
        // A namespace that exists, as a pod's does; an ipam plugin does nothing in it.
        let netns = format!("/proc/{}/ns/net", std::process::id());
        Self { name, plugin, config, kind: Kind::Plugin, netns }
    }

    /// Calls it for this namespace.
    pub(crate) fn in_netns(self, netns: &Netns) -> Self {
        Self { netns: netns.path(), ..self }
    }

    /// A program that does nothing, called in the same way: what starting a process costs.
    pub(crate) fn nothing() -> Result<Self> {
        let plugin = Plugin::other(Place::Here, Path::new("/bin/true"))?;
        let kind = Kind::Reference { verb: "ADD" };
        Ok(Self { kind, ..Self::plugin(Self::NOTHING, plugin, json!({})) })
    }

    /// A program that makes one durable round trip and nothing else, called in the same way.
    pub(crate) fn round_trip(server: &DurableServer) -> Result<Self> {
        let plugin = Plugin::other(Place::Here, &std::env::current_exe()?)?;
        let socket = server.socket();
        let plugin = plugin.with("ARGS", socket.to_str().context("a socket's path is text")?);
        let kind = Kind::Reference { verb: ROUND_TRIP };
        Ok(Self { kind, ..Self::plugin(Self::ROUND_TRIP, plugin, json!({})) })
    }

    /// ADD for the container of that number, and the time it took.
    pub(crate) fn add(&self, number: usize) -> Result<Duration> {
        let verb = match self.kind {
            Kind::Plugin => "ADD",
            Kind::Reference { verb } => verb,
        };
        let (output, time) = self.call(verb, number)?;
        if matches!(self.kind, Kind::Plugin) {
            let given = addresses(&serde_json::from_slice(&output.stdout)?)?;
            ensure!(given.len() == 1, "{} gave {given:?}", self.name);
        }
        Ok(time)
    }

    /// DEL for the container of that number, and the time it took.
    pub(crate) fn del(&self, number: usize) -> Result<Duration> {
        match self.kind {
            Kind::Plugin => Ok(self.call("DEL", number)?.1),
            Kind::Reference { .. } => Ok(Duration::ZERO),
        }
    }

    fn call(&self, verb: &str, number: usize) -> Result<(Output, Duration)> {
        let container = container_id(0xadd, number);
        let plugin = self.plugin.clone().attachment(&container, &self.netns);
        let config = self.config.to_string();
        let start = Instant::now();
        let output = plugin.call_with(verb, config.as_bytes())?;
        let time = start.elapsed();
        let text = || coil_tests::tools::text(&output);
        ensure!(output.status.success(), "{} {verb} failed: {}", self.name, text());
        Ok((output, time))
    }
}

/// Debian's host-local with a data directory of its own.
#[derive(Debug)]
pub(crate) struct HostLocal(TempDir);

impl HostLocal {
    /// One that holds nothing.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    /// The contender.
    pub(crate) fn contender(&self) -> Result<Contender> {
        let plugin = Plugin::other(Place::Here, &cni_plugin("host-local")?)?;
        Ok(Contender::plugin(Contender::HOST_LOCAL, plugin, self.config()))
    }

    /// Debian's ptp, with this one as its ipam.
    pub(crate) fn with_ptp(&self) -> Result<Contender> {
        let plugin = Plugin::other(Place::Here, &cni_plugin("ptp")?)?.with("PATH", CNI_PLUGINS);
        Ok(Contender::plugin("ptp with host-local", plugin, self.config()))
    }

    fn config(&self) -> Value {
        let ipam = json!({
            "type": "host-local", "dataDir": self.0.path(), "ranges": [[{"subnet": "10.64.0.0/14"}]],
        });
        json!({"cniVersion": "1.0.0", "name": NETWORK, "type": "ptp", "ipam": ipam})
    }

    /// Makes it hold addresses, by the files that it writes itself: it takes minutes to give thousands.
    pub(crate) fn hold(&self, count: u32) -> Result<()> {
        let dir = self.0.path().join(NETWORK);
        fs::create_dir_all(&dir)?;
        let mut last = Ipv4Addr::new(10, 64, 0, 1);
        for number in 0..count {
            last = Ipv4Addr::from_bits(last.to_bits() + 1);
            let holder = format!("{}\r\neth0", container_id(0, usize::try_from(number)?));
            fs::write(dir.join(last.to_string()), holder)?;
        }
        if count > 0 {
            fs::write(dir.join("last_reserved_ip.0"), last.to_string())?;
        }
        self.check_files(last)
    }

    /// Fails unless host-local takes the files for its own: it goes on after the last address.
    fn check_files(&self, last: Ipv4Addr) -> Result<()> {
        let contender = self.contender()?;
        contender.add(0)?;
        let next = Ipv4Addr::from_bits(last.to_bits() + 1).to_string();
        let written = fs::read_to_string(self.0.path().join(NETWORK).join(&next));
        let written = written.with_context(|| format!("host-local did not give {next}"))?;
        contender.del(0)?;
        let expected = format!("{}\r\neth0", container_id(0xadd, 0));
        ensure!(written == expected, "host-local writes {written:?}, the benchmark {expected:?}");
        Ok(())
    }

    /// How many addresses it holds.
    pub(crate) fn held(&self) -> Result<usize> {
        let is_address = |name: &str| name.parse::<Ipv4Addr>().is_ok();
        let names = fs::read_dir(self.0.path().join(NETWORK))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        Ok(names.collect::<Result<Vec<_>>>()?.iter().filter(|name| is_address(name)).count())
    }
}
