//! A container runtime that has no containers: it serves the two calls of CRI that coild makes, and answers what the
//! test wants.

use anyhow::{Context as _, Result};
use futures_util::future::BoxFuture;
use k8s_cri::v1::{
    ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, PodSandboxMetadata, PodSandboxNetworkStatus,
    PodSandboxState, PodSandboxStatus, PodSandboxStatusRequest, PodSandboxStatusResponse,
};
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

/// A sandbox that there is not.
#[derive(Debug, Clone)]
pub struct FakeSandbox {
    /// Its id.
    pub id: String,
    /// Whether it is said to run.
    pub ready: bool,
    /// The address that it is said to have; may be empty.
    pub ip: String,
}

/// A sandbox that is said to run, or not, and to have no address.
pub fn sandbox(id: &str, ready: bool) -> FakeSandbox {
    FakeSandbox { id: id.to_owned(), ready, ip: String::new() }
}

#[derive(Debug, Clone)]
struct Answers {
    /// An error stands for a runtime that is just starting.
    sandboxes: Result<Vec<FakeSandbox>, String>,
    listed: u64,
}

/// A runtime without containers. It listens until it is dropped.
#[derive(Debug)]
pub struct FakeRuntime {
    answers: Arc<Mutex<Answers>>,
    _tokio: Runtime,
}

impl FakeRuntime {
    /// Listens on a socket, which must not exist, and has these sandboxes.
    pub fn start(socket: &Path, sandboxes: &[FakeSandbox]) -> Result<Self> {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let answers = Arc::new(Mutex::new(Answers { sandboxes: Ok(sandboxes.to_vec()), listed: 0 }));
        let listener = tokio.block_on(async { UnixListener::bind(socket) });
        let listener = listener.with_context(|| format!("can't listen on {}", socket.display()))?;
        let connections = futures_util::stream::unfold(listener, |listener| async {
            Some((listener.accept().await.map(|(connection, _)| connection), listener))
        });
        let service = Fake(Arc::clone(&answers));
        tokio
            .spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(connections));
        Ok(Self { answers, _tokio: tokio })
    }

    /// Has these sandboxes from now on.
    pub fn has(&self, sandboxes: &[FakeSandbox]) {
        lock(&self.answers).sandboxes = Ok(sandboxes.to_vec());
    }

    /// Answers with an error from now on.
    pub fn fails(&self, message: &str) {
        lock(&self.answers).sandboxes = Err(message.to_owned());
    }

    /// How often it was asked for its sandboxes.
    pub fn listed(&self) -> u64 {
        lock(&self.answers).listed
    }
}

fn lock(answers: &Mutex<Answers>) -> std::sync::MutexGuard<'_, Answers> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone)]
struct Fake(Arc<Mutex<Answers>>);

impl Fake {
    fn sandboxes(&self) -> Result<Vec<FakeSandbox>, Status> {
        lock(&self.0).sandboxes.clone().map_err(Status::unavailable)
    }
}

impl NamedService for Fake {
    const NAME: &'static str = "runtime.v1.RuntimeService";
}

impl Service<http::Request<Body>> for Fake {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let fake = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/runtime.v1.RuntimeService/ListPodSandbox" => {
                    Grpc::new(ProstCodec::default()).unary(List(fake), request).await
                }
                "/runtime.v1.RuntimeService/PodSandboxStatus" => {
                    Grpc::new(ProstCodec::default()).unary(Inspect(fake), request).await
                }
                path => Status::unimplemented(path).into_http(),
            })
        })
    }
}

struct List(Fake);

impl UnaryService<ListPodSandboxRequest> for List {
    type Response = ListPodSandboxResponse;
    type Future = BoxFuture<'static, Result<Response<Self::Response>, Status>>;

    fn call(&mut self, _: Request<ListPodSandboxRequest>) -> Self::Future {
        let sandboxes = self.0.sandboxes();
        lock(&self.0.0).listed += 1;
        Box::pin(async {
            let items = sandboxes?.into_iter().map(|sandbox| PodSandbox {
                state: state(&sandbox),
                id: sandbox.id,
                ..PodSandbox::default()
            });
            Ok(Response::new(ListPodSandboxResponse { items: items.collect() }))
        })
    }
}

struct Inspect(Fake);

impl UnaryService<PodSandboxStatusRequest> for Inspect {
    type Response = PodSandboxStatusResponse;
    type Future = BoxFuture<'static, Result<Response<Self::Response>, Status>>;

    fn call(&mut self, request: Request<PodSandboxStatusRequest>) -> Self::Future {
        let (id, sandboxes) = (request.into_inner().pod_sandbox_id, self.0.sandboxes());
        Box::pin(async move {
            let sandbox = sandboxes?.into_iter().find(|sandbox| sandbox.id == id);
            let sandbox = sandbox.ok_or_else(|| Status::not_found(id))?;
            let (name, namespace) = (sandbox.id.clone(), "ns".to_owned());
            let metadata = PodSandboxMetadata { name, namespace, ..PodSandboxMetadata::default() };
            let state = state(&sandbox);
            let network = PodSandboxNetworkStatus { ip: sandbox.ip, additional_ips: Vec::new() };
            let status = PodSandboxStatus {
                id: sandbox.id,
                metadata: Some(metadata),
                state,
                network: Some(network),
                ..PodSandboxStatus::default()
            };
            Ok(Response::new(PodSandboxStatusResponse { status: Some(status), ..Default::default() }))
        })
    }
}

fn state(sandbox: &FakeSandbox) -> i32 {
    let state = if sandbox.ready { PodSandboxState::SandboxReady } else { PodSandboxState::SandboxNotready };
    state.into()
}
