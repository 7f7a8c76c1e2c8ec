//! A real controller on a store in memory, and the program under test.

use common::clock;
use common::ipam::{Family, Segment, Unit};
use common::name::PoolName;
use common::pool_id::{PoolId, Scoped};
use common::server::Bind;
use common::store::embedded::Embedded;
use common::store::record::{self, Alive, Allocation, BlockMirror, Claim, Fixed, Lease, Node};
use common::store::{Event, Op, Store, Txn, keys};
use controller::server::{Listening, Parts};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

pub(crate) struct Controller {
    pub(crate) dir: TempDir,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) runtime: Runtime,
    stop: Option<oneshot::Sender<()>>,
}

impl Controller {
    pub(crate) fn start() -> Self {
        Self::start_with(Listening::default())
    }

    /// Starts one that listens elsewhere too.
    pub(crate) fn start_with(mut listening: Listening) -> Self {
        let runtime = Runtime::new().expect("runtime");
        let store: Arc<dyn Store> =
            runtime.block_on(async { Arc::new(Embedded::in_memory().await.expect("store")) });
        let dir = tempfile::tempdir().expect("directory");
        let (stop, stopped) = oneshot::channel();
        let bind = Bind::Unix { path: dir.path().join("c.sock"), mode: 0o600, group: None };
        // The socket appears last.
        listening.binds.push(bind);
        let serving = Arc::clone(&store);
        runtime.spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            controller::server::run(serving, &listening, Parts::default(), stopped).await.expect("served");
        });
        let controller = Self { dir, store, runtime, stop: Some(stop) };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !controller.socket().exists() {
            assert!(std::time::Instant::now() < deadline, "the controller does not serve");
            std::thread::yield_now();
        }
        controller
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("c.sock")
    }

    pub(crate) fn server(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// Runs a line of words separated by blanks, whatever comes of it.
    pub(crate) fn run(&self, line: &str) -> Output {
        coilctl().env("COIL_SERVER", self.server()).args(line.split_whitespace()).output().expect("started")
    }

    /// What a line prints; it must succeed and say nothing else.
    pub(crate) fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{line}");
        text(&output.stdout)
    }

    /// What a terminal shows of these lines, all of which must succeed.
    pub(crate) fn transcript(&self, lines: &[&str]) -> String {
        let shown: Vec<String> =
            lines.iter().map(|line| format!("$ coilctl {line}\n{}", self.ok(line))).collect();
        shown.join("\n")
    }

    pub(crate) fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("-o json {line}"))).expect("JSON")
    }

    /// What a line says when it fails, with its exit code.
    pub(crate) fn fails(&self, code: i32, line: &str) -> String {
        let output = self.run(line);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {error}");
        assert_eq!(text(&output.stdout), "", "{line}");
        error
    }

    pub(crate) fn put(&self, key: String, value: impl Into<Vec<u8>>) {
        self.write(Txn::new().then(Op::Put(key, value.into().into())));
    }

    fn write(&self, txn: Txn) {
        self.runtime.block_on(self.store.txn(txn)).expect("written");
    }

    /// A node that started five minutes ago.
    pub(crate) fn register(&self, node: &str, alive: bool) {
        let name = node.parse().expect("name");
        let started = clock::now_millis() - 5 * 60_000;
        let record = Node { instance: format!("instance-{node}"), boot: String::new(), started };
        self.put(keys::node(&name), record::encode(&record));
        if alive {
            self.put(keys::alive(&name), record::encode(&Alive { instance: record.instance }));
        }
    }

    /// A block of 16 with addresses that have been held for three hours.
    pub(crate) fn lease(&self, node: &str, pool: &str, first: &str, offsets: &[u32]) {
        let unit = Unit::containing(first.parse().expect("address"), 4);
        let (name, pool): (_, PoolName) = (node.parse().expect("name"), pool.parse().expect("name"));
        let held = offsets.iter().map(|offset| allocation(*offset)).collect();
        let mirror = BlockMirror { prefix: unit.net().prefix_len(), held, ..BlockMirror::default() };
        let lease = Op::Put(keys::lease(&pool, unit), record::encode(&Lease::of_node(node)));
        let index = Op::Put(keys::block(&name, &pool, unit), record::encode(&mirror));
        self.write(Txn::new().then(lease).then(index));
    }

    /// The lease of an address of a namespace's pool, for a pod of the namespace; a fixed one is kept if there is no
    /// node.
    pub(crate) fn lease_address(
        &self,
        (namespace, pool): (&str, &str),
        address: &str,
        pod: &str,
        node: &str,
        fixed: bool,
    ) {
        let scoped = |name: &str| Scoped {
            namespace: namespace.parse().expect("namespace"),
            name: name.parse().expect("name"),
        };
        let address = address.parse().expect("address");
        let (owner, unit) = (PoolId::Namespace(scoped(pool)), Unit::containing(address, 0));
        let Scoped { namespace, name } = scoped(pod);
        let claim = Claim { namespace, name, service_pool: None, fixed, changed: clock::now_millis() };
        let lease = Lease { node: node.to_owned(), pod: Some(claim) };
        let mut txn = Txn::new().then(Op::Put(keys::lease(&owner, unit), record::encode(&lease)));
        if fixed {
            let kept = Fixed { pool: owner.clone(), address };
            txn = txn.then(Op::Put(keys::fixed(&scoped(pod), Family::V4), record::encode(&kept)));
        }
        if let Ok(node) = node.parse() {
            let segment = Segment { prefix: 24, gateway: address, vlan: 0 };
            let held = vec![allocation(0)];
            let mirror = BlockMirror { prefix: unit.net().prefix_len(), segment: Some(segment), held };
            txn = txn.then(Op::Put(keys::block(&node, &owner, unit), record::encode(&mirror)));
        }
        self.write(txn);
    }

    pub(crate) fn delete(&self, key: String) {
        self.write(Txn::new().then(Op::Delete(key)));
    }

    /// The lease of an address of a namespace's pool goes.
    pub(crate) fn give_back(&self, (namespace, pool): (&str, &str), address: &str) {
        let id = Scoped { namespace: namespace.parse().expect("text"), name: pool.parse().expect("text") };
        let unit = Unit::containing(address.parse().expect("address"), 0);
        self.delete(keys::lease(&PoolId::Namespace(id), unit));
    }

    /// Starts a line that goes on until it is killed.
    pub(crate) fn spawn(&self, line: &str) -> Running {
        let mut child = coilctl()
            .env("COIL_SERVER", self.server())
            .args(line.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Running { child, lines }
    }

    /// Does what a coild does with the next order for a node.
    pub(crate) fn follow_next_order(&self, node: &str) {
        let orders = keys::evictions(&node.parse().expect("name"));
        let store = Arc::clone(&self.store);
        let mut watch = self.runtime.block_on(async {
            let now = store.list_keys(&orders, 1).await.expect("list").revision;
            store.watch(std::slice::from_ref(&orders), now + 1).await.expect("watch")
        });
        self.runtime.spawn(async move {
            while let Some(Ok(event)) = watch.recv().await {
                if let Event::Put(entry) = event {
                    store.txn(Txn::new().then(Op::Delete(entry.key))).await.expect("done");
                }
            }
        });
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

/// A program that goes on.
pub(crate) struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    /// Reads on until a line has this, and answers what was read.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut read = String::new();
        loop {
            let from = read.len();
            let count = self.lines.read_line(&mut read).expect("text");
            assert!(count > 0, "it ended before {text:?}: {read}");
            if read[from..].contains(text) {
                return read;
            }
        }
    }

    /// The exit code, and what was printed on standard error.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let mut error = String::new();
        let mut stderr = self.child.stderr.take().expect("piped");
        std::io::Read::read_to_string(&mut stderr, &mut error).expect("text");
        (self.child.wait().expect("ended").code(), error)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, without a configuration from the test's own environment.
pub(crate) fn coilctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coilctl"));
    let own = ["COIL_SERVER", "COIL_OUTPUT", "COIL_TIMEOUT", "COIL_CONFIG", "COIL_TOKEN", "COIL_TOKEN_FILE"];
    for name in own.into_iter().chain(["COIL_CA", "COIL_CERT", "COIL_KEY"]) {
        command.env_remove(name);
    }
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn allocation(offset: u32) -> Allocation {
    Allocation {
        offset,
        sequence: u64::from(offset),
        container: format!("{offset:02x}").repeat(32).parse().expect("container"),
        interface: "eth0".parse().expect("interface"),
        namespace: "team-a".parse().expect("namespace"),
        pod: format!("web-{offset}").parse().expect("pod"),
        network: Some("k8s".to_owned()),
        netns: None,
        since: clock::now_millis() - 3 * 3_600_000,
        conflict: false,
    }
}
