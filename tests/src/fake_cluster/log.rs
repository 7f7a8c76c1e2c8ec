//! The output of containers, from its beginning, as it comes.

use super::request::{Parameters, Refusal};
use super::state::{Kind, State, World, is_doomed};
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde_json::Value;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::watch::Receiver;
use tokio::time::sleep;

/// Most bytes of a piece: lines are cut anywhere.
const PIECE: usize = 7;

struct Follower {
    world: Arc<World>,
    changes: Receiver<()>,
    namespace: String,
    pod: String,
    follow: bool,
    at: usize,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.world.change(|state| state.followers -= 1);
    }
}

fn pod<'a>(state: &'a State, namespace: &str, name: &str) -> Option<&'a Value> {
    state.get(&(Kind::Pod, namespace.to_owned(), name.to_owned()))
}

pub(super) fn log(world: Arc<World>, namespace: &str, name: &str, parameters: &Parameters) -> Response {
    let container = parameters.get("container").cloned().unwrap_or_default();
    let outcome = world.change(|state| {
        let pod = pod(state, namespace, name);
        let pod = pod.ok_or_else(|| Refusal(404, "NotFound", format!("pods {name:?} not found")))?;
        let mut statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
        let status = statuses.find(|status| status["name"] == container);
        let bad = |what: &str| Refusal(400, "BadRequest", format!("container {container} {what}"));
        let status = status.ok_or_else(|| bad("is not valid for the pod"))?;
        if status["containerID"].is_null() {
            return Err(bad("is waiting to start"));
        }
        state.followers += 1;
        Ok(())
    });
    if let Err(refusal) = outcome {
        return refusal.into_response();
    }
    let follower = Follower {
        changes: world.changes(),
        world,
        namespace: namespace.to_owned(),
        pod: name.to_owned(),
        follow: parameters.get("follow").is_some_and(|follow| follow == "true"),
        at: 0,
    };
    let pieces = unfold(follower, async |mut follower| {
        let piece = follower.next().await?;
        Some((Ok::<_, Infallible>(piece), follower))
    });
    Body::from_stream(pieces).into_response()
}

impl Follower {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.changes.mark_unchanged();
            let (piece, runs, delay) = self.world.read(|state| {
                let written = state.logs.get(&self.pod).map_or(&[][..], Vec::as_slice);
                let rest = written.get(self.at..).unwrap_or_default();
                let piece = Bytes::copy_from_slice(&rest[..rest.len().min(PIECE)]);
                let pod = pod(state, &self.namespace, &self.pod);
                (piece, pod.is_some_and(|pod| !is_doomed(pod)), state.delay)
            });
            if !piece.is_empty() {
                self.at += piece.len();
                sleep(delay).await;
                return Some(piece);
            }
            if !self.follow || !runs || self.changes.changed().await.is_err() {
                return None;
            }
        }
    }
}
