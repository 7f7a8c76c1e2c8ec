//! The output of containers, sent as it comes. Engines say where it is.
//!
//! * [`mod@line`]: the lines of a file that a container runtime writes: pure
//! * [`mod@file`]: a file that grows, and is set aside for another one
//! * [`mod@follow`]: such a file, followed to the end of its container
//!
//! A stream does nothing but when its client reads: it has no task of its own, and ends with the client.

mod file;
mod follow;
mod line;

pub use file::LogFile;
pub use follow::follow_file;

use super::engine::Source;
use super::services::service_id;
use super::{Platform, PlatformError, only};
use axum::body::Bytes;
use common::lastbackend::ServiceId;
use common::store::record::lastbackend::{Pod, Run, Service};
use common::store::{KeyRange, keys::lastbackend as keys};
use futures_util::stream::{BoxStream, Stream, StreamExt};
use std::future::pending;
use std::io;
use std::sync::Arc;

/// The output of a container, as it comes.
pub type Output = BoxStream<'static, io::Result<Bytes>>;

/// Whose output.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// The pod; the first one if it is not given.
    pub pod: Option<String>,
    /// The container; the first one of the pod if it is not given.
    pub container: Option<String>,
    /// Whether to go on until the container ends.
    pub follow: bool,
}

impl Platform {
    /// The output of a container of a service, from its beginning.
    pub async fn logs(
        &self,
        namespace: &str,
        name: &str,
        which: &Which,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, PlatformError> {
        let source = self.source(namespace, name, which).await?;
        let engine = self.engine.as_ref().map(Arc::clone);
        let engine =
            engine.ok_or_else(|| PlatformError::Engine("this controller runs no services".to_owned()))?;
        let output = engine.output(&source, which.follow).await;
        let output = output.map_err(|error| PlatformError::Engine(error.to_string()))?;
        let unknown = || PlatformError::Engine(format!("container {} has no log here", source.container));
        let mut ending = self.ending.clone();
        Ok(output.ok_or_else(unknown)?.take_until(Box::pin(async move {
            // An error means that nothing will tell.
            if ending.wait_for(|ending| *ending).await.is_err() {
                pending::<()>().await;
            }
        })))
    }

    /// The container that is asked for, of those that the engine has told of.
    async fn source(&self, namespace: &str, name: &str, which: &Which) -> Result<Source, PlatformError> {
        let id = match service_id(namespace, name) {
            Ok(id) => id,
            Err(_) => self.must_exist(namespace, name).await?,
        };
        let ranges = [KeyRange::key(keys::service(&id)), KeyRange::key(keys::run(&id))];
        let read = self.store.snapshot(&ranges).await?.ranges;
        let Some(service) = only::<Service>(&read[0])? else {
            self.must_exist(namespace, name).await?;
            // It was made a moment ago.
            return Err(PlatformError::NoPods(id));
        };
        let run = only::<Run>(&read[1])?.map(|run| run.record).filter(|run| run.uid == service.record.uid);
        chosen(&id, &run.unwrap_or_default().pods, which)
    }
}

fn chosen(id: &ServiceId, pods: &[Pod], which: &Which) -> Result<Source, PlatformError> {
    let pod = match &which.pod {
        Some(name) => {
            let named = pods.iter().find(|pod| pod.name == *name);
            named.ok_or_else(|| PlatformError::UnknownPod(id.clone(), name.clone()))?
        }
        // One that has said something yet, if there is one.
        None => pods
            .iter()
            .find(|pod| !pod.containers.is_empty())
            .or(pods.first())
            .ok_or_else(|| PlatformError::NoPods(id.clone()))?,
    };
    let found = match &which.container {
        Some(id) => pod.containers.iter().find(|container| container.id == *id),
        None => pod.containers.first(),
    };
    let unknown = || match &which.container {
        Some(id) => PlatformError::UnknownContainer(pod.name.clone(), id.clone()),
        None => PlatformError::NoContainers(pod.name.clone()),
    };
    let container = found.ok_or_else(unknown)?;
    Ok(Source {
        service: id.clone(),
        pod: pod.name.clone(),
        container: container.id.clone(),
        spec: container.spec.clone(),
    })
}
