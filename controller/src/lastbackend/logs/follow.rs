//! The file of a container's log, followed to the end of the container.

use super::Output;
use super::file::{LogFile, Reader};
use axum::body::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{StreamExt, unfold};
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often a file that is read to its end is looked at.
const POLL: Duration = Duration::from_millis(150);
/// How often it is asked whether the container has ended.
const ASK: Duration = Duration::from_secs(1);

/// The output in a file from its beginning; with `follow` as it comes, until `has_ended` says that the container can
/// write no more.
pub fn follow_file(
    log: &LogFile,
    follow: bool,
    has_ended: impl Fn() -> BoxFuture<'static, bool> + Send + 'static,
) -> Output {
    let reader = Reader::open(log);
    let follower = Follower { has_ended, follow, asked: Instant::now() };
    unfold(Some((reader, follower)), async |state| {
        let (reader, mut follower) = state?;
        match follower.next(reader).await {
            Ok(Some((reader, bytes))) => Some((Ok(bytes), Some((reader, follower)))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

struct Follower<F> {
    has_ended: F,
    follow: bool,
    asked: Instant,
}

impl<F: Fn() -> BoxFuture<'static, bool>> Follower<F> {
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
            if !self.follow {
                return Ok(None);
            }
            if self.asked.elapsed() >= ASK {
                self.asked = Instant::now();
                // What it has written before it ended is read once more.
                self.follow = !(self.has_ended)().await;
                continue;
            }
            sleep(POLL).await;
        }
    }
}
