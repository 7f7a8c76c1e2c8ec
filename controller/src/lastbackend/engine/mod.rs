//! What runs the services.
//!
//! * [`wanted`]: what a service's pods are to be, as an engine is told: pure
//! * [`plan`]: the steps from what runs to what is wanted: pure
//! * [`report`]: what is told of a service: pure
//! * [`keeper`]: the loop that takes them
//! * [`desired`]: what is wanted, followed in the store
//! * [`told`]: what was seen, written to the store
//! * [`lock`]: that one engine runs the services, and no other
//! * [`cri`]: pods of a container runtime on this machine (feature `cri`)
//!
//! An engine keeps nothing: what runs is read from the runtime each time, where it is marked with namespace, service,
//! pod and spec. So a controller that starts anew goes on where the last one was, and starts nothing twice.

#[cfg(feature = "cri")]
pub mod cri;
pub mod desired;
pub mod keeper;
pub mod lock;
pub mod plan;
mod report;
pub mod told;
pub mod wanted;

use crate::lastbackend::logs::LogFile;
use async_trait::async_trait;
use common::lastbackend::RunState;
use std::net::IpAddr;
use wanted::PodWanted;

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
    /// Its [`PodWanted::shape`].
    pub shape: String,
    /// Whether its network is there.
    pub ready: bool,
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

/// A step that an engine takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Makes a pod, or makes and starts the containers that it lacks.
    Start(PodWanted, Option<Pod>),
    /// Removes a pod.
    Remove(Pod),
}

impl Step {
    /// The pod: its service's `uid`, and its number. A pod has one step at a time.
    pub fn pod(&self) -> (&str, u32) {
        match self {
            Self::Start(pod, _) => (&pod.uid, pod.index),
            Self::Remove(pod) => (&pod.uid, pod.index),
        }
    }
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

    /// All pods of the installation that `owner` marks, in the order of services and numbers.
    async fn pods(&self, owner: &str) -> Result<Vec<Pod>, EngineError>;

    /// Takes a step. It may be taken again after it failed, or after nobody knows whether it was taken.
    async fn take(&self, owner: &str, step: &Step) -> Result<(), EngineError>;

    /// Looks after what the pods leave behind: their logs don't grow beyond bounds.
    async fn tidy(&self, pods: &[Pod]);

    /// Where the output of a container is written to; nothing if there is no such container.
    async fn log(&self, container: &str) -> Result<Option<LogFile>, EngineError>;

    /// Whether a container can write no more.
    async fn has_ended(&self, container: &str) -> Result<bool, EngineError>;
}
