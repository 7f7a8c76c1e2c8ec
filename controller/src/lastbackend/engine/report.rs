//! What is told of a service: its pods as they were seen, and those that should be there and are not: pure.

use super::keeper::{Failed, PodKey};
use super::wanted::Wanted;
use super::{Pod, Step, plan};
use common::lastbackend::RunState;
use common::store::record::lastbackend::{Container, Pod as PodRecord, Run};
use std::collections::HashMap;

/// What is told of a service; `pods` are its own.
pub(super) fn run(
    uid: &str,
    wanted: &Wanted,
    pods: &[Pod],
    busy: &HashMap<PodKey, Step>,
    failed: &HashMap<PodKey, Failed>,
) -> Run {
    let last = pods.iter().map(|pod| pod.index + 1).max().unwrap_or_default().max(wanted.replicas);
    let pod = |index| {
        let key = (uid.to_owned(), index);
        let failed = failed.get(&key);
        match pods.iter().find(|pod| pod.index == index) {
            Some(pod) => Some(existing(wanted, pod, busy.get(&key), failed)),
            None if index < wanted.replicas => Some(missing(wanted.pod(index).name, failed)),
            None => None,
        }
    };
    Run { uid: uid.to_owned(), pods: (0..last).filter_map(pod).collect() }
}

fn missing(name: String, failed: Option<&Failed>) -> PodRecord {
    PodRecord {
        name,
        state: if failed.is_some() { RunState::Error } else { RunState::Provision },
        reason: failed.map(|failed| failed.error.to_string()).unwrap_or_default(),
        addresses: Vec::new(),
        created: 0,
        containers: Vec::new(),
    }
}

fn existing(wanted: &Wanted, pod: &Pod, busy: Option<&Step>, failed: Option<&Failed>) -> PodRecord {
    let container = |container: &super::Container| Container {
        id: container.id.clone(),
        spec: container.spec.clone(),
        state: container.state,
        reason: container.reason.clone(),
        restarts: container.restarts,
    };
    // In the order of the specs; those of other specs behind them.
    let order: Vec<&str> = wanted.specs().collect();
    let mut containers: Vec<_> = pod.containers.iter().map(container).collect();
    containers.sort_by_key(|container| {
        order.iter().position(|spec| *spec == container.spec).unwrap_or(order.len())
    });
    let goes = pod.index >= wanted.replicas || matches!(busy, Some(Step::Remove(_)));
    let state = match state(wanted, pod) {
        _ if goes => RunState::Destroyed,
        RunState::Running => RunState::Running,
        _ if failed.is_some() => RunState::Error,
        state => state,
    };
    let tell = failed.filter(|_| state != RunState::Running);
    PodRecord {
        name: pod.name.clone(),
        state,
        reason: tell.map(|failed| failed.error.to_string()).unwrap_or_default(),
        addresses: pod.addresses.clone(),
        created: pod.created,
        containers,
    }
}

fn state(wanted: &Wanted, pod: &Pod) -> RunState {
    if !pod.ready {
        return RunState::Provision;
    }
    let has = |state| pod.containers.iter().any(|container| container.state == state);
    let outdated = pod.shape != wanted.shape();
    match pod.containers.len() {
        0 => RunState::Ready,
        _ if has(RunState::Error) => RunState::Error,
        _ if has(RunState::Stopped) => RunState::Stopped,
        _ if has(RunState::Created) => RunState::Created,
        _ if outdated || plan::runs(wanted, pod) => RunState::Running,
        _ => RunState::Ready,
    }
}
