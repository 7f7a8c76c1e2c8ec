//! What a container runtime knows of its sandboxes, asked over its CRI socket: `runtime.v1` of Kubernetes'
//! [CRI](https://github.com/kubernetes/cri-api), which containerd and CRI-O serve. A sandbox's id is the container
//! id that the runtime gives to CNI plugins.

#[cfg(feature = "cri")]
mod client;

#[cfg(feature = "cri")]
pub use client::channel;

use common::name::ContainerId;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Every sandbox that a runtime has, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing(HashMap<String, Readiness>);

/// State of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It runs.
    Ready,
    /// It has ended, or is about to. Its network may or may not be taken down already.
    NotReady,
}

impl Listing {
    /// Whether the runtime has this sandbox, in whatever state.
    pub fn has(&self, id: &ContainerId) -> bool {
        self.0.contains_key(id.as_str())
    }

    /// Whether this sandbox runs.
    pub fn runs(&self, id: &ContainerId) -> bool {
        self.0.get(id.as_str()) == Some(&Readiness::Ready)
    }

    /// The sandboxes that run.
    pub fn running(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, state)| **state == Readiness::Ready).map(|(id, _)| id.as_str())
    }
}

impl FromIterator<(String, Readiness)> for Listing {
    fn from_iter<I: IntoIterator<Item = (String, Readiness)>>(sandboxes: I) -> Self {
        Self(sandboxes.into_iter().collect())
    }
}

/// An address of a sandbox, as the runtime reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxAddress {
    /// The address.
    pub address: IpAddr,
    /// Id of the sandbox.
    pub id: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
}

/// Why a runtime told nothing.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// It can't be reached, or refuses the call, or its answer is too long or no answer at all.
    #[error("{call} of the container runtime at {} failed: {reason}", .socket.display())]
    Call {
        /// The call.
        call: &'static str,
        /// Where the runtime is.
        socket: PathBuf,
        /// Why, as the runtime or the transport says.
        reason: String,
    },
    /// It does not answer.
    #[error("the container runtime at {} did not answer {call} within {within:?}", .socket.display())]
    Slow {
        /// The call.
        call: &'static str,
        /// Where the runtime is.
        socket: PathBuf,
        /// How long it was given.
        within: Duration,
    },
    /// It reports an address that is none.
    #[error("the container runtime reports {text:?} as an address of sandbox {id}")]
    Address {
        /// The sandbox.
        id: String,
        /// What was reported.
        text: String,
    },
}

/// A container runtime.
#[cfg(feature = "cri")]
#[derive(Debug, Clone)]
pub struct Cri {
    socket: PathBuf,
}

/// A container runtime. There is none in a program that was built without the feature `cri`.
#[cfg(not(feature = "cri"))]
#[derive(Debug, Clone)]
pub enum Cri {}

#[cfg(not(feature = "cri"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
impl Cri {
    /// Every sandbox.
    pub async fn list(&self) -> Result<Listing, CriError> {
        match *self {}
    }

    /// The addresses of the sandboxes that run.
    pub async fn addresses(&self, _: &Listing) -> Result<Vec<SandboxAddress>, CriError> {
        match *self {}
    }
}
