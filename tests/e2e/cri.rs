//! The container runtime's sandboxes as evidence: what it knows to be gone is freed, and nothing that lives is, whatever
//! the runtime answers or does not answer.

use anyhow::{Context, Result, ensure};
use coil_tests::cluster::{Cluster, held};
use coil_tests::coild::Coild;
use coil_tests::containerd::{Containerd, Sandbox};
use coil_tests::fake_runtime::{FakeRuntime, FakeSandbox, sandbox};
use coil_tests::machine::Machine;
use coil_tests::plugin::{Plugin, main_config};
use coil_tests::wait::wait_until;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn metric(coild: &Coild, name: &str) -> Result<u64> {
    let text = coild.http().get("/metrics")?.text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("no {name}"))?.parse()?)
}

/// The containers that hold an address.
fn holders(coild: &Coild) -> Result<BTreeSet<String>> {
    Ok(held(&coild.status()?).into_values().collect())
}

/// Waits until the runtime could not be asked this many times more.
fn failed_looks(coild: &Coild, more: u64) -> Result<()> {
    let before = metric(coild, "coild_cri_errors_total")?;
    wait_until("looks that tell nothing", Duration::from_mins(1), || {
        Ok(metric(coild, "coild_cri_errors_total")? >= before + more)
    })
}

/// Waits until three looks were completed, which is more than it takes to free something.
fn looks(runtime: &FakeRuntime) -> Result<()> {
    let before = runtime.listed();
    wait_until("some looks", SOON, || Ok(runtime.listed() >= before + 4))
}

fn gone(coild: &Coild, container: &str) -> Result<()> {
    wait_until("the orphan to be freed", SOON, || Ok(!holders(coild)?.contains(container)))
}

fn pods(containerd: &Containerd, names: &[&str]) -> Result<Vec<Sandbox>> {
    containerd.run_sandboxes(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
}

/// A node on which a runtime is asked that is not there yet, and the plugin called by hand.
struct Node {
    machine: Machine,
    cluster: Cluster,
    coild: Coild,
    plugin: Plugin,
}

impl Node {
    fn new(interval: &str) -> Result<Self> {
        Self::with(&["--reconcile-interval", interval])
    }

    fn with(args: &[&str]) -> Result<Self> {
        let machine = Machine::start()?;
        let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/16")?;
        let coild = cluster.node("n1")?;
        let socket = coild.dir().join("cri.sock");
        let mut coild = coild.with(args).with(&["--cri-socket", socket.to_str().context("text")?]);
        coild.run()?;
        let plugin = Plugin::coil(machine.place())?;
        Ok(Self { machine, cluster, coild, plugin })
    }

    fn socket(&self) -> PathBuf {
        self.coild.dir().join("cri.sock")
    }

    /// A container with a namespace of its name.
    fn container(&self, name: &str) -> Result<IpAddr> {
        let plugin = self.plugin.clone().attachment(name, &self.machine.netns(name)?);
        Ok(plugin.add(&main_config(&self.coild.socket()))?[0])
    }
}

#[test]
fn a_sandbox_without_a_del_is_freed_and_the_others_stay() -> Result<()> {
    let machine = Machine::start()?;
    let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/16")?;
    let coild = cluster.node("n1")?;
    let network = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [main_config(&coild.socket())]});
    let mut containerd = Containerd::start(&machine, &network)?;
    let socket = containerd.socket();
    let args = ["--reconcile-interval", "500ms", "--cri-socket", socket.to_str().context("text")?];
    let mut coild = coild.with(&args);
    coild.run()?;
    let pods = pods(&containerd, &["first", "second", "stays"])?;
    // Nobody tells coild of their end.
    containerd.replace_plugin()?;
    containerd.remove_sandboxes(&pods[..1])?;
    gone(&coild, &pods[0].id)?;
    // The runtime is away, and its pods go on.
    containerd.kill()?;
    failed_looks(&coild, 4)?;
    let left: BTreeSet<String> = pods[1..].iter().map(|pod| pod.id.clone()).collect();
    assert_eq!(holders(&coild)?, left);
    coild.restart()?;
    failed_looks(&coild, 1)?;
    // It is back, and what went since then is freed too, which takes two looks; nothing else is.
    containerd.run()?;
    containerd.remove_sandboxes(&pods[1..2])?;
    gone(&coild, &pods[1].id)?;
    assert_eq!(holders(&coild)?, BTreeSet::from([pods[2].id.clone()]));
    machine.reach(None, &pods[2].ips[0].to_string())
}

