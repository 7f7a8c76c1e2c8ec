//! A real coil-controller, and the command line that talks to it.

use crate::binaries::binary;
use crate::coild::READY;
use crate::etcd::{Etcd, free_ports};
use crate::http::Http;
use crate::place::Place;
use crate::process::Process;
use crate::tools::directory;
use crate::tools::{run, text};
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;
use tempfile::TempDir;

/// A coil-controller. It listens on a Unix socket in its directory, which outlives restarts.
#[derive(Debug)]
pub struct Controller {
    place: Place,
    dir: TempDir,
    args: Vec<String>,
    failpoints: String,
    process: Option<Process>,
}

impl Controller {
    /// Starts a controller on etcd.
    pub fn serve(place: Place, etcd: &Etcd) -> Result<Self> {
        Self::serve_with(place, etcd, &[])
    }

    /// Starts a controller on etcd with more flags.
    pub fn serve_with(place: Place, etcd: &Etcd, args: &[&str]) -> Result<Self> {
        let endpoint = etcd.endpoint();
        let mut all = vec!["serve", "--store", "etcd", "--etcd-endpoints", &endpoint];
        all.extend(args);
        Self::start(place, &all)
    }

    /// Starts controller and coild in one process, on the embedded store.
    pub fn standalone(place: Place, args: &[&str]) -> Result<Self> {
        let mut all = vec!["standalone"];
        if place == Place::Here {
            all.extend(["--route-table", "none"]);
        }
        all.extend(args);
        Self::start(place, &all)
    }

    fn start(place: Place, args: &[&str]) -> Result<Self> {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut controller =
            Self { place, dir: directory()?, args, failpoints: String::new(), process: None };
        controller.run()?;
        Ok(controller)
    }

    /// Sets what the next processes do at named points, in the language of `common::fault`; empty for nothing.
    pub fn set_failpoints(&mut self, failpoints: &str) {
        failpoints.clone_into(&mut self.failpoints);
    }

    /// The command that starts it.
    pub fn command(&self) -> Result<Command> {
        let mut command = self.place.command(binary("coil-controller")?);
        command.args(&self.args).arg("--listen").arg(self.server()).env("FAILPOINTS", &self.failpoints);
        if self.args.first().is_some_and(|mode| mode == "standalone") {
            command.arg("--data-dir").arg(self.dir.path().join("data")).arg("--socket").arg(self.socket());
        }
        Ok(command)
    }

    /// Starts it again, and waits until it serves.
    pub fn run(&mut self) -> Result<()> {
        let running = self.try_run()?;
        ensure!(running, "coil-controller ended: {}", self.process()?.story());
        Ok(())
    }

    /// Starts it again, and waits until it serves, or until it has ended. Answers whether it serves.
    pub fn try_run(&mut self) -> Result<bool> {
        let mut command = self.command()?;
        let log = self.dir.path().join("log");
        let process = Process::start("coil-controller", self.place, &mut command, &log)?;
        let http = self.http();
        let process = self.process.insert(process);
        wait_until("coil-controller to serve or to end", READY, || {
            Ok(!process.is_running()? || http.get("/healthz")?.expect(200).is_ok())
        })
        .with_context(|| process.story())?;
        process.is_running()
    }

    /// Kills it, and starts another one with these failpoints.
    pub fn run_with_failpoints(&mut self, failpoints: &str) -> Result<()> {
        self.kill()?;
        self.set_failpoints(failpoints);
        self.run()
    }

    /// Waits until it has ended at a point, and starts one that goes on.
    pub fn run_after_failpoint(&mut self, point: &str, within: Duration) -> Result<()> {
        self.process()?.wait(within).with_context(|| point.to_owned())?;
        self.run_with_failpoints("")
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.take().context("coil-controller does not run")?.terminate()
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("coil-controller does not run")?.kill()
    }

    /// The running process.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("coil-controller does not run")
    }

    /// coild's socket, of a standalone controller.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("coild.sock")
    }

    /// coild's API, of a standalone controller.
    pub fn coild(&self) -> Http {
        Http::Unix(self.socket())
    }

    /// The server as coilctl takes it.
    pub fn server(&self) -> String {
        format!("unix:{}", self.admin().display())
    }

    /// The admin API.
    pub fn http(&self) -> Http {
        Http::Unix(self.admin())
    }

    /// What it has logged.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.dir.path().join("log"))?)
    }

    fn admin(&self) -> PathBuf {
        self.dir.path().join("controller.sock")
    }

    /// Runs coilctl with a line of words separated by blanks, whatever it answers.
    pub fn try_coilctl(&self, line: &str) -> Result<Output> {
        let mut command = Place::Here.command(binary("coilctl")?);
        command.args(["--server", &self.server()]).args(line.split_whitespace());
        command.output().context("can't start coilctl")
    }

    /// What coilctl prints; it must succeed.
    pub fn coilctl(&self, line: &str) -> Result<String> {
        let mut command = Place::Here.command(binary("coilctl")?);
        let output = run(command.args(["--server", &self.server()]).args(line.split_whitespace()))?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What coilctl prints with `-o json`.
    pub fn coilctl_json(&self, line: &str) -> Result<Value> {
        let text = self.coilctl(&format!("-o json {line}"))?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    /// What coilctl says when it fails, which it must, with its exit code.
    pub fn coilctl_fails(&self, line: &str) -> Result<(i32, String)> {
        let output = self.try_coilctl(line)?;
        ensure!(!output.status.success(), "coilctl {line} succeeded:\n{}", text(&output));
        Ok((output.status.code().context("coilctl was killed")?, text(&output)))
    }
}

/// An address of the loopback interface that is free at the moment.
pub fn free_address() -> Result<String> {
    let ports = free_ports(1)?;
    Ok(format!("127.0.0.1:{}", ports[0]))
}
