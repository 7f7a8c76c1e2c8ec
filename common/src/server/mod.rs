//! HTTP listeners for the daemons: unix sockets and TCP, with limits on connections, header and request time
//! and body size, and a shutdown that cuts no request off.

mod crowd;
mod json;
mod listen;
#[cfg(feature = "tls")]
mod tls;

pub use json::parse_object;
pub use listen::{Bind, BindError, ClientCertificate, Listener, Peer};
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError, TlsFiles};

use crate::wire::node::ErrorReply;
use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use crowd::{Crowd, Seat};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use listen::{Accepted, remove_if_there};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tower::ServiceExt;

/// How long a connection that makes room may still send.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a server does not let clients exceed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once, over all listeners. For one more, the one that has waited longest for a request is closed;
    /// if none does, it waits.
    pub connections: usize,
    /// Time for the TLS handshake, where TLS is spoken.
    pub greeting_time: Duration,
    /// Time for the headers of a request to arrive; a connection idle for longer is closed.
    pub header_time: Duration,
    /// Time for a request from its headers to its reply.
    pub request_time: Duration,
    /// Bytes in a request's body.
    pub body: usize,
    /// Time that a shutdown waits for requests in progress.
    pub shutdown_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            greeting_time: Duration::from_secs(10),
            header_time: Duration::from_secs(30),
            request_time: Duration::from_mins(1),
            body: 1 << 20,
            shutdown_time: Duration::from_secs(20),
        }
    }
}

/// Serves until `shutdown` is done, then finishes the requests in progress and removes the unix sockets.
pub async fn serve(
    listeners: Vec<Listener>,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let router = router.layer(DefaultBodyLimit::max(limits.body));
    let (stop, stopped) = watch::channel(false);
    let crowd = Crowd::new(limits.connections);
    let paths: Vec<PathBuf> = listeners.iter().filter_map(Listener::path).map(Path::to_owned).collect();
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            tokio::spawn(accept(listener, router.clone(), limits, crowd.clone(), stopped.clone()))
        })
        .collect();
    shutdown.await;
    let _ = stop.send(true);
    // A new daemon may bind its own socket at this path from now on: only ours is removed.
    for path in paths {
        let _ = remove_if_there(&path);
    }
    for task in accepting {
        let _ = task.await;
    }
    if tokio::time::timeout(limits.shutdown_time, crowd.empty()).await.is_err() {
        tracing::warn!("requests were still in progress at the end of the shutdown time");
    }
}

async fn accept(
    listener: Listener,
    router: Router,
    limits: Limits,
    crowd: Crowd,
    mut stopped: watch::Receiver<bool>,
) {
    let end = stopped.clone();
    let accept = async {
        loop {
            let accepted = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely.
                    tracing::warn!(%error, "can't accept a connection");
                    crowd.make_room();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (seat, router, end) = (crowd.enter().await, router.clone(), end.clone());
            tokio::spawn(async move {
                converse(accepted, router, limits, seat, end).await;
                crate::fault::point("reply.after");
            });
        }
    };
    tokio::select! {
        () = accept => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

/// Everything that happens on one connection.
async fn converse(
    accepted: Accepted,
    router: Router,
    limits: Limits,
    seat: Arc<Seat>,
    mut stopped: watch::Receiver<bool>,
) {
    let peer = accepted.peer;
    let greeting = tokio::select! {
        greeting = tokio::time::timeout(limits.greeting_time, accepted.ready()) => greeting,
        () = seat.must_leave() => return tracing::debug!(%peer, "a client in its TLS handshake makes room"),
    };
    let (stream, certificate) = match greeting {
        Ok(Ok(ready)) => ready,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "a connection without a TLS session"),
        Err(_) => return tracing::debug!(%peer, "a client that does not finish its TLS handshake"),
    };
    let service = service(router, peer, certificate, limits.request_time, Arc::clone(&seat));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let makes_room = tokio::select! {
        // A client that goes away is no error of ours.
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stop| *stop) => false,
        () = seat.must_leave() => true,
    };
    connection.as_mut().graceful_shutdown();
    if makes_room {
        tracing::debug!(%peer, "an idle connection makes room");
        // What is left of its last reply may go out; half a request is not waited for.
        let _ = tokio::time::timeout(LAST_WORDS, connection).await;
    } else {
        let _ = connection.await;
    }
}

fn service(
    router: Router,
    peer: Peer,
    certificate: Option<ClientCertificate>,
    request_time: Duration,
    seat: Arc<Seat>,
) -> impl hyper::service::Service<
    hyper::Request<Incoming>,
    Response = Response,
    Error = std::convert::Infallible,
    Future = impl Future<Output = Result<Response, std::convert::Infallible>> + Send,
> {
    hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let (router, certificate, seat) = (router.clone(), certificate.clone(), Arc::clone(&seat));
        async move {
            if !seat.work() {
                // The connection is about to be closed, and the client will ask again on another one.
                return std::future::pending().await;
            }
            let mut request: Request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            if let Some(certificate) = certificate {
                request.extensions_mut().insert(certificate);
            }
            let response = tokio::time::timeout(request_time, router.oneshot(request)).await;
            crate::fault::point("reply.before");
            Ok(seat.reply(match response {
                Ok(response) => response.into_response(),
                Err(_) => timed_out(),
            }))
        }
    })
}

/// The reply to a request that took too long, in the form that all failures have.
fn timed_out() -> Response {
    let status = StatusCode::REQUEST_TIMEOUT;
    let error = "the request took too long".to_owned();
    (status, Json(ErrorReply { error, status: status.as_u16() })).into_response()
}

/// Makes the files of this process readable by its user alone, from now on. Sockets have permissions of their
/// own.
pub fn keep_files_private() {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
}

/// Lets this process open as many files as it may, from now on: a connection is one.
pub fn allow_many_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Done when the process is told to end, by SIGTERM or SIGINT.
pub async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("can't listen for signals");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