#[test]
fn a_runtime_that_tells_nothing_frees_nothing() -> Result<()> {
    let node = Node::new("200ms")?;
    for name in ["goes", "stays"] {
        node.container(name)?;
    }
    node.machine.run("ip netns del goes")?;
    let both = BTreeSet::from(["goes".to_owned(), "stays".to_owned()]);
    // Nobody listens.
    failed_looks(&node.coild, 4)?;
    assert_eq!(holders(&node.coild)?, both);
    // Somebody listens and never answers.
    let silent = UnixListener::bind(node.socket())?;
    failed_looks(&node.coild, 3)?;
    assert_eq!(holders(&node.coild)?, both);
    assert!(node.coild.log().contains("did not answer ListPodSandbox"), "{}", node.coild.log());
    // New containers don't wait for any of it.
    node.coild.allocate("new")?;
    drop(silent);
    std::fs::remove_file(node.socket())?;
    // It is just starting, and says so.
    let runtime = FakeRuntime::start(&node.socket(), &[])?;
    runtime.fails("server is not initialized yet");
    looks(&runtime)?;
    ensure!(holders(&node.coild)?.is_superset(&both), "freed by a runtime that was starting");
    // It answers with more than anybody should read.
    runtime.has(&vec![sandbox(&"x".repeat(1 << 20), true); 17]);
    failed_looks(&node.coild, 4)?;
    ensure!(holders(&node.coild)?.is_superset(&both), "freed by an answer that was not read");
    // The runtime has the sandbox, though its namespace is gone.
    runtime.has(&[sandbox("goes", false)]);
    looks(&runtime)?;
    ensure!(holders(&node.coild)?.contains("goes"), "freed though it was listed");
    // Now nothing says that it lives.
    runtime.has(&[]);
    gone(&node.coild, "goes")?;
    looks(&runtime)?;
    assert_eq!(holders(&node.coild)?, BTreeSet::from(["new".to_owned(), "stays".to_owned()]));
    Ok(())
}

#[test]
fn an_empty_list_frees_nothing_that_lives() -> Result<()> {
    let node = Node::new("200ms")?;
    // One is of this runtime, the other of a runtime that nobody asks.
    for name in ["sandbox", "other"] {
        node.container(name)?;
    }
    let runtime = FakeRuntime::start(&node.socket(), &[sandbox("sandbox", true)])?;
    looks(&runtime)?;
    runtime.has(&[]);
    looks(&runtime)?;
    assert_eq!(holders(&node.coild)?, BTreeSet::from(["other".to_owned(), "sandbox".to_owned()]));
    assert_eq!(metric(&node.coild, "coild_orphans_freed_total")?, 0);
    Ok(())
}

/// No namespace is on record: the runtime's word counts, for containers that it had, and if the interfaces bear it out.
#[test]
fn without_a_namespace_on_record() -> Result<()> {
    let node = Node::new("200ms")?;
    let coild = &node.coild;
    for container in ["goes", "other"] {
        coild.allocate(container)?;
    }
    let in_use = coild.allocate("in-use")?;
    let late = node.machine.netns("late")?;
    node.machine.in_netns(&late, &format!("ip addr add {in_use}/32 dev lo"))?;
    let runtime = FakeRuntime::start(&node.socket(), &[sandbox("goes", true), sandbox("in-use", false)])?;
    looks(&runtime)?;
    runtime.has(&[]);
    gone(coild, "goes")?;
    looks(&runtime)?;
    assert_eq!(holders(coild)?, BTreeSet::from(["in-use".to_owned(), "other".to_owned()]));
    // With the last address that could be seen on an interface, the interfaces prove nothing.
    node.machine.run("ip netns del late")?;
    looks(&runtime)?;
    assert!(holders(coild)?.contains("in-use"), "freed by a look that saw nothing");
    node.container("seen")?;
    gone(coild, "in-use")?;
    looks(&runtime)?;
    assert_eq!(holders(coild)?, BTreeSet::from(["other".to_owned(), "seen".to_owned()]));
    Ok(())
}

