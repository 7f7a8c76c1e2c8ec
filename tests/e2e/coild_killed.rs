//! SIGKILL in the middle of load, again and again: nothing acknowledged is lost, nothing is given twice.

use anyhow::{Context, Result, ensure};
use coil_tests::cluster::Cluster;
use coil_tests::coild::{Coild, READY, path, request};
use coil_tests::history::History;
use coil_tests::http::Http;
use coil_tests::load::Dice;
use coil_tests::wait::{wait_for, wait_until};
use common::wire::node::AddressReply;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

const WORKERS: usize = 16;
const CONTAINERS: usize = 5;
const KILLS: usize = 50;

/// Clients that add and delete without end, but for the pauses that the test makes.
struct Load<'a> {
    http: Http,
    history: &'a History,
    /// Held for reading during a request: whoever holds it for writing sees no request in progress.
    gate: RwLock<()>,
    acknowledged: AtomicUsize,
    over: AtomicBool,
}

impl Load<'_> {
    fn work(&self, worker: usize) -> Result<()> {
        let mut dice = Dice::new(worker as u64);
        while !self.over.load(Ordering::Relaxed) {
            let container = format!("w{worker}-{}", dice.roll(CONTAINERS));
            let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            let held = self.history.containers().contains(&container);
            if if held { self.delete(&container)? } else { self.add(&container)? } {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Whether an answer came; if none did, anything may have happened.
    fn add(&self, container: &str) -> Result<bool> {
        self.history.adding(container);
        let Ok(reply) = self.http.post("/ip", &request(container)) else { return Ok(false) };
        match reply.status {
            200 => {
                let given: AddressReply = reply.parse()?;
                self.history.added(container, given.first.address)?;
                Ok(true)
            }
            503 => {
                self.history.refused(container);
                Ok(true)
            }
            status => anyhow::bail!("POST for {container}: {status} {}", reply.text()),
        }
    }

    fn delete(&self, container: &str) -> Result<bool> {
        self.history.removing(container);
        let Ok(reply) = self.http.delete(&path(container)) else { return Ok(false) };
        ensure!(reply.status == 200, "DELETE for {container}: {}", reply.text());
        self.history.removed(container);
        Ok(true)
    }

    fn wait_for_more(&self, answers: usize) -> Result<()> {
        let before = self.acknowledged.load(Ordering::Relaxed);
        wait_until("the load to go on", Duration::from_secs(20), || {
            Ok(self.acknowledged.load(Ordering::Relaxed) >= before + answers)
        })
    }
}

fn kill_and_check(cluster: &Cluster, coild: &mut Coild, load: &Load, dice: &mut Dice) -> Result<()> {
    load.wait_for_more(1 + dice.roll(200))?;
    coild.kill()?;
    let closed = load.gate.write().unwrap_or_else(PoisonError::into_inner);
    coild.run()?;
    load.history.check(&coild.status()?).with_context(|| format!("the log:\n{}", tail(&coild.log())))?;
    drop(closed);
    let _ = cluster;
    Ok(())
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

#[test]
fn fifty_kills_lose_nothing() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let mut coild = cluster.coild("n1", &["--cooldown", "0s", "--log", "warn"])?;
    let history = History::new();
    let load = Load {
        http: coild.http(),
        history: &history,
        gate: RwLock::new(()),
        acknowledged: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        let load = &load;
        let workers: Vec<_> = (0..WORKERS).map(|worker| scope.spawn(move || load.work(worker))).collect();
        let mut dice = Dice::new(99);
        let checked = (0..KILLS).try_for_each(|round| {
            kill_and_check(&cluster, &mut coild, load, &mut dice).with_context(|| format!("kill {round}"))
        });
        load.over.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        checked
    })?;
    history.check(&coild.status()?)?;
    all_free_at_the_end(&cluster, &mut coild, &history)
}

/// I3: free and leased blocks are all blocks, and what is leased holds nothing.
fn all_free_at_the_end(cluster: &Cluster, coild: &mut Coild, history: &History) -> Result<()> {
    for container in history.containers() {
        coild.free(&container)?;
        history.removed(&container);
    }
    history.check(&coild.status()?)?;
    coild.restart()?;
    assert!(coild.status()?.attachments.is_empty());
    wait_until("the mirror to be empty", Duration::from_secs(5), || Ok(cluster.mirror("n1")?.is_empty()))?;
    // Idle blocks go back to the pool, but for one that is kept warm.
    let blocks = wait_for("idle blocks to be released", READY, || {
        let blocks = coild.status()?.address_blocks.into_values().map(|blocks| blocks.len()).sum::<usize>();
        Ok((blocks <= 1).then_some(blocks))
    })?;
    let pool = cluster.controller.coilctl_json("pool show default")?;
    assert_eq!(pool["usage"][0]["allocated"], 0, "{pool}");
    assert_eq!(pool["usage"][0]["leased"], blocks, "{pool}");
    Ok(())
}

#[test]
fn both_killed_at_once() -> Result<()> {
    let mut cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let mut coild = cluster.coild("n1", &["--cooldown", "0s"])?;
    let history = History::new();
    for round in 0..5 {
        for n in 0..20 {
            let container = format!("r{round}-{n}");
            history.adding(&container);
            history.added(&container, coild.allocate(&container)?.parse()?)?;
        }
        cluster.etcd.kill()?;
        coild.kill()?;
        cluster.etcd.run()?;
        coild.run()?;
        history.check(&coild.status()?)?;
    }
    Ok(())
}
