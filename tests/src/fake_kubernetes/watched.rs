//! Objects of one kind, as an API server keeps them: each change is a new version, and their metadata is listed page by page
//! and watched.

use super::{Objects, Shared, lock, status, wants_metadata};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Parameters of a request.
pub(super) type Parameters = BTreeMap<String, String>;
/// The objects of a kind.
pub(super) type Kind = fn(&mut Objects) -> &mut Watched;

/// What there is, and what has happened.
#[derive(Debug, Default)]
pub(super) struct Watched {
    objects: BTreeMap<String, Value>,
    revision: u64,
    history: Vec<Change>,
    /// What is older is told to no watch.
    forgotten: u64,
    changed: watch::Sender<()>,
    /// Lists that were answered to the end, watches that were begun, and those that got 410.
    pub(super) lists: usize,
    pub(super) watches: usize,
    pub(super) expired: usize,
}

#[derive(Debug)]
struct Change {
    revision: u64,
    what: &'static str,
    object: Value,
}

impl Watched {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.objects.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.objects.keys()
    }

    /// The version of the last change.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Adds an object or changes it.
    pub(super) fn put(&mut self, name: &str, object: Value) {
        let what = if self.objects.contains_key(name) { "MODIFIED" } else { "ADDED" };
        let object = self.note(what, object);
        self.objects.insert(name.to_owned(), object);
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(object) = self.objects.remove(name) {
            self.note("DELETED", object);
        }
    }

    fn note(&mut self, what: &'static str, mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.history.push(Change { revision: self.revision, what, object: partial(&object["metadata"]) });
        self.changed.send_replace(());
        object
    }

    /// Watches from before are told that they are too old.
    pub(super) fn forget(&mut self) {
        self.revision += 1;
        self.forgotten = self.revision;
        self.history.clear();
        self.changed.send_replace(());
    }

    /// One object for a page, however many are asked for. All pages are of the first one's revision.
    fn list(&mut self, query: &Parameters) -> Response {
        let token = query.get("continue").and_then(|token| token.split_once(' '));
        let (revision, after) =
            token.map_or((self.revision.to_string(), ""), |(at, after)| (at.to_owned(), after));
        let mut rest = self.objects.iter().filter(|(name, _)| name.as_str() > after);
        let item = rest.next();
        let is_last = rest.next().is_none();
        let next =
            item.filter(|_| !is_last).map_or_else(String::new, |(name, _)| format!("{revision} {name}"));
        let items: Vec<Value> = item.into_iter().map(|(_, object)| partial(&object["metadata"])).collect();
        self.lists += usize::from(is_last);
        let list = json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "items": items,
            "metadata": {"resourceVersion": revision, "continue": next},
        });
        Json(list).into_response()
    }
}

/// The form in which clients get objects of which they want the metadata.
pub(super) fn partial(metadata: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

/// Answers a list or a watch of the metadata of a kind.
pub(super) fn serve(objects: &Shared, kind: Kind, headers: &HeaderMap, query: &Parameters) -> Response {
    let is_watch = query.get("watch").is_some_and(|value| value == "true");
    let known: &[&str] = if is_watch {
        &["watch", "timeoutSeconds", "allowWatchBookmarks", "resourceVersion"]
    } else {
        &["limit", "continue"]
    };
    let odd = query.keys().any(|name| !known.contains(&name.as_str()));
    let form = if is_watch { "PartialObjectMetadata;" } else { "PartialObjectMetadataList;" };
    let needed = if is_watch { "resourceVersion" } else { "limit" };
    if odd || !wants_metadata(headers, form) || !query.contains_key(needed) {
        return status(StatusCode::BAD_REQUEST, "BadRequest");
    }
    if is_watch { follow(objects, kind, query) } else { kind(&mut lock(objects)).list(query) }
}

struct Watcher {
    objects: Shared,
    kind: Kind,
    changes: watch::Receiver<()>,
    at: u64,
    end: Instant,
    queue: VecDeque<Value>,
    ended: bool,
}

fn follow(objects: &Shared, kind: Kind, query: &Parameters) -> Response {
    let number = |name| query.get(name).and_then(|text: &String| text.parse::<u64>().ok());
    let at = number("resourceVersion").unwrap_or_default();
    let changes = {
        let mut all = lock(objects);
        let all = kind(&mut all);
        all.watches += 1;
        all.changed.subscribe()
    };
    let bookmark =
        json!({"type": "BOOKMARK", "object": partial(&json!({"resourceVersion": at.to_string()}))});
    let watcher = Watcher {
        objects: Shared::clone(objects),
        kind,
        changes,
        at,
        end: Instant::now() + Duration::from_secs(number("timeoutSeconds").unwrap_or(300)),
        queue: VecDeque::from([bookmark]),
        ended: false,
    };
    let events = unfold(watcher, async |mut watcher| {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(format!("{event}\n"))), watcher))
    });
    Body::from_stream(events).into_response()
}

impl Watcher {
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            self.changes.mark_unchanged();
            self.look();
            if self.queue.is_empty()
                && !matches!(timeout_at(self.end, self.changes.changed()).await, Ok(Ok(())))
            {
                return None;
            }
        }
    }

    fn look(&mut self) {
        let mut objects = lock(&self.objects);
        let all = (self.kind)(&mut objects);
        if self.at < all.forgotten {
            all.expired += 1;
            self.ended = true;
            let gone = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Expired",
                "message": "too old resource version", "code": 410,
            });
            self.queue.push_back(json!({"type": "ERROR", "object": gone}));
            return;
        }
        let told = self.at;
        for change in all.history.iter().filter(|change| change.revision > told) {
            self.queue.push_back(json!({"type": change.what, "object": change.object}));
            self.at = change.revision;
        }
    }
}
