//! An API server of Kubernetes that has no cluster: it serves what the controller asks, strictly, and answers what the
//! test wants.
//!
//! * [`watched`]: lists and watches of a kind
//! * [`namespaces`]: how a Namespace is made
//! * [`nodes`]: how a Node is read and changed
//! * [`mod@events`]: how an Event is applied

mod events;
mod namespaces;
mod nodes;
mod watched;

use crate::place::Place;
use anyhow::{Context, Result};
use axum::extract::{Path as PathOf, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch};
use axum::{Json, Router};
use k8s_openapi::api::core::v1::Taint;
use nodes::Nodes;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use watched::Watched;

const TOKEN: &str = "of-the-controller";

/// What there is, by namespace and name.
#[derive(Debug, Default)]
struct Objects {
    sets: BTreeSet<(String, String)>,
    /// With the node that each one is on.
    pods: BTreeMap<(String, String), String>,
    nodes: Nodes,
    namespaces: Watched,
    events: BTreeMap<(String, String), Value>,
    /// How often one was applied.
    applied_events: usize,
    /// Answers nothing but errors.
    broken: bool,
    /// Complete lists of sets that were answered, and requests that were refused as it is broken.
    lists: usize,
    failures: usize,
    /// Requests that no API server would take.
    wrong: Vec<String>,
}

type Shared = Arc<Mutex<Objects>>;

/// An API server without a cluster. It listens until it is dropped.
#[derive(Debug)]
pub struct FakeKubernetes {
    objects: Shared,
    kubeconfig: PathBuf,
    _dir: TempDir,
    _tokio: Runtime,
}

impl FakeKubernetes {
    /// Listens on a free port of the loopback interface.
    pub fn start() -> Result<Self> {
        Self::start_in(Place::Here)
    }

    /// The same in a place.
    pub fn start_in(place: Place) -> Result<Self> {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let objects = Shared::default();
        let router = Router::new()
            .route("/apis/apps/v1/statefulsets", get(list_sets))
            .route("/api/v1/namespaces", get(namespaces::serve))
            .route("/api/v1/nodes", get(nodes::list))
            .route("/api/v1/nodes/{name}", get(nodes::get).patch(nodes::patch))
            .route("/api/v1/namespaces/{namespace}/events/{name}", patch(events::patch))
            .route("/api/v1/namespaces/{namespace}/pods/{name}", get(get_pod))
            .fallback(async || status(StatusCode::NOT_FOUND, "NotFound"))
            .layer(from_fn_with_state(Arc::clone(&objects), check))
            .with_state(Arc::clone(&objects));
        let listener = place.listen()?;
        let server = format!("http://{}", listener.local_addr()?);
        let listener = tokio.block_on(async { TcpListener::from_std(listener) })?;
        tokio.spawn(async move { axum::serve(listener, router).await });
        let dir = tempfile::tempdir()?;
        let kubeconfig = dir.path().join("kubeconfig");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        });
        std::fs::write(&kubeconfig, text.to_string()).context("can't write the kubeconfig")?;
        Ok(Self { objects, kubeconfig, _dir: dir, _tokio: tokio })
    }

    /// A kubeconfig for it.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Sets the StatefulSets that there are.
    pub fn set_sets(&self, sets: &[(&str, &str)]) {
        lock(&self.objects).sets = owned(sets);
    }

    /// Sets the pods that there are.
    pub fn set_pods(&self, pods: &[(&str, &str)]) {
        let pods = owned(pods).into_iter().map(|pod| (pod, String::new()));
        lock(&self.objects).pods = pods.collect();
    }

    /// Adds a pod that is on a node.
    pub fn add_pod(&self, namespace: &str, name: &str, node: &str) {
        lock(&self.objects).pods.insert((namespace.to_owned(), name.to_owned()), node.to_owned());
    }

    /// Sets the nodes that there are.
    pub fn set_nodes(&self, nodes: &[&str]) {
        lock(&self.objects).nodes.set(nodes);
    }

    /// Adds a node that a kubelet registers with these taints.
    pub fn register_node(&self, name: &str, taints: &[Taint]) {
        lock(&self.objects).nodes.add(name, taints);
    }

    /// Adds a taint to a node right after it is read the next time.
    pub fn race_for_node(&self, name: &str, taint: Taint) {
        lock(&self.objects).nodes.race(name, taint);
    }

    /// Watches of nodes are told that they are too old.
    pub fn forget_nodes(&self) {
        lock(&self.objects).nodes.all.forget();
    }

    /// A node.
    pub fn node(&self, name: &str) -> Option<Value> {
        lock(&self.objects).nodes.all.get(name).cloned()
    }

    /// The changes of nodes, in order: of which node, and the patch.
    pub fn node_patches(&self) -> Vec<(String, Value)> {
        lock(&self.objects).nodes.patches.clone()
    }

    /// How many changes of nodes were refused as they had changed meanwhile.
    pub fn conflicts(&self) -> usize {
        lock(&self.objects).nodes.conflicts
    }

    /// The Events.
    pub fn events(&self) -> Vec<Value> {
        lock(&self.objects).events.values().cloned().collect()
    }

    /// How often an Event was applied.
    pub fn applied_events(&self) -> usize {
        lock(&self.objects).applied_events
    }

    /// Makes a Namespace, or gives it these annotations and no others.
    pub fn set_namespace(&self, name: &str, annotations: &[(&str, &str)]) -> Result<()> {
        namespaces::set(&mut lock(&self.objects).namespaces, name, annotations)
    }

    /// Removes a Namespace.
    pub fn remove_namespace(&self, name: &str) {
        lock(&self.objects).namespaces.remove(name);
    }

    /// Forgets what has happened to the Namespaces: watches get 410.
    pub fn compact(&self) {
        lock(&self.objects).namespaces.forget();
    }

    /// How often the Namespaces were listed, how often a watch of them was begun, and how often one got 410.
    pub fn namespace_looks(&self) -> (usize, usize, usize) {
        let objects = lock(&self.objects);
        (objects.namespaces.lists, objects.namespaces.watches, objects.namespaces.expired)
    }

    /// Lets it fail, or answer again.
    pub fn set_broken(&self, broken: bool) {
        lock(&self.objects).broken = broken;
    }

    /// How often it has listed all sets.
    pub fn lists(&self) -> usize {
        lock(&self.objects).lists
    }

    /// How often it has listed all nodes.
    pub fn node_lists(&self) -> usize {
        lock(&self.objects).nodes.all.lists
    }

    /// How many requests it has refused while it was broken.
    pub fn failures(&self) -> usize {
        lock(&self.objects).failures
    }

    /// Requests that no API server would take.
    pub fn wrong(&self) -> Vec<String> {
        lock(&self.objects).wrong.clone()
    }
}

