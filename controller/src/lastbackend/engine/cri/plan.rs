//! The steps from what runs of a service to what is wanted: pure.
//!
//! * A pod that is missing is made; one beyond the wanted number, or without its network, is removed.
//! * A container that has ended is started again: at once if it had run for long, else after a pause that doubles.
//! * A pod of another shape is replaced. One that does not run is replaced at once; of those that run one after the
//!   other, each when all pods of the new shape run. So a change that fails stops at one pod, and the others go on.

use crate::lastbackend::engine::wanted::{PodWanted, Wanted};
use crate::lastbackend::engine::{Container, Pod};
use common::lastbackend::RunState;
use std::time::Duration;

/// Longest pause before a container is started again.
const LONGEST: Duration = Duration::from_mins(5);

/// A step of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Makes a pod, or makes and starts the containers that it lacks.
    Start(PodWanted, Option<Pod>),
    /// Removes a pod.
    Remove(Pod),
}

impl Step {
    /// The pod: its service's `uid`, and its number.
    pub(super) fn pod(&self) -> (&str, u32) {
        match self {
            Self::Start(pod, _) => (&pod.uid, pod.index),
            Self::Remove(pod) => (&pod.uid, pod.index),
        }
    }
}

/// The steps that can be taken now, and when there may be more, in nanoseconds since the Unix epoch. `pods` are those of
/// the service in the order of their numbers; `busy` tells for which numbers a step is being taken.
pub(super) fn plan(
    wanted: &Wanted,
    pods: &[Pod],
    busy: &dyn Fn(u32) -> bool,
    now: u64,
) -> (Vec<Step>, Option<u64>) {
    let (mut steps, mut next) = (Vec::new(), None::<u64>);
    let mut outdated = Vec::new();
    // Of the new shape, or missing: until they run, nothing that runs is taken away.
    let mut awaited = 0;
    for index in 0..wanted.replicas {
        let pod = pods.iter().find(|pod| pod.index == index);
        let step = match pod {
            _ if busy(index) => {
                awaited += 1;
                None
            }
            None => Some(Step::Start(wanted.pod(index), None)),
            Some(pod) if !pod.ready => Some(Step::Remove(pod.clone())),
            Some(pod) if pod.shape != wanted.shape() => {
                outdated.push(pod);
                None
            }
            Some(pod) if wanted.runs(pod) => None,
            Some(pod) => {
                awaited += 1;
                let at = due(wanted, pod);
                next = next.into_iter().chain(Some(at).filter(|at| *at > now)).min();
                (at <= now).then(|| Step::Start(wanted.pod(index), Some(pod.clone())))
            }
        };
        awaited += u32::from(matches!(step, Some(Step::Start(_, None) | Step::Remove(_))));
        steps.extend(step);
    }
    let (running, idle): (Vec<&Pod>, Vec<&Pod>) =
        outdated.into_iter().partition(|pod| pod.containers.iter().all(Container::is_running));
    steps.extend(idle.iter().map(|pod| Step::Remove((*pod).clone())));
    if awaited == 0 && idle.is_empty() {
        steps.extend(running.last().map(|pod| Step::Remove((*pod).clone())));
    }
    let beyond = pods.iter().filter(|pod| pod.index >= wanted.replicas && !busy(pod.index));
    steps.extend(beyond.map(|pod| Step::Remove(pod.clone())));
    (steps, next)
}

/// When something can be done for a pod whose containers don't all run.
fn due(wanted: &Wanted, pod: &Pod) -> u64 {
    let of_spec = |spec| match pod.containers.iter().find(|container| container.spec == spec) {
        None => Some(0),
        Some(container) if container.is_running() => None,
        Some(container) => Some(restart_at(container)),
    };
    wanted.specs().filter_map(of_spec).min().unwrap_or_default()
}