#[test]
fn a_reboot_is_settled_when_the_runtime_answers() -> Result<()> {
    let mut node = Node::new("1h")?;
    let mut before = BTreeSet::new();
    for name in ["runs", "dead"] {
        before.insert(node.container(name)?);
        node.machine.run(&format!("ip netns del {name}"))?;
    }
    node.coild.kill()?;
    std::fs::write(node.coild.boot_id_file(), "22222222-2222-4222-8222-222222222222\n")?;
    node.coild.run()?;
    // Until it answers, new containers get other addresses.
    for round in ["first", "second"] {
        let given: IpAddr = node.coild.allocate(round)?.parse()?;
        ensure!(!before.contains(&given), "{given} was given though it is undecided who has it");
        assert!(holders(&node.coild)?.is_superset(&BTreeSet::from(["dead".to_owned(), "runs".to_owned()])));
        node.coild.kill()?;
        node.coild.run()?;
    }
    let _runtime = FakeRuntime::start(&node.socket(), &[sandbox("runs", true), sandbox("dead", false)])?;
    gone(&node.coild, "dead")?;
    let left = BTreeSet::from(["first", "runs", "second"].map(str::to_owned));
    assert_eq!(holders(&node.coild)?, left);
    // It is settled for good.
    node.coild.kill()?;
    node.coild.run()?;
    assert_eq!(holders(&node.coild)?, left);
    Ok(())
}

#[test]
fn a_lost_journal_gets_its_holders_back() -> Result<()> {
    let machine = Machine::start()?;
    let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/16")?;
    let coild = cluster.node("n1")?;
    let network = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [main_config(&coild.socket())]});
    let containerd = Containerd::start(&machine, &network)?;
    let socket = containerd.socket();
    let args = ["--cri-socket", socket.to_str().context("text")?, "--mirror-window", "1h"];
    let mut coild = coild.with(&args).with(&["--reconcile-interval", "1s"]);
    coild.run()?;
    let pods = pods(&containerd, &["a", "b", "c"])?;
    coild.kill()?;
    ensure!(cluster.mirror("n1")?.is_empty(), "the mirror was written in its window");
    std::fs::remove_file(coild.data().join("journal"))?;
    coild.run()?;
    wait_until("the sandboxes to be known again", SOON, || {
        let status = coild.status()?;
        Ok(pods.iter().all(|pod| status.pods.get(&pod.id) == pod.ips.first()))
    })?;
    wait_until("the quarantine to end", SOON, || Ok(metric(&coild, "coild_quarantined_blocks")? == 0))?;
    // They are known well enough for their DEL.
    containerd.remove_sandboxes(&pods)?;
    assert!(coild.status()?.attachments.is_empty(), "{:?}", coild.status()?.attachments);
    Ok(())
}

#[test]
fn a_quarantine_waits_for_the_runtime() -> Result<()> {
    let mut node = Node::with(&["--reconcile-interval", "200ms", "--mirror-window", "1h"])?;
    let address = node.coild.allocate("late")?.parse::<IpAddr>()?;
    node.coild.kill()?;
    ensure!(node.cluster.mirror("n1")?.is_empty(), "the mirror was written in its window");
    std::fs::remove_file(node.coild.data().join("journal"))?;
    node.coild.run()?;
    failed_looks(&node.coild, 4)?;
    assert_eq!(metric(&node.coild, "coild_quarantined_blocks")?, 1);
    let late = FakeSandbox { ip: address.to_string(), ..sandbox("late", true) };
    let _runtime = FakeRuntime::start(&node.socket(), &[late])?;
    wait_until("the quarantine to end", SOON, || Ok(metric(&node.coild, "coild_quarantined_blocks")? == 0))?;
    assert_eq!(node.coild.status()?.pods.get("late"), Some(&address));
    Ok(())
}
