//! Clients of a real runtime's CRI socket.

use anyhow::Result;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use std::path::Path;
use tonic::transport::{Channel, Endpoint};

/// The two services of a runtime. They connect with the first call.
#[derive(Debug, Clone)]
pub(crate) struct Cri {
    pub(crate) runtime: RuntimeServiceClient<Channel>,
    pub(crate) images: ImageServiceClient<Channel>,
}

impl Cri {
    /// Clients of the runtime that listens on this socket.
    pub(crate) fn new(socket: &Path) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("unix://{}", socket.display()))?.connect_lazy();
        let images = ImageServiceClient::new(channel.clone());
        Ok(Self { runtime: RuntimeServiceClient::new(channel), images })
    }
}
