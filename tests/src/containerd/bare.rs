//! Pods that are made by nothing but a loop of CRI calls.

use super::Containerd;
use crate::cri::Cri;
use crate::image::IMAGE;
use anyhow::{Context, Result};
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, ImageSpec, ImageStatusRequest,
    LinuxContainerConfig, LinuxContainerResources, LinuxPodSandboxConfig, ListPodSandboxRequest,
    PodSandboxConfig, PodSandboxMetadata, RemovePodSandboxRequest, RunPodSandboxRequest,
    StartContainerRequest, StopPodSandboxRequest,
};

/// Kubernetes namespace of the pods.
const NAMESPACE: &str = "bare";

impl Containerd {
    /// Makes pods of one container each, one after the other, all as soon as the last one runs.
    pub fn run_bare(&self, pods: usize, command: &[String], memory: i64) -> Result<()> {
        self.tokio.block_on(async {
            for number in 0..pods {
                Box::pin(run_pod(&self.cri, format!("bare-{number}"), &self.cgroup, command, memory)).await?;
            }
            Ok(())
        })
    }

    /// Removes them.
    pub fn remove_bare(&self) -> Result<()> {
        self.tokio.block_on(async {
            let mut runtime = self.cri.runtime.clone();
            let pods =
                runtime.list_pod_sandbox(ListPodSandboxRequest { filter: None }).await?.into_inner().items;
            let bare = |metadata: &PodSandboxMetadata| metadata.namespace == NAMESPACE;
            for pod in pods.into_iter().filter(|pod| pod.metadata.as_ref().is_some_and(bare)) {
                runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() }).await?;
                runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: pod.id }).await?;
            }
            Ok(())
        })
    }
}

async fn run_pod(cri: &Cri, name: String, cgroup: &str, command: &[String], memory: i64) -> Result<()> {
    let (mut runtime, mut images) = (cri.runtime.clone(), cri.images.clone());
    let image = Some(ImageSpec { image: IMAGE.to_owned(), ..ImageSpec::default() });
    let known =
        images.image_status(ImageStatusRequest { image: image.clone(), verbose: false }).await?.into_inner();
    known.image.context("the image")?;
    let linux =
        LinuxPodSandboxConfig { cgroup_parent: cgroup.to_owned(), ..LinuxPodSandboxConfig::default() };
    let metadata = PodSandboxMetadata {
        name: name.clone(),
        uid: name.clone(),
        namespace: NAMESPACE.to_owned(),
        attempt: 0,
    };
    let pod = PodSandboxConfig {
        metadata: Some(metadata),
        hostname: name.clone(),
        linux: Some(linux),
        ..PodSandboxConfig::default()
    };
    let request = RunPodSandboxRequest { config: Some(pod.clone()), runtime_handler: String::new() };
    let pod_sandbox_id = runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
    let resources =
        LinuxContainerResources { memory_limit_in_bytes: memory, ..LinuxContainerResources::default() };
    let container = ContainerConfig {
        metadata: Some(ContainerMetadata { name, attempt: 0 }),
        image,
        command: command.to_vec(),
        linux: Some(LinuxContainerConfig { resources: Some(resources), ..LinuxContainerConfig::default() }),
        ..ContainerConfig::default()
    };
    let request =
        CreateContainerRequest { pod_sandbox_id, config: Some(container), sandbox_config: Some(pod) };
    let container_id = runtime.create_container(request).await?.into_inner().container_id;
    runtime.start_container(StartContainerRequest { container_id }).await?;
    Ok(())
}
