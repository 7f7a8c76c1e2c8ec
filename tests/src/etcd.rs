//! A real etcd cluster of one member or more, on free ports.

use crate::http::Http;
use crate::place::Place;
use crate::process::Process;
use crate::tools::{directory, find, run};
use crate::wait::{wait_for, wait_until};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const START: Duration = Duration::from_secs(30);
/// Another program may take a free port before etcd binds it.
const ATTEMPTS: usize = 5;

/// An etcd cluster. Data directories outlive restarts.
#[derive(Debug)]
pub struct Etcd {
    place: Place,
    members: Vec<Member>,
}

/// A member of a cluster.
#[derive(Debug)]
pub struct Member {
    place: Place,
    dir: TempDir,
    host: Ipv4Addr,
    client: u16,
    peer: u16,
    name: String,
    /// The names of all members, with the places where they listen to each other.
    cluster: String,
    flags: Vec<String>,
    process: Option<Process>,
}

impl Etcd {
    /// Starts a server on this machine.
    pub fn start() -> Result<Self> {
        Self::start_in(Place::Here)
    }

    /// Starts a server in a place; it listens on that place's loopback interface.
    pub fn start_in(place: Place) -> Result<Self> {
        Self::start_members(place, Ipv4Addr::LOCALHOST, 1)
    }

    /// Starts a cluster of several members in a place, which listen at an address of that place.
    pub fn start_members(place: Place, host: Ipv4Addr, members: usize) -> Result<Self> {
        find("etcd", "etcd-server")?;
        wait_for("etcd to find free ports", START * 2, {
            let mut attempts = 0;
            move || {
                attempts += 1;
                match Self::try_start(place, host, members) {
                    Err(error) if attempts >= ATTEMPTS => Ok(Some(Err(error))),
                    other => other.map(|etcd| Some(Ok(etcd))),
                }
            }
        })?
    }

    fn try_start(place: Place, host: Ipv4Addr, count: usize) -> Result<Self> {
        let ports = free_ports(2 * count)?;
        let mut members = Vec::new();
        for (n, ports) in ports.chunks(2).enumerate() {
            let (name, dir) = (format!("member{n}"), directory()?);
            let (client, peer, cluster) = (ports[0], ports[1], String::new());
            let flags = Vec::new();
            members.push(Member { place, dir, host, client, peer, name, cluster, flags, process: None });
        }
        let urls: Vec<String> =
            members.iter().map(|member| format!("{}={}", member.name, member.peer_url())).collect();
        for member in &mut members {
            member.cluster = urls.join(",");
        }
        let mut etcd = Self { place, members };
        etcd.run()?;
        Ok(etcd)
    }

    /// The URLs for clients, separated by commas.
    pub fn endpoint(&self) -> String {
        self.members.iter().map(Member::endpoint).collect::<Vec<_>>().join(",")
    }

    /// The members.
    pub fn members(&mut self) -> &mut [Member] {
        &mut self.members
    }

    /// The member that leads the others.
    pub fn leader(&self) -> Result<usize> {
        wait_for("a leader", START, || {
            let mut status = self.etcdctl()?;
            let text = run(status.args(["endpoint", "status", "--write-out", "json"]))?.stdout;
            let statuses: serde_json::Value = serde_json::from_slice(&text)?;
            let statuses = statuses.as_array().context("a list")?;
            let leads = |status: &&serde_json::Value| {
                let status = &status["Status"];
                status["leader"] == status["header"]["member_id"]
            };
            let leader = statuses.iter().find(leads).context("no leader")?;
            let endpoint = leader["Endpoint"].as_str().context("an endpoint")?;
            Ok(self.members.iter().position(|member| member.endpoint() == endpoint))
        })
    }

    /// Starts all members that don't run, and waits until the cluster answers.
    pub fn run(&mut self) -> Result<()> {
        for member in self.members.iter_mut().filter(|member| member.process.is_none()) {
            member.spawn()?;
        }
        self.members.iter_mut().try_for_each(Member::wait)
    }

    /// Starts all members anew, with more flags.
    pub fn restart_with(&mut self, flags: &[&str]) -> Result<()> {
        self.stop()?;
        for member in &mut self.members {
            member.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        }
        self.run()
    }

    /// Asks all members to end, and waits.
    pub fn stop(&mut self) -> Result<()> {
        let mut processes = self.members.iter_mut().filter_map(|member| member.process.take());
        processes.try_for_each(|mut process| process.terminate().map(|_| ()))
    }

    /// SIGKILL of all members.
    pub fn kill(&mut self) -> Result<()> {
        self.members.iter_mut().try_for_each(Member::kill)
    }

