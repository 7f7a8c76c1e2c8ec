//! What a service is made of in Kubernetes: pure.
//!
//! * a Namespace, which all services of a namespace share
//! * a Deployment, which replaces one pod after the other when its template changes
//! * a Service without an address of its own, by whose name the pods' addresses are found
//!
//! Lists have each key once, as server-side apply wants it.

use super::marks;
use crate::lastbackend::engine::EngineError;
use crate::lastbackend::engine::wanted::{ContainerWanted, Wanted};
use common::lastbackend::{Name, Port, Protocol};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, Namespace, PodSpec, PodTemplateSpec, ResourceRequirements, Service,
    ServicePort, ServiceSpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};

/// How long a container may take to end when it is asked to, in seconds.
const GRACE: i64 = 10;
/// How long a pod must have run before the next one is replaced, in seconds: one that fails at once stops a change.
const SETTLED: i32 = 3;
/// Most characters of a name, as DNS has it.
const MAX_NAME: usize = 63;

/// The objects of a service.
pub(super) struct Objects {
    pub(super) namespace: Namespace,
    pub(super) service: Service,
    pub(super) deployment: Deployment,
}

/// The objects of a service; refused if Kubernetes can't have their names.
pub(super) fn of(owner: &str, wanted: &Wanted) -> Result<Objects, EngineError> {
    let namespace = check("namespace", &wanted.id().namespace)?;
    let name = check("service", &wanted.id().name)?;
    let meta = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(marks::of_service(owner, wanted)),
        ..ObjectMeta::default()
    };
    Ok(Objects {
        namespace: Namespace {
            metadata: ObjectMeta {
                name: Some(namespace.to_owned()),
                labels: Some(marks::of_namespace(owner, namespace)),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        },
        service: service(owner, wanted, meta.clone()),
        deployment: deployment(owner, wanted, meta),
    })
}

/// Pools are chosen by the names of pods' namespaces, so that these are not made up.
fn check<'a>(what: &str, name: &'a Name) -> Result<&'a str, EngineError> {
    let name = name.as_str();
    if name.len() > MAX_NAME || name.contains('_') {
        return Err(EngineError::Refused(format!(
            "Kubernetes can't have a {what} {name:?}: in its names there is no '_', and they have at most {MAX_NAME} \
             characters"
        )));
    }
    Ok(name)
}

fn deployment(owner: &str, wanted: &Wanted, metadata: ObjectMeta) -> Deployment {
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: metadata.labels.clone(),
            annotations: Some(wanted.annotations().clone()).filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: wanted.containers().iter().map(container).collect(),
            // They are not told of the cluster, and may not ask it.
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(GRACE),
            ..PodSpec::default()
        }),
    };
    // No pod above those wanted: the pool may have no address for it.
    let rolling = RollingUpdateDeployment {
        max_surge: Some(IntOrString::Int(0)),
        max_unavailable: Some(IntOrString::Int(1)),
    };
    let spec = DeploymentSpec {
        replicas: i32::try_from(wanted.replicas).ok(),
        selector: LabelSelector {
            match_labels: Some(marks::selector(owner, wanted)),
            ..LabelSelector::default()
        },
        strategy: Some(DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(rolling),
        }),
        template,
        min_ready_seconds: Some(SETTLED),
        // What was there before is in the store.
        revision_history_limit: Some(0),
        ..DeploymentSpec::default()
    };
    Deployment { metadata, spec: Some(spec), status: None }
}

fn container(wanted: &ContainerWanted) -> Container {
    let some = |words: &[String]| {
        let words: Vec<String> = words.iter().map(|word| literal(word)).collect();
        Some(words).filter(|words| !words.is_empty())
    };
    // Of several values of a variable the last one counts.
    let env: BTreeMap<&str, &str> = wanted.env.iter().map(|(name, value)| (&**name, &**value)).collect();
    let env = env.into_iter().map(|(name, value)| EnvVar {
        name: name.to_owned(),
        value: Some(literal(value)),
        value_from: None,
    });
    let memory = Quantity(format!("{}Mi", wanted.memory));
    let ports: BTreeMap<(u16, &str), &Port> =
        wanted.ports.iter().map(|port| ((port.internal, protocol(port.protocol)), port)).collect();
    let ports = ports.into_iter().map(|((internal, protocol), port)| ContainerPort {
        container_port: internal.into(),
        protocol: Some(protocol.to_owned()),
        host_port: port.published.then(|| port.external.into()),
        ..ContainerPort::default()
    });
    Container {
        name: wanted.spec.clone(),
        image: Some(wanted.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: some(&wanted.entrypoint),
        args: some(&wanted.arguments),
        env: Some(env.collect::<Vec<_>>()).filter(|env| !env.is_empty()),
        ports: Some(ports.collect::<Vec<_>>()).filter(|ports| !ports.is_empty()),
        resources: Some(ResourceRequirements {
            limits: Some(BTreeMap::from([("memory".to_owned(), memory)])),
            ..ResourceRequirements::default()
        }),
        ..Container::default()
    }
}

/// Kubernetes puts variables in for `$(NAME)`, and makes one `$` of two.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

fn service(owner: &str, wanted: &Wanted, metadata: ObjectMeta) -> Service {
    let ports = wanted.containers().iter().flat_map(|container| &container.ports);
    let ports: BTreeSet<(u16, &str)> = ports.map(|port| (port.internal, protocol(port.protocol))).collect();
    let ports = ports.into_iter().map(|(port, protocol)| ServicePort {
        name: Some(format!("{}-{port}", protocol.to_lowercase())),
        port: port.into(),
        protocol: Some(protocol.to_owned()),
        ..ServicePort::default()
    });
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        selector: Some(marks::selector(owner, wanted)),
        ports: Some(ports.collect::<Vec<_>>()).filter(|ports| !ports.is_empty()),
        ..ServiceSpec::default()
    };
    Service { metadata, spec: Some(spec), status: None }
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}
