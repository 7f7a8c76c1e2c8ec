//! The platform: namespaces, and services whose containers really run (`docs/api/lastbackend.md`).
//!
//! * [`rules`]: what a request may ask for: pure
//! * [`namespaces`], [`services`], [`specs`]: everything that writes what is wanted
//! * [`activity`]: what was done, noted in the transaction that does it
//! * [`view`]: what is shown: pure
//! * [`engine`]: what runs, and the loop that makes it match
//! * [`logs`]: the output of containers
//!
//! What is wanted (`namespace/…`, `service/…`) is written by requests, what was seen (`run/…`) by the one engine that
//! runs the services. The API answers from the store alone, so that it answers whether or not an engine is there, and
//! the same on every controller.
//!
//! Invariant: before an engine makes the first pod of a service it writes `run/…`. A service without it has no pods, and
//! is removed at once; one that has it is marked, and removed by the engine when its pods are gone.

pub mod activity;
pub mod engine;
mod error;
pub mod logs;
mod namespaces;
pub mod rules;
mod services;
mod specs;
pub mod view;

pub use error::PlatformError;
pub use services::service_id;

use common::store::record::{self, lastbackend as records};
use common::store::{Entry, KeyRange, Revision, Store, keys::lastbackend as keys};
use engine::Engine;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tokio::sync::watch;

/// Namespaces and services.
pub struct Platform {
    store: Arc<dyn Store>,
    /// The engine of this controller, of which it reads logs.
    engine: Option<Arc<dyn Engine>>,
    /// Whether this controller is about to end.
    ending: watch::Receiver<bool>,
}

impl Platform {
    /// Those in a store, on a controller without an engine.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let (_, ending) = watch::channel(false);
        Self { store, engine: None, ending }
    }

    /// The same on a controller with an engine; `ending` becomes true when the controller is about to end.
    #[must_use]
    pub fn with_engine(self, engine: Arc<dyn Engine>, ending: watch::Receiver<bool>) -> Self {
        Self { engine: Some(engine), ending, ..self }
    }
}

/// A record with the revision at which it was read.
struct Stored<T> {
    record: T,
    revision: Revision,
}

fn stored<T: DeserializeOwned>(entry: &Entry) -> Result<Stored<T>, PlatformError> {
    Ok(Stored { record: record::decode(&entry.key, &entry.value)?, revision: entry.mod_revision })
}

/// What is read of one thing: the key's only entry, if it is there.
fn only<T: DeserializeOwned>(entries: &[Entry]) -> Result<Option<Stored<T>>, PlatformError> {
    entries.first().map(stored).transpose()
}

/// The engine that runs services at the moment.
fn engine_key() -> KeyRange {
    KeyRange::key(keys::ENGINE_ALIVE)
}

/// A service as a log may have it: without the values of its environment, which may be secret.
fn audited(service: &records::Service) -> records::Service {
    let mut service = service.clone();
    for line in service.specs.iter_mut().filter_map(|spec| spec.env.as_mut()).flatten() {
        line.truncate(line.find('=').unwrap_or_default() + 1);
    }
    service
}

/// An id that nothing else has.
fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
