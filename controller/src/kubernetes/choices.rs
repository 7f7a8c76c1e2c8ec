//! The pools that namespaces choose by annotation, written to the store: nodes follow them there, and none of them asks
//! Kubernetes.
//!
//! Level-triggered: at each look the store is read, then the namespaces are listed, and what differs is written. A key is
//! written only if it is as it was read before the list, so of several controllers none overwrites what a newer list says.
//! Between looks the namespaces are watched, which tells no more than that it is time to look again.

use super::{LookError, all_named, is_too_old};
use crate::audit;
use crate::auth::Caller;
use common::error::chain;
use common::name::PodText;
use common::pool_list::PoolList;
use common::store::record::{self, NamespaceChoice};
use common::store::{Compare, Entry, Op, Store, StoreError, Txn, keys, list_all};
use common::wire::node::annotation;
use futures_util::TryStreamExt;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// Shortest time from one look to the next.
const PAUSE: Duration = Duration::from_millis(500);
/// The same after a failure.
const LONG_PAUSE: Duration = Duration::from_secs(10);
/// Longest time for which the API server is asked to keep a watch open, in seconds.
const MAX_WATCH: u64 = 290;

/// What the namespaces choose that choose something.
type Choices = BTreeMap<PodText, NamespaceChoice>;

/// Follows the namespaces of a cluster.
pub(super) struct Namespaces {
    client: Client,
    store: Arc<dyn Store>,
}

impl Namespaces {
    pub(super) fn new(client: Client, store: Arc<dyn Store>) -> Self {
        Self { client, store }
    }

    /// Follows them for ever, and looks at all of them every `interval` at least.
    pub(super) async fn keep_up(self, interval: Duration) {
        loop {
            let start = Instant::now();
            let outcome = self.look_and_watch(interval).await;
            let pause = if outcome.is_ok() { PAUSE } else { LONG_PAUSE.min(interval) };
            if let Err(error) = outcome {
                tracing::warn!(error = %chain(&error), "can't tell which pools the namespaces choose");
            }
            sleep_until(start + pause).await;
        }
    }

