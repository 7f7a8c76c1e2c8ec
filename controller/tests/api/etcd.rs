//! A real etcd server, of which each store has a prefix of its own.

use common::store::Store;
use common::store::etcd::{Etcd as EtcdStore, EtcdConfig};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, interval};

/// A server that is killed when it is dropped.
pub(crate) struct Etcd {
    directory: TempDir,
    port: u16,
    stores: AtomicU32,
    process: Option<Child>,
}

impl Etcd {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let mut etcd = Self { directory, port: 0, stores: AtomicU32::new(0), process: None };
        etcd.run().await;
        etcd
    }

    /// Starts it on the data that it had, at another port: whoever still asks at the old one is nobody's client. Another
    /// program may take a free port first; then it is tried again.
    pub(crate) async fn run(&mut self) {
        let (start, mut ticks) = (Instant::now(), interval(Duration::from_millis(20)));
        self.spawn();
        while !self.is_healthy() {
            assert!(start.elapsed() < Duration::from_mins(1), "etcd does not answer");
            let ended =
                self.process.as_mut().is_none_or(|process| process.try_wait().is_ok_and(|end| end.is_some()));
            if ended {
                self.spawn();
            }
            ticks.tick().await;
        }
    }

    /// Whether it serves: it listens before it does.
    fn is_healthy(&self) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        ask().is_ok_and(|answer| answer.contains("\"health\":\"true\""))
    }

    fn spawn(&mut self) {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let ports = [free(), free()].map(|listener| listener.local_addr().expect("address").port());
        let [port, peer_port] = ports;
        self.port = port;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let (client, peer) = (url(port), url(peer_port));
        let started = Command::new("etcd")
            .args(["--name", "one", "--data-dir"])
            .arg(self.directory.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}"), "--unsafe-no-fsync", "--log-level", "error"])
            // It votes for itself as soon as it is up.
            .args(["--heartbeat-interval", "10", "--election-timeout", "50"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(started.expect("etcd is needed: apt-get install etcd-server"));
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("killed");
            process.wait().expect("gone");
        }
    }

    fn connect(&self, prefix: u32) -> Arc<dyn Store> {
        let endpoints = vec![format!("http://127.0.0.1:{}", self.port)];
        let prefix = format!("/test/{prefix}/");
        let request_timeout = Duration::from_secs(20);
        let config = EtcdConfig { endpoints, prefix, request_timeout, ..EtcdConfig::default() };
        Arc::new(EtcdStore::connect(&config).expect("valid"))
    }

    /// An empty store.
    #[expect(clippy::unused_async, reason = "as the other stores are made")]
    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        self.connect(self.stores.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The store that was made last, seen by another program.
    pub(crate) fn same_store(&self) -> Arc<dyn Store> {
        self.connect(self.stores.load(Ordering::Relaxed))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}
