//! The output of a container, by the log API of pods.

use super::Kubernetes;
use crate::lastbackend::engine::{EngineError, Source};
use crate::lastbackend::logs::Output;
use axum::body::Bytes;
use futures_util::stream::{StreamExt, unfold};
use futures_util::{AsyncBufRead, AsyncBufReadExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use std::io;

impl Kubernetes {
    pub(super) async fn log(&self, of: &Source, follow: bool) -> Result<Option<Output>, EngineError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), of.service.namespace.as_str());
        let params = LogParams { container: Some(of.spec.clone()), follow, ..LogParams::default() };
        let what = format!("logs of pod {}", of.pod);
        match self.call.raw(&what, pods.log_stream(&of.pod, &params)).await? {
            Ok(log) => Ok(Some(unfold(Box::pin(log), next).boxed())),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(self.call.error(&what, error)),
        }
    }
}

/// What has come; nothing at the end.
async fn next<R: AsyncBufRead + Unpin>(mut log: R) -> Option<(io::Result<Bytes>, R)> {
    let read = match log.fill_buf().await {
        Ok([]) => return None,
        Ok(bytes) => Ok(Bytes::copy_from_slice(bytes)),
        Err(error) => Err(error),
    };
    log.consume_unpin(read.as_ref().map_or(0, Bytes::len));
    Some((read, log))
}
