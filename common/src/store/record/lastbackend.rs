//! The records of the platform API. Times are nanoseconds since the Unix epoch here, as the API shows them.

use crate::lastbackend::{Port, RunState};
use crate::name::PodText;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// `namespace/<namespace>`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// What its users say of it.
    pub description: String,
    /// The namespace pool that its pods have their addresses from, if not from a pool of Coil's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PodText>,
    /// When it was made.
    pub created: u64,
    /// When it was changed last.
    pub updated: u64,
    /// Whether it goes as soon as it has no service any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removing: bool,
}

/// `service/<namespace>/<service>`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Tells this service from others of its name, before and after it.
    pub uid: String,
    /// What its users say of it.
    pub description: String,
    /// How many pods it is to have.
    pub replicas: u32,
    /// The service pool that its pods have their addresses from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PodText>,
    /// Where it is to run, as its users say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// When it was made.
    pub created: u64,
    /// When it was changed last.
    pub updated: u64,
    /// The containers of each pod; one at least.
    pub specs: Vec<Spec>,
    /// Whether it goes as soon as it has no pod any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removing: bool,
}

/// A container of a service's pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Its id: another one after each change.
    pub id: String,
    /// The id that it had before its last change; empty if there was none.
    pub parent: String,
    /// How often it was changed.
    pub revision: u64,
    /// When it was made.
    pub created: u64,
    /// When it was changed last.
    pub updated: u64,
    /// Most memory that it may use, in MiB.
    pub memory: u32,
    /// The program, in the words of a shell; empty for the image's.
    pub entrypoint: String,
    /// Its arguments, in the words of a shell; empty for the image's.
    pub command: String,
    /// The image.
    pub image: String,
    /// Environment, each `NAME=VALUE`.
    pub env: Option<Vec<String>>,
    /// Where it listens.
    pub ports: Vec<Port>,
}

/// `run/<namespace>/<service>`: what the engine has seen of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The service's `uid`.
    pub uid: String,
    /// Why it can't be made what is wanted, if that concerns all of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Its pods, by name.
    pub pods: Vec<Pod>,
}

/// A pod of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its name, unique within the namespace.
    pub name: String,
    /// Its state.
    pub state: RunState,
    /// Why, if something is wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// When it was made; 0 if it was not made yet.
    pub created: u64,
    /// Its containers, in the order of the specs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Container>,
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its id, as the runtime has it.
    pub id: String,
    /// The spec that it was made of.
    pub spec: String,
    /// Its state.
    pub state: RunState,
    /// Why, if something is wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How often it was started again.
    #[serde(default)]
    pub restarts: u32,
}

/// `activity/<namespace>/<service>/<time>`: something that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// What, in a few words.
    pub action: String,
    /// Who did it.
    pub who: String,
}

/// `engine`: what runs the services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// Marks what is this installation's in the runtime.
    pub id: String,
    /// `cri` or `kubernetes`
    pub kind: String,
    /// The machine on which it is; empty if every controller sees what runs.
    pub machine: String,
}

/// `engine-alive`, with a TTL
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineAlive {
    /// The machine on which it is; empty if every controller sees what runs.
    pub machine: String,
    /// Why nothing can be run at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
