//! A machine of the test's own: network, mount and process namespaces. What runs inside can't touch the
//! network of the machine outside, its `/run` is empty at first, and all of it vanishes with the value, or
//! with the test process, however that ends.

use crate::cgroup::Cgroup;
use crate::place::Place;
use crate::tools::directory;
use crate::tools::{find, need_root, run};
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Directories which programs inside write to by their fixed names; each machine has its own, empty ones.
const OWN: [&str; 2] = ["/run", "/var/lib/cni"];

// `read` ends when the test process closes its end of the pipe or dies. A shell as process 1 also reaps
// orphans.
const ANCHOR: &str = r#"
set -e
for dir in $OWN; do mkdir -p "$dir"; mount -t tmpfs tmpfs "$dir"; done
mkdir -p /run/netns /run/lock
ip link set lo up
echo ready
read -r _ || true
"#;

/// A machine of the test's own.
#[derive(Debug)]
pub struct Machine {
    unshare: Child,
    _stdin: ChildStdin,
    anchor: u32,
    // Dropped after the processes have ended.
    cgroup: Cgroup,
    dir: TempDir,
}

impl Machine {
    /// Makes one, with the loopback interface up and nothing else.
    pub fn start() -> Result<Self> {
        need_root()?;
        find("ip", "iproute2")?;
        find("unshare", "util-linux")?;
        let mut unshare = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["bash", "-c", ANCHOR])
            .env("OWN", OWN.join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("can't start unshare")?;
        let stdin = unshare.stdin.take().context("unshare has a pipe")?;
        let stdout = unshare.stdout.take().context("unshare has a pipe")?;
        let (cgroup, dir) = (Cgroup::new(), directory()?);
        let mut machine = Self { unshare, _stdin: stdin, anchor: 0, cgroup, dir };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line == "ready\n", "namespaces can't be made here; unshare's message is above");
        let id = machine.unshare.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        machine.anchor = children.trim().parse().context("unshare has one child")?;
        Ok(machine)
    }

    /// The place inside.
    pub fn place(&self) -> Place {
        Place::Inside(self.anchor)
    }

    /// A directory for the files of programs inside. It is removed when nothing runs any more.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The control group for containers of the machine.
    pub fn cgroup(&self) -> String {
        self.cgroup.parent()
    }

    /// A command that will run inside.
    pub fn command(&self, program: &str) -> Command {
        self.place().command(program)
    }

    /// Runs a command inside, given as words separated by blanks; a failure carries what it printed.
    pub fn run(&self, line: &str) -> Result<Output> {
        let mut words = line.split_whitespace();
        let program = words.next().context("an empty command")?;
        run(self.command(program).args(words))
    }

    /// What a command prints inside.
    pub fn output(&self, line: &str) -> Result<String> {
        Ok(String::from_utf8(self.run(line)?.stdout)?)
    }

    /// A file of the machine, as it can be opened from outside.
    pub fn file(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        Path::new(&format!("/proc/{}/root", self.anchor)).join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Lets the machine forward packets, as a node does.
    pub fn forward(&self) -> Result<()> {
        self.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1").map(|_| ())
    }

    /// Makes a network namespace and answers its path.
    pub fn netns(&self, name: &str) -> Result<String> {
        self.run(&format!("ip netns add {name}"))?;
        Ok(format!("/run/netns/{name}"))
    }

    /// A command in a network namespace of the machine, which is given by path.
    pub fn in_netns(&self, netns: &str, line: &str) -> Result<Output> {
        self.run(&format!("nsenter --net={netns} -- {line}"))
    }

    /// Whether the address answers a ping, from the machine (`None`) or from a network namespace.
    pub fn ping(&self, from: Option<&str>, to: &str) -> Result<()> {
        let ping = format!("busybox ping -c 1 -W 2 {to}");
        match from {
            None => self.run(&ping),
            Some(netns) => self.in_netns(netns, &ping),
        }
        .map(|_| ())
    }

    /// Waits until the address answers a ping.
    pub fn reach(&self, from: Option<&str>, to: &str) -> Result<()> {
        let what = format!("{to} to answer {}", from.unwrap_or("the host"));
        wait_until(&what, Duration::from_secs(10), || self.ping(from, to).map(|()| true))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        // unshare's death is the anchor's by signal, and with process 1 ends all that runs inside. Mounts
        // below temporary directories hold until then.
        let gone = || Ok(!Path::new(&format!("/proc/{}", self.anchor)).exists());
        let _ = wait_until("the machine to end", Duration::from_secs(20), gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_apart_and_leaves_nothing() -> Result<()> {
        let machine = Machine::start()?;
        let netns = machine.netns("pod")?;
        assert!(machine.file(&netns).exists());
        assert!(!Path::new(&netns).exists(), "seen outside");
        machine.ping(None, "127.0.0.1")?;
        assert!(machine.in_netns(&netns, "ip -o link")?.stdout.starts_with(b"1: lo"));
        let anchor = machine.anchor;
        drop(machine);
        assert!(!Path::new(&format!("/proc/{anchor}")).exists(), "left behind");
        Ok(())
    }
}
