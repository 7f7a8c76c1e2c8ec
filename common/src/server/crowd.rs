//! Who is connected. When there are as many connections as may be, the one that has waited longest for a request
//! makes room for the next: clients that connect and say nothing keep nobody out.

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How long a newcomer waits for one that was asked to leave, before another one is asked.
const PATIENCE: Duration = Duration::from_millis(50);

/// All connections of a server.
#[derive(Clone)]
pub(super) struct Crowd {
    seats: Arc<Semaphore>,
    limit: u32,
    idle: Arc<Mutex<Idle>>,
}

/// The connections without a request, those that wait longest first.
#[derive(Default)]
struct Idle {
    turn: u64,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

impl Crowd {
    /// Nobody; so many may come.
    pub(super) fn new(limit: usize) -> Self {
        let limit = u32::try_from(limit.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self { seats: Arc::new(Semaphore::new(limit as usize)), limit, idle: Arc::default() }
    }

    /// Lets a connection in, for which another one that has no request leaves if need be.
    pub(super) async fn enter(&self) -> Arc<Seat> {
        let permit = loop {
            if let Ok(permit) = Arc::clone(&self.seats).try_acquire_owned() {
                break permit;
            }
            self.make_room();
            let free = Arc::clone(&self.seats).acquire_owned();
            if let Ok(Ok(permit)) = tokio::time::timeout(PATIENCE, free).await {
                break permit;
            }
        };
        let idle = Arc::clone(&self.idle);
        let seat = Seat { idle, leave: Arc::default(), turn: Mutex::default(), _permit: permit };
        seat.wait();
        Arc::new(seat)
    }

    /// Asks the connection that has waited longest for a request to leave.
    pub(super) fn make_room(&self) {
        if let Some((_, longest)) = lock(&self.idle).waiting.pop_first() {
            longest.notify_one();
        }
    }

    /// Waits until everybody has left.
    pub(super) async fn empty(&self) {
        // It is never closed.
        let _ = self.seats.acquire_many(self.limit).await;
    }
}

/// The place of a connection. It leaves when the last of its handles is dropped.
pub(super) struct Seat {
    idle: Arc<Mutex<Idle>>,
    leave: Arc<Notify>,
    /// Its place among those that wait, if it does.
    turn: Mutex<Option<u64>>,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    /// Done when the connection is to make room.
    pub(super) async fn must_leave(&self) {
        self.leave.notified().await;
    }

    /// It has no request.
    fn wait(&self) {
        let mut idle = lock(&self.idle);
        idle.turn += 1;
        let turn = idle.turn;
        idle.waiting.insert(turn, Arc::clone(&self.leave));
        *lock(&self.turn) = Some(turn);
    }

    /// It has a request; false if it was asked to leave before, and the request must not be served.
    pub(super) fn work(&self) -> bool {
        let turn = lock(&self.turn).take();
        turn.is_some_and(|turn| lock(&self.idle).waiting.remove(&turn).is_some())
    }

    /// The reply to a request; the connection has none when it is sent.
    pub(super) fn reply(self: Arc<Self>, response: Response) -> Response {
        response.map(|body| Body::new(Reply { body, seat: self }))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let turn = lock(&self.turn).take();
        if let Some(turn) = turn {
            lock(&self.idle).waiting.remove(&turn);
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The body of a reply.
struct Reply {
    body: Body,
    seat: Arc<Seat>,
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.seat.wait();
    }
}
