//! The controllers of a cluster, and its nodes: Deployments have pods of their template, one replaced after the other, and
//! pods run, if they can.
//!
//! An image of the registry `registry.invalid` is nowhere, and the program `/bin/false` ends at once.

use super::state::{Key, Kind, State, is_doomed};
use serde_json::{Value, json};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// What controllers do when they look once. Each thing takes several looks: watches tell of all that is between.
pub(super) fn tick(state: &mut State) {
    let pods: Vec<(Key, Value)> = cloned(state, Kind::Pod);
    for (key, pod) in pods {
        if is_doomed(&pod) {
            state.remove(&key);
        } else if !has_deployment(state, &pod) {
            state.doom(&key);
        } else if pod["status"]["phase"].is_null() {
            start(state, &key, pod);
        }
    }
    for (key, deployment) in cloned(state, Kind::Deployment) {
        deploy(state, &key, &deployment);
    }
    for (key, namespace) in cloned(state, Kind::Namespace) {
        if is_doomed(&namespace) {
            let within = state.within(&key.2);
            within.iter().filter(|key| key.0 != Kind::Pod).for_each(|key| state.remove(key));
            if within.is_empty() {
                state.remove(&key);
            }
        }
    }
}

fn cloned(state: &State, kind: Kind) -> Vec<(Key, Value)> {
    state.of(kind).map(|(key, object)| (key.clone(), object.clone())).collect()
}

fn has_deployment(state: &State, pod: &Value) -> bool {
    let owner = &pod["metadata"]["ownerReferences"][0]["uid"];
    state.of(Kind::Deployment).any(|(_, deployment)| deployment["metadata"]["uid"] == *owner)
}

fn deploy(state: &mut State, key: &Key, deployment: &Value) {
    let template = &deployment["spec"]["template"];
    let mut hasher = DefaultHasher::new();
    template.to_string().hash(&mut hasher);
    let hash = format!("{:08x}", hasher.finish() >> 32);
    let is_own = |pod: &Value| pod["metadata"]["ownerReferences"][0]["uid"] == deployment["metadata"]["uid"];
    let pods = cloned(state, Kind::Pod).into_iter().filter(|(_, pod)| is_own(pod) && !is_doomed(pod));
    let (current, old): (Vec<_>, Vec<_>) =
        pods.partition(|(_, pod)| pod["metadata"]["labels"]["pod-template-hash"] == *hash);
    let wanted =
        usize::try_from(deployment["spec"]["replicas"].as_u64().unwrap_or_default()).unwrap_or_default();
    let all = current.len() + old.len();
    if all < wanted {
        make(state, key, deployment, &hash);
    } else if all > wanted {
        // Of those that are too many, the old ones go first.
        if let Some((key, _)) = old.iter().chain(current.iter().rev()).next() {
            state.doom(key);
        }
    } else if current.iter().all(|(_, pod)| pod["status"]["containerStatuses"][0]["ready"] == true) {
        old.first().into_iter().for_each(|(key, _)| state.doom(key));
    }
}

fn make(state: &mut State, (_, namespace, name): &Key, deployment: &Value, hash: &str) {
    state.made += 1;
    let number = state.made;
    let mut meta = deployment["spec"]["template"]["metadata"].clone();
    meta["labels"]["pod-template-hash"] = hash.into();
    meta["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-{hash}"),
        "uid": deployment["metadata"]["uid"],
    }]);
    let pod = json!({"metadata": meta, "spec": deployment["spec"]["template"]["spec"]});
    let key = (Kind::Pod, namespace.clone(), format!("{name}-{hash}-{number:05}"));
    state.put(&key, pod);
}

fn start(state: &mut State, key: &Key, mut pod: Value) {
    let number = state.revision;
    let containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let statuses = containers.iter().zip(0..).map(|(container, at)| status(container, number, at));
    let statuses: Vec<Value> = statuses.collect();
    let address = format!("10.64.{}.{}", number / 250 % 250, number % 250 + 1);
    pod["status"] = json!({
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "containerStatuses": statuses,
    });
    state.put(key, pod);
}

fn status(container: &Value, number: u64, at: u64) -> Value {
    let mut status = json!({
        "name": container["name"], "image": container["image"], "imageID": "", "ready": true, "restartCount": 0,
        "containerID": format!("containerd://{number:08x}{at:04x}"),
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
    });
    if container["image"].as_str().is_some_and(|image| image.starts_with("registry.invalid/")) {
        status["ready"] = false.into();
        status["containerID"] = Value::Null;
        let message = "failed to resolve reference: no such host";
        status["state"] = json!({"waiting": {"reason": "ErrImagePull", "message": message}});
    } else if container["command"][0] == "/bin/false" {
        status["ready"] = false.into();
        status["restartCount"] = 3.into();
        status["state"] = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}});
        status["lastState"] = json!({"terminated": {"exitCode": 1, "reason": "Error"}});
    }
    status
}
