//! What is shown of namespaces and services: their records, and what an engine has seen. Nothing of it is kept anywhere.

use crate::time::rfc3339_nanos;
use common::lastbackend::{Name, RunState, ServiceId};
use common::store::record::lastbackend::{Container, EngineAlive, Namespace, Pod, Run, Service, Spec};
use common::wire::lastbackend::{
    ContainerView, NamespaceMeta, NamespaceView, PodMeta, PodState, PodView, Replicas, Resources,
    ServiceMeta, ServiceState, ServiceView, SpecMeta, SpecView,
};
use std::collections::BTreeMap;

/// Why nothing runs when no engine is there.
pub const NO_ENGINE: &str = "no engine runs services: start a coil-controller with --engine cri and --cri-socket, or with \
                             --engine kubernetes and --kubernetes";

/// What engines say of a service.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What was seen of it last.
    pub run: Option<Run>,
    /// The engine that is there.
    pub engine: Option<EngineAlive>,
}

/// A namespace.
pub fn namespace(name: &Name, record: &Namespace) -> NamespaceView {
    NamespaceView {
        meta: NamespaceMeta {
            name: name.to_string(),
            description: record.description.clone(),
            pool: record.pool.as_ref().map(ToString::to_string),
            created: rfc3339_nanos(record.created),
            updated: rfc3339_nanos(record.updated),
        },
    }
}

/// A service that was made right now.
pub fn new_service(id: &ServiceId, record: &Service) -> ServiceView {
    let engine = Some(EngineAlive { machine: String::new(), error: None });
    service(id, record, &Seen { run: None, engine })
}

/// A service.
pub fn service(id: &ServiceId, record: &Service, seen: &Seen) -> ServiceView {
    // What ran of another service of this name is not its.
    let run = seen.run.as_ref().filter(|run| run.uid == record.uid);
    let pods = run.map_or(&[][..], |run| &run.pods);
    let reason = run.map_or("", |run| &run.reason);
    let memory: u64 = record.specs.iter().map(|spec| u64::from(spec.memory)).sum();
    let (state, status) = state(record, reason, pods, seen.engine.as_ref());
    ServiceView {
        meta: ServiceMeta {
            name: id.name.to_string(),
            description: record.description.clone(),
            replicas: record.replicas,
            namespace: id.namespace.to_string(),
            region: record.region.clone(),
            pool: record.pool.as_ref().map(ToString::to_string),
            created: rfc3339_nanos(record.created),
            updated: rfc3339_nanos(record.updated),
        },
        state: ServiceState {
            state: state.to_owned(),
            status,
            resources: Resources { memory: memory * u64::from(record.replicas) },
            replicas: counted(pods),
        },
        spec: record.specs.iter().map(spec).collect(),
        pods: pods.iter().map(pod).collect(),
    }
}

fn state(
    record: &Service,
    reason: &str,
    pods: &[Pod],
    engine: Option<&EngineAlive>,
) -> (&'static str, String) {
    let error = |reason: &str| ("error", reason.to_owned());
    if record.removing {
        return ("destroyed", String::new());
    }
    match engine {
        None => return error(NO_ENGINE),
        Some(EngineAlive { error: Some(reason), .. }) => return error(reason),
        Some(EngineAlive { error: None, .. }) => {}
    }
    if !reason.is_empty() {
        return error(reason);
    }
    if let Some(pod) = pods.iter().find(|pod| pod.state == RunState::Error) {
        return error(why(pod));
    }
    let wanted = |pod: &&Pod| pod.state == RunState::Running && is_of(pod, &record.specs);
    let right = pods.iter().filter(wanted).count();
    let all = pods.len() == right && right == record.replicas as usize;
    (if all { "started" } else { "provision" }, String::new())
}

/// Why a pod has failed.
fn why(pod: &Pod) -> &str {
    let of_container =
        pod.containers.iter().map(|container| &*container.reason).find(|reason| !reason.is_empty());
    if pod.reason.is_empty() { of_container.unwrap_or_default() } else { &pod.reason }
}

/// Whether a pod's containers are of these specs.
fn is_of(pod: &Pod, specs: &[Spec]) -> bool {
    let mut of_pod: Vec<&str> = pod.containers.iter().map(|container| &*container.spec).collect();
    let mut wanted: Vec<&str> = specs.iter().map(|spec| &*spec.id).collect();
    of_pod.sort_unstable();
    wanted.sort_unstable();
    of_pod == wanted
}

fn counted(pods: &[Pod]) -> Replicas {
    let mut counts = Replicas::default();
    for pod in pods {
        counts.total += 1;
        *match pod.state {
            RunState::Provision => &mut counts.provision,
            RunState::Ready => &mut counts.ready,
            RunState::Created => &mut counts.created,
            RunState::Running => &mut counts.running,
            RunState::Stopped | RunState::Destroyed => &mut counts.stopped,
            RunState::Error => &mut counts.errored,
        } += 1;
    }
    counts
}

fn spec(spec: &Spec) -> SpecView {
    SpecView {
        meta: SpecMeta {
            id: spec.id.clone(),
            parent: spec.parent.clone(),
            revision: spec.revision,
            labels: BTreeMap::default(),
            created: rfc3339_nanos(spec.created),
            updated: rfc3339_nanos(spec.updated),
        },
        memory: spec.memory,
        entrypoint: spec.entrypoint.clone(),
        command: spec.command.clone(),
        image: spec.image.clone(),
        env: spec.env.clone(),
        ports: spec.ports.clone(),
    }
}

fn pod(pod: &Pod) -> PodView {
    let created = if pod.created == 0 { String::new() } else { rfc3339_nanos(pod.created) };
    PodView {
        meta: PodMeta { name: pod.name.clone(), created },
        state: PodState { state: pod.state, status: why(pod).to_owned() },
        addresses: pod.addresses.clone(),
        containers: pod.containers.iter().map(container).collect(),
    }
}

fn container(container: &Container) -> ContainerView {
    ContainerView {
        id: container.id.clone(),
        spec: container.spec.clone(),
        state: PodState { state: container.state, status: container.reason.clone() },
        restarts: container.restarts,
    }
}
