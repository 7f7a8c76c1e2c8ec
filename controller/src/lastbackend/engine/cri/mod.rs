//! Pods of a container runtime on this machine, over its CRI socket: containerd, with coil as its network.
//!
//! * [`client`]: the calls, each with a time limit
//! * [`marks`]: what pods and containers are marked with, and read by
//! * [`observe`]: what runs
//! * [`make`]: what pods and containers are made of
//! * [`step`]: pods are made, mended and removed
//! * [`files`]: where their output is written to
//!
//! A pod's name in the runtime is made of its service's `uid` and its number. The runtime has one pod of a name at most,
//! so that none runs twice, whoever asks for it.

mod client;
mod files;
mod make;
mod marks;
mod observe;
mod step;

use super::{Engine, EngineError, Pod, Step};
use crate::lastbackend::logs::LogFile;
use async_trait::async_trait;
use client::Client;
use files::Files;
use observe::Seen;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// How the engine makes pods.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The runtime's socket.
    pub socket: PathBuf,
    /// The directory of the containers' logs.
    pub logs: PathBuf,
    /// The control group above those of the pods; empty for the runtime's choice.
    pub cgroup_parent: String,
}

/// A container runtime.
pub struct Cri {
    client: Client,
    files: Files,
    cgroup_parent: String,
    /// What does not change of pods and containers once it is known.
    seen: Mutex<Seen>,
    /// One pull at a time of each image.
    pulls: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Cri {
    /// The runtime that listens on a socket. It need not be up yet. Must be called in a runtime of tokio.
    pub fn new(settings: Settings) -> Self {
        Self {
            client: Client::new(&settings.socket),
            files: Files::new(settings.logs),
            cgroup_parent: settings.cgroup_parent,
            seen: Mutex::default(),
            pulls: Mutex::default(),
        }
    }
}

#[async_trait]
impl Engine for Cri {
    fn kind(&self) -> &'static str {
        "cri"
    }

    async fn pods(&self, owner: &str) -> Result<Vec<Pod>, EngineError> {
        self.observe(owner).await
    }

    async fn take(&self, owner: &str, step: &Step) -> Result<(), EngineError> {
        match step {
            Step::Start(wanted, pod) => self.start(owner, wanted, pod.as_ref()).await,
            Step::Remove(pod) => self.remove(pod).await,
        }
    }

    async fn tidy(&self, pods: &[Pod]) {
        self.rotate(pods).await;
    }

    async fn log(&self, container: &str) -> Result<Option<LogFile>, EngineError> {
        let status = self.client.container_status(container).await?;
        Ok(status
            .filter(|status| !status.log_path.is_empty())
            .map(|status| LogFile::new(Path::new(&status.log_path))))
    }

    async fn has_ended(&self, container: &str) -> Result<bool, EngineError> {
        let status = self.client.container_status(container).await?;
        Ok(status.is_none_or(|status| status.state() == k8s_cri::v1::ContainerState::ContainerExited))
    }
}
