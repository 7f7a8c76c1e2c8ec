//! The Nodes that there are, listed and then watched: of each, what it was told. Nothing but metadata is asked for.

use super::super::PAGE;
use super::super::tell::{TellError, answer};
use super::FREE;
use common::name::NodeName;
use futures_util::TryStreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, PartialObjectMeta, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, timeout_at};

/// How long the API server may keep a watch open.
const WATCH: Duration = Duration::from_mins(1);
/// What it may be late with that.
const LATE: Duration = Duration::from_secs(5);

/// A Node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Tells it from others of its name, before it and after it.
    pub(super) uid: String,
    /// What it was told that it has free.
    pub(super) told: Option<String>,
}

/// What is known of Nodes now.
pub(super) enum Change {
    /// These are all of them.
    All(BTreeMap<NodeName, Seen>),
    /// One is there.
    There(NodeName, Seen),
    /// One is gone.
    Gone(NodeName),
}

/// Follows the Nodes until that fails.
pub(super) async fn follow(client: &Client, changes: &Sender<Change>) -> Result<Infallible, TellError> {
    let nodes: Api<Node> = Api::all(client.clone());
    loop {
        let mut version = Some(list(&nodes, changes).await?);
        while let Some(from) = version {
            version = watch(&nodes, from, changes).await?;
        }
    }
}

async fn send(changes: &Sender<Change>, change: Change) -> Result<(), TellError> {
    changes.send(change).await.map_err(|_| TellError::Ended)
}

fn seen(node: &PartialObjectMeta<Node>) -> Option<(NodeName, Seen)> {
    let seen = Seen { uid: node.uid()?, told: node.annotations().get(FREE).cloned() };
    Some((NodeName::new(node.name_any()).ok()?, seen))
}

/// Answers from where to watch them.
async fn list(nodes: &Api<Node>, changes: &Sender<Change>) -> Result<String, TellError> {
    let (mut all, mut page) = (BTreeMap::new(), ListParams::default().limit(PAGE));
    loop {
        let list = answer(nodes.list_metadata(&page)).await?;
        all.extend(list.items.iter().filter_map(seen));
        let Some(token) = list.metadata.continue_.filter(|token| !token.is_empty()) else {
            send(changes, Change::All(all)).await?;
            return Ok(list.metadata.resource_version.unwrap_or_default());
        };
        page = page.continue_token(&token);
    }
}

/// Answers where to go on; nothing if that is too long ago.
async fn watch(
    nodes: &Api<Node>,
    from: String,
    changes: &Sender<Change>,
) -> Result<Option<String>, TellError> {
    let end = Instant::now() + WATCH + LATE;
    let seconds = u32::try_from(WATCH.as_secs()).unwrap_or_default();
    let params = WatchParams::default().timeout(seconds);
    let events = match answer(nodes.watch_metadata(&params, &from)).await {
        Err(error) if error.is_too_old() => return Ok(None),
        events => events?,
    };
    let (mut events, mut version) = (pin!(events), from);
    loop {
        let event = timeout_at(end, events.try_next()).await.map_err(|_| TellError::Silent)??;
        match event {
            None => return Ok(Some(version)),
            Some(WatchEvent::Added(node) | WatchEvent::Modified(node)) => {
                version = node.resource_version().unwrap_or(version);
                if let Some((name, seen)) = seen(&node) {
                    send(changes, Change::There(name, seen)).await?;
                }
            }
            Some(WatchEvent::Deleted(node)) => {
                version = node.resource_version().unwrap_or(version);
                if let Some((name, _)) = seen(&node) {
                    send(changes, Change::Gone(name)).await?;
                }
            }
            Some(WatchEvent::Bookmark(bookmark)) => version = bookmark.metadata.resource_version,
            Some(WatchEvent::Error(status)) => {
                let error = TellError::from(kube::Error::Api(status));
                return if error.is_too_old() { Ok(None) } else { Err(error) };
            }
        }
    }
}
