//! HTTP to the controller: over TCP or a unix socket, one connection for a request.

use crate::exit::Failure;
use crate::identity::Identity;
use common::error::chain;
use common::wire::admin::{self, List};
use common::wire::melange::Fault;
use common::wire::{ip_pools, lastbackend};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

/// The longest answer that is read: a full page of the longest items is a few megabytes.
const MAX_ANSWER: usize = 64 << 20;
/// Items of a page: the most that the controller gives.
const PAGE: usize = 5_000;
/// What stands for itself in a part of a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b':');

/// Where the controller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Server {
    /// A host, by name or address, and a port.
    Tcp(String, u16),
    /// The same, over TLS.
    Tls(String, u16),
    /// A unix socket.
    Unix(PathBuf),
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err("the path of the socket is missing".to_owned()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err("it starts with https://, http:// or unix:".to_owned()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let uri: hyper::Uri =
            format!("http://{rest}/").parse().map_err(|_| "the address is malformed".to_owned())?;
        let authority = uri.authority().filter(|authority| authority.as_str() == rest && !rest.contains('@'));
        let authority = authority.ok_or("after :// there is a host and a port only")?;
        if authority.host().is_empty() {
            return Err("the host is missing".to_owned());
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") if tls => 443,
            Some("") => 80,
            Some(port) => {
                port.trim_start_matches(':').parse().map_err(|_| "the port is malformed".to_owned())?
            }
            None => return Err("the host is malformed".to_owned()),
        };
        let host = authority.host().to_owned();
        Ok(if tls { Self::Tls(host, port) } else { Self::Tcp(host, port) })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "http://{host}:{port}"),
            Self::Tls(host, port) => write!(f, "https://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Path and query of a request, made of parts that are percent-encoded.
#[derive(Debug)]
pub(crate) struct Target(String);

impl Target {
    /// The path `/v1/<part>/<part>…`
    pub(crate) fn path(parts: &[&str]) -> Self {
        Self::below("/v1", parts)
    }

    /// The path `/<part>/<part>…` of an API of its own.
    pub(crate) fn root(parts: &[&str]) -> Self {
        Self::below("", parts)
    }

    fn below(root: &str, parts: &[&str]) -> Self {
        let mut target = root.to_owned();
        for part in parts {
            target.push('/');
            // What is only dots would mean another path.
            let plain = if part.bytes().all(|byte| byte == b'.') { NON_ALPHANUMERIC } else { PLAIN };
            target.extend(utf8_percent_encode(part, plain));
        }
        Self(target)
    }

    /// Adds a parameter, if it has a value.
    pub(crate) fn with(mut self, name: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(name);
            self.0.push('=');
            self.0.extend(utf8_percent_encode(&value.to_string(), PLAIN));
        }
        self
    }
}

/// The controller.
pub(crate) struct Client {
    server: Server,
    timeout: Duration,
    identity: Identity,
}

impl Client {
    pub(crate) fn new(server: Server, timeout: Duration, identity: Identity) -> Self {
        Self { server, timeout, identity }
    }

    /// How long it waits for an answer.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Reads something.
    pub(crate) async fn get<T: DeserializeOwned>(&self, target: Target) -> Result<T, Failure> {
        self.call(Method::GET, target, Bytes::new()).await.map(|(_, value)| value)
    }

    /// All items of a list, page by page.
    pub(crate) async fn list<T, F>(&self, target: F) -> Result<Vec<T>, Failure>
    where
        T: DeserializeOwned,
        F: Fn() -> Target,
    {
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let target = target().with("limit", Some(PAGE)).with("continue", next.as_ref());
            let page: List<T> = self.get(target).await?;
            items.extend(page.items);
            match page.next {
                Some(token) if next.as_ref() != Some(&token) => next = Some(token),
                Some(_) => return Err(self.not_understood("the list does not end".to_owned())),
                None => return Ok(items),
            }
        }
    }

    /// Changes something.
    pub(crate) async fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        target: Target,
        body: Option<&B>,
    ) -> Result<(StatusCode, T), Failure> {
        let body =
            body.map(serde_json::to_vec).transpose().map_err(|error| Failure::Usage(error.to_string()))?;
        self.call(method, target, body.unwrap_or_default().into()).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        target: Target,
        body: Bytes,
    ) -> Result<(StatusCode, T), Failure> {
        let exchange = tokio::time::timeout(self.timeout, self.exchange(method, target, body));
        let (status, body) = exchange.await.map_err(|_| self.late())??;
        if status.is_success() {
            let body = if body.is_empty() { Bytes::from_static(b"null") } else { body };
            let value =
                serde_json::from_slice(&body).map_err(|error| self.not_understood(error.to_string()))?;
            return Ok((status, value));
        }
        Err(self.refused(status, &body))
    }

    /// Removes something, of which nothing is answered.
    pub(crate) async fn remove(&self, target: Target) -> Result<(), Failure> {
        let exchange =
            tokio::time::timeout(self.timeout, self.exchange(Method::DELETE, target, Bytes::new()));
        let (status, body) = exchange.await.map_err(|_| self.late())??;
        if status.is_success() { Ok(()) } else { Err(self.refused(status, &body)) }
    }

    /// Writes an answer as it comes, to its end. Only its beginning must come in time.
    pub(crate) async fn copy(&self, target: Target, out: &mut dyn Write) -> Result<(), Failure> {
        let begin = tokio::time::timeout(self.timeout, self.begin(Method::GET, target, Bytes::new()));
        let (response, connection) = begin.await.map_err(|_| self.late())??;
        let (status, mut body) = (response.status(), response.into_body());
        if !status.is_success() {
            return Err(self.refused(status, &self.collected(body).await?));
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.broken(&error))?;
            if let Some(bytes) = frame.data_ref() {
                out.write_all(bytes)?;
                out.flush()?;
            }
        }
        connection.abort();
        Ok(())
    }

    /// Why an answer is no success: each API has a form of its own.
    fn refused(&self, status: StatusCode, body: &[u8]) -> Failure {
        let admin = serde_json::from_slice(body).map(|admin::Failure { error, .. }| error);
        let ip_pools = || serde_json::from_slice(body).map(|ip_pools::Failure { error }| error);
        let platform = || serde_json::from_slice(body).map(|lastbackend::Failure { message, .. }| message);
        let tenants = || {
            let faults: BTreeMap<String, Fault> = serde_json::from_slice(body).ok()?;
            faults.into_values().next().map(|fault| fault.detail)
        };
        match admin.or_else(|_| ip_pools()).or_else(|_| platform()).ok().or_else(tenants) {
            Some(error) => Failure::Refused { status, error },
            None => self.not_understood(format!("status {status}")),
        }
    }

    fn late(&self) -> Failure {
        self.unreachable(format!("no answer within {:?}", self.timeout))
    }

    async fn exchange(
        &self,
        method: Method,
        target: Target,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let (response, connection) = self.begin(method, target, body).await?;
        let status = response.status();
        let body = self.collected(response.into_body()).await?;
        connection.abort();
        Ok((status, body))
    }

    async fn collected(&self, body: Incoming) -> Result<Bytes, Failure> {
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        Ok(body.map_err(|error| self.not_understood(error.to_string()))?.to_bytes())
    }

    /// Sends a request, and answers the beginning of the reply, with the task of its connection.
    async fn begin(
        &self,
        method: Method,
        target: Target,
        body: Bytes,
    ) -> Result<(Response<Incoming>, JoinHandle<Result<(), hyper::Error>>), Failure> {
        let stream = self.connect().await.map_err(|error| self.unreachable(chain(&error)))?;
        let lost = |error: hyper::Error| self.unreachable(chain(&error));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        let connection = tokio::spawn(connection);
        let host = match &self.server {
            Server::Tcp(host, port) | Server::Tls(host, port) => format!("{host}:{port}"),
            Server::Unix(_) => "localhost".to_owned(),
        };
        let mut request = Request::builder();
        if let Some(token) = &self.identity.token {
            request = request.header("authorization", token);
        }
        let request = request
            .method(method)
            .uri(target.0)
            .header("host", host)
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
        Ok((response, connection))
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match &self.server {
            Server::Tcp(host, port) => Ok(Box::new(TcpStream::connect((bare(host), *port)).await?)),
            Server::Tls(host, port) => {
                let stream = TcpStream::connect((bare(host), *port)).await?;
                self.identity.secure(bare(host), stream).await
            }
            Server::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        }
    }

    /// An answer that is not HTTP is no reason to look for another address.
    fn broken(&self, error: &hyper::Error) -> Failure {
        if error.is_parse() { self.not_understood(chain(error)) } else { self.unreachable(chain(error)) }
    }

    fn unreachable(&self, reason: String) -> Failure {
        Failure::Unreachable { server: self.server.clone(), reason }
    }

    pub(crate) fn not_understood(&self, reason: String) -> Failure {
        Failure::NotUnderstood { server: self.server.clone(), reason }
    }
}

