//! The built program: standalone with a real coild and a store in a directory, and what it refuses to start with.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use common::store::embedded::Embedded;
use common::store::record::{self, Schema};
use common::store::{Op, Store, Txn, keys};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::UnixStream;

const TIME: Duration = Duration::from_secs(20);

struct Standalone {
    dir: TempDir,
    child: Child,
}

impl Standalone {
    async fn start(dir: TempDir) -> Self {
        let child = command(dir.path()).spawn().expect("started");
        let mut standalone = Self { dir, child };
        let deadline = Instant::now() + TIME;
        while UnixStream::connect(standalone.admin()).await.is_err() {
            let ended = standalone.child.try_wait().expect("waited");
            assert!(ended.is_none() && Instant::now() < deadline, "it does not serve: {ended:?}");
            tokio::task::yield_now().await;
        }
        standalone
    }

    fn admin(&self) -> PathBuf {
        self.dir.path().join("c.sock")
    }

    fn coild(&self) -> PathBuf {
        self.dir.path().join("coild.sock")
    }

    /// Asks it to end, and answers its directory.
    fn stop(mut self) -> TempDir {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).expect("signalled");
        let status = self.child.wait().expect("ended");
        assert!(status.success(), "{status}");
        assert!(!self.admin().exists() && !self.coild().exists(), "a socket is left");
        std::mem::replace(&mut self.dir, tempfile::tempdir().expect("directory"))
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Command {
    // At run time, as the shell that wraps the compiler drops a name with a dash from the environment.
    let path = std::env::var_os("CARGO_BIN_EXE_coil-controller").expect("cargo names the program");
    let mut command = Command::new(path);
    command.stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn command(dir: &Path) -> Command {
    let mut command = program();
    command
        .args(["standalone", "--node-name", "here", "--route-table", "none", "--log", "warn", "--data-dir"])
        .arg(dir.join("data"))
        .arg("--socket")
        .arg(dir.join("coild.sock"))
        .arg("--listen")
        .arg(format!("unix:{}", dir.join("c.sock").display()));
    command
}

/// What the program says when it fails, which it must at once.
fn refusal(command: &mut Command) -> String {
    let output: Output = command.output().expect("started");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

async fn call(socket: &Path, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let stream = UnixStream::connect(socket).await.expect("connected");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("handshake");
    tokio::spawn(connection);
    let body = Full::new(Bytes::from(body.to_string()));
    let request =
        hyper::Request::builder().method(method).uri(path).header("host", "x").body(body).expect("request");
    let response = sender.send_request(request).await.expect("answer");
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.expect("body").to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test]
async fn standalone_gives_addresses_and_keeps_what_it_knows() {
    let standalone = Standalone::start(tempfile::tempdir().expect("directory")).await;
    let pool = json!({"name": "default", "subnets": ["10.64.0.0/24"]});
    let (status, created) = call(&standalone.admin(), "POST", "/v1/pools", &pool).await;
    assert_eq!(status, 201, "{created}");
    let request = json!({"pod-namespace": "a", "pod-name": "b", "container-id": "c"});
    let (status, given) = call(&standalone.coild(), "POST", "/ip", &request).await;
    assert_eq!(status, 200, "{given}");
    let address = given["address"].as_str().expect("address").to_owned();

    let standalone = Standalone::start(standalone.stop()).await;
    let path = format!("/v1/addresses/{address}");
    let (_, detail) = call(&standalone.admin(), "GET", &path, &json!(null)).await;
    assert_eq!((&detail["state"], &detail["node"]), (&json!("held"), &json!("here")), "{detail}");
    let (status, _) = call(&standalone.admin(), "DELETE", "/v1/pools/default", &json!(null)).await;
    assert_eq!(status, 409, "a block is leased");

    // The coild in the process follows the controller's order.
    let (status, freed) = call(&standalone.admin(), "DELETE", &path, &json!(null)).await;
    assert_eq!((status, &freed["state"]), (200, &json!("free")), "{freed}");
    let (status, _) = call(&standalone.coild(), "GET", "/ip/a/b/c", &json!(null)).await;
    assert_eq!(status, 404, "coild has freed it");
    standalone.stop();
}

#[tokio::test]
async fn one_process_at_a_time() {
    let standalone = Standalone::start(tempfile::tempdir().expect("directory")).await;
    let error = refusal(&mut command(standalone.dir.path()));
    assert!(error.contains("can't open the store") && error.contains("store.redb"), "{error}");
    let other = tempfile::tempdir().expect("directory");
    let listen = format!("unix:{}", standalone.admin().display());
    let mut second = program();
    second.args(["standalone", "--route-table", "none", "--listen", &listen, "--data-dir"]).arg(other.path());
    let error = refusal(second.arg("--socket").arg(other.path().join("coild.sock")));
    assert!(error.contains("another process is listening on"), "{error}");
    let (status, _) = call(&standalone.admin(), "GET", "/v1/pools", &json!(null)).await;
    assert_eq!(status, 200, "the first one goes on");
}

#[tokio::test]
async fn a_newer_layout_is_refused() {
    let dir = tempfile::tempdir().expect("directory");
    std::fs::create_dir(dir.path().join("data")).expect("made");
    let store = Embedded::open(dir.path().join("data/store.redb")).await.expect("store");
    let newer = Op::Put(keys::SCHEMA.to_owned(), record::encode(&Schema { layout: 99 }));
    store.txn(Txn::new().then(newer)).await.expect("written");
    store.close().await;
    let error = refusal(&mut command(dir.path()));
    assert!(error.contains("layout 99"), "{error}");
}

#[test]
fn what_it_refuses() {
    let dir = tempfile::tempdir().expect("directory");
    let mut open = program();
    open.args(["standalone", "--listen", "0.0.0.0:0", "--data-dir"]).arg(dir.path());
    let error = refusal(&mut open);
    assert!(error.contains("0.0.0.0:0 is reachable from other machines, and needs TLS"), "{error}");
    let error = refusal(program().args(["standalone", "--data-dir", "/proc/none/x"]));
    assert!(error.contains("can't make the data directory /proc/none/x"), "{error}");
    let file = dir.path().join("c.toml");
    std::fs::write(&file, "data-dir = '/d'\nlisten = 'nowhere'\n").expect("written");
    let output = program().args(["standalone", "--config"]).arg(&file).output().expect("started");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(2) && error.contains("neither ADDRESS:PORT nor unix:PATH"),
        "{error}"
    );
}

#[cfg(not(feature = "etcd"))]
#[test]
fn serve_says_that_it_was_built_without_etcd() {
    let error = refusal(program().arg("serve"));
    assert!(error.contains("built without etcd"), "{error}");
}

#[test]
fn help_teaches() {
    for args in
        [&["--help"][..], &["serve", "--help"], &["standalone", "--help"], &["create-token", "--help"]]
    {
        let output = program().args(args).output().expect("started");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("Example"), "{args:?}: {text}");
    }
}
