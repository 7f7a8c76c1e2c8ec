//! Asks a coild that runs whether it is well: a probe that is a command, for those who can't reach a unix socket.

use clap::Args;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// `coild probe`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Exit codes: 0 if it is well, 1 if not.")]
pub struct Probe {
    /// Unix socket of the coild
    #[arg(long, env = "COIL_SOCKET", value_name = "PATH", default_value = "/run/coild.sock")]
    pub socket: PathBuf,
    /// Ask only whether it is alive (`/healthz`), not whether it can give addresses (`/readyz`)
    #[arg(long)]
    pub live: bool,
    /// How long it may take to answer
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = crate::config::parse_time)]
    pub timeout: Duration,
}

/// Why it is not well.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody listens.
    #[error("nobody answers on {0}")]
    Socket(PathBuf, #[source] std::io::Error),
    /// The conversation broke.
    #[error("no answer")]
    Http(#[from] hyper::Error),
    /// It takes too long.
    #[error("no answer in {0:?}")]
    Late(Duration),
    /// It says that it is not.
    #[error("{0}: {1}")]
    Unwell(StatusCode, String),
}

impl Probe {
    /// Asks.
    pub async fn run(&self) -> Result<(), ProbeError> {
        timeout(self.timeout, self.ask()).await.map_err(|_| ProbeError::Late(self.timeout))?
    }

    async fn ask(&self) -> Result<(), ProbeError> {
        let failed = |error| ProbeError::Socket(self.socket.clone(), error);
        let stream = UnixStream::connect(&self.socket).await.map_err(failed)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = hyper::Uri::from_static(if self.live { "/healthz" } else { "/readyz" });
        request.headers_mut().insert(hyper::header::HOST, hyper::header::HeaderValue::from_static("coild"));
        let answer = async {
            let reply = sender.send_request(request).await?;
            let status = reply.status();
            let body = reply.into_body().collect().await?.to_bytes();
            Ok((status, String::from_utf8_lossy(&body).trim().to_owned()))
        };
        let (status, text) = tokio::select! {
            answer = answer => answer,
            Err(error) = connection => Err(error),
        }?;
        if status.is_success() { Ok(()) } else { Err(ProbeError::Unwell(status, text)) }
    }
}
