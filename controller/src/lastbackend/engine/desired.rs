//! What is wanted: the namespaces and services in the store, read once and then followed.

use common::error::chain;
use common::lastbackend::{Name, ServiceId};
use common::store::record::{self, lastbackend::Namespace, lastbackend::Service};
use common::store::{Event, Revision, Snapshot, Store, StoreError, Watch, keys::lastbackend as keys};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// Namespaces and services as they are in the store.
pub struct Desired {
    /// The namespaces.
    pub namespaces: BTreeMap<Name, Namespace>,
    /// The services, and at which revision each was written.
    pub services: BTreeMap<ServiceId, (Service, Revision)>,
    /// Services whose records can't be read: what runs of them is left alone.
    unreadable: BTreeSet<ServiceId>,
    /// Namespaces whose records can't be read: they are left alone.
    unreadable_namespaces: BTreeSet<Name>,
    watch: Watch,
}

impl Desired {
    /// Reads all of them.
    pub async fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let ranges = [keys::namespaces(), keys::all_services()];
        let Snapshot { ranges: read, revision } = store.snapshot(&ranges).await?;
        let watch = store.watch(&ranges, revision + 1).await?;
        let mut desired = Self {
            namespaces: BTreeMap::new(),
            services: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            unreadable_namespaces: BTreeSet::new(),
            watch,
        };
        for entry in read.into_iter().flatten() {
            desired.apply(Event::Put(entry));
        }
        Ok(desired)
    }

    /// Waits until something has changed.
    pub async fn changed(&mut self) -> Result<(), StoreError> {
        let ended = || StoreError::Unavailable { reason: "the watch ended".to_owned(), source: None };
        let first = self.watch.recv().await.ok_or_else(ended)??;
        self.apply(first);
        while let Ok(event) = self.watch.try_recv() {
            self.apply(event?);
        }
        Ok(())
    }

    /// Whether the record of the service of that namespace and name can't be read.
    pub fn is_unreadable(&self, (namespace, name): &(String, String)) -> bool {
        self.unreadable.iter().any(|id| id.namespace.as_str() == namespace && id.name.as_str() == name)
    }

    /// Whether there is a namespace of that name, whether or not its record can be read.
    pub fn has_namespace(&self, name: &str) -> bool {
        let of_services = self.services.keys().chain(&self.unreadable).map(|id| &id.namespace);
        let mut names = self.namespaces.keys().chain(&self.unreadable_namespaces).chain(of_services);
        names.any(|one| one.as_str() == name)
    }

    fn apply(&mut self, event: Event) {
        if let Some(name) = keys::parse_namespace(event.key()) {
            self.unreadable_namespaces.remove(&name);
            match event {
                Event::Put(entry) => {
                    if let Some(record) = decoded(&entry.key, &entry.value) {
                        self.namespaces.insert(name, record);
                    } else {
                        self.namespaces.remove(&name);
                        self.unreadable_namespaces.insert(name);
                    }
                }
                Event::Delete(..) => drop(self.namespaces.remove(&name)),
            }
        } else if let Some(id) = keys::parse_service(event.key()) {
            self.unreadable.remove(&id);
            match event {
                Event::Put(entry) => {
                    if let Some(record) = decoded(&entry.key, &entry.value) {
                        self.services.insert(id, (record, entry.mod_revision));
                    } else {
                        self.services.remove(&id);
                        self.unreadable.insert(id);
                    }
                }
                Event::Delete(..) => drop(self.services.remove(&id)),
            }
        }
    }
}

/// A record, if it can be read.
fn decoded<T: DeserializeOwned>(key: &str, value: &[u8]) -> Option<T> {
    record::decode(key, value).inspect_err(|error| tracing::error!(error = chain(error), "not followed")).ok()
}
