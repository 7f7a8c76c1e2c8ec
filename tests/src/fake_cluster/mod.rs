//! A cluster of Kubernetes without nodes: an API server that takes Namespaces, Deployments and Services as strictly as a
//! real one, tells of them by lists and watches, and has controllers that make pods of Deployments.
//!
//! * [`state`]: the objects, and what happened to them
//! * [`request`]: what is asked: anything that the controller has no reason to ask is noted as wrong
//! * [`apply`]: server-side apply, with what a real API server refuses
//! * [`watch`]: lists and watches
//! * [`log`]: the output of containers
//! * [`workload`]: Deployments have pods, which run
//!
//! It can be made to fail, to forget what happened, to be slow or stuck, and to go away.

mod apply;
mod log;
mod request;
mod state;
mod watch;
mod workload;

pub use state::Kind;

use crate::tools::directory;
use crate::wait::wait_for;
use anyhow::{Context, Result};
use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::stream::pending;
use serde_json::{Value, json};
use state::{Fault, World};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// What the controller shows to be let in.
pub(crate) const TOKEN: &str = "of-the-controller";

/// How often controllers look at Deployments and pods.
const TICK: Duration = Duration::from_millis(20);

/// The cluster. It is there until it is dropped.
pub struct FakeCluster {
    world: Arc<World>,
    address: SocketAddr,
    kubeconfig: PathBuf,
    /// What serves; nothing while the API server is away.
    server: Option<Runtime>,
    workload: Option<Runtime>,
    _dir: TempDir,
}

impl Drop for FakeCluster {
    fn drop(&mut self) {
        self.go_away();
        if let Some(runtime) = self.workload.take() {
            runtime.shutdown_background();
        }
    }
}

/// Time for what has ended to be gone.
const SOON: Duration = Duration::from_secs(20);

impl FakeCluster {
    /// Listens on a free port of the loopback interface.
    pub fn start() -> Result<Self> {
        let (world, dir) = (Arc::<World>::default(), directory()?);
        let workload = runtime()?;
        let of_workload = Arc::clone(&world);
        workload.spawn(async move {
            loop {
                of_workload.change(workload::tick);
                tokio::time::sleep(TICK).await;
            }
        });
        let kubeconfig = dir.path().join("kubeconfig");
        let mut cluster = Self {
            world,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            kubeconfig,
            server: None,
            workload: Some(workload),
            _dir: dir,
        };
        cluster.come_back()?;
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", cluster.address)}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        });
        std::fs::write(&cluster.kubeconfig, text.to_string()).context("can't write the kubeconfig")?;
        Ok(cluster)
    }

    /// A kubeconfig for it.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server goes away, and all its connections break. The pods go on.
    pub fn go_away(&mut self) {
        if let Some(runtime) = self.server.take() {
            runtime.shutdown_timeout(SOON);
        }
    }

    /// The API server comes back, with all that it had.
    pub fn come_back(&mut self) -> Result<()> {
        let server = runtime()?;
        let listener = wait_for("the port of the API server to be free", SOON, || {
            Ok(Some(server.block_on(TcpListener::bind(self.address))?))
        })?;
        self.address = listener.local_addr()?;
        let router = Router::new().route("/api/v1/nodes", get(no_nodes)).fallback(request::serve);
        let router = router.with_state(Arc::clone(&self.world));
        server.spawn(async move { axum::serve(listener, router).await });
        self.server = Some(server);
        Ok(())
    }

    /// The next requests of a kind fail with a status; `what` is a verb and a resource, as `PATCH deployments`.
    pub fn fail(&self, what: &str, code: u16, times: usize) {
        let fault = Fault { what: what.to_owned(), code, times };
        self.world.change(|state| state.faults.push(fault));
    }

    /// How many of the requests that were to fail have not come yet.
    pub fn failures_left(&self) -> usize {
        self.world.read(|state| state.faults.iter().map(|fault| fault.times).sum())
    }

    /// Forgets what has happened until now: watches get 410.
    pub fn compact(&self) {
        self.world.change(state::State::compact);
    }

    /// How often a watch got 410.
    pub fn expired(&self) -> usize {
        self.world.read(|state| state.expired)
    }

    /// Watches of a kind tell nothing more, or go on.
    pub fn set_stuck(&self, kind: Kind, stuck: bool) {
        self.world.change(|state| {
            if stuck {
                state.stuck.insert(kind);
            } else {
                state.stuck.remove(&kind);
            }
        });
    }

    /// How long each event of a watch, and each piece of a log, takes.
    pub fn set_slow(&self, delay: Duration) {
        self.world.change(|state| state.delay = delay);
    }

    /// All objects of a kind.
    pub fn objects(&self, kind: Kind) -> Vec<Value> {
        self.world.read(|state| state.of(kind).map(|(_, object)| object.clone()).collect())
    }

    /// Adds an object, or changes it, as somebody else does.
    pub fn put(&self, kind: Kind, namespace: &str, name: &str, object: Value) {
        self.world.change(|state| state.put(&(kind, namespace.to_owned(), name.to_owned()), object));
    }

    /// How many pods were ever made.
    pub fn made(&self) -> u32 {
        self.world.read(|state| state.made)
    }

    /// A pod's container writes something.
    pub fn print(&self, pod: &str, text: &str) {
        self.world.change(|state| state.logs.entry(pod.to_owned()).or_default().extend(text.as_bytes()));
    }

    /// How many logs are being followed.
    pub fn followers(&self) -> usize {
        self.world.read(|state| state.followers)
    }

    /// Requests that no API server would take, or that the controller has no reason to send.
    pub fn wrong(&self) -> Vec<String> {
        self.world.read(|state| state.wrong.clone())
    }
}

/// A list of no Nodes, or a watch that has nothing to tell of them.
async fn no_nodes(Query(parameters): Query<BTreeMap<String, String>>) -> Response {
    if parameters.contains_key("watch") {
        return Body::from_stream(pending::<Result<Bytes, Infallible>>()).into_response();
    }
    let list = json!({
        "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "1"},
        "items": [],
    });
    Json(list).into_response()
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}
