//! The objects of one kind, listed and then watched: what a look finds without asking the API server.
//!
//! A watch that is too old (410), and one that fails, is followed by a new list. One that is silent for longer than it may
//! be is given up. So what is seen is late by less than half a minute, or known to be of no use.

use super::call::Call;
use crate::kubernetes::is_too_old;
use crate::lastbackend::engine::EngineError;
use futures_util::TryStreamExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Objects in one answer of the API server.
const PAGE: u32 = 500;
/// How long the API server may keep a watch open.
const WATCH: Duration = Duration::from_secs(20);
/// What it may be late with that.
const LATE: Duration = Duration::from_secs(5);
/// Time for the first list.
const FIRST: Duration = Duration::from_secs(10);
/// Shortest and longest pause between two attempts.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(10)];

/// Namespace (empty if it has none) and name of an object.
pub(super) type Key = (String, String);

/// The objects of one kind, as they were told last.
pub(super) struct Seen<K> {
    pub(super) objects: BTreeMap<Key, Arc<K>>,
    listed: bool,
    /// How often in a row it failed, and why.
    failures: u32,
    error: Option<EngineError>,
}

impl<K> Seen<K> {
    /// Why it is of no use. A single failure is mended by a new list.
    fn trouble(&self) -> Option<&EngineError> {
        self.error.as_ref().filter(|_| self.failures > 1)
    }
}

/// Follows the objects of one kind until it is dropped.
pub(super) struct Followed<K> {
    seen: watch::Receiver<Seen<K>>,
    task: JoinHandle<()>,
}

impl<K> Drop for Followed<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<K> Followed<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// Follows the objects that a selector of labels chooses, and wakes whoever waits when they change.
    pub(super) fn new(api: Api<K>, call: Call, selector: &str, wake: Arc<Notify>) -> Self {
        let empty = Seen { objects: BTreeMap::new(), listed: false, failures: 0, error: None };
        let (sender, seen) = watch::channel(empty);
        let selector = selector.to_owned();
        let follower = Follower { api, call, selector, seen: sender, wake };
        Self { seen, task: tokio::spawn(follower.run()) }
    }

    /// Waits until the objects were listed, and answers why they can't be told at the moment.
    pub(super) async fn is_usable(&self) -> Result<(), EngineError> {
        let mut seen = self.seen.clone();
        let known = seen.wait_for(|seen| seen.listed || seen.trouble().is_some());
        match timeout(FIRST, known).await {
            Ok(Ok(seen)) => seen.trouble().cloned().map_or(Ok(()), Err),
            Ok(Err(_)) => Err(EngineError::Refused("nothing follows the objects of the cluster".to_owned())),
            Err(_) => Err(EngineError::Away(format!("{} are not listed yet", K::plural(&())))),
        }
    }

    /// What was told last.
    pub(super) fn seen(&self) -> watch::Ref<'_, Seen<K>> {
        self.seen.borrow()
    }

    /// Waits until an object is as it is to be, or until that takes too long.
    pub(super) async fn until(&self, time: Duration, key: &Key, is: impl Fn(Option<&K>) -> bool) {
        let mut seen = self.seen.clone();
        let _ = timeout(time, seen.wait_for(|seen| is(seen.objects.get(key).map(AsRef::as_ref)))).await;
    }
}

struct Follower<K> {
    api: Api<K>,
    call: Call,
    selector: String,
    seen: watch::Sender<Seen<K>>,
    wake: Arc<Notify>,
}

impl<K> Follower<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    async fn run(self) {
        let [shortest, longest] = PAUSES;
        let mut version = None;
        loop {
            let failures = match self.list_and_watch(version.take()).await {
                Ok(next) => {
                    version = next;
                    0
                }
                Err(error) => self.failed(error),
            };
            sleep((shortest * 2_u32.pow(failures.min(8))).min(longest)).await;
        }
    }

    /// Lists, unless it is known where to go on, and watches until that comes to its end. Answers where to go on; nothing
    /// if that is too long ago.
    async fn list_and_watch(&self, from: Option<String>) -> Result<Option<String>, EngineError> {
        let mut version = match from {
            Some(version) => version,
            None => self.list().await?,
        };
        let end = Instant::now() + WATCH + LATE;
        let seconds = u32::try_from(WATCH.as_secs()).unwrap_or_default();
        let params = WatchParams::default().labels(&self.selector).timeout(seconds);
        let what = format!("watch {}", K::plural(&()));
        let events = match self.call.raw(&what, self.api.watch(&params, &version)).await? {
            Ok(events) => events,
            Err(kube::Error::Api(status)) if is_too_old(&status) => return Ok(None),
            Err(error) => return Err(self.call.error(&what, error)),
        };
        self.works();
        let mut events = pin!(events);
        loop {
            let Ok(event) = timeout_at(end, events.try_next()).await else {
                return Err(self.call.silent(&what));
            };
            match event.map_err(|error| self.call.error(&what, error))? {
                None => return Ok(Some(version)),
                Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    version = object.resource_version().unwrap_or(version);
                    self.change(|objects| drop(objects.insert(key(&object), stripped(object))));
                }
                Some(WatchEvent::Deleted(object)) => {
                    version = object.resource_version().unwrap_or(version);
                    self.change(|objects| drop(objects.remove(&key(&object))));
                }
                Some(WatchEvent::Bookmark(bookmark)) => version = bookmark.metadata.resource_version,
                Some(WatchEvent::Error(status)) if is_too_old(&status) => return Ok(None),
                Some(WatchEvent::Error(status)) => {
                    return Err(self.call.error(&what, kube::Error::Api(status)));
                }
            }
        }
    }

    /// Reads all objects, page by page, and answers from where to watch them.
    async fn list(&self) -> Result<String, EngineError> {
        let what = format!("list {}", K::plural(&()));
        let (mut objects, mut page) =
            (BTreeMap::new(), ListParams::default().labels(&self.selector).limit(PAGE));
        loop {
            let list = self.call.of(&what, self.api.list(&page)).await?;
            objects.extend(list.items.into_iter().map(|object| (key(&object), stripped(object))));
            let Some(token) = list.metadata.continue_.filter(|token| !token.is_empty()) else {
                self.change(|all| *all = objects);
                return Ok(list.metadata.resource_version.unwrap_or_default());
            };
            page = page.continue_token(&token);
        }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<Key, Arc<K>>)) {
        self.seen.send_modify(|seen| change(&mut seen.objects));
        self.wake.notify_one();
    }

    fn works(&self) {
        self.seen.send_modify(|seen| (seen.listed, seen.failures, seen.error) = (true, 0, None));
        self.wake.notify_one();
    }

    fn failed(&self, error: EngineError) -> u32 {
        tracing::debug!(kind = %K::kind(&()), %error, "can't follow what is in the cluster");
        self.seen.send_modify(|seen| {
            seen.failures = seen.failures.saturating_add(1);
            seen.error = Some(error);
        });
        self.wake.notify_one();
        self.seen.borrow().failures
    }
}

fn key<K: ResourceExt>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Who manages which field is nothing to us, and long.
fn stripped<K: ResourceExt>(mut object: K) -> Arc<K> {
    object.managed_fields_mut().clear();
    Arc::new(object)
}
