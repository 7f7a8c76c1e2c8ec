//! Why a namespace or service is not made, shown, changed or removed.

use common::lastbackend::{Name, ServiceId};
use common::store::StoreError;
use common::store::record::RecordError;
use common::store::retry::IsConflict;

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds something that can't be read.
    #[error("the store holds a record that this controller does not understand")]
    Record(#[from] RecordError),
    /// The engine can't tell.
    #[error("the engine can't tell: {0}")]
    Engine(String),
    /// A field has a value that it may not have.
    #[error("{field}: {reason}")]
    BadParameter {
        /// The field, as it is called in the body or path.
        field: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// The name of a namespace is taken.
    #[error("namespace {0} exists already")]
    NamespaceExists(Name),
    /// The name of a service is taken.
    #[error("service {0} exists already")]
    ServiceExists(ServiceId),
    /// There is no such namespace.
    #[error("there is no namespace {0:?}; `coilctl ns list` shows those that exist")]
    UnknownNamespace(String),
    /// There is no such service.
    #[error("there is no service {1:?} in namespace {0:?}; `coilctl svc list` shows those that exist")]
    UnknownService(String, String),
    /// There is no such template.
    #[error("there is no template {0:?}; services are made of images")]
    UnknownTemplate(String),
    /// The service has no such spec.
    #[error("service {0} has no spec {1:?}; an id changes with each change of the spec")]
    UnknownSpec(ServiceId, String),
    /// The service has no such pod.
    #[error("service {0} has no pod {1:?}")]
    UnknownPod(ServiceId, String),
    /// The service has no pod.
    #[error("service {0} has no pod yet")]
    NoPods(ServiceId),
    /// The pod has no such container.
    #[error("pod {0} has no container {1:?}")]
    UnknownContainer(String, String),
    /// The pod has no container.
    #[error("pod {0} has no container yet")]
    NoContainers(String),
}

impl PlatformError {
    /// A value that a field may not have.
    pub fn bad(field: &'static str, reason: impl Into<String>) -> Self {
        Self::BadParameter { field, reason: reason.into() }
    }
}

impl IsConflict for PlatformError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(StoreError::Conflict))
    }
}
