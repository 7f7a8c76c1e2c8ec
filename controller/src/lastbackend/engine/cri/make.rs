//! What pods and containers are made of, in CRI's words.

use super::{Cri, files, marks};
use crate::lastbackend::engine::wanted::{ContainerWanted, PodWanted};
use common::lastbackend::Protocol;
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, ImageSpec, KeyValue, LinuxContainerConfig, LinuxContainerResources,
    LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol as CriProtocol,
};

/// Longest name of a host, as the kernel has it.
const MAX_HOST_NAME: usize = 63;

impl Cri {
    /// A pod's sandbox.
    pub(super) fn sandbox(&self, owner: &str, pod: &PodWanted) -> PodSandboxConfig {
        let namespace = pod.service.namespace.to_string();
        let metadata = PodSandboxMetadata {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            namespace: namespace.clone(),
            attempt: 0,
        };
        let security = LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces()),
            ..LinuxSandboxSecurityContext::default()
        };
        let linux = LinuxPodSandboxConfig {
            cgroup_parent: self.cgroup_parent.clone(),
            security_context: Some(security),
            ..LinuxPodSandboxConfig::default()
        };
        let ports = pod.containers.iter().flat_map(|container| &container.ports);
        let mappings = ports.filter(|port| port.published).map(|port| PortMapping {
            protocol: protocol(port.protocol).into(),
            container_port: i32::from(port.internal),
            host_port: i32::from(port.external),
            host_ip: String::new(),
        });
        PodSandboxConfig {
            metadata: Some(metadata),
            hostname: pod.name.chars().take(MAX_HOST_NAME).collect(),
            log_directory: self.files.of_pod(&namespace, &pod.name, &pod.uid).display().to_string(),
            port_mappings: mappings.collect(),
            labels: marks::of_pod(owner, pod),
            annotations: pod.annotations.clone().into_iter().collect(),
            linux: Some(linux),
            ..PodSandboxConfig::default()
        }
    }
}

/// A container that was started again so often, and failed so often in a row.
pub(super) fn container(
    owner: &str,
    wanted: &ContainerWanted,
    restarts: u32,
    failures: u32,
) -> ContainerConfig {
    let env = wanted.env.iter().map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() });
    let resources = LinuxContainerResources {
        memory_limit_in_bytes: i64::from(wanted.memory) << 20,
        ..LinuxContainerResources::default()
    };
    let security = LinuxContainerSecurityContext {
        namespace_options: Some(namespaces()),
        ..LinuxContainerSecurityContext::default()
    };
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: wanted.spec.clone(), attempt: restarts }),
        image: Some(ImageSpec { image: wanted.image.clone(), ..ImageSpec::default() }),
        command: wanted.entrypoint.clone(),
        args: wanted.arguments.clone(),
        envs: env.collect(),
        labels: marks::of_container(owner, &wanted.spec),
        annotations: marks::failures_before(failures),
        log_path: files::log_path(&wanted.spec, restarts).display().to_string(),
        linux: Some(LinuxContainerConfig { resources: Some(resources), security_context: Some(security) }),
        ..ContainerConfig::default()
    }
}

/// Containers of a pod share its network, and see their own processes only.
fn namespaces() -> NamespaceOption {
    NamespaceOption {
        network: NamespaceMode::Pod.into(),
        pid: NamespaceMode::Container.into(),
        ipc: NamespaceMode::Pod.into(),
        ..NamespaceOption::default()
    }
}

fn protocol(protocol: Protocol) -> CriProtocol {
    match protocol {
        Protocol::Tcp => CriProtocol::Tcp,
        Protocol::Udp => CriProtocol::Udp,
        Protocol::Sctp => CriProtocol::Sctp,
    }
}
