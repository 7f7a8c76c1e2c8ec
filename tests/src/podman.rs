//! Real podman with its CNI backend, in a machine of the test's own.

use crate::image::{self, IMAGE};
use crate::machine::Machine;
use crate::runtime::plugin_directory;
use crate::tools::{find, run};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Podman whose storage and CNI configuration are its own.
#[derive(Debug)]
pub struct Podman<'a> {
    machine: &'a Machine,
    dir: PathBuf,
    network: String,
}

impl<'a> Podman<'a> {
    /// Prepares it with one CNI network, a list of plugins with a name.
    pub fn new(machine: &'a Machine, network: &Value) -> Result<Self> {
        find("podman", "podman")?;
        find("runc", "runc")?;
        find("conmon", "conmon")?;
        let dir = machine.dir().join("podman");
        let conf = dir.join("net.d");
        fs::create_dir_all(&conf)?;
        fs::write(conf.join("10-net.conflist"), network.to_string())?;
        let bin = plugin_directory(&dir)?;
        let config = format!(
            "[engine]\nevents_logger = \"none\"\n[network]\nnetwork_backend = \"cni\"\n\
             cni_plugin_dirs = [\"{}\"]\nnetwork_config_dir = \"{}\"\n",
            bin.display(),
            conf.display(),
        );
        fs::write(dir.join("containers.conf"), config)?;
        let network = network["name"].as_str().context("a network has a name")?.to_owned();
        let podman = Self { machine, dir, network };
        let archive = image::archive(&podman.dir)?;
        run(podman.command().arg("load").arg("--quiet").arg("--input").arg(archive))?;
        Ok(podman)
    }

    fn command(&self) -> Command {
        let mut command = self.machine.command("podman");
        command.env("CONTAINERS_CONF", self.dir.join("containers.conf"));
        for (flag, dir) in [("--root", "root"), ("--runroot", "runroot"), ("--tmpdir", "tmp")] {
            command.arg(flag).arg(self.dir.join(dir));
        }
        command.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs"]);
        command
    }

    /// Starts an idle container and answers its id.
    pub fn run(&self, name: &str) -> Result<String> {
        let mut command = self.command();
        // Where root may not raise limits, podman's defaults can't be set.
        command.args(["run", "--detach", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
        command.args(["--cgroup-parent", &self.machine.cgroup()]);
        let output = run(command.args(["--network", &self.network, "--name", name, IMAGE]))?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// What podman knows of a container.
    pub fn inspect(&self, name: &str) -> Result<Value> {
        let output = run(self.command().args(["container", "inspect", name]))?;
        let list: Value = serde_json::from_slice(&output.stdout)?;
        list.get(0).cloned().context("a container")
    }

    /// Path of a container's network namespace, in the machine.
    pub fn netns(&self, name: &str) -> Result<String> {
        let found = self.inspect(name)?["NetworkSettings"]["SandboxKey"].as_str().map(str::to_owned);
        found.filter(|path| !path.is_empty()).context("a container has a network namespace")
    }

    /// Stops and removes a container.
    pub fn remove(&self, name: &str) -> Result<()> {
        run(self.command().args(["rm", "--force", "--time", "0", name])).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_container_of_standard_plugins_can_be_reached() -> Result<()> {
        let machine = Machine::start()?;
        machine.forward()?;
        let ipam = json!({"type": "host-local", "subnet": "10.1.0.0/24"});
        let network = json!({"cniVersion": "0.4.0", "name": "n", "plugins": [{"type": "ptp", "ipam": ipam}]});
        let podman = Podman::new(&machine, &network)?;
        podman.run("a")?;
        machine.reach(None, "10.1.0.2")?;
        machine.reach(Some(&podman.netns("a")?), "10.1.0.1")?;
        podman.remove("a")?;
        assert!(machine.ping(None, "10.1.0.2").is_err(), "removed, but answers");
        Ok(())
    }
}
