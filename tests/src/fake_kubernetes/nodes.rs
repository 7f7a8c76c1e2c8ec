//! Nodes, as an API server keeps them: listed, watched, read and changed.

use super::watched::{Parameters, Watched, partial, serve};
use super::{Objects, Shared, lock, status, wants_metadata};
use crate::strict;
use anyhow::{Context, Result, bail, ensure};
use axum::body::Bytes;
use axum::extract::{Path as PathOf, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use k8s_openapi::api::core::v1::{Node, Taint};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Who changes Nodes.
const MANAGER: &str = "coil-controller";

/// The Nodes that there are.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    pub(super) all: Watched,
    /// Taints that somebody adds right after a Node was read.
    races: BTreeMap<String, Taint>,
    /// Changes by the controller, in order: of which Node, and what.
    pub(super) patches: Vec<(String, Value)>,
    pub(super) conflicts: usize,
}

impl Nodes {
    pub(super) fn add(&mut self, name: &str, taints: &[Taint]) {
        let uid = format!("node-{name}-{}", self.all.revision());
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "uid": uid, "labels": {"os": "linux"}},
            "spec": {"taints": taints}, "status": {"phase": "Running"},
        });
        self.all.put(name, node);
    }

    /// Makes these all that there are.
    pub(super) fn set(&mut self, names: &[&str]) {
        let gone: Vec<String> = self.all.names().filter(|name| !names.contains(&&***name)).cloned().collect();
        for name in gone {
            self.all.remove(&name);
        }
        for name in names {
            if self.all.get(name).is_none() {
                self.add(name, &[]);
            }
        }
    }

    pub(super) fn race(&mut self, name: &str, taint: Taint) {
        self.races.insert(name.to_owned(), taint);
    }

    fn read(&mut self, name: &str) -> Option<Value> {
        let read = self.all.get(name).cloned()?;
        if let Some(taint) = self.races.remove(name) {
            let mut node = read.clone();
            if let Some(taints) = node["spec"]["taints"].as_array_mut() {
                taints.push(json!(taint));
            }
            self.all.put(name, node);
        }
        Some(read)
    }

    /// Changes a Node by a merge patch. An error is a request that the controller has no reason to send.
    fn patch(&mut self, name: &str, patch: &Value) -> Result<(StatusCode, Value)> {
        let patch_of = patch.as_object().context("an object")?;
        let Some(mut node) = self.all.get(name).cloned() else {
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
        self.all.put(name, node);
        let changed = self.all.get(name).map(|node| partial(&node["metadata"]));
        Ok((StatusCode::OK, changed.unwrap_or_default()))
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

/// Lists Nodes, or watches them.
pub(super) async fn list(
    State(objects): State<Shared>,
    headers: HeaderMap,
    Query(parameters): Query<Parameters>,
) -> Response {
    serve(&objects, |objects: &mut Objects| &mut objects.nodes.all, &headers, &parameters)
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
