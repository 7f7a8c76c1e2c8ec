//! HTTP listeners for the daemons: unix sockets and TCP, with limits on connections, header and request time
//! and body size, and a shutdown that cuts no request off.

use crate::wire::node::ErrorReply;
mod json;

pub use json::parse_object;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Group};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt;

/// Where to listen.
#[derive(Debug, Clone)]
pub enum Bind {
    /// A unix socket.
    Unix {
        /// Path of the socket.
        path: PathBuf,
        /// Its permission bits, `0o600` for instance.
        mode: u32,
        /// Name or number of the group that owns it.
        group: Option<String>,
    },
    /// A TCP port; port 0 takes any free one.
    Tcp(SocketAddr),
}

/// What a server does not let clients exceed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once, over all listeners; more wait to be accepted.
    pub connections: usize,
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
            header_time: Duration::from_secs(30),
            request_time: Duration::from_mins(1),
            body: 1 << 20,
            shutdown_time: Duration::from_secs(20),
        }
    }
}

/// Why a server can't listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process serves this socket.
    #[error("another process is listening on {0}")]
    InUse(PathBuf),
    /// The group does not exist.
    #[error("there is no group {0:?}")]
    UnknownGroup(String),
    /// The system refuses.
    #[error("can't listen on {bind}")]
    Io {
        /// The address.
        bind: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The process or address at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A process on this machine, by its credentials when it connected.
    Process {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
        /// Process id, if the kernel tells.
        pid: Option<i32>,
    },
    /// A TCP client.
    Tcp(SocketAddr),
    /// The kernel did not say.
    Unknown,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, gid, pid } => write!(f, "uid={uid} gid={gid} pid={}", pid.unwrap_or(0)),
            Self::Tcp(address) => address.fmt(f),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// A unix socket, removed when the server is done.
    Unix(UnixListener, PathBuf),
    /// A TCP port.
    Tcp(TcpListener),
}

impl Listener {
    /// Starts to listen. A unix socket that a dead process left behind is replaced; it appears at its path with
    /// its permissions already set.
    pub async fn bind(bind: &Bind) -> Result<Self, BindError> {
        match bind {
            Bind::Tcp(address) => {
                let failed = |source| BindError::Io { bind: address.to_string(), source };
                Ok(Self::Tcp(TcpListener::bind(address).await.map_err(failed)?))
            }
            Bind::Unix { path, mode, group } => {
                if UnixStream::connect(path).await.is_ok() {
                    return Err(BindError::InUse(path.clone()));
                }
                let gid = group.as_deref().map(find_group).transpose()?;
                let failed = |source| BindError::Io { bind: path.display().to_string(), source };
                let listener = bind_unix(path, *mode, gid).map_err(failed)?;
                Ok(Self::Unix(listener, path.clone()))
            }
        }
    }

    /// The TCP address it listens on.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }
}

fn find_group(group: &str) -> Result<Gid, BindError> {
    if let Ok(number) = group.parse() {
        return Ok(Gid::from_raw(number));
    }
    match Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid),
        Ok(None) | Err(_) => Err(BindError::UnknownGroup(group.to_owned())),
    }
}

fn bind_unix(path: &Path, mode: u32, gid: Option<Gid>) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    remove_if_there(&fresh)?;
    let listener = UnixListener::bind(&fresh)?;
    nix::unistd::chown(&fresh, None, gid)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
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
    let permits = Arc::new(Semaphore::new(limits.connections));
    let paths: Vec<PathBuf> = listeners.iter().filter_map(unix_path).collect();
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            tokio::spawn(accept(listener, router.clone(), limits, Arc::clone(&permits), stopped.clone()))
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
}

fn unix_path(listener: &Listener) -> Option<PathBuf> {
    match listener {
        Listener::Unix(_, path) => Some(path.clone()),
        Listener::Tcp(_) => None,
    }
}

async fn accept(
    listener: Listener,
    router: Router,
    limits: Limits,
    permits: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = next_permitted(&listener, &permits) => accepted,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        let (permit, stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: give connections time to end.
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = service(router.clone(), peer, limits.request_time);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_time)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that goes away is no error of ours.
            let _ = connection.await;
            crate::fault::point("reply.after");
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.shutdown_time, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still in progress at the end of the shutdown time");
    }
}

async fn next_permitted(
    listener: &Listener,
    permits: &Arc<Semaphore>,
) -> io::Result<(OwnedSemaphorePermit, Box<dyn Stream>, Peer)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = next(listener).await?;
    Ok((permit, stream, peer))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn next(listener: &Listener) -> io::Result<(Box<dyn Stream>, Peer)> {
    match listener {
        Listener::Unix(listener, _) => {
            let (stream, _) = listener.accept().await?;
            let peer = stream.peer_cred().map_or(Peer::Unknown, |cred| Peer::Process {
                uid: cred.uid(),
                gid: cred.gid(),
                pid: cred.pid(),
            });
            Ok((Box::new(stream), peer))
        }
        Listener::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream), Peer::Tcp(address)))
        }
    }
}

fn service(
    router: Router,
    peer: Peer,
    request_time: Duration,
) -> impl hyper::service::Service<
    hyper::Request<Incoming>,
    Response = Response,
    Error = std::convert::Infallible,
    Future = impl Future<Output = Result<Response, std::convert::Infallible>> + Send,
> {
    hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request: Request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let response = tokio::time::timeout(request_time, router.oneshot(request)).await;
            crate::fault::point("reply.before");
            Ok(match response {
                Ok(response) => response.into_response(),
                Err(_) => timed_out(),
            })
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
