//! Nodes, as an API server keeps them: listed, watched, read and changed, each change a new version.

use super::{Shared, lock, status, wants_metadata};
use crate::strict;
use anyhow::{Context, Result, bail, ensure};
use axum::body::{Body, Bytes};
use axum::extract::{Path as PathOf, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use futures_util::stream::unfold;
use k8s_openapi::api::core::v1::{Node, Taint};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

type Parameters = BTreeMap<String, String>;

/// Who changes Nodes.
const MANAGER: &str = "coil-controller";

/// What happened to a Node.
#[derive(Debug, Clone)]
struct Change {
    revision: u64,
    what: &'static str,
    node: Value,
}

/// The Nodes that there are.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    objects: BTreeMap<String, Value>,
    revision: u64,
    history: Vec<Change>,
    /// Before this revision nothing is known.
    forgotten: u64,
    changed: watch::Sender<()>,
    /// Taints that somebody adds right after a Node was read.
    races: BTreeMap<String, Taint>,
    /// Changes by the controller, in order: of which Node, and what.
    pub(super) patches: Vec<(String, Value)>,
    pub(super) conflicts: usize,
}

impl Nodes {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.objects.get(name)
    }

    /// Adds a Node or changes it.
    fn put(&mut self, name: &str, mut node: Value) {
        self.revision += 1;
        node["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let what =
            if self.objects.insert(name.to_owned(), node.clone()).is_none() { "ADDED" } else { "MODIFIED" };
        self.note(what, node);
    }

    pub(super) fn add(&mut self, name: &str, taints: &[Taint]) {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "uid": format!("node-{name}-{}", self.revision), "labels": {"os": "linux"}},
            "spec": {"taints": taints}, "status": {"phase": "Running"},
        });
        self.put(name, node);
    }

    /// Makes these all that there are.
    pub(super) fn set(&mut self, names: &[&str]) {
        let gone: Vec<String> =
            self.objects.keys().filter(|name| !names.contains(&&***name)).cloned().collect();
        for name in gone {
            let Some(node) = self.objects.remove(&name) else { continue };
            self.revision += 1;
            self.note("DELETED", node);
        }
        for name in names {
            if !self.objects.contains_key(*name) {
                self.add(name, &[]);
            }
        }
    }

    fn note(&mut self, what: &'static str, mut node: Value) {
        node["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.history.push(Change { revision: self.revision, what, node });
        self.changed.send_replace(());
    }

    /// Watches from before are told that they are too old.
    pub(super) fn forget(&mut self) {
        self.revision += 1;
        self.forgotten = self.revision;
        self.history.clear();
        self.changed.send_replace(());
    }

    pub(super) fn race(&mut self, name: &str, taint: Taint) {
        self.races.insert(name.to_owned(), taint);
    }

    fn read(&mut self, name: &str) -> Option<Value> {
        let read = self.objects.get(name).cloned()?;
        if let Some(taint) = self.races.remove(name) {
            let mut node = read.clone();
            if let Some(taints) = node["spec"]["taints"].as_array_mut() {
                taints.push(json!(taint));
            }
            self.put(name, node);
        }
        Some(read)
    }

    /// Changes a Node by a merge patch. An error is a request that the controller has no reason to send.
    fn patch(&mut self, name: &str, patch: &Value) -> Result<(StatusCode, Value)> {
        let patch_of = patch.as_object().context("an object")?;
        let Some(mut node) = self.objects.get(name).cloned() else {
            return Ok((StatusCode::NOT_FOUND, Value::Null));
        };
        let version = &patch["metadata"]["resourceVersion"];
        if let Some(spec) = patch_of.get("spec") {
            ensure!(version.is_string(), "other taints may be lost");
            ensure!(
                patch["metadata"].as_object().is_some_and(|meta| meta.len() == 1),
                "more than the taints"
            );
            ensure!(spec.as_object().is_some_and(|spec| spec.keys().eq(["taints"])), "more than the taints");
        } else {
            let annotations = patch["metadata"]["annotations"].as_object().context("annotations")?;
            let meta = patch["metadata"].as_object().context("metadata")?;
            ensure!(meta.keys().eq(["annotations", "uid"]), "more than annotations, or of whatever Node");
            if meta["uid"] != node["metadata"]["uid"] {
                return Ok((StatusCode::CONFLICT, Value::Null));
            }
            ensure!(annotations.keys().eq(["coil.io/free"]), "somebody else's annotations");
            let free = annotations["coil.io/free"].as_str().context("a text")?;
            let _: BTreeMap<String, BTreeMap<String, u64>> = serde_json::from_str(free)?;
        }
        if !version.is_null() && *version != node["metadata"]["resourceVersion"] {
            self.conflicts += 1;
            return Ok((StatusCode::CONFLICT, Value::Null));
        }
        merge(&mut node, patch);
        strict::parsed::<Node>(&node)?;
        self.patches.push((name.to_owned(), patch.clone()));
        self.put(name, node.clone());
        Ok((StatusCode::OK, metadata(&node)))
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().map(|target| target.remove(key));
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn metadata(node: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": node["metadata"]})
}

/// Lists Nodes, one in a page, or watches them.
pub(super) async fn list(
    State(objects): State<Shared>,
    headers: HeaderMap,
    Query(parameters): Query<Parameters>,
) -> Response {
    if !wants_metadata(&headers, "PartialObjectMetadata") {
        return status(StatusCode::BAD_REQUEST, "BadRequest");
    }
    if parameters.get("watch").is_some_and(|watch| watch == "true") {
        return follow(objects, &parameters);
    }
    if !parameters.contains_key("limit") {
        return status(StatusCode::BAD_REQUEST, "BadRequest");
    }
    let mut objects = lock(&objects);
    let after = parameters.get("continue").cloned().unwrap_or_default();
    let mut rest = objects.nodes.objects.iter().filter(|(name, _)| after.is_empty() || **name > after);
    let items: Vec<(String, Value)> =
        rest.by_ref().take(1).map(|(name, node)| (name.clone(), metadata(node))).collect();
    let more = rest.next().is_some();
    let token = items.last().filter(|_| more).map(|(name, _)| name.clone()).unwrap_or_default();
    objects.node_lists += usize::from(!more);
    let list = json!({
        "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": objects.nodes.revision.to_string(), "continue": token},
        "items": items.into_iter().map(|(_, node)| node).collect::<Vec<_>>(),
    });
    Json(list).into_response()
}

struct Watcher {
    objects: Shared,
    changes: watch::Receiver<()>,
    at: u64,
    end: Instant,
    ended: bool,
}

fn follow(objects: Shared, parameters: &Parameters) -> Response {
    let number = |name| parameters.get(name).and_then(|text: &String| text.parse::<u64>().ok());
    let Some(at) = number("resourceVersion") else { return status(StatusCode::BAD_REQUEST, "BadRequest") };
    let changes = lock(&objects).nodes.changed.subscribe();
    let end = Instant::now() + Duration::from_secs(number("timeoutSeconds").unwrap_or(300));
    let watcher = Watcher { objects, changes, at, end, ended: false };
    let lines = unfold(watcher, async |mut watcher| {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(format!("{event}\n"))), watcher))
    });
    Body::from_stream(lines).into_response()
}

