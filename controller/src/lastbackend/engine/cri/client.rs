//! The calls of CRI that the engine makes, each with a time limit. What is not there is nothing, and no error.

use crate::lastbackend::engine::EngineError;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    Container, ContainerConfig, ContainerFilter, ContainerStatus, ContainerStatusRequest,
    CreateContainerRequest, ImageSpec, ImageStatusRequest, ListContainersRequest, ListPodSandboxRequest,
    PodSandbox, PodSandboxConfig, PodSandboxFilter, PodSandboxStatusRequest, PullImageRequest,
    RemoveContainerRequest, RemovePodSandboxRequest, ReopenContainerLogRequest, RunPodSandboxRequest,
    StartContainerRequest, StopContainerRequest, StopPodSandboxRequest,
};
use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

/// Longest answer, in bytes: as the kubelet has it.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// For what only reads.
const READ: Duration = Duration::from_secs(10);
/// For what makes or removes something: the network plugin may wait for an address.
const CHANGE: Duration = Duration::from_mins(1);
/// For the pull of an image.
const PULL: Duration = Duration::from_mins(5);
/// How long a container may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(10);

/// The runtime behind a socket.
#[derive(Debug, Clone)]
pub(super) struct Client {
    socket: PathBuf,
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

/// A call that is being answered.
type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'a>>;

impl Client {
    pub(super) fn new(socket: &Path) -> Self {
        let channel = coild::cri::channel(socket);
        Self {
            socket: socket.to_owned(),
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER),
        }
    }

    /// All sandboxes with a label.
    pub(super) async fn sandboxes(&self, label: (&str, &str)) -> Result<Vec<PodSandbox>, EngineError> {
        let filter = PodSandboxFilter { label_selector: labelled(label), ..PodSandboxFilter::default() };
        let request = ListPodSandboxRequest { filter: Some(filter) };
        let answer = self
            .call("ListPodSandbox", READ, Box::pin(self.runtime.clone().list_pod_sandbox(request)))
            .await?;
        Ok(answer.items)
    }

    /// All containers with a label.
    pub(super) async fn containers(&self, label: (&str, &str)) -> Result<Vec<Container>, EngineError> {
        let filter = ContainerFilter { label_selector: labelled(label), ..ContainerFilter::default() };
        let request = ListContainersRequest { filter: Some(filter) };
        let answer = self
            .call("ListContainers", READ, Box::pin(self.runtime.clone().list_containers(request)))
            .await?;
        Ok(answer.containers)
    }