    async fn look_and_watch(&self, interval: Duration) -> Result<(), LookError> {
        let (choices, version) = self.look().await?;
        // A watch that is silent though it should not be is given up with the interval.
        match timeout(interval, self.change(&choices, &version, interval)).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Ok(()),
        }
    }

    /// Makes the store say what the namespaces choose. Answers that, and from where to watch them.
    async fn look(&self) -> Result<(Choices, String), LookError> {
        let written = list_all(self.store.as_ref(), &keys::namespace_choices()).await?.items;
        let choice = |namespace: ObjectMeta| choice(&namespace);
        let (choices, version): (Choices, String) =
            all_named::<Namespace, _, _>(&self.client, choice).await?;
        let mut missing = choices.clone();
        for entry in written {
            let Some(namespace) = keys::parse_namespace_choice(&entry.key) else { continue };
            let wanted = missing.remove(&namespace);
            self.write(&namespace, Some(&entry), wanted).await?;
        }
        for (namespace, wanted) in missing {
            self.write(&namespace, None, Some(wanted)).await?;
        }
        Ok((choices, version))
    }

    /// Writes what a namespace chooses, if it is not what is written already.
    async fn write(
        &self,
        namespace: &PodText,
        written: Option<&Entry>,
        wanted: Option<NamespaceChoice>,
    ) -> Result<(), LookError> {
        let before = written.map(|entry| record::decode::<NamespaceChoice>(&entry.key, &entry.value));
        let before = match before.transpose() {
            Ok(before) => before,
            Err(error) => {
                tracing::error!(error = %chain(&error), "what a namespace chooses is left alone");
                return Ok(());
            }
        };
        if before == wanted {
            return Ok(());
        }
        let key = keys::namespace_choice(namespace);
        let as_read = match written {
            Some(entry) => Compare::ModRevision(key.clone(), entry.mod_revision),
            None => Compare::Absent(key.clone()),
        };
        let op = match &wanted {
            Some(choice) => Op::Put(key, record::encode(choice)),
            None => Op::Delete(key),
        };
        match self.store.txn(Txn::new().when(as_read).then(op)).await {
            Ok(_) => {}
            // Another controller was faster, and has listed later.
            Err(StoreError::Conflict) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if let Some(NamespaceChoice::Wrong(reason)) = &wanted {
            tracing::warn!(%namespace, reason, "the pods of a namespace are given no address, as its annotation is wrong");
        }
        let what = format!("namespace {namespace}: its pods choose pools by its annotation");
        audit::changed(&Caller::itself("kubernetes"), &what, &before, &wanted);
        Ok(())
    }

    /// Waits until a namespace chooses something else than it did, or the API server ends the watch.
    async fn change(&self, choices: &Choices, version: &str, interval: Duration) -> Result<(), kube::Error> {
        let seconds = u32::try_from(interval.as_secs().clamp(1, MAX_WATCH)).unwrap_or_default();
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let params = WatchParams::default().timeout(seconds);
        let events = match namespaces.watch_metadata(&params, version).await {
            Err(kube::Error::Api(status)) if is_too_old(&status) => return Ok(()),
            events => events?,
        };
        let mut events = pin!(events);
        while let Some(event) = events.try_next().await? {
            let changed = match event {
                WatchEvent::Added(namespace) | WatchEvent::Modified(namespace) => {
                    differs(choices, &namespace, choice(&namespace.metadata).as_ref())
                }
                WatchEvent::Deleted(namespace) => differs(choices, &namespace, None),
                WatchEvent::Bookmark(_) => false,
                WatchEvent::Error(status) if is_too_old(&status) => true,
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            };
            if changed {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What a namespace chooses, if it does.
fn choice(namespace: &ObjectMeta) -> Option<(PodText, NamespaceChoice)> {
    let text = namespace.annotations.as_ref()?.get(annotation::POOLS)?;
    let choice = match PoolList::read(text) {
        Ok(pools) => NamespaceChoice::Pools(pools?),
        Err(error) => NamespaceChoice::Wrong(error.to_string()),
    };
    Some((PodText::new(namespace.name.clone()?).ok()?, choice))
}

/// Whether a namespace chooses something else than it did.
fn differs(
    choices: &Choices,
    namespace: &PartialObjectMeta<Namespace>,
    now: Option<&(PodText, NamespaceChoice)>,
) -> bool {
    let name = namespace.metadata.name.clone().and_then(|name| PodText::new(name).ok());
    let before = name.and_then(|name| choices.get(&name));
    before != now.map(|(_, choice)| choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(annotations: Option<&[(&str, &str)]>) -> Option<String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let namespace = ObjectMeta {
            name: Some("team".to_owned()),
            annotations: annotations.map(|all| all.iter().map(owned).collect()),
            ..ObjectMeta::default()
        };
        let (name, choice) = choice(&namespace)?;
        assert_eq!(name.as_str(), "team");
        Some(match choice {
            NamespaceChoice::Pools(pools) => {
                pools.iter().map(common::name::PoolName::as_str).collect::<Vec<_>>().join(" ")
            }
            NamespaceChoice::Wrong(reason) => reason,
        })
    }

    #[test]
    fn what_a_namespace_chooses() {
        assert_eq!(chosen(None), None);
        for annotations in
            [&[][..], &[("other", "red")], &[("coil.io/pool", " ")], &[("coil.io/fixed", "true")]]
        {
            assert_eq!(chosen(Some(annotations)), None, "{annotations:?}");
        }
        let of = |text: &str| chosen(Some(&[("coil.io/pool", text)])).expect("a choice");
        assert_eq!(of("red, blue"), "red blue");
        assert_eq!(of("red,,blue"), "a name is missing");
        assert!(of("Red").starts_with("pool name \"Red\" is malformed"));
        // What is written stays small, whatever the annotation says.
        assert!(of(&"x".repeat(200_000)).len() < 100 && of(&"X".repeat(1_024)).len() < 100);
    }
}
