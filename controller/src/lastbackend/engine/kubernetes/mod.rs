//! Services in a cluster of Kubernetes: Deployments, which make the pods, by server-side apply.
//!
//! * [`call`]: requests, each with a time limit
//! * [`marks`]: what objects are marked with, and read by
//! * [`objects`]: what a service is made of: pure
//! * [`follow`]: what there is, listed and watched
//! * [`observe`]: what is said of pods: pure
//! * [`mod@plan`]: the step of a service: pure
//! * [`step`]: objects are applied and deleted
//! * [`output`]: the output of containers
//!
//! Only what has the installation's mark is changed or deleted, and by its `uid`: whatever else has its name is left alone.
//! Every object of a service has its `uid` in its labels, so that those of one service are never taken for another's.

mod call;
mod follow;
mod marks;
mod objects;
mod observe;
mod output;
mod plan;
mod step;

use super::{Engine, EngineError, Look, Plan, Running, Source, Step, Unit};
use crate::kubernetes::Cluster;
use crate::lastbackend::logs::Output;
use async_trait::async_trait;
use call::Call;
use follow::{Followed, Key};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::{Api, Client, ResourceExt};
use plan::{Action, Parts};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often everything is applied anew, so that what others have changed is put right.
const ANEW: Duration = Duration::from_mins(5);

/// A cluster.
pub struct Kubernetes {
    client: Client,
    call: Call,
    /// There from the first look on.
    watched: Mutex<Option<Arc<Watched>>>,
    wake: Arc<Notify>,
    /// When the objects of each service were applied last.
    applied: Mutex<HashMap<String, Instant>>,
}

/// What there is of an installation.
struct Watched {
    owner: String,
    namespaces: Followed<Namespace>,
    deployments: Followed<Deployment>,
    services: Followed<Service>,
    pods: Followed<Pod>,
}

impl Kubernetes {
    /// A cluster, whose API server need not be up yet.
    pub fn new(cluster: Cluster) -> Self {
        Self {
            call: Call::new(&cluster.url),
            client: cluster.client,
            watched: Mutex::default(),
            wake: Arc::default(),
            applied: Mutex::default(),
        }
    }

    /// What there is of an installation, which is followed from here on.
    fn watch(&self, owner: &str) -> Arc<Watched> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = watched.as_ref().filter(|watched| watched.owner == owner) {
            return Arc::clone(same);
        }
        let (client, selector) = (&self.client, format!("{}={owner}", marks::OWNER));
        let (call, wake) = (|| self.call.clone(), || Arc::clone(&self.wake));
        let new = Arc::new(Watched {
            owner: owner.to_owned(),
            namespaces: Followed::new(Api::all(client.clone()), call(), &selector, wake()),
            deployments: Followed::new(Api::all(client.clone()), call(), &selector, wake()),
            services: Followed::new(Api::all(client.clone()), call(), &selector, wake()),
            pods: Followed::new(Api::all(client.clone()), call(), &selector, wake()),
        });
        *watched = Some(Arc::clone(&new));
        new
    }

    fn applied(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    async fn is_usable(&self) -> Result<(), EngineError> {
        let (namespaces, deployments, services, pods) = tokio::join!(
            self.namespaces.is_usable(),
            self.deployments.is_usable(),
            self.services.is_usable(),
            self.pods.is_usable()
        );
        namespaces.and(deployments).and(services).and(pods)
    }

    fn running(&self) -> Vec<Running> {
        let mut all: HashMap<String, Running> = HashMap::new();
        let mut of = |service: (String, String), uid: String, pod: Option<super::Pod>| {
            let new = || Running { service, uid: uid.clone(), ..Running::default() };
            let running = all.entry(uid.clone()).or_insert_with(new);
            running.has_more |= pod.is_none();
            running.pods.extend(pod);
        };
        let (deployments, services) = (self.deployments.seen(), self.services.seen());
        let deployments = deployments.objects.values().map(|object| &object.metadata);
        let objects = deployments.chain(services.objects.values().map(|object| &object.metadata));
        for marks in objects.filter_map(marks::read_object) {
            of(marks.service, marks.uid, None);
        }
        for pod in self.pods.seen().objects.values().filter_map(|pod| observe::pod(pod)) {
            of(pod.service.clone(), pod.uid.clone(), Some(pod));
        }
        let mut all: Vec<Running> = all.into_values().collect();
        for running in &mut all {
            observe::number(&mut running.pods);
        }
        all
    }

    /// Namespaces that were made for services of a namespace which is not there any more, with their `uid`.
    fn left_namespaces(&self, look: &Look<'_>) -> Vec<(String, String)> {
        let is_used = |name: &str| {
            let running = look.services.iter().map(|(_, running)| running).chain(&look.strays);
            (look.has_namespace)(name) || running.into_iter().any(|running| running.service.0 == name)
        };
        let namespaces = self.namespaces.seen();
        let left = namespaces.objects.values().map(|namespace| &namespace.metadata);
        let left = left.filter(|meta| meta.deletion_timestamp.is_none());
        left.filter_map(|meta| meta.name.clone().zip(meta.uid.clone()))
            .filter(|(name, _)| !is_used(name))
            .collect()
    }
}