    /// Sends a signal to all members: SIGSTOP makes servers that accept connections and never answer.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.members.iter_mut().try_for_each(|member| member.signal(signal))
    }

    /// Writes a backup of a single server.
    pub fn back_up(&self, file: &Path) -> Result<()> {
        run(self.etcdctl()?.args(["snapshot", "save"]).arg(file)).map(|_| ())
    }

    /// Puts a backup in the place of a single server's data, by the procedure that etcd documents, and starts it.
    pub fn restore(&mut self, file: &Path) -> Result<()> {
        self.kill()?;
        ensure!(self.members.len() == 1, "a backup of a single server");
        for member in &mut self.members {
            std::fs::remove_dir_all(member.data())?;
            let mut restore = self.place.command(find("etcdctl", "etcd-client")?);
            restore.env("ETCDCTL_API", "3").args(["snapshot", "restore"]).arg(file);
            restore.args(["--name", &member.name, "--initial-cluster", &member.cluster]);
            restore.args(["--initial-advertise-peer-urls", &member.peer_url(), "--data-dir"]);
            run(restore.arg(member.data()))?;
        }
        self.run()
    }

    /// Forgets all revisions but the last one, and gives what is free in the databases back to the file system.
    pub fn compact(&self) -> Result<()> {
        let status = run(self.etcdctl()?.args(["endpoint", "status", "--write-out", "json"]))?;
        let status: Value = serde_json::from_slice(&status.stdout)?;
        let revision = status[0]["Status"]["header"]["revision"].as_i64().context("the revision")?;
        run(self.etcdctl()?.args(["compaction", "--physical", &revision.to_string()]))?;
        run(self.etcdctl()?.arg("defrag")).map(|_| ())
    }

    /// How many calls of a gRPC method all members have answered since they were started. On this machine only.
    pub fn calls(&self, method: &str) -> Result<u64> {
        self.members.iter().map(|member| member.calls(method)).sum()
    }

    /// A command that talks to it, from its place.
    pub fn etcdctl(&self) -> Result<Command> {
        let mut command = self.place.command(find("etcdctl", "etcd-client")?);
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint()]);
        Ok(command)
    }
}

impl Member {
    fn calls(&self, method: &str) -> Result<u64> {
        let text = Http::Tcp((self.host, self.client).into()).get("/metrics")?.expect(200)?.text();
        let label = format!("grpc_method=\"{method}\"");
        let counts = text
            .lines()
            .filter(|line| line.starts_with("grpc_server_handled_total{") && line.contains(&label));
        let value = |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
        counts.map(|line| value(line).with_context(|| line.to_owned())).sum()
    }

    /// The URL for clients.
    pub fn endpoint(&self) -> String {
        format!("http://{}:{}", self.host, self.client)
    }

    /// The running process.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("etcd does not run")
    }

    fn peer_url(&self) -> String {
        format!("http://{}:{}", self.host, self.peer)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn spawn(&mut self) -> Result<()> {
        let (client, peer) = (self.endpoint(), self.peer_url());
        let mut command = self.place.command("etcd");
        command
            .args(["--name", &self.name, "--data-dir"])
            .arg(self.data())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.cluster])
            .args(&self.flags);
        let log = self.dir.path().join("log");
        self.process = Some(Process::start("etcd", self.place, &mut command, &log)?);
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let (endpoint, place) = (self.endpoint(), self.place);
        let process = self.process.as_mut().context("etcd does not run")?;
        wait_until("etcd to be healthy", START, || {
            ensure!(process.is_running()?, "etcd ended: {}", process.story());
            let mut probe = place.command("etcdctl");
            probe.env("ETCDCTL_API", "3").args(["--endpoints", &endpoint, "--dial-timeout=1s"]);
            Ok(probe.args(["endpoint", "health"]).output()?.status.success())
        })
    }

    /// SIGKILL; nothing happens if it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.as_mut().context("etcd does not run")?.signal(signal)
    }
}

/// Ports on which nobody listens at the moment.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_data_over_restarts() -> Result<()> {
        let mut etcd = Etcd::start()?;
        run(etcd.etcdctl()?.args(["put", "key", "value"]))?;
        etcd.stop()?;
        etcd.run()?;
        etcd.kill()?;
        etcd.run()?;
        let value = |etcd: &Etcd| -> Result<Vec<u8>> {
            Ok(run(etcd.etcdctl()?.args(["get", "key", "--print-value-only"]))?.stdout)
        };
        assert_eq!(value(&etcd)?, b"value\n");
        let (dir, mut etcd) = (directory()?, etcd);
        let backup = dir.path().join("backup");
        etcd.back_up(&backup)?;
        run(etcd.etcdctl()?.args(["put", "key", "later"]))?;
        etcd.restore(&backup)?;
        assert_eq!(value(&etcd)?, b"value\n");
        Ok(())
    }

    #[test]
    fn several_members_have_a_leader() -> Result<()> {
        let mut etcd = Etcd::start_members(Place::Here, Ipv4Addr::LOCALHOST, 3)?;
        let leader = etcd.leader()?;
        etcd.members()[leader].kill()?;
        let others = |etcd: &Etcd| Ok(run(etcd.etcdctl()?.args(["put", "key", "value"])).is_ok());
        wait_until("the others to elect another one", START, || others(&etcd))?;
        etcd.run()
    }
}
