//! The objects, and what happened to them.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What objects there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Namespaces.
    Namespace,
    /// Deployments.
    Deployment,
    /// Services.
    Service,
    /// Pods.
    Pod,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Namespace, Self::Deployment, Self::Service, Self::Pod];

    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::Deployment => "deployments",
            Self::Service => "services",
            Self::Pod => "pods",
        }
    }

    pub(super) fn api(self) -> &'static str {
        match self {
            Self::Deployment => "apps/v1",
            Self::Namespace | Self::Service | Self::Pod => "v1",
        }
    }

    pub(super) fn word(self) -> String {
        format!("{self:?}")
    }
}

/// Kind, namespace (empty for Namespaces) and name.
pub(super) type Key = (Kind, String, String);

/// Something that happened.
pub(super) struct Event {
    pub(super) revision: u64,
    pub(super) kind: Kind,
    /// `ADDED`, `MODIFIED` or `DELETED`
    pub(super) what: &'static str,
    pub(super) object: Value,
}

/// Requests that fail.
pub(super) struct Fault {
    /// Verb and resource.
    pub(super) what: String,
    pub(super) code: u16,
    pub(super) times: usize,
}

#[derive(Default)]
pub(super) struct State {
    objects: BTreeMap<Key, Value>,
    pub(super) revision: u64,
    pub(super) history: Vec<Event>,
    /// Before this revision nothing is known.
    pub(super) compacted: u64,
    pub(super) faults: Vec<Fault>,
    pub(super) stuck: BTreeSet<Kind>,
    pub(super) delay: Duration,
    pub(super) expired: usize,
    pub(super) wrong: Vec<String>,
    pub(super) made: u32,
    /// What the containers of pods have written, by the pods' names.
    pub(super) logs: BTreeMap<String, Vec<u8>>,
    pub(super) followers: usize,
}

impl State {
    pub(super) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    pub(super) fn of(&self, kind: Kind) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects.iter().filter(move |((of, ..), _)| *of == kind)
    }

    pub(super) fn within(&self, namespace: &str) -> Vec<Key> {
        self.objects.keys().filter(|key| key.1 == namespace).cloned().collect()
    }

    /// Adds an object or changes it; nothing happens if it is as it was.
    pub(super) fn put(&mut self, key: &Key, mut object: Value) {
        let before = self.objects.get(key);
        if let Some(before) = before {
            for field in ["uid", "creationTimestamp", "resourceVersion"] {
                object["metadata"][field] = before["metadata"][field].clone();
            }
            if *before == object {
                return;
            }
        }
        let (new, revision) = (before.is_none(), self.revision + 1);
        let meta = &mut object["metadata"];
        meta["name"] = key.2.clone().into();
        if !key.1.is_empty() {
            meta["namespace"] = key.1.clone().into();
        }
        if new {
            meta["uid"] = format!("uid-{revision}").into();
            let (minutes, seconds) = (revision / 60 % 60, revision % 60);
            meta["creationTimestamp"] =
                format!("2026-01-01T{:02}:{minutes:02}:{seconds:02}Z", revision / 3_600).into();
        }
        meta["resourceVersion"] = revision.to_string().into();
        object["apiVersion"] = key.0.api().into();
        object["kind"] = key.0.word().into();
        self.revision = revision;
        self.objects.insert(key.clone(), object.clone());
        let what = if new { "ADDED" } else { "MODIFIED" };
        self.history.push(Event { revision, kind: key.0, what, object });
    }

    pub(super) fn remove(&mut self, key: &Key) {
        let Some(mut object) = self.objects.remove(key) else { return };
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.history.push(Event { revision: self.revision, kind: key.0, what: "DELETED", object });
    }

    /// Marks an object as one that is to go.
    pub(super) fn doom(&mut self, key: &Key) {
        if let Some(mut object) = self.objects.get(key).cloned() {
            object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            if key.0 == Kind::Namespace {
                object["status"] = json!({"phase": "Terminating"});
            }
            self.put(key, object);
        }
    }

    pub(super) fn compact(&mut self) {
        self.revision += 1;
        self.compacted = self.revision;
        self.history.clear();
    }

    /// The status with which a request must fail.
    pub(super) fn fault(&mut self, what: &str) -> Option<u16> {
        let fault = self.faults.iter_mut().find(|fault| fault.what == what && fault.times > 0)?;
        fault.times -= 1;
        Some(fault.code)
    }
}

/// Whether an object is on its way.
pub(super) fn is_doomed(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// The state, and who waits for a change of it.
pub(super) struct World {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl Default for World {
    fn default() -> Self {
        let (changed, _) = watch::channel(());
        Self { state: Mutex::default(), changed }
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.lock())
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let outcome = change(&mut self.lock());
        self.changed.send_replace(());
        outcome
    }

    /// What is told of changes.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
