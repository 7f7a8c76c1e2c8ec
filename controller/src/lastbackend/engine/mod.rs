//! What runs the services.
//!
//! * [`wanted`]: what a service's pods are to be, as an engine is told: pure
//! * [`report`]: what is told of a service: pure
//! * [`round`]: a look, and the steps from what runs to what is wanted
//! * [`keeper`]: the loop that looks again and again
//! * [`desired`]: what is wanted, followed in the store
//! * [`told`]: what was seen, written to the store
//! * [`lock`]: that one engine runs the services, and no other
//! * [`cri`]: pods of a container runtime on this machine (feature `cri`)
//! * [`kubernetes`]: Deployments of a cluster (feature `kubernetes`)
//!
//! An engine keeps nothing: what runs is read from the runtime, where it is marked with the installation, namespace,
//! service and specs. So a controller that starts anew goes on where the last one was, and starts nothing twice.

#[cfg(feature = "cri")]
pub mod cri;
pub mod desired;
pub mod keeper;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod lock;
mod report;
mod round;
pub mod told;
pub mod wanted;

use crate::lastbackend::logs::Output;
use async_trait::async_trait;
use common::lastbackend::{RunState, ServiceId};
use futures_util::future::BoxFuture;
use std::net::IpAddr;
use std::sync::Arc;
use wanted::Wanted;

/// What there is of a service in the runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// Its namespace and name.
    pub service: (String, String),
    /// Its `uid`.
    pub uid: String,
    /// Its pods, in the order of their numbers.
    pub pods: Vec<Pod>,
    /// Whether there is anything else of it, which makes pods.
    pub has_more: bool,
}

/// A pod that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its id in the runtime.
    pub id: String,
    /// Namespace and name of its service.
    pub service: (String, String),
    /// The `uid` of its service.
    pub uid: String,
    /// Its number: the first is 0.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The [`Wanted::shape`] that it was made of.
    pub shape: String,
    /// Whether its network is there.
    pub ready: bool,
    /// Whether it is being removed.
    pub leaving: bool,
    /// Why it can't run, if the runtime says so.
    pub reason: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// When it was made, in nanoseconds since the Unix epoch.
    pub created: u64,
    /// Its containers; of each spec the last one.
    pub containers: Vec<Container>,
}

/// A container that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id in the runtime.
    pub id: String,
    /// Id of the spec that it was made of.
    pub spec: String,
    /// [`RunState::Created`], [`RunState::Running`], [`RunState::Stopped`] or [`RunState::Error`].
    pub state: RunState,
    /// How it ended.
    pub reason: String,
    /// How often it was started again.
    pub restarts: u32,
    /// Of an ended one: how often in a row it ended soon, this time included.
    pub failures: u32,
    /// When it ended, in nanoseconds since the Unix epoch.
    pub finished: u64,
}

impl Container {
    fn is_running(&self) -> bool {
        self.state == RunState::Running
    }
}

/// What a step is about: of each, one step is taken at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A pod: its service's `uid`, and its number.
    Pod(String, u32),
    /// All of the service with this `uid`.
    Service(String),
    /// A namespace.
    Namespace(String),
}

impl Unit {
    /// The `uid` of the service that it belongs to.
    pub fn service(&self) -> Option<&str> {
        match self {
            Self::Pod(uid, _) | Self::Service(uid) => Some(uid),
            Self::Namespace(_) => None,
        }
    }
}

/// A step towards what is wanted. It may be taken again after it failed, or after nobody knows whether it was taken.
pub struct Step {
    /// What it is about.
    pub unit: Unit,
    /// What is the same of a step that is tried again.
    pub goal: String,
    /// Whether it takes something away.
    pub removes: bool,
    /// The step itself: nothing is done before it is polled.
    pub work: BoxFuture<'static, Result<(), EngineError>>,
}

/// What is wanted, and what runs.
pub struct Look<'a> {
    /// Marks what is of this installation.
    pub owner: &'a str,
    /// Services, and what there is of each. One that is to go wants no pods.
    pub services: Vec<(Arc<Wanted>, Running)>,
    /// What there is of services that are not there any more.
    pub strays: Vec<Running>,
    /// Whether a namespace is there.
    pub has_namespace: &'a dyn Fn(&str) -> bool,
    /// Whether a step is being taken.
    pub busy: &'a dyn Fn(&Unit) -> bool,
    /// The time, in nanoseconds since the Unix epoch.
    pub now: u64,
}

/// The steps that can be taken now.
#[derive(Default)]
pub struct Plan {
    /// The steps, in any order.
    pub steps: Vec<Step>,
    /// When there may be more, in nanoseconds since the Unix epoch.
    pub next: Option<u64>,
}

/// Whose output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The service.
    pub service: ServiceId,
    /// Name of its pod.
    pub pod: String,
    /// Id of the container.
    pub container: String,
    /// Id of the spec that the container was made of.
    pub spec: String,
}

/// Why an engine did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The image is not there, and can't be pulled.
    #[error("ERROR_IMAGE: {0}")]
    Image(String),
    /// The runtime refuses.
    #[error("{0}")]
    Refused(String),
    /// The runtime can't be reached.
    #[error("{0}")]
    Away(String),
}

/// What runs services.
#[async_trait]
pub trait Engine: Send + Sync {
    /// What kind it is, for the store.
    fn kind(&self) -> &'static str;

    /// Whether what it runs is bound to this machine, and seen by no other controller.
    fn is_local(&self) -> bool;

    /// What there is of each service of the installation that `owner` marks.
    async fn look(&self, owner: &str) -> Result<Vec<Running>, EngineError>;

    /// Waits until there may be something new to see. It is looked at from time to time in any case.
    async fn changed(&self);

    /// The steps from what runs to what is wanted.
    fn plan(self: Arc<Self>, look: &Look<'_>) -> Plan;

    /// The output of a container from its beginning, with `follow` until it ends; nothing if there is none here. It is
    /// read when its client reads.
    async fn output(self: Arc<Self>, of: &Source, follow: bool) -> Result<Option<Output>, EngineError>;
}
