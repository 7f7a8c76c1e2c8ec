//! The Namespaces: listed page by page, and watched.

use super::{Objects, Shared, lock, status, wants_metadata};
use crate::strict;
use anyhow::Result;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// What there is, and what has happened.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    metadata: BTreeMap<String, Value>,
    revision: u64,
    /// Revision, kind of event, object.
    history: Vec<(u64, &'static str, Value)>,
    /// What is older is told to no watch.
    compacted: u64,
    changes: watch::Sender<()>,
    /// Lists that were answered to the end, watches that were begun, and those that got 410.
    pub(super) lists: usize,
    pub(super) watches: usize,
    pub(super) expired: usize,
}

impl Namespaces {
    /// Makes one, or gives it these annotations and no others.
    pub(super) fn set(&mut self, name: &str, annotations: &[(&str, &str)]) -> Result<()> {
        let what = if self.metadata.contains_key(name) { "MODIFIED" } else { "ADDED" };
        self.revision += 1;
        let annotations: BTreeMap<&str, &str> = annotations.iter().copied().collect();
        let metadata = json!({
            "name": name, "uid": format!("uid-{name}"), "resourceVersion": self.revision.to_string(),
            "labels": {"kubernetes.io/metadata.name": name}, "annotations": annotations,
        });
        strict::parsed::<Namespace>(&json!({"kind": "Namespace", "apiVersion": "v1", "metadata": metadata}))?;
        self.happened(what, &metadata);
        self.metadata.insert(name.to_owned(), metadata);
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(mut metadata) = self.metadata.remove(name) {
            self.revision += 1;
            metadata["resourceVersion"] = json!(self.revision.to_string());
            self.happened("DELETED", &metadata);
        }
    }

    fn happened(&mut self, what: &'static str, metadata: &Value) {
        self.history.push((self.revision, what, partial(metadata)));
        self.changes.send_replace(());
    }

    /// Forgets what has happened.
    pub(super) fn compact(&mut self) {
        self.revision += 1;
        self.compacted = self.revision;
        self.history.clear();
        self.changes.send_replace(());
    }
}

fn partial(metadata: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

type Parameters = BTreeMap<String, String>;

pub(super) async fn serve(
    State(objects): State<Shared>,
    headers: HeaderMap,
    Query(query): Query<Parameters>,
) -> Response {
    let is_watch = query.get("watch").is_some_and(|value| value == "true");
    let known: &[&str] = if is_watch {
        &["watch", "timeoutSeconds", "allowWatchBookmarks", "resourceVersion"]
    } else {
        &["limit", "continue"]
    };
    let odd = query.keys().any(|name| !known.contains(&name.as_str()));
    let kind = if is_watch { "PartialObjectMetadata;" } else { "PartialObjectMetadataList;" };
    let needed = if is_watch { "resourceVersion" } else { "limit" };
    if odd || !wants_metadata(&headers, kind) || !query.contains_key(needed) {
        return status(StatusCode::BAD_REQUEST, "BadRequest");
    }
    if is_watch { follow(&objects, &query) } else { list(&mut lock(&objects), &query) }
}

/// One object for a page, however many are asked for. All pages are of the first one's revision.
fn list(objects: &mut Objects, query: &Parameters) -> Response {
    let all = &mut objects.namespaces;
    let token = query.get("continue").and_then(|token| token.split_once(' '));
    let (revision, after) =
        token.map_or((all.revision.to_string(), ""), |(at, after)| (at.to_owned(), after));
    let mut rest = all.metadata.iter().filter(|(name, _)| name.as_str() > after);
    let item = rest.next();
    let is_last = rest.next().is_none();
    let next = item.filter(|_| !is_last).map_or_else(String::new, |(name, _)| format!("{revision} {name}"));
    let items: Vec<Value> = item.into_iter().map(|(_, metadata)| partial(metadata)).collect();
    all.lists += usize::from(is_last);
    let list = json!({
        "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "items": items,
        "metadata": {"resourceVersion": revision, "continue": next},
    });
    Json(list).into_response()
}

struct Watcher {
    objects: Shared,
    changes: watch::Receiver<()>,
    at: u64,
    end: Instant,
    queue: VecDeque<Value>,
    ended: bool,
}

fn follow(objects: &Shared, query: &Parameters) -> Response {
    let number = |name| query.get(name).and_then(|text: &String| text.parse::<u64>().ok());
    let at = number("resourceVersion").unwrap_or_default();
    let changes = {
        let mut all = lock(objects);
        all.namespaces.watches += 1;
        all.namespaces.changes.subscribe()
    };
    let bookmark =
        json!({"type": "BOOKMARK", "object": partial(&json!({"resourceVersion": at.to_string()}))});
    let watcher = Watcher {
        objects: Shared::clone(objects),
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
        let all = &mut objects.namespaces;
        if self.at < all.compacted {
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
        for (revision, what, object) in all.history.iter().filter(|(revision, ..)| *revision > told) {
            self.queue.push_back(json!({"type": what, "object": object}));
            self.at = *revision;
        }
    }
}
