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

/// A stream that watches, and what came on it already.
pub(super) struct Opened {
    stream: WatchStream,
    answers: Vec<WatchResponse>,
}

/// Opens a stream for some ranges, each with its first key, and reads the server's answer for each of them.
pub(super) async fn open(
    mut member: Member,
    ranges: Vec<(Vec<u8>, WatchOptions)>,
    from: Revision,
) -> Result<Opened, Error> {
    let mut unanswered = ranges.len();
    let mut ranges = ranges.into_iter();
    let (key, options) = ranges.next().unwrap_or_default();
    let mut stream = member.watch.watch(key, Some(options)).await?;
    for (key, options) in ranges {
        stream.watch(key, Some(options)).await?;
    }
    let mut answers = Vec::new();
    while unanswered > 0 {
        let Some(answer) = stream.message().await? else {
            return Err(Status::unavailable("the watch ended before it began").into());
        };
        unanswered -= usize::from(answer.created());
        let ended = answer.canceled();
        if ended && answer.compact_revision() == 0 {
            // A stale token is told in this way.
            return Err(Status::unauthenticated(answer.cancel_reason().to_owned()).into());
        }
        // A server that has not come so far yet, or went back, would keep silent until it has, and say nothing of what
        // happens until then.
        let revision = answer.header().map_or(0, |header| from_etcd(header.revision()));
        if !ended && revision.saturating_add(1) < from {
            return Err(Status::unavailable(format!("the server is at revision {revision}")).into());
        }
        answers.push(answer);
        if ended {
            break;
        }
    }
    Ok(Opened { stream, answers })
}

/// Passes on what a stream brings, until it ends or nobody listens any more.
pub(super) async fn follow(
    Opened { mut stream, answers }: Opened,
    from: Revision,
    prefix: String,
    watcher: mpsc::Sender<Result<Event, StoreError>>,
    interruptions: Arc<AtomicU64>,
) {
    let mut answers = answers.into_iter();
    let error = loop {
        let answer = if let Some(answer) = answers.next() {
            answer
        } else {
            tokio::select! {
                next = stream.message() => match next {
                    Ok(Some(answer)) => answer,
                    Ok(None) => break lost("the stream ended"),
                    Err(error) => break store_error("watch", &error, from),
                },
                () = watcher.closed() => return,
            }
        };
        for event in answer.events() {
            if let Some(event) = changed(&prefix, event)
                && watcher.send(Ok(event)).await.is_err()
            {
                return;
            }
        }
        if answer.canceled() {
            break canceled(&answer, from);
        }
    };
    interruptions.fetch_add(1, Ordering::Relaxed);
    // Nobody listens if this fails.
    let _ = watcher.send(Err(error)).await;
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
