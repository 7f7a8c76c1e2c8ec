//! A real etcd server on free loopback ports, with a temporary directory of its own.

#![allow(dead_code, reason = "each test uses a part of it")]

use etcd_client::Client;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, interval, timeout};

const START: Duration = Duration::from_secs(30);

/// A server, a member of a cluster of one or more; it is killed when dropped.
pub(crate) struct Server {
    directory: TempDir,
    scheme: &'static str,
    port: u16,
    peer_port: u16,
    /// Its own name, and those of all members with the places where they listen to each other.
    name: String,
    cluster: String,
    extra: Vec<String>,
    process: Option<Child>,
}

impl Server {
    /// Starts a server, and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::prepare("http", &[]).started().await
    }

    /// Starts a cluster of several members, and waits until all of them answer.
    pub(crate) async fn start_cluster(members: usize) -> Vec<Self> {
        let mut servers: Vec<Self> = (0..members).map(|_| Self::prepare("http", &[])).collect();
        let cluster: Vec<_> = servers.iter().map(|server| server.cluster.clone()).collect();
        for server in &mut servers {
            server.cluster = cluster.join(",");
            server.run();
        }
        for server in &mut servers {
            server.answers().await;
        }
        servers
    }

    /// A server that does not run yet.
    pub(crate) fn prepare(scheme: &'static str, extra: &[&str]) -> Self {
        let [port, peer_port] = free_ports();
        let directory = tempfile::tempdir().expect("temporary directory");
        let name = format!("member-{peer_port}");
        let cluster = format!("{name}={}", peer_url(peer_port));
        let extra = extra.iter().map(ToString::to_string).collect();
        Self { directory, scheme, port, peer_port, name, cluster, extra, process: None }
    }

    pub(crate) async fn started(mut self) -> Self {
        self.run();
        self.answers().await;
        self
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Starts it on the ports and the data that it had.
    pub(crate) fn run(&mut self) {
        let (client, peer) = (self.endpoint(), peer_url(self.peer_port));
        let log = std::fs::File::options().create(true).append(true).open(self.log()).expect("log");
        let started = Command::new("etcd")
            .args(["--name", &self.name, "--data-dir"])
            .arg(self.directory.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.cluster, "--unsafe-no-fsync"])
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn();
        match started {
            Ok(process) => self.process = Some(process),
            Err(error) => {
                panic!("etcd can't be started ({error}); it is needed: apt-get install etcd-server")
            }
        }
    }

    /// Waits until it accepts connections.
    pub(crate) async fn answers(&mut self) {
        let address = (Ipv4Addr::LOCALHOST, self.port);
        let mut ticks = interval(Duration::from_millis(20));
        let ready = async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                let ended = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
                assert!(ended.is_none(), "etcd ended: {}", self.story());
                ticks.tick().await;
            }
        };
        assert!(timeout(START, ready).await.is_ok(), "etcd does not answer: {}", self.story());
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("killed");
            process.wait().expect("gone");
        }
    }

    /// A client of its own, for what the store has no need of.
    pub(crate) async fn client(&self) -> Client {
        Client::connect([self.endpoint()], None).await.expect("a client")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.as_ref().expect("runs").id()
    }

    fn log(&self) -> std::path::PathBuf {
        self.directory.path().join("log")
    }

    fn story(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.story());
        }
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn peer_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("address").port())
}

/// Tries until something succeeds; answers how long it took.
pub(crate) async fn eventually<T>(
    within: Duration,
    mut attempt: impl AsyncFnMut() -> Option<T>,
) -> (T, Duration) {
    let start = Instant::now();
    let mut ticks = interval(Duration::from_millis(20));
    loop {
        ticks.tick().await;
        if let Some(value) = attempt().await {
            return (value, start.elapsed());
        }
        assert!(start.elapsed() < within, "it did not happen within {within:?}");
    }
}
