//! Requests to coild, over its socket: a line `METHOD path`, an empty line, and a body. An input that starts with
//! `raw` is sent as it is.

use super::{reply, split};
use clap::{Args, Command, FromArgMatches};
use coild::config::NodeConfig;
use coild::daemon::Daemon;
use common::ipam::Pool;
use common::name::PoolName;
use common::store::embedded::Embedded;
use common::store::{Op, Store, Txn, keys, record};
use serde::Deserialize;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A request is carried out, or refused with a reason. An address that was given is freed again, and the next
/// request is served.
pub fn node_http(data: &[u8]) {
    static RUNNING: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, socket) = RUNNING.get_or_init(start);
    if let Some(raw) = data.strip_prefix(b"raw") {
        let answer = send(socket, raw, true);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        assert!(status.is_none_or(|status| status < 500 || status == 503), "{answer}");
    } else {
        let (line, body) = split(data);
        let (method, path) = line.split_once(' ').unwrap_or(("GET", &line));
        if let Some((status, answer)) = call(socket, method, path, body) {
            let request = format!("{method} {path} {}", String::from_utf8_lossy(body));
            // A request may be right, and nobody has what it wants.
            reply::check(&request, status, &answer, true);
            if status == 200 && method == "POST" && path == "/ip" {
                free(socket, body, &answer);
            }
        }
    }
    let (status, _) = call(socket, "GET", "/healthz", b"").expect("a reply");
    assert_eq!(status, 200);
}

/// Of the request for an address, what names it later. Other fields may hold what nobody reads.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Request {
    pod_namespace: String,
    pod_name: String,
    container_id: String,
    interface: Option<String>,
}

fn free(socket: &PathBuf, request: &[u8], given: &str) {
    let request: Request = serde_json::from_slice(request).expect("it was understood");
    let given: Value = serde_json::from_str(given).expect("JSON");
    let mut path = "/ip".to_owned();
    for name in [&request.pod_namespace, &request.pod_name, &request.container_id] {
        path.push('/');
        encode(&mut path, name);
    }
    if let Some(interface) = &request.interface {
        path.push_str("?interface=");
        encode(&mut path, interface);
    }
    let (status, freed) = call(socket, "DELETE", &path, b"").expect("a reply");
    let freed: Value = serde_json::from_str(&freed).expect("JSON");
    assert_eq!((status, &freed["address"]), (200, &given["address"]), "{path}");
}

fn encode(path: &mut String, text: &str) {
    for byte in text.bytes() {
        // Writing to a string can't fail.
        let _ = write!(path, "%{byte:02X}");
    }
}

/// Status and body; nothing if it is no request of HTTP, or the daemon hangs up.
fn call(socket: &PathBuf, method: &str, path: &str, body: &[u8]) -> Option<(u16, String)> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain(method) || !plain(path) {
        return None;
    }
    let answer = send(socket, &[head.as_bytes(), body].concat(), false);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    // What HTTP itself refuses has no body.
    (status < 400 || !body.is_empty()).then(|| (status, body.to_owned()))
}

/// The answer; with `end` to a client that says that it sends no more, and may get none.
fn send(socket: &PathBuf, request: &[u8], end: bool) -> String {
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a time-out");
    // A daemon that has heard enough may hang up before it has read all.
    let _ = stream.write_all(request);
    if end {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A daemon with a pool, for as long as the process runs.
fn start() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("directory");
    let (socket, data_dir) = (dir.path().join("coild.sock"), dir.path().to_owned());
    let listening = socket.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("runtime").block_on(async {
            let store = Embedded::in_memory().await.expect("store");
            let subnets = ["10.0.0.0/8", "fd00::/64"].map(|net| net.parse().expect("net"));
            let key = keys::pool(&PoolName::default_pool());
            let put = Op::Put(key, record::encode(&Pool::of_subnets(subnets.to_vec())));
            store.txn(Txn::new().then(put)).await.expect("written");
            let args = ["coild", "--node-name=n1", "--route-table=none", "--cooldown=0s", "--socket"];
            let args = args.map(Into::into).into_iter().chain([listening.into_os_string()]);
            let matches = NodeConfig::augment_args(Command::new("coild")).get_matches_from(args);
            let config = NodeConfig::from_arg_matches(&matches).expect("flags");
            let daemon = Daemon { config, data_dir, inherited: None, listen: None, store: Arc::new(store) };
            daemon.run(std::future::pending()).await.expect("it runs for ever");
        });
    });
    let deadline = Instant::now() + Duration::from_secs(30);
    while UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < deadline, "the daemon does not listen");
        std::thread::yield_now();
    }
    (dir, socket)
}
