//! A real containerd with its CRI service, in a machine of the test's own.
//!
//! * [`bare`]: pods that nothing looks after

mod bare;

use crate::cri::Cri;
use crate::image::{self, IMAGE};
use crate::machine::Machine;
use crate::place::Place;
use crate::process::Process;
use crate::runtime::plugin_directory;
use crate::tools::{find, run};
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use k8s_cri::v1::{
    ContainerStatusRequest, ImageSpec, ImageStatusRequest, LinuxPodSandboxConfig, ListPodSandboxRequest,
    PodSandboxConfig, PodSandboxMetadata, PodSandboxStatusRequest, RemovePodSandboxRequest,
    ReopenContainerLogRequest, RunPodSandboxRequest, StatusRequest, StopPodSandboxRequest,
};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const START: Duration = Duration::from_mins(1);

/// A containerd whose root, state, socket and CNI configuration are its own.
#[derive(Debug)]
pub struct Containerd {
    place: Place,
    dir: PathBuf,
    cri: Cri,
    tokio: Runtime,
    cgroup: String,
    process: Option<Process>,
}

/// A pod's sandbox.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// Its id, which is the plugin's container id.
    pub id: String,
    /// The pod's name.
    pub name: String,
    /// Its addresses as the runtime reports them.
    pub ips: Vec<IpAddr>,
    /// Path of its network namespace, in the machine.
    pub netns: String,
}

impl Containerd {
    /// Starts one in a machine, with one CNI network, and waits until it is ready for pods.
    pub fn start(machine: &Machine, network: &Value) -> Result<Self> {
        let dir = machine.dir();
        let (bin, conf) = (plugin_directory(dir)?, dir.join("net.d"));
        fs::create_dir(&conf)?;
        fs::write(conf.join("10-net.conflist"), network.to_string())?;
        Self::start_with(
            machine,
            &format!("bin_dir = \"{}\"\nconf_dir = \"{}\"", bin.display(), conf.display()),
        )
    }

    /// Starts one in a machine that looks for plugins and networks where it does by default.
    pub fn start_installed(machine: &Machine) -> Result<Self> {
        Self::start_with(machine, "")
    }

    fn start_with(machine: &Machine, network: &str) -> Result<Self> {
        find("containerd", "containerd")?;
        find("runc", "runc")?;
        let dir = machine.dir();
        write_config(dir, network)?;
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let cri = tokio.block_on(async { Cri::new(&socket(dir)) })?;
        let (place, dir, cgroup) = (machine.place(), dir.to_owned(), machine.cgroup());
        let mut containerd = Self { place, dir, cri, tokio, cgroup, process: None };
        containerd.run()?;
        containerd.import(machine)?;
        Ok(containerd)
    }

    /// Starts it again, and waits until it is ready for pods.
    pub fn run(&mut self) -> Result<()> {
        let mut command = self.place.command("containerd");
        command.arg("--config").arg(self.dir.join("config.toml"));
        let process =
            Process::start("containerd", self.place, &mut command, &self.dir.join("containerd.log"))?;
        let process = self.process.insert(process);
        let ready = wait_until("containerd's runtime and network to be ready", START, || {
            ensure!(process.is_running()?, "containerd ended");
            self.tokio.block_on(conditions(&self.cri)).map(|()| true)
        });
        ready.with_context(|| process.story())
    }

    /// SIGKILL. Its pods go on.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("containerd does not run")?.kill()
    }

    /// Its CRI socket.
    pub fn socket(&self) -> PathBuf {
        socket(&self.dir)
    }

    /// Puts a plugin in the place of `coil` that does nothing and says that all went well.
    pub fn replace_plugin(&self) -> Result<()> {
        let (plugin, new) = (self.dir.join("bin/coil"), self.dir.join("new-plugin"));
        fs::write(&new, "#!/bin/sh\ncat > /dev/null\n")?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
        Ok(fs::rename(new, plugin)?)
    }

    fn import(&self, machine: &Machine) -> Result<()> {
        let archive = image::archive(machine.dir())?;
        let mut ctr = machine.command("ctr");
        ctr.arg("--address").arg(self.socket()).args(["--namespace", "k8s.io", "images", "import"]);
        run(ctr.arg(archive))?;
        wait_until("containerd's CRI service to know the image", START, || {
            self.tokio.block_on(has_image(&self.cri))
        })
    }

    /// Creates sandboxes of pods in the Kubernetes namespace `ns`, all at once.
    pub fn run_sandboxes(&self, names: &[String]) -> Result<Vec<Sandbox>> {
        self.run_annotated(names.iter().map(|name| (name.clone(), HashMap::new())))
    }

    /// Creates sandboxes of pods with these annotations in the Kubernetes namespace `ns`, all at once.
    pub fn run_annotated(
        &self,
        pods: impl IntoIterator<Item = (String, HashMap<String, String>)>,
    ) -> Result<Vec<Sandbox>> {
        let mut tasks = JoinSet::new();
        let mut sandboxes = self.tokio.block_on(async {
            for (name, annotations) in pods {
                let (cri, cgroup) = (self.cri.clone(), self.cgroup.clone());
                tasks.spawn(async move { run_sandbox(&cri, name, annotations, cgroup).await });
            }
            let mut sandboxes = Vec::new();
            while let Some(sandbox) = tasks.join_next().await {
                sandboxes.push(sandbox??);
            }
            anyhow::Ok(sandboxes)
        })?;
        sandboxes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(sandboxes)
    }

    /// The sandboxes that there are, whoever made them, by their names.
    pub fn sandboxes(&self) -> Result<Vec<String>> {
        let request = ListPodSandboxRequest { filter: None };
        let reply = self.tokio.block_on(self.cri.runtime.clone().list_pod_sandbox(request))?.into_inner();
        let mut names: Vec<String> =
            reply.items.into_iter().map(|sandbox| sandbox.metadata.unwrap_or_default().name).collect();
        names.sort();
        Ok(names)
    }

    /// The process of a container, as seen in the machine.
    pub fn process_of(&self, container: &str) -> Result<u32> {
        let pid = self.info(container)?["pid"].as_u64().context("a process id")?;
        Ok(u32::try_from(pid)?)
    }

    /// Most memory that a container may use, in bytes, as the runtime has set it.
    pub fn memory_of(&self, container: &str) -> Result<u64> {
        let limit = &self.info(container)?["runtimeSpec"]["linux"]["resources"]["memory"]["limit"];
        limit.as_u64().context("a limit")
    }

    fn info(&self, container: &str) -> Result<Value> {
        let request = ContainerStatusRequest { container_id: container.to_owned(), verbose: true };
        let reply = self.tokio.block_on(self.cri.runtime.clone().container_status(request))?.into_inner();
        Ok(serde_json::from_str(reply.info.get("info").context("verbose information")?)?)
    }

    /// Sets a container's log aside, as programs that rotate logs do.
    pub fn rotate_log(&self, container: &str) -> Result<()> {
        let request = ContainerStatusRequest { container_id: container.to_owned(), verbose: false };
        let reply = self.tokio.block_on(self.cri.runtime.clone().container_status(request))?.into_inner();
        let log = reply.status.context("a status")?.log_path;
        fs::rename(&log, format!("{log}.1"))?;
        let request = ReopenContainerLogRequest { container_id: container.to_owned() };
        self.tokio.block_on(self.cri.runtime.clone().reopen_container_log(request))?;
        Ok(())
    }

    /// Stops and removes sandboxes, all at once.
    pub fn remove_sandboxes(&self, sandboxes: &[Sandbox]) -> Result<()> {
        let mut tasks = JoinSet::new();
        self.tokio.block_on(async {
            for sandbox in sandboxes {
                let (mut runtime, id) = (self.cri.runtime.clone(), sandbox.id.clone());
                tasks.spawn(async move {
                    runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.clone() }).await?;
                    runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id }).await
                });
            }
            while let Some(removed) = tasks.join_next().await {
                removed??;
            }
            Ok(())
        })
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("containerd.sock")
}

