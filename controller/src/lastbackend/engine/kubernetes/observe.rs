//! What Kubernetes says of a pod, in the words of engines: pure.

use super::marks;
use crate::lastbackend::engine::{Container, EngineError, Pod};
use common::lastbackend::RunState;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod as Object, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Why an image is not there.
const IMAGE: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
];
/// Why a container waits, if nothing is wrong.
const PATIENCE: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// A pod with its place among those of its service; nothing if it is none of a service, or has ended for good: another
/// one is there instead.
pub(super) fn pod(object: &Object) -> Option<Pod> {
    let marks = marks::read(&object.metadata)?;
    let nothing = PodStatus::default();
    let status = object.status.as_ref().unwrap_or(&nothing);
    if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        return None;
    }
    let addresses = status.pod_ips.iter().flatten().filter_map(|address| address.ip.parse().ok());
    let addresses: Vec<_> = addresses.collect();
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    Some(Pod {
        id: object.metadata.uid.clone().unwrap_or_default(),
        service: marks.service,
        uid: marks.uid,
        index: 0,
        name: object.metadata.name.clone().unwrap_or_default(),
        shape: marks.shape,
        ready: !addresses.is_empty(),
        leaving: object.metadata.deletion_timestamp.is_some(),
        reason: containers
            .iter()
            .find_map(why_it_waits)
            .or_else(|| unschedulable(status))
            .unwrap_or_default(),
        addresses,
        created: object.metadata.creation_timestamp.as_ref().map_or(0, nanos),
        containers: containers.iter().filter_map(container).collect(),
    })
}

/// Numbers the pods of a service: those that stay before those that go, and the oldest first.
pub(super) fn number(pods: &mut [Pod]) {
    pods.sort_by(|a, b| (a.leaving, a.created, &a.name).cmp(&(b.leaving, b.created, &b.name)));
    for (index, pod) in (0..).zip(pods) {
        pod.index = index;
    }
}

fn why_it_waits(status: &ContainerStatus) -> Option<String> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|reason| !PATIENCE.contains(reason))?;
    let message = waiting.message.as_deref().filter(|message| !message.is_empty()).unwrap_or(reason);
    if IMAGE.contains(&reason) {
        let why = format!("can't get image {}: {message}", status.image);
        return Some(EngineError::Image(why).to_string());
    }
    // How one ended that is started again after a while is told by the container.
    (reason != "CrashLoopBackOff").then(|| format!("{reason}: {message}"))
}

fn unschedulable(status: &PodStatus) -> Option<String> {
    let mut conditions = status.conditions.iter().flatten();
    let condition = conditions.find(|one| one.type_ == "PodScheduled" && one.status == "False")?;
    let reason = condition.reason.as_deref().filter(|reason| *reason == "Unschedulable")?;
    Some(format!("{reason}: {}", condition.message.as_deref().unwrap_or_default()))
}

/// A container; nothing if it was not made yet.
fn container(status: &ContainerStatus) -> Option<Container> {
    let id = status.container_id.as_deref()?;
    let state = status.state.as_ref();
    let ended = state.and_then(|state| state.terminated.as_ref());
    let before = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let waits = state.is_some_and(|state| state.waiting.is_some());
    let (state, reason) = match ended.or(before.filter(|_| waits)) {
        Some(end) => how_it_ended(end),
        None if waits => (RunState::Created, String::new()),
        None => (RunState::Running, String::new()),
    };
    Some(Container {
        // `containerd://0b5ae4f0c2d1…`
        id: id.split_once("://").map_or(id, |(_, id)| id).to_owned(),
        spec: status.name.clone(),
        state,
        reason,
        restarts: u32::try_from(status.restart_count).unwrap_or_default(),
        failures: 0,
        finished: ended.and_then(|end| end.finished_at.as_ref()).map_or(0, nanos),
    })
}

fn how_it_ended(end: &ContainerStateTerminated) -> (RunState, String) {
    let reason = end.reason.as_deref().unwrap_or_default();
    let message = end.message.as_deref().unwrap_or_default();
    match (end.exit_code, message) {
        (0, _) => (RunState::Stopped, String::new()),
        (code, "") => (RunState::Error, format!("ended with exit code {code} ({reason})")),
        (code, _) => (RunState::Error, format!("ended with exit code {code} ({reason}): {message}")),
    }
}

