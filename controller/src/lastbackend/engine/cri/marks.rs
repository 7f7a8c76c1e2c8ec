//! What pods and containers are marked with in the runtime, and read by.

use crate::lastbackend::engine::wanted::PodWanted;
use k8s_cri::v1::{Container, PodSandbox};
use std::collections::HashMap;

/// Whose it is: the engine's id in the store.
pub(super) const OWNER: &str = "coil/owner";
const NAMESPACE: &str = "coil/namespace";
const SERVICE: &str = "coil/service";
const UID: &str = "coil/uid";
const INDEX: &str = "coil/index";
const SHAPE: &str = "coil/shape";
const SPEC: &str = "coil/spec";
/// How often in a row containers ended soon before this one.
const FAILURES: &str = "coil/failures";

/// The labels of a pod.
pub(super) fn of_pod(owner: &str, pod: &PodWanted) -> HashMap<String, String> {
    let index = pod.index.to_string();
    let labels = [
        (OWNER, owner),
        (NAMESPACE, pod.service.namespace.as_str()),
        (SERVICE, pod.service.name.as_str()),
        (UID, &pod.uid),
        (INDEX, &index),
        (SHAPE, &pod.shape),
    ];
    labels.into_iter().map(|(label, value)| (label.to_owned(), value.to_owned())).collect()
}

/// The labels of a container.
pub(super) fn of_container(owner: &str, spec: &str) -> HashMap<String, String> {
    HashMap::from([(OWNER, owner), (SPEC, spec)].map(|(label, value)| (label.to_owned(), value.to_owned())))
}

/// The annotations of a container.
pub(super) fn failures_before(failures: u32) -> HashMap<String, String> {
    HashMap::from([(FAILURES.to_owned(), failures.to_string())])
}

/// What a pod's marks say: namespace and name of its service, its `uid`, the pod's number and its shape. Nothing if
/// they are not all there.
pub(super) fn read_pod(pod: &PodSandbox) -> Option<((String, String), String, u32, String)> {
    let label = |name: &str| pod.labels.get(name).cloned();
    let index = label(INDEX)?.parse().ok()?;
    Some(((label(NAMESPACE)?, label(SERVICE)?), label(UID)?, index, label(SHAPE)?))
}

/// The spec that a container was made of.
pub(super) fn read_spec(container: &Container) -> String {
    container.labels.get(SPEC).cloned().unwrap_or_default()
}

/// How often in a row containers ended soon before this one.
pub(super) fn read_failures(container: &Container) -> u32 {
    container.annotations.get(FAILURES).and_then(|text| text.parse().ok()).unwrap_or_default()
}