/// An IPv6 address without its brackets, or the host as it is.
pub(crate) fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// What HTTP is spoken over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        for (text, server) in [
            ("http://127.0.0.1:9898", Server::Tcp("127.0.0.1".to_owned(), 9898)),
            ("http://coil.example/", Server::Tcp("coil.example".to_owned(), 80)),
            ("http://[::1]:9898", Server::Tcp("[::1]".to_owned(), 9898)),
            ("https://10.0.0.1:9898", Server::Tls("10.0.0.1".to_owned(), 9898)),
            ("https://coil.example", Server::Tls("coil.example".to_owned(), 443)),
            ("unix:/run/c.sock", Server::Unix("/run/c.sock".into())),
            ("unix:///run/c.sock", Server::Unix("/run/c.sock".into())),
        ] {
            assert_eq!(text.parse(), Ok(server), "{text}");
        }
        for bad in [
            "",
            "127.0.0.1:9898",
            "ftp://h:1",
            "https://h:1/path",
            "http://",
            "http://h:1/path",
            "http://h:x",
            "http://u@h",
            "http://h:1?x",
            "unix:",
            "unix://",
        ] {
            assert!(bad.parse::<Server>().is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_are_encoded() {
        let target = Target::path(&["addresses", "fd00::1"]).with("a", Some("x y&z")).with("b", None::<u8>);
        assert_eq!(target.0, "/v1/addresses/fd00::1?a=x%20y%26z");
        assert_eq!(Target::path(&["pools", "a/b?%"]).0, "/v1/pools/a%2Fb%3F%25");
        assert_eq!(Target::root(&["nsippool", "a b", ".."]).0, "/nsippool/a%20b/%2E%2E");
    }
}