fn nanos(time: &Time) -> u64 {
    u64::try_from(time.0.as_nanosecond()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn seen(status: &Value) -> Pod {
        let object = json!({
            "metadata": {"name": "web-1-x", "namespace": "demo", "uid": "p", "creationTimestamp": "1970-01-01T00:00:05Z",
                "labels": {"coil/namespace": "demo", "coil/service": "web", "coil/uid": "u", "coil/shape": "s"}},
            "status": status,
        });
        pod(&serde_json::from_value(object).expect("a pod")).expect("of a service")
    }

    fn of_container(more: &Value) -> Pod {
        let mut container =
            json!({"name": "spec", "image": "i", "imageID": "", "ready": false, "restartCount": 2});
        container.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        seen(&json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "containerStatuses": [container]}))
    }

    #[test]
    fn a_pod_that_runs() {
        let pod = of_container(&json!({"containerID": "containerd://c1", "state": {"running": {}}}));
        assert_eq!((&*pod.name, pod.ready, &*pod.reason, pod.created), ("web-1-x", true, "", 5_000_000_000));
        assert_eq!(
            pod.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.1", "fd00::1"]
        );
        let container = &pod.containers[0];
        assert_eq!((&*container.id, &*container.spec), ("c1", "spec"));
        assert_eq!((container.state, container.restarts), (RunState::Running, 2));
    }

    #[test]
    fn why_a_pod_does_not_run() {
        for (status, reason) in [
            (json!({"reason": "ContainerCreating"}), ""),
            (
                json!({"reason": "ImagePullBackOff", "message": "Back-off"}),
                "ERROR_IMAGE: can't get image i: Back-off",
            ),
            (json!({"reason": "InvalidImageName"}), "ERROR_IMAGE: can't get image i: InvalidImageName"),
            (json!({"reason": "CreateContainerError", "message": "no /x"}), "CreateContainerError: no /x"),
        ] {
            let pod = of_container(&json!({"state": {"waiting": status}}));
            assert_eq!((&*pod.reason, pod.containers.len()), (reason, 0));
        }
        let ended =
            json!({"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": "1970-01-01T00:00:09Z"}});
        let crashed = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}});
        for pod in [
            of_container(&json!({"containerID": "c://c1", "state": ended})),
            of_container(&json!({"containerID": "c://c1", "state": crashed, "lastState": ended})),
        ] {
            let container = &pod.containers[0];
            assert_eq!(
                (container.state, &*container.reason),
                (RunState::Error, "ended with exit code 1 (Error)")
            );
            assert_eq!(pod.reason, "");
        }
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"});
        let pod = seen(&json!({"conditions": [condition]}));
        assert_eq!((&*pod.reason, pod.ready), ("Unschedulable: 0/3 nodes", false));
    }

    #[test]
    fn what_is_no_pod_of_a_service() {
        let mut object: Object =
            serde_json::from_value(json!({"metadata": {"name": "x", "namespace": "demo"}})).expect("a pod");
        assert_eq!(pod(&object), None);
        let labels =
            [("coil/namespace", "demo"), ("coil/service", "web"), ("coil/uid", "u"), ("coil/shape", "s")];
        object.metadata.labels =
            Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect());
        assert!(pod(&object).is_some());
        object.status = Some(PodStatus { phase: Some("Failed".to_owned()), ..PodStatus::default() });
        assert_eq!(pod(&object), None, "evicted");
    }

    #[test]
    fn those_that_go_come_last() {
        let mut pods = [seen(&json!({})), seen(&json!({})), seen(&json!({}))];
        for (pod, (name, leaving, created)) in
            pods.iter_mut().zip([("a", true, 1), ("b", false, 3), ("c", false, 2)])
        {
            (pod.name, pod.leaving, pod.created) = (name.to_owned(), leaving, created);
        }
        number(&mut pods);
        let order: Vec<(&str, u32)> = pods.iter().map(|pod| (&*pod.name, pod.index)).collect();
        assert_eq!(order, [("c", 0), ("b", 1), ("a", 2)]);
    }
}
