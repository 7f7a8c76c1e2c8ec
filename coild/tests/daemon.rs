//! The daemon as its clients see it, over its socket, on the embedded store.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use clap::{Args, Command, FromArgMatches};
use coild::config::NodeConfig;
use coild::daemon::{Daemon, DaemonError};
use common::ipam::Pool;
use common::name::PoolName;
use common::store::embedded::Embedded;
use common::store::{Op, Store, Txn, keys, record};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Running {
    dir: tempfile::TempDir,
    store: Arc<Embedded>,
    stop: Option<oneshot::Sender<()>>,
    daemon: Option<JoinHandle<Result<(), DaemonError>>>,
    flags: Vec<String>,
}

impl Running {
    async fn start(flags: &[&str]) -> Self {
        let mut running = Self::not_yet(flags).await;
        running.again().await;
        running
    }

    async fn not_yet(flags: &[&str]) -> Self {
        Self {
            dir: tempfile::tempdir().expect("directory"),
            store: Arc::new(Embedded::in_memory().await.expect("store")),
            stop: None,
            daemon: None,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        }
    }

    async fn again(&mut self) {
        let socket = self.dir.path().join("coild.sock");
        let mut args = vec!["coild".to_owned(), "--node-name=n1".to_owned(), "--route-table=none".to_owned()];
        args.push(format!("--socket={}", socket.display()));
        args.extend(self.flags.iter().cloned());
        let matches = NodeConfig::augment_args(Command::new("coild")).get_matches_from(args);
        let config = NodeConfig::from_arg_matches(&matches).expect("flags");
        let daemon = Daemon {
            config,
            data_dir: self.dir.path().to_owned(),
            inherited: None,
            listen: None,
            store: Arc::clone(&self.store) as Arc<dyn Store>,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        self.stop = Some(stop);
        self.daemon = Some(tokio::spawn(daemon.run(async {
            let _ = stopped.await;
        })));
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while UnixStream::connect(&socket).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "the daemon does not listen");
            assert!(!self.daemon.as_ref().expect("started").is_finished(), "the daemon has stopped");
            tokio::task::yield_now().await;
        }
    }

    async fn stop(&mut self) {
        self.stop.take().expect("running").send(()).expect("running");
        self.daemon.take().expect("running").await.expect("no panic").expect("no failure");
    }

    async fn pool(&self, name: &str, pool: &Pool) {
        let name = PoolName::new(name).expect("name");
        let put = Op::Put(keys::pool(&name), record::encode(pool));
        self.store.txn(Txn::new().then(put)).await.expect("written");
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        call(&self.dir.path().join("coild.sock"), method, path, body).await
    }

    async fn post(&self, container: &str) -> (u16, Value) {
        let body = json!({"pod-namespace": "ns", "pod-name": "p", "container-id": container});
        self.call("POST", "/ip", &body.to_string()).await
    }
}

async fn call(socket: &Path, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).await.expect("connect");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: coild\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.expect("received");
    let status = reply.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("status");
    let (_, body) = reply.split_once("\r\n\r\n").expect("body");
    (status, serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned())))
}

fn pool(subnets: &[&str]) -> Pool {
    Pool::of_subnets(subnets.iter().map(|text| text.parse().expect("subnet")).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_given_shown_freed_and_survives_a_restart() {
    let mut node = Running::start(&[]).await;
    assert_eq!(node.post("c1").await.0, 503, "no pool yet");
    node.pool("default", &pool(&["10.0.0.0/24"])).await;
    let (status, given) = node.post("c1").await;
    assert_eq!(status, 200, "{given}");
    assert_eq!(node.post("c1").await.0, 409);
    let address = given["address"].as_str().expect("address").to_owned();
    node.stop().await;
    node.again().await;
    let (status, shown) = node.call("GET", "/ip/ns/p/c1", "").await;
    assert_eq!((status, shown["address"].as_str()), (200, Some(address.as_str())));
    assert_eq!(node.call("GET", "/ip/other/p/c1", "").await.0, 404);
    let (_, status) = node.call("GET", "/status", "").await;
    assert_eq!(status["pods"], json!({"c1": address}), "{status}");
    let (status, freed) = node.call("DELETE", "/ip/ns/p/c1", "").await;
    assert_eq!((status, freed["address"].as_str()), (200, Some(address.as_str())));
    let (status, freed) = node.call("DELETE", "/ip/ns/p/c1", "").await;
    assert_eq!((status, freed), (200, json!({"address": "", "status": 200})));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_used_up_to_its_last_address_and_recovers() {
    let mut node = Running::start(&[]).await;
    node.pool("default", &pool(&["10.0.0.0/27"])).await;
    let mut seen = std::collections::BTreeSet::new();
    for container in 0..32 {
        let (status, given) = node.post(&format!("c{container}")).await;
        assert_eq!(status, 200, "{given}");
        assert!(seen.insert(given["address"].as_str().expect("address").to_owned()), "given twice: {given}");
    }
    let (status, full) = node.post("one-more").await;
    assert_eq!(status, 503, "{full}");
    assert!(full["error"].as_str().is_some_and(|text| text.contains("default")), "{full}");
    assert_eq!(node.call("DELETE", "/ip/ns/p/c7", "").await.0, 200);
    let (status, given) = node.post("one-more").await;
    assert_eq!(status, 200, "the cooldown gives way when nothing else is free: {given}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_in_a_record_of_a_newer_program_are_found_once_it_can_be_read() {
    let mut node = Running::not_yet(&[]).await;
    node.pool("default", &pool(&["10.0.0.0/27"])).await;
    let put = |key: &str, value: String| Op::Put(key.to_owned(), value.into());
    let mirror = |version: u32| {
        let held = json!({"o": 5, "q": 1, "c": "c1", "i": "eth0", "n": "ns", "p": "p", "t": 0});
        json!({"v": version, "prefix": 28, "held": [held]}).to_string()
    };
    let lease = put("lease/default/4-0a000000", json!({"v": 1, "node": "n1"}).to_string());
    let index = "block/n1/default/4-0a000000";
    node.store.txn(Txn::new().then(lease).then(put(index, mirror(2)))).await.expect("written");
    node.again().await;
    let (_, status) = node.call("GET", "/status", "").await;
    assert_eq!(status["pods"], json!({}), "{status}");
    node.stop().await;
    node.store.txn(Txn::new().then(put(index, mirror(1)))).await.expect("written");
    node.again().await;
    let (_, status) = node.call("GET", "/status", "").await;
    assert_eq!(status["pods"], json!({"c1": "10.0.0.5"}), "{status}");
    let (status, given) = node.post("c2").await;
    let address: std::net::Ipv4Addr = given["address"].as_str().expect("address").parse().expect("address");
    assert!(status == 200 && address.octets()[3] >= 16, "from the other block: {given}");
    node.stop().await;
}
