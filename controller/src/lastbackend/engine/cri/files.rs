//! Where the output of containers is written to: `DIR/<namespace>_<pod>_<uid>/<spec>/<restarts>.log`.

use super::Cri;
use crate::lastbackend::engine::{Container, Pod};
use crate::lastbackend::logs::LogFile;
use common::lastbackend::RunState;
use std::io;
use std::path::{Path, PathBuf};

/// A log that is longer is set aside, in bytes; the one that was set aside before goes.
const MAX_LOG: u64 = 10 << 20;

/// The directory of the logs.
#[derive(Debug, Clone)]
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// The directory of a pod's logs.
    pub(super) fn of_pod(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.0.join(format!("{namespace}_{name}_{uid}"))
    }

    /// Removes the logs of a pod.
    pub(super) fn remove(&self, pod: &Pod) -> io::Result<()> {
        match std::fs::remove_dir_all(self.of_pod(&pod.service.0, &pod.name, &pod.uid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn of_container(&self, pod: &Pod, container: &Container) -> PathBuf {
        let dir = self.of_pod(&pod.service.0, &pod.name, &pod.uid);
        dir.join(log_path(&container.spec, container.restarts))
    }

    /// Removes the logs of a container that goes.
    pub(super) fn remove_log(&self, pod: &Pod, container: &Container) {
        let log = LogFile::new(&self.of_container(pod, container));
        // What stays goes with the pod.
        let _ = std::fs::remove_file(log.path());
        let _ = std::fs::remove_file(log.before());
    }
}

/// The log of a container, in the directory of its pod.
pub(super) fn log_path(spec: &str, restarts: u32) -> PathBuf {
    Path::new(spec).join(format!("{restarts}.log"))
}

impl Cri {
    /// Sets logs aside that have become too long.
    pub(super) async fn rotate(&self, pods: &[Pod]) {
        for pod in pods {
            for container in pod.containers.iter().filter(|container| container.state == RunState::Running) {
                let log = LogFile::new(&self.files.of_container(pod, container));
                let must = match std::fs::metadata(log.path()) {
                    Ok(file) if file.len() > MAX_LOG => std::fs::rename(log.path(), log.before()).is_ok(),
                    Ok(_) => false,
                    // It was set aside, and the runtime does not know yet.
                    Err(error) => error.kind() == io::ErrorKind::NotFound && log.before().exists(),
                };
                if must && let Err(error) = self.client.reopen_log(&container.id).await {
                    tracing::warn!(container = container.id, %error, "the container's log goes on in the old file");
                }
            }
        }
    }
}