/// Objects by the service to which they belong.
fn by_service<K: ResourceExt>(objects: &BTreeMap<Key, Arc<K>>) -> HashMap<String, &K> {
    let marked =
        objects.values().filter_map(|object| Some((marks::read_object(object.meta())?.uid, &**object)));
    marked.collect()
}

#[async_trait]
impl Engine for Kubernetes {
    fn kind(&self) -> &'static str {
        "kubernetes"
    }

    fn is_local(&self) -> bool {
        false
    }

    async fn look(&self, owner: &str) -> Result<Vec<Running>, EngineError> {
        let watched = self.watch(owner);
        watched.is_usable().await?;
        Ok(watched.running())
    }

    async fn changed(&self) {
        self.wake.notified().await;
    }

    fn plan(self: Arc<Self>, look: &Look<'_>) -> Plan {
        let watched = self.watch(look.owner);
        let mut applied = self.applied();
        applied.retain(|_, at| at.elapsed() < ANEW);
        let (deployments, services) = (watched.deployments.seen(), watched.services.seen());
        let (deployments, services) = (by_service(&deployments.objects), by_service(&services.objects));
        let known = look.services.iter().map(|(wanted, _)| (wanted.uid(), Some(wanted)));
        let strays = look.strays.iter().map(|stray| (&*stray.uid, None));
        let mut steps = Vec::new();
        for (uid, wanted) in known.chain(strays) {
            let parts =
                Parts { deployment: deployments.get(uid).copied(), service: services.get(uid).copied() };
            let action = plan::plan(wanted, parts, applied.contains_key(uid));
            steps.extend(action.map(|action| self.step(&watched, uid, action)));
        }
        for (name, uid) in watched.left_namespaces(look) {
            steps.push(self.removal(&watched, name, uid));
        }
        steps.retain(|step| !(look.busy)(&step.unit));
        Plan { steps, next: None }
    }

    async fn output(self: Arc<Self>, of: &Source, follow: bool) -> Result<Option<Output>, EngineError> {
        self.log(of, follow).await
    }
}

impl Kubernetes {
    fn step(self: &Arc<Self>, watched: &Arc<Watched>, uid: &str, action: Action) -> Step {
        let (goal, removes) = match &action {
            Action::Apply(wanted) => (format!("{} x {}", wanted.replicas, wanted.shape()), false),
            Action::Delete(_) => ("remove".to_owned(), true),
        };
        let (engine, watched) = (Arc::clone(self), Arc::clone(watched));
        let work = Box::pin(async move {
            match action {
                Action::Apply(wanted) => Box::pin(engine.apply(&watched, &wanted)).await,
                Action::Delete(doomed) => engine.delete(&watched, &doomed).await,
            }
        });
        Step { unit: Unit::Service(uid.to_owned()), goal, removes, work }
    }

    fn removal(self: &Arc<Self>, watched: &Arc<Watched>, name: String, uid: String) -> Step {
        let (engine, watched, unit) = (Arc::clone(self), Arc::clone(watched), Unit::Namespace(name.clone()));
        let work = Box::pin(async move { engine.delete_namespace(&watched, &name, &uid).await });
        Step { unit, goal: "remove".to_owned(), removes: true, work }
    }
}
