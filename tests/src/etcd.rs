//! A real etcd server on free ports of the loopback interface.

use crate::place::Place;
use crate::process::Process;
use crate::tools::directory;
use crate::tools::find;
use crate::wait::{wait_for, wait_until};
use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const START: Duration = Duration::from_secs(30);
/// Another program may take a free port before etcd binds it.
const ATTEMPTS: usize = 5;

/// An etcd server with a data directory of its own, which outlives restarts.
#[derive(Debug)]
pub struct Etcd {
    place: Place,
    dir: TempDir,
    client: u16,
    peer: u16,
    process: Option<Process>,
}

impl Etcd {
    /// Starts a server on this machine.
    pub fn start() -> Result<Self> {
        Self::start_in(Place::Here)
    }

    /// Starts a server in a place; it listens on that place's loopback interface.
    pub fn start_in(place: Place) -> Result<Self> {
        find("etcd", "etcd-server")?;
        wait_for("etcd to find free ports", START * 2, {
            let mut attempts = 0;
            move || {
                attempts += 1;
                match Self::try_start(place) {
                    Err(error) if attempts >= ATTEMPTS => Ok(Some(Err(error))),
                    other => other.map(|etcd| Some(Ok(etcd))),
                }
            }
        })?
    }

    fn try_start(place: Place) -> Result<Self> {
        let [client, peer] = free_ports()?;
        let mut etcd = Self { place, dir: directory()?, client, peer, process: None };
        etcd.run()?;
        Ok(etcd)
    }

    /// The URL for clients.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    /// Starts it again on the same ports with the same data.
    pub fn run(&mut self) -> Result<()> {
        let peer = format!("http://127.0.0.1:{}", self.peer);
        let mut command = self.place.command("etcd");
        command
            .args(["--name", "test", "--data-dir"])
            .arg(self.dir.path().join("data"))
            .args(["--listen-client-urls", &self.endpoint(), "--advertise-client-urls", &self.endpoint()])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")]);
        let process = self.process.insert(Process::start("etcd", self.place, &mut command, &self.log())?);
        let health = format!("127.0.0.1:{}", self.client);
        let place = self.place;
        wait_until("etcd to be healthy", START, || {
            anyhow::ensure!(process.is_running()?, "etcd ended: {}", process.story());
            let mut probe = place.command("etcdctl");
            probe.env("ETCDCTL_API", "3").args(["--endpoints", &health, "--dial-timeout=1s"]);
            Ok(probe.args(["endpoint", "health"]).output()?.status.success())
        })
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("etcd does not run")?;
        process.terminate().map(|_| ())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("etcd does not run")?;
        process.kill()
    }

    /// Sends a signal: SIGSTOP makes it a server that accepts connections and never answers.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.as_mut().context("etcd does not run")?.signal(signal)
    }

    /// A command that talks to it, from its place.
    pub fn etcdctl(&self) -> Result<Command> {
        let mut command = self.place.command(find("etcdctl", "etcd-client")?);
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint()]);
        Ok(command)
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

/// Ports on which nobody listens at the moment.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let listeners: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::run;

    #[test]
    fn keeps_its_data_over_restarts() -> Result<()> {
        let mut etcd = Etcd::start()?;
        run(etcd.etcdctl()?.args(["put", "key", "value"]))?;
        etcd.stop()?;
        etcd.run()?;
        etcd.kill()?;
        etcd.run()?;
        let output = run(etcd.etcdctl()?.args(["get", "key", "--print-value-only"]))?;
        assert_eq!(output.stdout, b"value\n");
        Ok(())
    }
}