async fn conditions(cri: &Cri) -> Result<()> {
    let reply = cri.runtime.clone().status(StatusRequest { verbose: false }).await?.into_inner();
    let conditions = reply.status.context("a status")?.conditions;
    ensure!(!conditions.is_empty(), "no conditions");
    for condition in conditions {
        ensure!(condition.status, "{}: {}", condition.r#type, condition.message);
    }
    Ok(())
}

async fn has_image(cri: &Cri) -> Result<bool> {
    let image = ImageSpec { image: IMAGE.to_owned(), ..ImageSpec::default() };
    let request = ImageStatusRequest { image: Some(image), verbose: false };
    let reply = cri.images.clone().image_status(request).await?.into_inner();
    Ok(reply.image.is_some_and(|image| !image.id.is_empty()))
}

async fn run_sandbox(
    cri: &Cri,
    name: String,
    annotations: HashMap<String, String>,
    cgroup_parent: String,
) -> Result<Sandbox> {
    let mut runtime = cri.runtime.clone();
    let metadata =
        PodSandboxMetadata { name: name.clone(), uid: name.clone(), namespace: "ns".to_owned(), attempt: 0 };
    let linux = Some(LinuxPodSandboxConfig { cgroup_parent, ..LinuxPodSandboxConfig::default() });
    let metadata = Some(metadata);
    let config = PodSandboxConfig { metadata, annotations, linux, ..PodSandboxConfig::default() };
    let request = RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
    let id = runtime.run_pod_sandbox(request).await.context(name.clone())?.into_inner().pod_sandbox_id;
    let request = PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: true };
    let reply = runtime.pod_sandbox_status(request).await?.into_inner();
    let network = reply.status.and_then(|status| status.network).context("a network status")?;
    let ips = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|pod| pod.ip));
    let ips = ips.map(|ip| ip.parse()).collect::<Result<_, _>>()?;
    let info: Value = serde_json::from_str(reply.info.get("info").context("verbose information")?)?;
    let namespaces = info["runtimeSpec"]["linux"]["namespaces"].as_array().context("namespaces")?;
    let netns = namespaces.iter().find(|namespace| namespace["type"] == "network");
    let netns = netns.and_then(|netns| netns["path"].as_str()).context("a network namespace")?.to_owned();
    Ok(Sandbox { id, name, ips, netns })
}

/// `network` is what it is told of plugins and networks.
fn write_config(dir: &Path, network: &str) -> Result<()> {
    let config = format!(
        r#"
version = 2
root = "{dir}/root"
state = "{dir}/state"
[grpc]
address = "{dir}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
{network}
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
"#,
        dir = dir.display(),
    );
    Ok(fs::write(dir.join("config.toml"), config)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_of_standard_plugins_reach_each_other() -> Result<()> {
        let machine = Machine::start()?;
        machine.forward()?;
        let ipam = json!({"type": "host-local", "subnet": "10.1.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]});
        let network = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "ptp", "ipam": ipam}]});
        let containerd = Containerd::start(&machine, &network)?;
        let pods = containerd.run_sandboxes(&["a".to_owned(), "b".to_owned()])?;
        machine.reach(None, &pods[0].ips[0].to_string())?;
        machine.reach(Some(&pods[0].netns), &pods[1].ips[0].to_string())?;
        containerd.remove_sandboxes(&pods)?;
        assert!(machine.ping(None, &pods[0].ips[0].to_string()).is_err(), "removed, but answers");
        Ok(())
    }
}