/// When a container that does not run may be started.
pub(super) fn restart_at(container: &Container) -> u64 {
    let pause = match (container.state, container.failures) {
        (RunState::Created, _) | (_, 0 | 1) => Duration::ZERO,
        (_, failures) => Duration::from_secs(1 << (failures - 2).min(9)).min(LONGEST),
    };
    container.finished.saturating_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::lastbackend::{Name, ServiceId};
    use common::store::record::lastbackend::{Namespace, Service, Spec};

    const SECOND: u64 = 1_000_000_000;

    fn wanted(replicas: u32, spec: &str) -> Wanted {
        let name = |text| Name::new(text).expect("name");
        let id = ServiceId { namespace: name("demo"), name: name("web") };
        let spec = Spec {
            id: spec.to_owned(),
            parent: String::new(),
            revision: 0,
            created: 0,
            updated: 0,
            memory: 32,
            entrypoint: String::new(),
            command: String::new(),
            image: "i".to_owned(),
            env: None,
            ports: Vec::new(),
        };
        let service = Service {
            uid: "u".to_owned(),
            description: String::new(),
            replicas,
            pool: None,
            region: String::new(),
            created: 0,
            updated: 0,
            specs: vec![spec],
            removing: false,
        };
        let namespace =
            Namespace { description: String::new(), pool: None, created: 0, updated: 0, removing: false };
        Wanted::of(&id, &service, &namespace)
    }

    fn pod(wanted: &Wanted, index: u32, state: RunState) -> Pod {
        let container = Container {
            id: format!("c{index}"),
            spec: wanted.specs().next().expect("one").to_owned(),
            state,
            reason: String::new(),
            restarts: 0,
            failures: 1,
            finished: 10 * SECOND,
        };
        let of = wanted.pod(index);
        Pod {
            id: format!("p{index}"),
            service: (of.service.namespace.to_string(), of.service.name.to_string()),
            uid: of.uid,
            index,
            name: of.name,
            shape: of.shape,
            ready: true,
            leaving: false,
            reason: String::new(),
            addresses: Vec::new(),
            created: 1,
            containers: vec![container],
        }
    }

    /// The steps as `+0` and `-0`; of a pod that exists, `~0`.
    fn steps(wanted: &Wanted, pods: &[Pod], busy: &[u32]) -> Vec<String> {
        let (steps, _) = plan(wanted, pods, &|index| busy.contains(&index), 10 * SECOND);
        let sign = |step: &Step| match step {
            Step::Start(_, None) => '+',
            Step::Start(_, Some(_)) => '~',
            Step::Remove(_) => '-',
        };
        steps.iter().map(|step| format!("{}{}", sign(step), step.pod().1)).collect()
    }

    #[test]
    fn missing_pods_are_made_and_those_beyond_removed() {
        let wanted = wanted(3, "a");
        assert_eq!(steps(&wanted, &[], &[]), ["+0", "+1", "+2"]);
        assert_eq!(steps(&wanted, &[], &[1]), ["+0", "+2"], "a pod has one step at a time");
        let all: Vec<Pod> = (0..5).map(|index| pod(&wanted, index, RunState::Running)).collect();
        assert_eq!(steps(&wanted, &all, &[]), ["-3", "-4"]);
        assert_eq!(steps(&wanted, &all, &[4]), ["-3"]);
        let mut lost = all[..3].to_vec();
        lost[1].ready = false;
        assert_eq!(steps(&wanted, &lost, &[]), ["-1"]);
    }

    #[test]
    fn ended_containers_are_started_again_after_a_pause() {
        let wanted = wanted(1, "a");
        for (state, expected) in
            [(RunState::Running, &[][..]), (RunState::Created, &["~0"]), (RunState::Stopped, &["~0"])]
        {
            assert_eq!(steps(&wanted, &[pod(&wanted, 0, state)], &[]), expected, "{state:?}");
        }
        let mut failed = pod(&wanted, 0, RunState::Error);
        for (failures, pause) in
            [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (10, 256), (11, 300), (u32::MAX, 300)]
        {
            failed.containers[0].failures = failures;
            let (steps, next) = plan(&wanted, &[failed.clone()], &|_| false, 10 * SECOND);
            let at = (10 + pause) * SECOND;
            assert_eq!((steps.is_empty(), next), (pause > 0, (pause > 0).then_some(at)), "{failures}");
            assert_eq!(plan(&wanted, &[failed.clone()], &|_| false, at).0.len(), 1, "{failures}");
        }
        failed.containers.clear();
        assert_eq!(steps(&wanted, &[failed], &[]), ["~0"], "a container that is missing");
    }

    #[test]
    fn a_change_replaces_one_pod_after_the_other() {
        let (before, after) = (wanted(3, "a"), wanted(3, "b"));
        let mut pods: Vec<Pod> = (0..3).map(|index| pod(&before, index, RunState::Running)).collect();
        assert_eq!(steps(&after, &pods, &[]), ["-2"]);
        assert_eq!(steps(&after, &pods, &[2]), [""; 0], "it is being removed");
        assert_eq!(steps(&after, &pods[..2], &[]), ["+2"]);
        pods[2] = pod(&after, 2, RunState::Error);
        assert_eq!(steps(&after, &pods, &[]), ["~2"], "the others go on until the new one runs");
        pods[2] = pod(&after, 2, RunState::Running);
        assert_eq!(steps(&after, &pods, &[]), ["-1"]);
        pods[0] = pod(&before, 0, RunState::Error);
        assert_eq!(steps(&after, &pods, &[]), ["-0"], "what does not run is replaced first");
    }

    #[test]
    fn nothing_is_left_of_what_is_removed() {
        let all = wanted(2, "a");
        let pods: Vec<Pod> = (0..2).map(|index| pod(&all, index, RunState::Running)).collect();
        assert_eq!(steps(&wanted(0, "a"), &pods, &[]), ["-0", "-1"]);
        assert_eq!(steps(&wanted(0, "a"), &[], &[]), [""; 0]);
    }
}
