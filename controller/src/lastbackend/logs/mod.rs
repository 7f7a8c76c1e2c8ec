//! The output of containers: read from where the runtime writes it, and sent as it comes.
//!
//! * [`mod@line`]: the lines of such a file: pure
//! * [`mod@file`]: a file that grows, and is set aside for another one
//!
//! A stream does nothing but when its client reads: it has no task of its own, and ends with the client.

mod file;
mod line;

pub use file::LogFile;

use super::engine::Engine;
use super::services::service_id;
use super::{Platform, PlatformError, only};
use axum::body::Bytes;
use common::lastbackend::ServiceId;
use common::store::record::lastbackend::{Pod, Run, Service};
use common::store::{KeyRange, keys::lastbackend as keys};
use file::Reader;
use futures_util::Stream;
use futures_util::stream::unfold;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often a file that is read to its end is looked at.
const POLL: Duration = Duration::from_millis(150);
/// How often the runtime is asked whether the container has ended.
const ASK: Duration = Duration::from_secs(1);

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
        let container = self.container(namespace, name, which).await?;
        let engine = self.engine.clone();
        let engine =
            engine.ok_or_else(|| PlatformError::Engine("this controller runs no services".to_owned()))?;
        let log = engine.log(&container).await.map_err(|error| PlatformError::Engine(error.to_string()))?;
        let log =
            log.ok_or_else(|| PlatformError::Engine(format!("container {container} has no log here")))?;
        let reader = Reader::open(&log);
        let follower = Follower {
            engine,
            container,
            ending: self.ending.clone(),
            follow: which.follow,
            asked: Instant::now(),
        };
        Ok(unfold(Some((reader, follower)), async |state| {
            let (reader, mut follower) = state?;
            match follower.next(reader).await {
                Ok(Some((reader, bytes))) => Some((Ok(bytes), Some((reader, follower)))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    /// The container that is asked for, of those that the engine has told of.
    async fn container(&self, namespace: &str, name: &str, which: &Which) -> Result<String, PlatformError> {
        let id = match service_id(namespace, name) {
            Ok(id) => id,
            Err(_) => self.must_exist(namespace, name).await?,
        };
        let ranges = [KeyRange::key(keys::service(&id)), KeyRange::key(keys::run(&id))];
        let read = self.store.snapshot(&ranges).await?.ranges;
        let Some(service) = only::<Service>(&read[0])? else {
            return self.must_exist(namespace, name).await.map(|_| String::new());
        };
        let run = only::<Run>(&read[1])?.map(|run| run.record).filter(|run| run.uid == service.record.uid);
        chosen(&id, &run.unwrap_or_default().pods, which)
    }
}

fn chosen(id: &ServiceId, pods: &[Pod], which: &Which) -> Result<String, PlatformError> {
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
    found.map(|container| container.id.clone()).ok_or_else(unknown)
}

/// Follows a container to its end.
struct Follower {
    engine: Arc<dyn Engine>,
    container: String,
    ending: watch::Receiver<bool>,
    follow: bool,
    asked: Instant,
}

impl Follower {
    /// What is new; nothing at the end.
    async fn next(&mut self, mut reader: Reader) -> io::Result<Option<(Reader, Bytes)>> {
        loop {
            // A file is read where waiting for a disk holds nobody up.
            let read = tokio::task::spawn_blocking(move || {
                let bytes = reader.read();
                (reader, bytes)
            });
            let (back, bytes) = read.await.map_err(io::Error::other)?;
            reader = back;
            let bytes = bytes?;
            if !bytes.is_empty() {
                return Ok(Some((reader, bytes.into())));
            }
            if !self.follow || *self.ending.borrow() {
                return Ok(None);
            }
            if self.asked.elapsed() >= ASK {
                self.asked = Instant::now();
                // What it has written before it ended is read once more. A runtime that can't tell is asked again.
                self.follow = !matches!(self.engine.has_ended(&self.container).await, Ok(true));
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                // An error means that nothing will tell.
                Ok(_) = self.ending.wait_for(|ending| *ending) => {}
            }
        }
    }
}