    /// The addresses of a sandbox; none if it has gone.
    pub(super) async fn addresses(&self, sandbox: &str) -> Result<Vec<IpAddr>, EngineError> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: sandbox.to_owned(), verbose: false };
        let mut runtime = self.runtime.clone();
        let answer =
            self.maybe("PodSandboxStatus", READ, Box::pin(runtime.pod_sandbox_status(request))).await?;
        let network = answer.and_then(|answer| answer.status?.network).unwrap_or_default();
        let texts = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
        Ok(texts.filter_map(|text| text.parse().ok()).collect())
    }

    /// A container, if it is there.
    pub(super) async fn container_status(&self, id: &str) -> Result<Option<ContainerStatus>, EngineError> {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer = self
            .maybe("ContainerStatus", READ, Box::pin(self.runtime.clone().container_status(request)))
            .await?;
        Ok(answer.and_then(|answer| answer.status))
    }

    /// Makes a sandbox with its network, and answers its id.
    pub(super) async fn run_sandbox(&self, config: PodSandboxConfig) -> Result<String, EngineError> {
        let request = RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        let answer = self
            .call("RunPodSandbox", CHANGE, Box::pin(self.runtime.clone().run_pod_sandbox(request)))
            .await?;
        Ok(answer.pod_sandbox_id)
    }

    /// Makes a container, and answers its id.
    pub(super) async fn create_container(
        &self,
        sandbox: &str,
        config: ContainerConfig,
        sandbox_config: PodSandboxConfig,
    ) -> Result<String, EngineError> {
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let answer = self
            .call("CreateContainer", CHANGE, Box::pin(self.runtime.clone().create_container(request)))
            .await?;
        Ok(answer.container_id)
    }

    pub(super) async fn start_container(&self, id: &str) -> Result<(), EngineError> {
        let request = StartContainerRequest { container_id: id.to_owned() };
        self.call("StartContainer", CHANGE, Box::pin(self.runtime.clone().start_container(request)))
            .await
            .map(|_| ())
    }

    /// Asks a container to end, and kills it if it does not.
    pub(super) async fn stop_container(&self, id: &str) -> Result<(), EngineError> {
        let timeout = i64::try_from(GRACE.as_secs()).unwrap_or_default();
        let request = StopContainerRequest { container_id: id.to_owned(), timeout };
        let mut runtime = self.runtime.clone();
        self.maybe("StopContainer", GRACE + CHANGE, Box::pin(runtime.stop_container(request)))
            .await
            .map(|_| ())
    }

    pub(super) async fn remove_container(&self, id: &str) -> Result<(), EngineError> {
        let request = RemoveContainerRequest { container_id: id.to_owned() };
        self.maybe("RemoveContainer", CHANGE, Box::pin(self.runtime.clone().remove_container(request)))
            .await
            .map(|_| ())
    }

    /// Ends what runs in a sandbox, and takes its network away.
    pub(super) async fn stop_sandbox(&self, id: &str) -> Result<(), EngineError> {
        let request = StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.maybe("StopPodSandbox", CHANGE, Box::pin(self.runtime.clone().stop_pod_sandbox(request)))
            .await
            .map(|_| ())
    }

    pub(super) async fn remove_sandbox(&self, id: &str) -> Result<(), EngineError> {
        let request = RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.maybe("RemovePodSandbox", CHANGE, Box::pin(self.runtime.clone().remove_pod_sandbox(request)))
            .await
            .map(|_| ())
    }

    /// Makes the runtime write a container's log to a new file.
    pub(super) async fn reopen_log(&self, container: &str) -> Result<(), EngineError> {
        let request = ReopenContainerLogRequest { container_id: container.to_owned() };
        let mut runtime = self.runtime.clone();
        self.maybe("ReopenContainerLog", READ, Box::pin(runtime.reopen_container_log(request)))
            .await
            .map(|_| ())
    }

    /// Whether the runtime has an image.
    pub(super) async fn has_image(&self, image: &str) -> Result<bool, EngineError> {
        let request = ImageStatusRequest { image: Some(image_spec(image)), verbose: false };
        let answer =
            self.call("ImageStatus", READ, Box::pin(self.images.clone().image_status(request))).await?;
        Ok(answer.image.is_some())
    }

    /// Fetches an image from its registry.
    pub(super) async fn pull(&self, image: &str) -> Result<(), EngineError> {
        let request = PullImageRequest { image: Some(image_spec(image)), ..PullImageRequest::default() };
        self.call("PullImage", PULL, Box::pin(self.images.clone().pull_image(request))).await.map(|_| ())
    }

    async fn call<T>(
        &self,
        call: &'static str,
        time: Duration,
        answer: Pending<'_, T>,
    ) -> Result<T, EngineError> {
        let socket = self.socket.display();
        match tokio::time::timeout(time, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) if status.code() == Code::Unavailable => Err(EngineError::Away(format!(
                "the container runtime at {socket} can't be reached: {}",
                why(&status)
            ))),
            Ok(Err(status)) => Err(EngineError::Refused(format!("{call}: {}", why(&status)))),
            Err(_) => Err(EngineError::Away(format!(
                "the container runtime at {socket} did not answer {call} within {time:?}"
            ))),
        }
    }

    /// A call of which the object may have gone.
    async fn maybe<T>(
        &self,
        call: &'static str,
        time: Duration,
        answer: Pending<'_, T>,
    ) -> Result<Option<T>, EngineError> {
        let found = async {
            match answer.await {
                Ok(response) => Ok(Response::new(Some(response.into_inner()))),
                Err(status) if status.code() == Code::NotFound => Ok(Response::new(None)),
                Err(status) => Err(status),
            }
        };
        self.call(call, time, Box::pin(found)).await
    }
}

fn labelled((label, value): (&str, &str)) -> HashMap<String, String> {
    HashMap::from([(label.to_owned(), value.to_owned())])
}

fn image_spec(image: &str) -> ImageSpec {
    ImageSpec { image: image.to_owned(), ..ImageSpec::default() }
}

fn why(status: &Status) -> String {
    match status.message() {
        "" => status.code().to_string(),
        message => message.to_owned(),
    }
}
