//! The client of a runtime's CRI socket. Each use makes a connection of its own: uses are minutes apart, and the
//! runtime may have been restarted in between.

use super::{Cri, CriError, Listing, Readiness, SandboxAddress};
use hyper_util::rt::TokioIo;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{ListPodSandboxRequest, PodSandboxState, PodSandboxStatus, PodSandboxStatusRequest};
use std::future::Future;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// How long the runtime may take to list its sandboxes.
const LIST_TIME: Duration = Duration::from_secs(5);
/// How long it may take to tell the addresses of all of them.
const STATUS_TIME: Duration = Duration::from_secs(30);
/// Longest answer, in bytes: as the kubelet has it.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

const LIST: &str = "ListPodSandbox";
const STATUS: &str = "PodSandboxStatus";

impl Cri {
    /// The runtime that listens on this socket. It need not be up yet.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Every sandbox.
    pub async fn list(&self) -> Result<Listing, CriError> {
        let mut client = self.client();
        let reply = client.list_pod_sandbox(ListPodSandboxRequest { filter: None });
        let reply =
            self.within(LIST_TIME, LIST, async { reply.await.map_err(|error| self.failed(LIST, &error)) });
        let readiness = |state: PodSandboxState| match state {
            PodSandboxState::SandboxReady => Readiness::Ready,
            PodSandboxState::SandboxNotready => Readiness::NotReady,
        };
        let sandboxes = reply.await?.into_inner().items.into_iter();
        Ok(sandboxes.map(|sandbox| (sandbox.id.clone(), readiness(sandbox.state()))).collect())
    }

    /// The addresses of the sandboxes that run. One that went away since it was listed has none.
    pub async fn addresses(&self, listing: &Listing) -> Result<Vec<SandboxAddress>, CriError> {
        self.within(STATUS_TIME, STATUS, async {
            let mut client = self.client();
            let mut found = Vec::new();
            for id in listing.running() {
                let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
                match client.pod_sandbox_status(request).await {
                    Ok(reply) => {
                        let status = reply.into_inner().status;
                        let status =
                            status.ok_or_else(|| self.failed(STATUS, &Status::internal("no status")))?;
                        found.extend(addresses_of(id, status)?);
                    }
                    Err(error) if error.code() == Code::NotFound => {}
                    Err(error) => return Err(self.failed(STATUS, &error)),
                }
            }
            Ok(found)
        })
        .await
    }

    fn client(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(channel(&self.socket)).max_decoding_message_size(MAX_ANSWER)
    }

    async fn within<T>(
        &self,
        time: Duration,
        call: &'static str,
        answer: impl Future<Output = Result<T, CriError>>,
    ) -> Result<T, CriError> {
        let slow = |_| CriError::Slow { call, socket: self.socket.clone(), within: time };
        tokio::time::timeout(time, answer).await.map_err(slow)?
    }

    fn failed(&self, call: &'static str, status: &Status) -> CriError {
        let reason = match status.message() {
            "" => status.code().to_string(),
            message => message.to_owned(),
        };
        CriError::Call { call, socket: self.socket.clone(), reason }
    }
}

/// A connection to the runtime that listens on a socket, made with the first call, and anew when it breaks.
pub fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // A path can have characters that a URI can't, so that the connector has it and the URI is a mere name.
    Endpoint::from_static("http://cri").connect_with_connector_lazy(connect)
}

fn addresses_of(id: &str, status: PodSandboxStatus) -> Result<Vec<SandboxAddress>, CriError> {
    let pod = status.metadata.unwrap_or_default();
    let network = status.network.unwrap_or_default();
    let texts = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
    // A sandbox in the host's network reports an empty text.
    texts
        .filter(|text| !text.is_empty())
        .map(|text| {
            let address: IpAddr =
                text.parse().map_err(|_| CriError::Address { id: id.to_owned(), text: text.clone() })?;
            let (namespace, name) = (pod.namespace.clone(), pod.name.clone());
            Ok(SandboxAddress { address, id: id.to_owned(), namespace, pod: name })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_cri::v1::{PodIp, PodSandboxMetadata, PodSandboxNetworkStatus};

    fn status(ips: [&str; 2]) -> PodSandboxStatus {
        let [ip, additional] = ips.map(str::to_owned);
        let metadata = PodSandboxMetadata { name: "p".into(), namespace: "n".into(), ..Default::default() };
        let network = PodSandboxNetworkStatus { ip, additional_ips: vec![PodIp { ip: additional }] };
        PodSandboxStatus { metadata: Some(metadata), network: Some(network), ..Default::default() }
    }

    #[test]
    fn addresses_of_both_families() {
        let found = addresses_of("s", status(["10.0.0.1", "fd00::1"])).expect("addresses");
        let told: Vec<String> = found.iter().map(|sandbox| sandbox.address.to_string()).collect();
        assert_eq!(told, ["10.0.0.1", "fd00::1"]);
        assert!(
            found.iter().all(|sandbox| (&*sandbox.id, &*sandbox.namespace, &*sandbox.pod) == ("s", "n", "p"))
        );
    }

    #[test]
    fn a_sandbox_without_a_network_of_its_own_has_none() {
        assert_eq!(addresses_of("s", status(["", ""])).expect("none"), []);
        assert_eq!(addresses_of("s", PodSandboxStatus::default()).expect("none"), []);
    }

    #[test]
    fn what_is_no_address_is_named() {
        let error = addresses_of("s", status(["10.0.0.1/24", ""])).expect_err("a subnet").to_string();
        assert!(error.contains("10.0.0.1/24") && error.contains("sandbox s"), "{error}");
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_named() {
        let runtime = Cri::new("/nonexistent/a b%.sock".into());
        assert_eq!(
            runtime.list().await.expect_err("nobody listens").to_string(),
            "ListPodSandbox of the container runtime at /nonexistent/a b%.sock failed: No such file or directory (os error 2)"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_runtime_that_never_answers_is_given_up() {
        let dir = tempfile::tempdir().expect("directory");
        let socket = dir.path().join("cri.sock");
        let _listener = tokio::net::UnixListener::bind(&socket).expect("bound");
        let error = Cri::new(socket).list().await.expect_err("no answer");
        assert!(matches!(error, CriError::Slow { .. }), "{error}");
    }
}