impl Watcher {
    async fn next(&mut self) -> Option<Value> {
        while !self.ended {
            self.changes.mark_unchanged();
            if let Some(event) = self.look() {
                return Some(event);
            }
            if !matches!(timeout_at(self.end, self.changes.changed()).await, Ok(Ok(()))) {
                return None;
            }
        }
        None
    }

    fn look(&mut self) -> Option<Value> {
        let objects = lock(&self.objects);
        if self.at < objects.nodes.forgotten {
            self.ended = true;
            let gone = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                              "reason": "Expired", "message": "too old resource version", "code": 410});
            return Some(json!({"type": "ERROR", "object": gone}));
        }
        let change = objects.nodes.history.iter().find(|change| change.revision > self.at)?;
        self.at = change.revision;
        Some(json!({"type": change.what, "object": metadata(&change.node)}))
    }
}

/// Reads a Node.
pub(super) async fn get(State(objects): State<Shared>, PathOf(name): PathOf<String>) -> Response {
    match lock(&objects).nodes.read(&name) {
        Some(node) => Json(node).into_response(),
        None => status(StatusCode::NOT_FOUND, "NotFound"),
    }
}

/// Changes a Node.
pub(super) async fn patch(
    State(objects): State<Shared>,
    PathOf(name): PathOf<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut objects = lock(&objects);
    let mut outcome = || -> Result<_> {
        let kind = headers.get(header::CONTENT_TYPE).context("a type")?;
        if kind != "application/merge-patch+json" {
            bail!("no merge patch");
        }
        ensure!(parameters.get("fieldManager").is_some_and(|manager| manager == MANAGER), "the manager");
        ensure!(parameters.len() == 1, "{parameters:?}");
        ensure!(wants_metadata(&headers, "PartialObjectMetadata"), "all of the Node comes back");
        objects.nodes.patch(&name, &serde_json::from_slice(&body)?)
    };
    match outcome() {
        Ok((StatusCode::OK, object)) => Json(object).into_response(),
        Ok((StatusCode::CONFLICT, _)) => status(StatusCode::CONFLICT, "Conflict"),
        Ok((code, _)) => status(code, "NotFound"),
        Err(error) => {
            objects.wrong.push(format!("{error:#}: {}", String::from_utf8_lossy(&body)));
            status(StatusCode::BAD_REQUEST, "BadRequest")
        }
    }
}
