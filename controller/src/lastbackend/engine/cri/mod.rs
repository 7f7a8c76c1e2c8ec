//! Pods of a container runtime on this machine, over its CRI socket: containerd, with coil as its network.
//!
//! * [`client`]: the calls, each with a time limit
//! * [`marks`]: what pods and containers are marked with, and read by
//! * [`observe`]: what runs
//! * [`plan`]: the steps from there to what is wanted: pure
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
mod plan;
mod step;

use super::{Engine, EngineError, Look, Plan, Running, Source, Step, Unit};
use crate::lastbackend::logs::{LogFile, Output, follow_file};
use async_trait::async_trait;
use client::Client;
use files::Files;
use observe::Seen;
use std::collections::HashMap;
use std::future::pending;
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

impl Cri {
    async fn take(&self, owner: &str, step: &plan::Step) -> Result<(), EngineError> {
        match step {
            plan::Step::Start(wanted, pod) => self.start(owner, wanted, pod.as_ref()).await,
            plan::Step::Remove(pod) => self.remove(pod).await,
        }
    }

    fn step(self: &Arc<Self>, owner: &str, step: plan::Step) -> Step {
        let (uid, index) = step.pod();
        let unit = Unit::Pod(uid.to_owned(), index);
        let (goal, removes) = match &step {
            plan::Step::Start(pod, _) => (pod.shape.clone(), false),
            plan::Step::Remove(_) => ("remove".to_owned(), true),
        };
        let (engine, owner) = (Arc::clone(self), owner.to_owned());
        Step { unit, goal, removes, work: Box::pin(async move { engine.take(&owner, &step).await }) }
    }

    /// Whether a container can write no more. A runtime that can't tell is asked again.
    async fn has_ended(&self, container: &str) -> bool {
        let exited = |status| status == k8s_cri::v1::ContainerState::ContainerExited;
        match self.client.container_status(container).await {
            Ok(status) => status.is_none_or(|status| exited(status.state())),
            Err(_) => false,
        }
    }
}

#[async_trait]
impl Engine for Cri {
    fn kind(&self) -> &'static str {
        "cri"
    }

    fn is_local(&self) -> bool {
        true
    }

    async fn look(&self, owner: &str) -> Result<Vec<Running>, EngineError> {
        let pods = self.observe(owner).await?;
        self.rotate(&pods).await;
        let mut services: Vec<Running> = Vec::new();
        for pod in pods {
            match services.last_mut().filter(|last| last.uid == pod.uid) {
                Some(last) => last.pods.push(pod),
                None => services.push(Running {
                    service: pod.service.clone(),
                    uid: pod.uid.clone(),
                    pods: vec![pod],
                    has_more: false,
                }),
            }
        }
        Ok(services)
    }

    /// The runtime is only asked.
    async fn changed(&self) {
        pending::<()>().await;
    }

    fn plan(self: Arc<Self>, look: &Look<'_>) -> Plan {
        let (mut steps, mut next) = (Vec::new(), None::<u64>);
        for (wanted, running) in &look.services {
            let busy = |index| (look.busy)(&Unit::Pod(running.uid.clone(), index));
            let (of_service, then) = plan::plan(wanted, &running.pods, &busy, look.now);
            steps.extend(of_service);
            next = next.into_iter().chain(then).min();
        }
        let strays = look.strays.iter().flat_map(|stray| &stray.pods);
        steps.extend(strays.map(|pod| plan::Step::Remove(pod.clone())));
        Plan { steps: steps.into_iter().map(|step| self.step(look.owner, step)).collect(), next }
    }

    async fn output(self: Arc<Self>, of: &Source, follow: bool) -> Result<Option<Output>, EngineError> {
        let status = self.client.container_status(&of.container).await?;
        let path = status.map(|status| status.log_path).filter(|path| !path.is_empty());
        let container = of.container.clone();
        Ok(path.map(|path| {
            follow_file(&LogFile::new(Path::new(&path)), follow, move || {
                let (engine, container) = (Arc::clone(&self), container.clone());
                Box::pin(async move { engine.has_ended(&container).await })
            })
        }))
    }
}
