//! coild's REST API over its unix socket: one connection and one round trip for each request.

pub mod http;
mod socket;

use common::ipam::Family;
use common::name::{ContainerId, IfName, PodText, PoolName};
use common::wire::node::{
    AddressReply, AllocateRequest, CollectReply, CollectRequest, ErrorReply, ReleaseReply, StatusReply,
};
use http::{HttpError, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why a request to coild failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket, or it can't be opened.
    #[error("can't reach coild at {socket}; does it run, and does it listen there?")]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// coild did not answer in time.
    #[error("coild at {socket} did not answer within {timeout:?}")]
    TimedOut {
        /// The socket.
        socket: PathBuf,
        /// The time it had.
        timeout: Duration,
    },
    /// The connection broke, or what came over it is not a reply.
    #[error("no usable reply from coild at {socket}")]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// The request can't be written as JSON.
    #[error("can't write the request to coild")]
    Request(#[source] serde_json::Error),
    /// The reply is not what the API says.
    #[error("the reply of coild to {request} is not what its API says")]
    Reply {
        /// The request.
        request: String,
        /// Where it differs.
        #[source]
        source: serde_json::Error,
    },
    /// coild refused.
    #[error("coild: {error}")]
    Refused {
        /// The HTTP status code.
        status: u16,
        /// What coild says.
        error: String,
    },
}

/// What names an attachment in the API's paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentPath {
    /// Namespace of the pod.
    pub namespace: PodText,
    /// Name of the pod.
    pub pod: PodText,
    /// Container id.
    pub container_id: ContainerId,
    /// Interface in the container.
    pub interface: IfName,
}

impl AttachmentPath {
    fn target(&self) -> String {
        format!(
            "/ip/{}/{}/{}?interface={}",
            encoded(self.namespace.as_str()),
            encoded(self.pod.as_str()),
            encoded(self.container_id.as_str()),
            encoded(self.interface.as_str()),
        )
    }
}

fn encoded(text: &str) -> percent_encoding::PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

/// coild on this node.
#[derive(Debug, Clone, Copy)]
pub struct Coild<'a> {
    socket: &'a Path,
    timeout: Duration,
}

impl<'a> Coild<'a> {
    /// The coild that listens on a socket; each request may take `timeout`.
    pub fn new(socket: &'a Path, timeout: Duration) -> Self {
        Self { socket, timeout }
    }

    /// Asks for addresses.
    pub fn allocate(&self, request: &AllocateRequest) -> Result<AddressReply, ClientError> {
        self.post("/ip", request)
    }

    /// The addresses that an attachment holds; `None` if it holds none.
    pub fn lookup(&self, attachment: &AttachmentPath) -> Result<Option<AddressReply>, ClientError> {
        absent_if_not_found(self.request("GET", &attachment.target(), &[]))
    }

    /// Frees the addresses of an attachment; `None` if coild says that it knows no such attachment.
    pub fn release(&self, attachment: &AttachmentPath) -> Result<Option<ReleaseReply>, ClientError> {
        absent_if_not_found(self.request("DELETE", &attachment.target(), &[]))
    }

    /// Frees the addresses of an attachment, one of which a foreign host uses: it is not given again for a while.
    pub fn release_conflicting(
        &self,
        attachment: &AttachmentPath,
        address: IpAddr,
        mac: &str,
    ) -> Result<Option<ReleaseReply>, ClientError> {
        let conflict = encoded(&address.to_string()).to_string();
        let target = format!("{}&conflict={conflict}&mac={}", attachment.target(), encoded(mac));
        absent_if_not_found(self.request("DELETE", &target, &[]))
    }

    /// All that coild holds on the node.
    pub fn status(&self) -> Result<StatusReply, ClientError> {
        self.request("GET", "/status", &[])
    }

    /// Frees what a network holds, but for the attachments named.
    pub fn collect(&self, request: &CollectRequest) -> Result<CollectReply, ClientError> {
        self.post("/gc", request)
    }

    /// Whether coild could give an address of each of the families, from a pool if one is named.
    pub fn ready(&self, families: &[Family], pool: Option<&PoolName>) -> Result<(), ClientError> {
        let families = families.iter().map(Family::to_string).collect::<Vec<_>>().join(",");
        let pool = pool.map(|pool| format!("&pool={}", encoded(pool.as_str()))).unwrap_or_default();
        let target = format!("/readyz?address-type={families}{pool}");
        let response = self.exchange("GET", &target, &[])?;
        if response.status == 200 { Ok(()) } else { Err(refusal(&response)) }
    }

    fn post<T: DeserializeOwned>(&self, target: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.request("POST", target, &serde_json::to_vec(body).map_err(ClientError::Request)?)
    }

    fn request<T: DeserializeOwned>(
        &self,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> Result<T, ClientError> {
        let response = self.exchange(method, target, body)?;
        if response.status != 200 {
            return Err(refusal(&response));
        }
        let request = || format!("{method} {target}");
        serde_json::from_slice(&response.body)
            .map_err(|source| ClientError::Reply { request: request(), source })
    }

    fn exchange(&self, method: &str, target: &str, body: &[u8]) -> Result<Response, ClientError> {
        let about_body = match body.len() {
            0 => String::new(),
            length => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
        };
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: coild\r\nConnection: close\r\n{about_body}\r\n");
        let mut message = head.into_bytes();
        message.extend_from_slice(body);
        socket::exchange(self.socket, self.timeout, &message)
    }
}

fn absent_if_not_found<T>(result: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match result {
        Ok(reply) => Ok(Some(reply)),
        Err(ClientError::Refused { status: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn refusal(response: &Response) -> ClientError {
    let plain = |_| {
        let text = String::from_utf8_lossy(&response.body);
        format!("HTTP status {}: {}", response.status, text.trim().chars().take(200).collect::<String>())
    };
    let reply = serde_json::from_slice::<ErrorReply>(&response.body);
    let error = reply.map_or_else(plain, |reply| reply.error);
    ClientError::Refused { status: response.status, error }
}

#[cfg(test)]
mod tests;
