//! The limits of the HTTP listeners.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use axum::Router;
use axum::routing::get;
use common::server::{Bind, Limits, Listener, serve};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

const REQUEST: &[u8] = b"GET /at-once HTTP/1.1\r\nHost: x\r\n\r\n";
const SLOW_REQUEST: &[u8] = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n";

struct Server {
    socket: PathBuf,
    /// Told when a slow request is being served, and to let it end.
    began: Arc<Notify>,
    go_on: Arc<Notify>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
    _dir: TempDir,
}

impl Server {
    fn start(connections: usize) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let socket = dir.path().join("socket");
        let bind = Bind::Unix { path: socket.clone(), mode: 0o600, group: None };
        let (began, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begins, waits) = (Arc::clone(&began), Arc::clone(&go_on));
        let slow = async move || {
            begins.notify_one();
            waits.notified().await;
            "slow"
        };
        let router = Router::new().route("/at-once", get(async || "at once")).route("/slow", get(slow));
        let limits = Limits { connections, ..Limits::default() };
        let (stop, stopped) = oneshot::channel();
        let serving = async move {
            let listener = Listener::bind(&bind).await.expect("listens");
            serve(vec![listener], router, limits, async { drop(stopped.await) }).await;
        };
        Self { socket, began, go_on, stop, served: tokio::spawn(serving), _dir: dir }
    }

    async fn connect(&self) -> UnixStream {
        loop {
            if let Ok(stream) = UnixStream::connect(&self.socket).await {
                return stream;
            }
            tokio::task::yield_now().await;
        }
    }

    /// A request that is being served, until it is let end.
    async fn ask_slow(&self) -> UnixStream {
        let stream = self.ask(SLOW_REQUEST).await;
        self.began.notified().await;
        stream
    }

    async fn ask(&self, request: &[u8]) -> UnixStream {
        let mut stream = self.connect().await;
        stream.write_all(request).await.expect("sent");
        stream
    }
}

async fn reply(stream: &mut UnixStream, text: &str) {
    let mut reply = Vec::new();
    while !reply.ends_with(text.as_bytes()) {
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_buf(&mut reply));
        assert!(read.await.expect("in time").expect("read") > 0, "{}", String::from_utf8_lossy(&reply));
    }
    assert!(reply.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&reply));
}

#[tokio::test]
async fn connections_that_say_nothing_make_room() {
    let server = Server::start(4);
    let mut silent = Vec::new();
    for n in 0..40 {
        // Some of them say half of something.
        silent.push(server.ask(&REQUEST[..n % 3]).await);
        if n % 10 == 0 {
            reply(&mut server.ask(REQUEST).await, "at once").await;
        }
    }
    reply(&mut server.ask(REQUEST).await, "at once").await;
    // Those that came first had to go first.
    assert_eq!(silent[0].read(&mut [0; 64]).await.expect("closed"), 0);
}

#[tokio::test]
async fn a_connection_that_is_used_stays() {
    let server = Server::start(4);
    let mut used = server.connect().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(server.connect().await);
        used.write_all(REQUEST).await.expect("sent");
        reply(&mut used, "at once").await;
    }
}

#[tokio::test]
async fn a_request_in_progress_is_not_cut_off() {
    let server = Server::start(2);
    let mut slow = server.ask_slow().await;
    let mut silent = server.connect().await;
    for _ in 0..3 {
        reply(&mut server.ask(REQUEST).await, "at once").await;
    }
    assert_eq!(silent.read(&mut [0; 64]).await.expect("closed"), 0);
    // Both places are taken by those who wait for a reply; the third waits for one of them.
    let mut second = server.ask_slow().await;
    let mut third = server.ask(REQUEST).await;
    server.go_on.notify_one();
    reply(&mut slow, "slow").await;
    reply(&mut third, "at once").await;
    server.go_on.notify_one();
    reply(&mut second, "slow").await;
}

#[tokio::test]
async fn the_end_waits_for_replies_and_not_for_silence() {
    let server = Server::start(4);
    let mut slow = server.ask_slow().await;
    let _silent = server.connect().await;
    server.stop.send(()).expect("it runs");
    while UnixStream::connect(&server.socket).await.is_ok() {
        tokio::task::yield_now().await;
    }
    server.go_on.notify_one();
    reply(&mut slow, "slow").await;
    tokio::time::timeout(Duration::from_secs(10), server.served).await.expect("in time").expect("ended");
}
