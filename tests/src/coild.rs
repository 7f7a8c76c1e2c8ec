//! A real coild with a directory of its own.

use crate::binaries::binary;
use crate::etcd::Etcd;
use crate::http::{Http, Reply};
use crate::place::Place;
use crate::process::Process;
use crate::tools::directory;
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use common::wire::node::{AddressReply, StatusReply};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;
use tempfile::TempDir;

/// Time for a daemon to become ready.
pub const READY: Duration = Duration::from_secs(20);

/// A coild. Its data directory outlives restarts; its socket is `coild.sock` in that directory's parent.
#[derive(Debug)]
pub struct Coild {
    place: Place,
    dir: TempDir,
    node: String,
    endpoint: String,
    data: PathBuf,
    args: Vec<String>,
    failpoints: String,
    process: Option<Process>,
}

impl Coild {
    /// A coild that is not started yet.
    pub fn new(place: Place, etcd: &Etcd, node: &str) -> Result<Self> {
        let (dir, endpoint) = (directory()?, etcd.endpoint());
        let (node, data) = (node.to_owned(), dir.path().join("data"));
        let coild = Self {
            place,
            dir,
            node,
            endpoint,
            data,
            args: Vec::new(),
            failpoints: String::new(),
            process: None,
        };
        std::fs::write(coild.boot_id_file(), "11111111-1111-4111-8111-111111111111\n")?;
        // Outside of a machine of the test's own, nobody touches the kernel's routes.
        Ok(if place == Place::Here { coild.with(&["--route-table", "none"]) } else { coild })
    }

    /// Starts a coild and waits until it is ready.
    pub fn start(place: Place, etcd: &Etcd, node: &str, args: &[&str]) -> Result<Self> {
        let mut coild = Self::new(place, etcd, node)?.with(args);
        coild.run()?;
        Ok(coild)
    }

    /// Adds arguments, for the next start.
    #[must_use]
    pub fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// Reaches its store elsewhere than etcd says.
    #[must_use]
    pub fn with_store(self, url: &str) -> Self {
        Self { endpoint: url.to_owned(), ..self }
    }

    /// Keeps its data in another directory of its place.
    #[must_use]
    pub fn with_data(self, data: &str) -> Self {
        Self { data: data.into(), ..self }
    }

    /// Sets what the next processes do at named points, in the language of `common::fault`; empty for nothing.
    pub fn set_failpoints(&mut self, failpoints: &str) {
        failpoints.clone_into(&mut self.failpoints);
    }

    /// The command that starts it.
    pub fn command(&self) -> Result<Command> {
        let mut command = self.place.command(binary("coild")?);
        command
            .args(["--node-name", &self.node, "--etcd-endpoints", &self.endpoint])
            .arg("--socket")
            .arg(self.socket())
            .arg("--data-dir")
            .arg(self.data())
            .arg("--boot-id-file")
            .arg(self.boot_id_file())
            .args(&self.args)
            .env("FAILPOINTS", &self.failpoints);
        Ok(command)
    }

    /// Starts it, without waiting.
    pub fn spawn(&mut self) -> Result<&mut Process> {
        let mut command = self.command()?;
        let process =
            Process::start(format!("coild {}", self.node), self.place, &mut command, &self.log_file())?;
        Ok(self.process.insert(process))
    }

    /// Starts it and waits until it is ready.
    pub fn run(&mut self) -> Result<()> {
        self.spawn()?;
        self.ready()
    }

    /// Starts it and waits until it serves or has ended by itself; says whether it serves.
    pub fn try_run(&mut self) -> Result<bool> {
        self.spawn()?;
        self.serves().or_else(|error| if self.has_ended()? { Ok(false) } else { Err(error) })
    }

    /// Whether the process that was started last has ended by itself.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(!self.process.as_mut().context("coild was not started")?.is_running()?)
    }

    fn serves(&mut self) -> Result<bool> {
        let http = self.http();
        wait_until("coild to serve or to end", READY, || {
            Ok(self.has_ended()? || http.get("/healthz")?.expect(200).is_ok())
        })?;
        Ok(!self.has_ended()?)
    }

    /// Waits until it serves.
    pub fn ready(&mut self) -> Result<()> {
        let http = self.http();
        let process = self.process.as_mut().context("coild was not started")?;
        wait_until("coild to serve", READY, || {
            ensure!(process.is_running()?, "coild ended: {}", process.story());
            http.get("/healthz")?.expect(200).map(|_| true)
        })
        .with_context(|| process.story())
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.take().context("coild does not run")?.terminate()
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("coild does not run")?.kill()
    }

    /// Stops it and starts it again.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.run()
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process()?.signal(signal)
    }

    /// The running process.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("coild does not run")
    }

    /// What it printed in all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Its node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("coild.sock")
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The file that it takes for the kernel's boot id.
    pub fn boot_id_file(&self) -> PathBuf {
        self.dir.path().join("boot_id")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// A directory for files of the test that live as long as this coild.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A client of its API.
    pub fn http(&self) -> Http {
        Http::Unix(self.socket())
    }

    /// Its status.
    pub fn status(&self) -> Result<StatusReply> {
        self.http().get("/status")?.expect(200)?.parse()
    }

    /// Asks for an IPv4 address for the container of pod `ns/<container>`.
    pub fn add(&self, container: &str) -> Result<Reply> {
        self.http().post("/ip", &request(container))
    }

    /// The address that [`add`](Self::add) gives.
    pub fn allocate(&self, container: &str) -> Result<String> {
        let reply: AddressReply = self.add(container)?.expect(200)?.parse()?;
        Ok(reply.first.address.to_string())
    }

    /// Frees what the container of [`add`](Self::add) holds, and answers the address, or nothing.
    pub fn free(&self, container: &str) -> Result<String> {
        let reply = self.http().delete(&path(container))?.expect(200)?.json()?;
        Ok(reply["address"].as_str().context("address is a text")?.to_owned())
    }
}

/// The body of a request for an IPv4 address, with the container's id as the pod's name.
pub fn request(container: &str) -> Value {
    json!({"pod-namespace": "ns", "pod-name": container, "container-id": container})
}

/// The path of the container of [`request`].
pub fn path(container: &str) -> String {
    format!("/ip/ns/{container}/{container}")
}
