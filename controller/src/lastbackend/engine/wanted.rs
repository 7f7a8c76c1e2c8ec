//! What a service's pods are to be, as an engine is told: pure.

use super::Pod;
use crate::lastbackend::rules;
use common::hex;
use common::lastbackend::{Port, ServiceId};
use common::store::record::lastbackend::{Namespace, Service, Spec};
use common::wire::node::annotation;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A pod that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodWanted {
    /// Its service.
    pub service: ServiceId,
    /// The `uid` of its service.
    pub uid: String,
    /// Its number: the first is 0.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is: of two pods with the same shape, none need be replaced by the other.
    pub shape: String,
    /// What it chooses its pool by.
    pub annotations: BTreeMap<String, String>,
    /// Its containers.
    pub containers: Vec<ContainerWanted>,
}

/// A container that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerWanted {
    /// Id of its spec.
    pub spec: String,
    /// The image.
    pub image: String,
    /// The program; empty for the image's.
    pub entrypoint: Vec<String>,
    /// Its arguments; empty for the image's.
    pub arguments: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// Most memory that it may use, in MiB.
    pub memory: u32,
    /// Where it listens.
    pub ports: Vec<Port>,
}

/// What the pods of a service are to be: all but the number is the same for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// How many.
    pub replicas: u32,
    /// The first.
    first: PodWanted,
}

impl Wanted {
    /// Reads the records. A service that is being removed wants no pod.
    pub fn of(id: &ServiceId, service: &Service, namespace: &Namespace) -> Self {
        let gone = service.removing || namespace.removing;
        let annotations = annotations(service, namespace);
        let first = PodWanted {
            service: id.clone(),
            uid: service.uid.clone(),
            index: 0,
            name: pod_name(id, 0),
            shape: shape(service, &annotations),
            annotations,
            containers: service.specs.iter().map(container).collect(),
        };
        Self { replicas: if gone { 0 } else { service.replicas }, first }
    }

    /// The service.
    pub fn id(&self) -> &ServiceId {
        &self.first.service
    }

    /// The service's `uid`.
    pub fn uid(&self) -> &str {
        &self.first.uid
    }

    /// The pod with this number.
    pub fn pod(&self, index: u32) -> PodWanted {
        PodWanted { index, name: pod_name(&self.first.service, index), ..self.first.clone() }
    }

    /// The shape of all its pods.
    pub fn shape(&self) -> &str {
        &self.first.shape
    }

    /// What its pods choose their pool by.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.first.annotations
    }

    /// The containers of each pod.
    pub fn containers(&self) -> &[ContainerWanted] {
        &self.first.containers
    }

    /// The specs of its containers.
    pub fn specs(&self) -> impl Iterator<Item = &str> {
        self.first.containers.iter().map(|container| &*container.spec)
    }

    /// Whether all containers of a pod run.
    pub fn runs(&self, pod: &Pod) -> bool {
        let runs = |spec| pod.containers.iter().any(|one| one.spec == spec && one.is_running());
        self.specs().all(runs)
    }
}

/// The name of a pod.
pub fn pod_name(id: &ServiceId, index: u32) -> String {
    format!("{}-{index}", id.name)
}

/// A service's pool wins over that of its namespace.
fn annotations(service: &Service, namespace: &Namespace) -> BTreeMap<String, String> {
    let of_service = service.pool.as_ref().map(|pool| (annotation::SERVICE_POOL, pool));
    let of_namespace = || namespace.pool.as_ref().map(|pool| (annotation::NAMESPACE_POOLS, pool));
    let chosen = of_service.or_else(of_namespace);
    chosen.map(|(name, pool)| (name.to_owned(), pool.to_string())).into_iter().collect()
}

/// A spec that has changed has another id.
fn shape(service: &Service, annotations: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    for spec in &service.specs {
        hash.update(format!("{}\n", spec.id));
    }
    for (name, value) in annotations {
        hash.update(format!("{name}={value}\n"));
    }
    hex::encode(&hash.finalize()[..8])
}

fn container(spec: &Spec) -> ContainerWanted {
    // They were checked when they were stored.
    let words = |text: &str| rules::words("command", text).unwrap_or_default();
    let env = spec.env.iter().flatten().filter_map(|line| line.split_once('='));
    ContainerWanted {
        spec: spec.id.clone(),
        image: spec.image.clone(),
        entrypoint: words(&spec.entrypoint),
        arguments: words(&spec.command),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        memory: spec.memory,
        ports: spec.ports.clone(),
    }
}
