//! What runs, as the runtime lists it. What a list does not say, and does not change any more, is asked for once.

use super::{Cri, marks};
use crate::lastbackend::engine::{Container, EngineError, Pod};
use common::lastbackend::RunState;
use k8s_cri::v1::{Container as Listed, ContainerState, ContainerStatus, PodSandbox, PodSandboxState};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::Duration;

/// What has run for so long has not failed soon.
const LONG: Duration = Duration::from_mins(10);

/// What does not change any more.
#[derive(Debug, Default)]
pub(super) struct Seen {
    addresses: HashMap<String, Vec<IpAddr>>,
    ends: HashMap<String, End>,
}

/// How a container ended.
#[derive(Debug, Clone)]
struct End {
    state: RunState,
    reason: String,
    finished: u64,
    soon: bool,
}

impl Cri {
    pub(super) async fn observe(&self, owner: &str) -> Result<Vec<Pod>, EngineError> {
        let label = (marks::OWNER, owner);
        let (sandboxes, containers) =
            tokio::join!(self.client.sandboxes(label), self.client.containers(label));
        let (sandboxes, containers) = (sandboxes?, containers?);
        self.forget(&sandboxes, &containers);
        let mut of_pods: HashMap<String, Vec<Container>> = HashMap::new();
        for listed in containers {
            let sandbox = listed.pod_sandbox_id.clone();
            if let Some(container) = self.container(listed).await? {
                of_pods.entry(sandbox).or_default().push(container);
            }
        }
        let mut pods = Vec::new();
        for sandbox in sandboxes {
            let Some((service, uid, index, shape)) = marks::read_pod(&sandbox) else { continue };
            let ready = sandbox.state() == PodSandboxState::SandboxReady;
            let addresses = if ready { self.addresses(&sandbox.id).await? } else { Vec::new() };
            pods.push(Pod {
                name: sandbox.metadata.unwrap_or_default().name,
                containers: last_of_each(of_pods.remove(&sandbox.id).unwrap_or_default()),
                created: u64::try_from(sandbox.created_at).unwrap_or_default(),
                id: sandbox.id,
                service,
                uid,
                index,
                shape,
                ready,
                leaving: false,
                reason: String::new(),
                addresses,
            });
        }
        pods.sort_by(|a, b| (&a.service, &a.uid, a.index).cmp(&(&b.service, &b.uid, b.index)));
        Ok(pods)
    }

    fn forget(&self, sandboxes: &[PodSandbox], containers: &[Listed]) {
        let sandboxes: HashSet<&str> = sandboxes.iter().map(|sandbox| &*sandbox.id).collect();
        let containers: HashSet<&str> = containers.iter().map(|container| &*container.id).collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.addresses.retain(|id, _| sandboxes.contains(&**id));
        seen.ends.retain(|id, _| containers.contains(&**id));
    }

    async fn addresses(&self, sandbox: &str) -> Result<Vec<IpAddr>, EngineError> {
        let known = self.seen.lock().unwrap_or_else(PoisonError::into_inner).addresses.get(sandbox).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let addresses = self.client.addresses(sandbox).await?;
        if !addresses.is_empty() {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.addresses.insert(sandbox.to_owned(), addresses.clone());
        }
        Ok(addresses)
    }

    /// A container; nothing if it has gone since it was listed.
    async fn container(&self, listed: Listed) -> Result<Option<Container>, EngineError> {
        let before = marks::read_failures(&listed);
        let mut container = Container {
            spec: marks::read_spec(&listed),
            state: RunState::Running,
            reason: String::new(),
            restarts: listed.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
            failures: before,
            finished: 0,
            id: listed.id.clone(),
        };
        match listed.state() {
            ContainerState::ContainerRunning => {}
            ContainerState::ContainerCreated => container.state = RunState::Created,
            ContainerState::ContainerExited | ContainerState::ContainerUnknown => {
                let Some(end) = self.end(&listed.id).await? else { return Ok(None) };
                container.failures = if end.soon { before.saturating_add(1) } else { 1 };
                (container.state, container.reason, container.finished) =
                    (end.state, end.reason, end.finished);
            }
        }
        Ok(Some(container))
    }

    async fn end(&self, id: &str) -> Result<Option<End>, EngineError> {
        let known = self.seen.lock().unwrap_or_else(PoisonError::into_inner).ends.get(id).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Some(status) = self.client.container_status(id).await? else { return Ok(None) };
        let end = end_of(&status);
        if status.state() == ContainerState::ContainerExited {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.ends.insert(id.to_owned(), end.clone());
        }
        Ok(Some(end))
    }
}

fn end_of(status: &ContainerStatus) -> End {
    let nanos = |time: i64| u64::try_from(time).unwrap_or_default();
    let (started, finished) = (nanos(status.started_at), nanos(status.finished_at));
    let ended = status.state() == ContainerState::ContainerExited;
    let failed = status.exit_code != 0 || !ended;
    let reason = match (ended, &*status.message) {
        (false, _) => "the container runtime does not know its state".to_owned(),
        (true, _) if !failed => String::new(),
        (true, "") => format!("ended with exit code {} ({})", status.exit_code, status.reason),
        (true, message) => {
            format!("ended with exit code {} ({}): {message}", status.exit_code, status.reason)
        }
    };
    End {
        state: if failed { RunState::Error } else { RunState::Stopped },
        reason,
        finished,
        // One that never started has no time of that.
        soon: started == 0 || u128::from(finished.saturating_sub(started)) < LONG.as_nanos(),
    }
}

/// Of several containers of a spec, the last one counts: the others are about to be removed.
fn last_of_each(mut containers: Vec<Container>) -> Vec<Container> {
    containers.sort_by(|a, b| (&a.spec, b.restarts).cmp(&(&b.spec, a.restarts)));
    containers.dedup_by(|later, first| later.spec == first.spec);
    containers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_containers_end() {
        let state = ContainerState::ContainerExited.into();
        let minute = 60_000_000_000;
        let status = |exit_code, started_at, finished_at, message: &str| ContainerStatus {
            state,
            exit_code,
            started_at,
            finished_at,
            reason: "Error".to_owned(),
            message: message.to_owned(),
            ..ContainerStatus::default()
        };
        let end = end_of(&status(0, minute, 2 * minute, ""));
        assert_eq!((end.state, &*end.reason, end.soon), (RunState::Stopped, "", true));
        let end = end_of(&status(137, minute, 12 * minute, ""));
        assert_eq!(
            (end.state, &*end.reason, end.soon),
            (RunState::Error, "ended with exit code 137 (Error)", false)
        );
        let end = end_of(&status(128, 0, 12 * minute, "no such file"));
        assert_eq!((&*end.reason, end.soon), ("ended with exit code 128 (Error): no such file", true));
        assert_eq!(
            end_of(&ContainerStatus { state: 3, ..ContainerStatus::default() }).state,
            RunState::Error
        );
    }
}
