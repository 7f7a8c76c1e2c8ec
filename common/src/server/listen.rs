//! Where a server listens, and who connects.

use nix::unistd::{Gid, Group, getgid, getuid};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

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
    /// A unix socket that whoever started this process has made, and keeps: systemd.socket(5). Who connects while no
    /// process serves it waits for the next one.
    Inherited(Arc<std::os::unix::net::UnixListener>),
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { path, .. } => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
            Self::Inherited(_) => f.write_str("the socket that this was started with"),
        }
    }
}

impl Bind {
    /// The unix socket that this process was started with, if it was (`sd_listen_fds(3)`). To be called once, before there
    /// are threads.
    pub fn inherited() -> io::Result<Option<Self>> {
        let listener = listenfd::ListenFd::from_env().take_unix_listener(0)?;
        Ok(listener.map(|listener| Self::Inherited(Arc::new(listener))))
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

impl Peer {
    /// The process that asks.
    pub fn this_process() -> Self {
        let pid = i32::try_from(std::process::id()).ok();
        Self::Process { uid: getuid().as_raw(), gid: getgid().as_raw(), pid }
    }
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

/// The certificate (DER) of a client that has proved, in the TLS handshake, to have its key, and that leads to the
/// authority which the listener trusts. An extension of each request on such a connection.
#[derive(Debug, Clone)]
pub struct ClientCertificate(pub Arc<[u8]>);

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// A unix socket, removed when the server is done if it has a path here.
    Unix(UnixListener, Option<PathBuf>),
    /// A TCP port.
    Tcp(TcpListener),
    /// A TCP port on which only TLS is spoken.
    #[cfg(feature = "tls")]
    Tls(TcpListener, super::tls::Tls),
}

impl Listener {
    /// Starts to listen. A unix socket that a dead process left behind is replaced; it appears at its path with
    /// its permissions already set.
    pub async fn bind(bind: &Bind) -> Result<Self, BindError> {
        let failed = |source| BindError::Io { bind: bind.to_string(), source };
        match bind {
            Bind::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await.map_err(failed)?)),
            Bind::Unix { path, mode, group } => {
                if UnixStream::connect(path).await.is_ok() {
                    return Err(BindError::InUse(path.clone()));
                }
                let gid = group.as_deref().map(find_group).transpose()?;
                let listener = bind_unix(path, *mode, gid).map_err(failed)?;
                Ok(Self::Unix(listener, Some(path.clone())))
            }
            Bind::Inherited(listener) => {
                let listener = listener.try_clone().map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                Ok(Self::Unix(UnixListener::from_std(listener).map_err(failed)?, None))
            }
        }
    }

    /// The TCP address it listens on.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(feature = "tls")]
            Self::Tls(listener, _) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    /// This listener, with TLS if it is a TCP port. Unix sockets don't leave the machine.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(self, tls: super::tls::Tls) -> Self {
        match self {
            Self::Tcp(listener) | Self::Tls(listener, _) => Self::Tls(listener, tls),
            Self::Unix(..) => self,
        }
    }

    /// The path of a unix socket.
    pub(super) fn path(&self) -> Option<&Path> {
        if let Self::Unix(_, path) = self { path.as_deref() } else { None }
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let peer = stream.peer_cred().map_or(Peer::Unknown, |cred| Peer::Process {
                    uid: cred.uid(),
                    gid: cred.gid(),
                    pid: cred.pid(),
                });
                Ok(Accepted { stream: Raw::Plain(Box::new(stream)), peer })
            }
            Self::Tcp(listener) => {
                let (stream, peer) = accept_tcp(listener).await?;
                Ok(Accepted { stream: Raw::Plain(Box::new(stream)), peer })
            }
            #[cfg(feature = "tls")]
            Self::Tls(listener, tls) => {
                let (stream, peer) = accept_tcp(listener).await?;
                Ok(Accepted { stream: Raw::Tls(stream, tls.current()), peer })
            }
        }
    }
}

async fn accept_tcp(listener: &TcpListener) -> io::Result<(TcpStream, Peer)> {
    let (stream, address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, Peer::Tcp(address)))
}

/// A connection on which nothing was said yet.
pub(super) struct Accepted {
    stream: Raw,
    pub(super) peer: Peer,
}

enum Raw {
    Plain(Box<dyn Stream>),
    #[cfg(feature = "tls")]
    Tls(TcpStream, super::tls::Session),
}

/// What HTTP is spoken over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Accepted {
    /// The stream for HTTP, and the certificate that the client has shown and proved. With TLS this waits for the
    /// client, and fails if it does not keep to the protocol.
    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_async, reason = "with TLS, it waits"))]
    pub(super) async fn ready(self) -> io::Result<(Box<dyn Stream>, Option<ClientCertificate>)> {
        match self.stream {
            Raw::Plain(stream) => Ok((stream, None)),
            #[cfg(feature = "tls")]
            Raw::Tls(stream, session) => {
                let (stream, certificate) = session.greet(stream).await?;
                Ok((Box::new(stream), certificate))
            }
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

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
