//! Watches on an etcd cluster. A stream that breaks ends the watch: who watches lists again, as it can't be
//! known what was missed meanwhile.

use super::connection::Member;
use super::error::store_error;
use super::{from_etcd, relative};
use crate::store::{Entry, Event, Revision, StoreError};
use bytes::Bytes;
use etcd_client::{Error, EventType, WatchOptions, WatchResponse, WatchStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;
use tonic::Status;

/// Opens a stream, and reads the server's first answer on it.
pub(super) async fn open(
    mut member: Member,
    key: Vec<u8>,
    from: Revision,
    options: WatchOptions,
) -> Result<(WatchStream, WatchResponse), Error> {
    let mut stream = member.watch.watch(key, Some(options)).await?;
    let Some(first) = stream.message().await? else {
        return Err(Status::unavailable("the watch ended before it began").into());
    };
    if first.canceled() && first.compact_revision() == 0 {
        // A stale token is told in this way.
        return Err(Status::unauthenticated(first.cancel_reason().to_owned()).into());
    }
    // A server that has not come so far yet, or went back, would keep silent until it has, and say nothing of what
    // happens until then.
    let revision = first.header().map_or(0, |header| from_etcd(header.revision()));
    if !first.canceled() && revision.saturating_add(1) < from {
        return Err(Status::unavailable(format!("the server is at revision {revision}")).into());
    }
    Ok((stream, first))
}

/// Passes on what a stream brings, until it ends or nobody listens any more.
pub(super) async fn follow(
    mut stream: WatchStream,
    first: WatchResponse,
    from: Revision,
    prefix: String,
    watcher: mpsc::Sender<Result<Event, StoreError>>,
    interruptions: Arc<AtomicU64>,
) {
    let mut answer = first;
    loop {
        for event in answer.events() {
            if let Some(event) = changed(&prefix, event)
                && watcher.send(Ok(event)).await.is_err()
            {
                return;
            }
        }
        let error = if answer.canceled() {
            canceled(&answer, from)
        } else {
            tokio::select! {
                next = stream.message() => match next {
                    Ok(Some(next)) => {
                        answer = next;
                        continue;
                    }
                    Ok(None) => lost("the stream ended"),
                    Err(error) => store_error("watch", &error, from),
                },
                () = watcher.closed() => return,
            }
        };
        interruptions.fetch_add(1, Ordering::Relaxed);
        // Nobody listens if this fails.
        let _ = watcher.send(Err(error)).await;
        return;
    }
}

fn canceled(answer: &WatchResponse, from: Revision) -> StoreError {
    if answer.compact_revision() > 0 { StoreError::Compacted(from) } else { lost(answer.cancel_reason()) }
}

fn lost(reason: &str) -> StoreError {
    StoreError::Unavailable { reason: format!("watch: {reason}"), source: None }
}

fn changed(prefix: &str, event: &etcd_client::Event) -> Option<Event> {
    let kv = event.kv()?;
    let (key, revision) = (relative(prefix, kv.key()), from_etcd(kv.mod_revision()));
    Some(match event.event_type() {
        EventType::Delete => Event::Delete(key, revision),
        EventType::Put => Event::Put(Entry {
            key,
            value: Bytes::copy_from_slice(kv.value()),
            create_revision: from_etcd(kv.create_revision()),
            mod_revision: revision,
        }),
    })
}
