//! What runs services.

use crate::lastbackend::engine::Engine;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::sync::Arc;

/// What runs the services of the platform API.
#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    /// What runs services: `cri`, if --cri-socket is given, `kubernetes`, in the cluster of --kubernetes, or `none`
    #[arg(long, env = "COIL_ENGINE", value_name = "ENGINE", value_enum, default_value_t)]
    pub engine: EngineKind,
    /// Directory for the logs of the services' containers, which the container runtime writes to
    #[cfg(feature = "cri")]
    #[arg(long, env = "COIL_POD_LOGS", value_name = "DIR", default_value = "/var/log/coil/pods")]
    pub pod_logs: PathBuf,
    /// Control group above those of the services' pods [default: the container runtime's choice]
    #[cfg(feature = "cri")]
    #[arg(long, env = "COIL_CGROUP_PARENT", value_name = "CGROUP")]
    pub cgroup_parent: Option<String>,
}

/// What runs services.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum EngineKind {
    /// The container runtime on this machine.
    #[cfg(feature = "cri")]
    #[default]
    Cri,
    /// Kubernetes.
    #[cfg(feature = "kubernetes")]
    Kubernetes,
    /// Nothing here.
    #[cfg_attr(not(feature = "cri"), default)]
    None,
}

/// The flags of engines contradict each other.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongEngine {
    /// There is no cluster to run services in.
    #[error(
        "--engine kubernetes needs --kubernetes of `coil-controller serve`, which says how the cluster is reached"
    )]
    NoCluster,
    /// The engine does not know a flag.
    #[error("{0} is of --engine cri, and nothing to --engine kubernetes: leave one of them out")]
    NotKubernetes(&'static str),
}

/// What an engine can run services by.
#[derive(Default)]
pub struct Means {
    /// The socket of the container runtime on this machine.
    #[cfg(feature = "cri")]
    pub socket: Option<PathBuf>,
    /// The cluster.
    #[cfg(feature = "kubernetes")]
    pub cluster: Option<crate::kubernetes::Cluster>,
}

impl EngineArgs {
    /// The engine, if one is configured. Must be called in a runtime of tokio.
    pub fn engine(self, means: Means) -> Result<Option<Arc<dyn Engine>>, WrongEngine> {
        match self.engine {
            #[cfg(feature = "cri")]
            EngineKind::Cri => Ok(means.socket.map(|socket| self.cri(socket))),
            #[cfg(feature = "kubernetes")]
            EngineKind::Kubernetes => self.kubernetes(means).map(Some),
            EngineKind::None => Ok(None),
        }
    }

    #[cfg(feature = "cri")]
    fn cri(self, socket: PathBuf) -> Arc<dyn Engine> {
        use crate::lastbackend::engine::cri::{Cri, Settings};
        let cgroup_parent = self.cgroup_parent.unwrap_or_default();
        Arc::new(Cri::new(Settings { socket, logs: self.pod_logs, cgroup_parent }))
    }

    #[cfg(feature = "kubernetes")]
    fn kubernetes(self, means: Means) -> Result<Arc<dyn Engine>, WrongEngine> {
        let cluster = means.cluster.ok_or(WrongEngine::NoCluster)?;
        #[cfg(feature = "cri")]
        if means.socket.is_some() {
            return Err(WrongEngine::NotKubernetes("--cri-socket"));
        }
        #[cfg(feature = "cri")]
        if self.cgroup_parent.is_some() {
            return Err(WrongEngine::NotKubernetes("--cgroup-parent"));
        }
        Ok(Arc::new(crate::lastbackend::engine::kubernetes::Kubernetes::new(cluster)))
    }
}
