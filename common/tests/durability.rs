//! What the embedded store acknowledged is there after SIGKILL, and after the disk was full.
//!
//! The store runs in a process of its own: this very program, told by its environment to write.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use common::store::embedded::Embedded;
use common::store::{KeyRange, Op, Store, Txn, list_all};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

const STORE: &str = "TEST_STORE";
const SIZE: &str = "TEST_SIZE";
/// How many write at once.
const WRITERS: usize = 8;

/// Not a test: the process that is killed. Says `ok <key>` after each acknowledged write, else `failed`.
#[test]
#[ignore = "the other tests run it"]
fn writer() {
    let (Ok(path), Ok(size)) = (std::env::var(STORE), std::env::var(SIZE)) else { return };
    let size: usize = size.parse().expect("a number");
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        let store = std::sync::Arc::new(Embedded::open(path).await.expect("opens"));
        let start = store.count(&KeyRange::prefix("k/")).await.expect("counted");
        let tasks: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = std::sync::Arc::clone(&store);
                tokio::spawn(async move {
                    for n in 0_u64.. {
                        let key = format!("k/{start}/{writer}/{n}");
                        let txn = Txn::new().then(Op::Put(key.clone(), vec![b'x'; size].into()));
                        match store.txn(txn).await {
                            Ok(_) => println!("\nok {key}"),
                            Err(_) => println!("\nfailed"),
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("writes for ever");
        }
    });
}

struct Writer {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    acknowledged: BTreeSet<String>,
}

impl Writer {
    /// Starts it, under a limit of the size of files.
    fn start(path: &Path, size: usize, limit_kib: Option<u32>) -> Self {
        let program = std::env::current_exe().expect("this program");
        let limit = limit_kib.map_or("unlimited".to_owned(), |kib| (kib * 2).to_string());
        let mut process = Command::new("sh")
            // A write beyond the limit is an error and no signal.
            .args(["-c", "trap '' XFSZ; ulimit -S -f \"$1\"; shift; exec \"$@\"", "sh", &limit])
            .arg(program)
            .args(["writer", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(STORE, path)
            .env(SIZE, size.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs");
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        Self { process, lines, acknowledged: BTreeSet::new() }
    }

    /// Reads on until something was said so many times.
    fn hear(&mut self, what: &str, mut times: usize) {
        while times > 0 {
            let line = self.lines.next().expect("the writer goes on").expect("text");
            if let Some(key) = line.strip_prefix("ok ") {
                self.acknowledged.insert(key.to_owned());
            }
            times -= usize::from(line.starts_with(what));
        }
    }

    /// SIGKILL; answers all that was acknowledged before.
    fn kill(mut self) -> BTreeSet<String> {
        self.process.kill().expect("killed");
        self.process.wait().expect("gone");
        // The last line may be cut short: that one can't be relied on.
        let mut last = None;
        for line in self.lines.by_ref().map_while(Result::ok) {
            let before = last.replace(line);
            self.acknowledged
                .extend(before.iter().filter_map(|line| line.strip_prefix("ok ")).map(str::to_owned));
        }
        self.acknowledged
    }
}

async fn stored(path: &Path) -> BTreeSet<String> {
    let store = Embedded::open(path).await.expect("opens after a crash");
    let all = list_all(&store, &KeyRange::prefix("k/")).await.expect("listed");
    store.close().await;
    all.items.into_iter().map(|entry| entry.key).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_by_a_kill() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("store");
    let mut acknowledged = BTreeSet::new();
    for round in 0..10 {
        let mut writer = Writer::start(&path, 200, None);
        writer.hear("ok", 1 + round * 37);
        acknowledged.extend(writer.kill());
        let stored = stored(&path).await;
        let lost: Vec<_> = acknowledged.difference(&stored).collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?}");
    }
    assert!(acknowledged.len() > 1_000, "there was something to lose");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_and_is_recovered_from() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("store");
    let mut writer = Writer::start(&path, 50_000, Some(6_000));
    writer.hear("ok", 10);
    writer.hear("failed", 100);
    let before = writer.acknowledged.len();
    let id = writer.process.id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &id, "--fsize=unlimited"]).status();
    assert!(raised.expect("prlimit").success());
    writer.hear("ok", 50);
    assert!(writer.acknowledged.len() >= before + 50, "it writes again");
    let acknowledged = writer.kill();
    let stored = stored(&path).await;
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "lost {lost:?}");
}
