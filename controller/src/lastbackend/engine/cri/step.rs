//! Pods are made, mended and removed. Each step may be taken again from its beginning, wherever it was cut short.

use super::plan::restart_at;
use super::{Cri, make};
use crate::lastbackend::engine::wanted::{ContainerWanted, PodWanted};
use crate::lastbackend::engine::{Container, EngineError, Pod};
use common::clock::now_nanos;
use common::fault;
use common::lastbackend::RunState;
use futures_util::future::try_join_all;
use k8s_cri::v1::PodSandboxConfig;
use std::sync::{Arc, PoisonError};

/// A pod's sandbox, and what it was made of.
struct Sandbox<'a> {
    owner: &'a str,
    id: String,
    config: PodSandboxConfig,
}

impl Cri {
    /// Makes a pod, or what it lacks.
    pub(super) async fn start(
        &self,
        owner: &str,
        wanted: &PodWanted,
        pod: Option<&Pod>,
    ) -> Result<(), EngineError> {
        for container in &wanted.containers {
            self.ensure_image(&container.image).await?;
        }
        let config = self.sandbox(owner, wanted);
        fault::point("engine.sandbox.before");
        let id = match pod {
            Some(pod) => pod.id.clone(),
            None => self.client.run_sandbox(config.clone()).await?,
        };
        fault::point("engine.sandbox.after");
        let sandbox = Sandbox { owner, id, config };
        for container in &wanted.containers {
            let existing = pod.and_then(|pod| {
                pod.containers
                    .iter()
                    .find(|existing| existing.spec == container.spec)
                    .map(|found| (pod, found))
            });
            self.start_container(&sandbox, container, existing).await?;
        }
        Ok(())
    }

    async fn start_container(
        &self,
        sandbox: &Sandbox<'_>,
        wanted: &ContainerWanted,
        existing: Option<(&Pod, &Container)>,
    ) -> Result<(), EngineError> {
        let (restarts, failures) = match existing {
            None => (0, 0),
            Some((_, container)) if container.state == RunState::Running => return Ok(()),
            Some((_, container)) if container.state == RunState::Created => {
                return self.client.start_container(&container.id).await;
            }
            Some((_, container)) if restart_at(container) > now_nanos() => return Ok(()),
            Some((pod, container)) => {
                self.client.remove_container(&container.id).await?;
                self.files.remove_log(pod, container);
                (container.restarts.saturating_add(1), container.failures)
            }
        };
        let config = make::container(sandbox.owner, wanted, restarts, failures);
        make_log_directory(sandbox, &config.log_path)?;
        let id = self.client.create_container(&sandbox.id, config, sandbox.config.clone()).await?;
        fault::point("engine.container.created");
        self.client.start_container(&id).await?;
        fault::point("engine.container.started");
        Ok(())
    }

    /// Makes sure that an image is there. It is fetched once, however many pods want it.
    async fn ensure_image(&self, image: &str) -> Result<(), EngineError> {
        if self.client.has_image(image).await? {
            return Ok(());
        }
        let pull = {
            let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            pulls.retain(|_, pull| Arc::strong_count(pull) > 1);
            Arc::clone(pulls.entry(image.to_owned()).or_default())
        };
        let _one = pull.lock().await;
        if self.client.has_image(image).await? {
            return Ok(());
        }
        tracing::info!(image, "pulling the image");
        let failed = |error: EngineError| EngineError::Image(format!("can't get image {image}: {error}"));
        self.client.pull(image).await.map_err(failed)
    }

    /// Removes a pod: its containers are asked to end, its network goes, then its logs, and then itself.
    pub(super) async fn remove(&self, pod: &Pod) -> Result<(), EngineError> {
        let running = pod.containers.iter().filter(|container| container.state == RunState::Running);
        try_join_all(running.map(|container| self.client.stop_container(&container.id))).await?;
        self.client.stop_sandbox(&pod.id).await?;
        fault::point("engine.sandbox.stopped");
        self.files.remove(pod).map_err(|error| {
            EngineError::Refused(format!("can't remove the logs of pod {}: {error}", pod.name))
        })?;
        self.client.remove_sandbox(&pod.id).await
    }
}

/// The runtime makes the file, and no directory.
fn make_log_directory(sandbox: &Sandbox<'_>, log: &str) -> Result<(), EngineError> {
    let file = std::path::Path::new(&sandbox.config.log_directory).join(log);
    let dir = file.parent().unwrap_or(&file);
    std::fs::create_dir_all(dir)
        .map_err(|error| EngineError::Refused(format!("can't make the directory {}: {error}", dir.display())))
}