fn lock(objects: &Shared) -> MutexGuard<'_, Objects> {
    objects.lock().unwrap_or_else(PoisonError::into_inner)
}

fn owned(names: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    names.iter().map(|&(namespace, name)| (namespace.to_owned(), name.to_owned())).collect()
}

async fn check(State(objects): State<Shared>, request: Request, next: Next) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    let authorized = request.headers().get(header::AUTHORIZATION).is_some_and(|value| {
        value.to_str().is_ok_and(|value| value.strip_prefix("Bearer ").is_some_and(|token| token == TOKEN))
    });
    if !authorized {
        lock(&objects).wrong.push(format!("{line}: unauthorized"));
        return status(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    {
        let mut objects = lock(&objects);
        if objects.broken {
            objects.failures += 1;
            return status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
        }
    }
    let response = next.run(request).await;
    if response.status() == StatusCode::BAD_REQUEST {
        lock(&objects).wrong.push(line);
    }
    response
}

/// Whether only metadata is asked for.
fn wants_metadata(headers: &HeaderMap, kind: &str) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains(&format!("as={kind}")) && accept.contains("g=meta.k8s.io")
}

async fn list_sets(
    State(objects): State<Shared>,
    headers: HeaderMap,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let mut objects = lock(&objects);
    let (response, is_last) = page(&objects.sets, &headers, &query);
    objects.lists += usize::from(is_last);
    response
}

/// One object for a page, however many are asked for; and whether it is the last one.
fn page(
    all: &BTreeSet<(String, String)>,
    headers: &HeaderMap,
    query: &BTreeMap<String, String>,
) -> (Response, bool) {
    if !wants_metadata(headers, "PartialObjectMetadataList") || !query.contains_key("limit") {
        return (status(StatusCode::BAD_REQUEST, "BadRequest"), false);
    }
    let at: usize = query.get("continue").and_then(|token| token.parse().ok()).unwrap_or(0);
    let items: Vec<Value> = all.iter().skip(at).take(1).map(metadata).collect();
    let rest = all.len().saturating_sub(at + 1);
    let token = if rest > 0 { (at + 1).to_string() } else { String::new() };
    let list = json!({
        "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "17", "continue": token}, "items": items,
    });
    (Json(list).into_response(), rest == 0)
}

async fn get_pod(
    State(objects): State<Shared>,
    headers: HeaderMap,
    PathOf(pod): PathOf<(String, String)>,
) -> Response {
    let Some(node) = lock(&objects).pods.get(&pod).cloned() else {
        return status(StatusCode::NOT_FOUND, "NotFound");
    };
    let mut object = metadata(&pod);
    if !wants_metadata(&headers, "PartialObjectMetadata") {
        (object["kind"], object["apiVersion"]) = ("Pod".into(), "v1".into());
        object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        object["spec"] = json!({"nodeName": node, "containers": []});
    }
    Json(object).into_response()
}

/// An object without a namespace is the cluster's.
fn metadata((namespace, name): &(String, String)) -> Value {
    let mut metadata = json!({"name": name, "uid": format!("{namespace}-{name}")});
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

fn status(code: StatusCode, reason: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason,
        "message": reason, "code": code.as_u16(),
    });
    (code, Json(body)).into_response()
}
