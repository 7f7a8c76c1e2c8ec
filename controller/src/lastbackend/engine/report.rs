//! What is told of a service: its pods as they were seen, and those that should be there and are not: pure.

use super::round::{Doing, Failed};
use super::wanted::Wanted;
use super::{Pod, Unit};
use common::lastbackend::RunState;
use common::store::record::lastbackend::{Container, Pod as PodRecord, Run};
use std::collections::HashMap;

/// What is told of a service; `pods` are its own.
pub(super) fn run(
    wanted: &Wanted,
    pods: &[Pod],
    busy: &HashMap<Unit, Doing>,
    failed: &HashMap<Unit, Failed>,
) -> Run {
    let last = pods.iter().map(|pod| pod.index + 1).max().unwrap_or_default().max(wanted.replicas);
    let pod = |index| {
        let unit = Unit::Pod(wanted.uid().to_owned(), index);
        let failed = failed.get(&unit);
        match pods.iter().find(|pod| pod.index == index) {
            Some(pod) => {
                let goes = busy.get(&unit).is_some_and(|step| step.removes);
                Some(existing(wanted, pod, goes, failed))
            }
            None if index < wanted.replicas => Some(missing(wanted.pod(index).name, failed)),
            None => None,
        }
    };
    let of_service = failed.get(&Unit::Service(wanted.uid().to_owned()));
    Run {
        uid: wanted.uid().to_owned(),
        reason: of_service.map(|failed| failed.error.to_string()).unwrap_or_default(),
        pods: (0..last).filter_map(pod).collect(),
    }
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

fn existing(wanted: &Wanted, pod: &Pod, goes: bool, failed: Option<&Failed>) -> PodRecord {
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
    let goes = goes || pod.leaving || pod.index >= wanted.replicas;
    let state = match state(wanted, pod) {
        _ if goes => RunState::Destroyed,
        RunState::Running => RunState::Running,
        _ if failed.is_some() || !pod.reason.is_empty() => RunState::Error,
        state => state,
    };
    let reason = match (state, failed) {
        (RunState::Running, _) => String::new(),
        (_, Some(failed)) => failed.error.to_string(),
        (_, None) => pod.reason.clone(),
    };
    PodRecord {
        name: pod.name.clone(),
        state,
        reason,
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
        _ if outdated || wanted.runs(pod) => RunState::Running,
        _ => RunState::Ready,
    }
}
