//! Pods that got no address: Events on them, of what their nodes tell in the store.
//!
//! An Event has a name that follows from what it tells, and is applied as a whole. So it is there once, whichever controllers
//! tell it and however often, and its count is the node's.
//!
//! * [`event`]: the Event, pure

mod event;

use super::is_dns_name;
use super::tell::{TellError, Telling, answer};
use common::error::chain;
use common::name::NodeName;
use common::store::record::{self, Refused};
use common::store::{Entry, Event as Change, Store, keys, list_all};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use std::convert::Infallible;
use std::sync::Arc;

/// Makes Events of what nodes refuse.
pub(super) struct Events {
    client: Client,
    store: Arc<dyn Store>,
}

impl Telling for Events {
    const TURN: &str = keys::KUBERNETES_EVENTS;
    const WHAT: &str = "no Events are made of pods that get no address";

    async fn tell(&self) -> Result<Infallible, TellError> {
        let all = list_all(self.store.as_ref(), &keys::all_refused()).await?;
        let mut watch = self.store.watch(&[keys::all_refused()], all.revision + 1).await?;
        for entry in &all.items {
            self.tell_entry(entry).await?;
        }
        loop {
            if let Change::Put(entry) = watch.recv().await.ok_or(TellError::Ended)?? {
                self.tell_entry(&entry).await?;
            }
        }
    }
}

impl Events {
    pub(super) fn new(client: Client, store: Arc<dyn Store>) -> Self {
        Self { client, store }
    }

    async fn tell_entry(&self, entry: &Entry) -> Result<(), TellError> {
        let Some(node) = keys::parse_refused(&entry.key) else { return Ok(()) };
        match record::decode(&entry.key, &entry.value) {
            Ok(refused) => self.tell_refused(&node, &refused).await,
            Err(error) => {
                tracing::warn!(error = chain(&error), "no Event is made of it");
                Ok(())
            }
        }
    }

    async fn tell_refused(&self, node: &NodeName, refused: &Refused) -> Result<(), TellError> {
        let (namespace, name) = (refused.namespace.as_str(), refused.pod.as_str());
        if ![namespace, name].into_iter().all(is_dns_name) {
            return Ok(());
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let Some(pod) = answer(pods.get_opt(name)).await? else { return Ok(()) };
        let Some(event) = event::of(node, refused, &pod) else { return Ok(()) };
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let params = PatchParams::apply(super::MANAGER).force().validation_strict();
        match answer(events.patch(&event.name_any(), &params, &Patch::Apply(&event))).await {
            // The namespace is on its way, for example.
            Err(error) if error.is_of_object() || error.is_forbidden() => {
                tracing::warn!(namespace, pod = name, error = chain(&error), "no Event is made of it");
                Ok(())
            }
            outcome => outcome.map(|_| ()),
        }
    }
}
