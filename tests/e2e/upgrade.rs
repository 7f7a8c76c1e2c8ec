//! A node is upgraded again and again, as a rolling update does it, while pods come and go: no pod fails for good, no address is
//! given twice, and none is lost.

use anyhow::{Context, Result, bail, ensure};
use coil_tests::binaries::binary;
use coil_tests::cluster::{Cluster, held};
use coil_tests::coild::Coild;
use coil_tests::machine::Machine;
use coil_tests::plugin::{Plugin, addresses, main_config};
use coil_tests::tools::run;
use coil_tests::wait::{wait_for, wait_until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Pods that come and go at the same time.
const PODS: usize = 6;
const UPGRADES: usize = 6;
/// For how long a runtime would try.
const PATIENCE: Duration = Duration::from_mins(1);

/// The host's directories, and two builds of the plugin.
struct Host {
    bin: PathBuf,
    conf: PathBuf,
    conflist: PathBuf,
    plugins: [PathBuf; 2],
}

impl Host {
    fn new(dir: &Path, socket: &Path) -> Result<Self> {
        let file = |name: &str| dir.join(name);
        let (first, second) = (file("coil-1"), file("coil-2"));
        fs::copy(binary("coil")?, &first)?;
        fs::copy(&first, &second)?;
        // What follows a program in its file is nothing to the kernel.
        fs::File::options().append(true).open(&second)?.write_all(b"another build")?;
        let list = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [main_config(socket)]});
        fs::write(file("conflist"), list.to_string())?;
        Ok(Self {
            bin: file("bin"),
            conf: file("net.d"),
            conflist: file("conflist"),
            plugins: [first, second],
        })
    }

    /// Puts one of the builds in place, by the command that an init container runs.
    fn install(&self, build: usize) -> Result<()> {
        let plugin = &self.plugins[build % 2];
        let mut command = Command::new(binary("coild")?);
        command
            .args(["install", "--sysctls", "none", "--plugin"])
            .arg(plugin)
            .arg("--cni-conf")
            .arg(&self.conflist);
        run(command.arg("--cni-bin-dir").arg(&self.bin).arg("--cni-conf-dir").arg(&self.conf))?;
        let installed = fs::read(self.plugin())?;
        ensure!(installed == fs::read(plugin)?, "another build is installed");
        ensure!(fs::metadata(self.plugin())?.permissions().mode() & 0o777 == 0o755);
        Ok(())
    }

    fn plugin(&self) -> PathBuf {
        self.bin.join("coil")
    }
}

/// Who has which address, as runtimes know it.
#[derive(Default)]
struct Pods {
    held: Mutex<BTreeMap<IpAddr, String>>,
    lives: AtomicUsize,
    retries: AtomicUsize,
    done: AtomicBool,
}

impl Pods {
    fn holders(&self) -> std::sync::MutexGuard<'_, BTreeMap<IpAddr, String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One pod after the other, until it is done; the last one stays.
    fn come_and_go(&self, worker: usize, machine: &Machine, plugin: &Plugin, config: &Value) -> Result<()> {
        let netns = machine.netns(&format!("w{worker}"))?;
        for life in 0.. {
            let (id, address) = self.add(&format!("w{worker}-{life}"), &netns, plugin, config)?;
            if let Some(other) = self.holders().insert(address, id.clone()) {
                bail!("{address} of {other} was given to {id}");
            }
            machine.reach(None, &address.to_string())?;
            self.lives.fetch_add(1, Ordering::Relaxed);
            if self.done.load(Ordering::Relaxed) {
                break;
            }
            self.holders().remove(&address);
            self.del(&plugin.clone().attachment(&id, &netns), config)?;
        }
        Ok(())
    }

    /// As a kubelet does: what failed is taken down, and tried anew as another sandbox.
    fn add(&self, name: &str, netns: &str, plugin: &Plugin, config: &Value) -> Result<(String, IpAddr)> {
        let mut attempt = 0;
        wait_for("an address", PATIENCE, || {
            let id = format!("{name}-{attempt}");
            attempt += 1;
            let plugin = plugin.clone().attachment(&id, netns);
            match self.call(&plugin, "ADD", config) {
                Ok(Some(result)) => Ok(Some(addresses(&result).map(|all| (id, all[0])))),
                Ok(None) => self.del(&plugin, config).map(|()| None),
                Err(error) => Ok(Some(Err(error))),
            }
        })?
    }

    /// A runtime repeats a DEL until it succeeds.
    fn del(&self, plugin: &Plugin, config: &Value) -> Result<()> {
        wait_for("a DEL", PATIENCE, || match self.call(plugin, "DEL", config) {
            Ok(done) => Ok(done.map(|_| Ok(()))),
            Err(error) => Ok(Some(Err(error))),
        })?
    }

    /// The result; `None` if it is to be tried again. Any other failure is one.
    fn call(&self, plugin: &Plugin, verb: &str, config: &Value) -> Result<Option<Value>> {
        let output = plugin.call(verb, config)?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let result = || serde_json::from_str(&printed).with_context(|| format!("{verb}: {output:?}"));
        match output.status.code() {
            Some(0) if verb == "DEL" => Ok(Some(Value::Null)),
            Some(0) => Ok(Some(result()?)),
            _ => {
                let error: Value = result()?;
                ensure!(error["code"] == 11, "{verb}: {error}");
                self.retries.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            }
        }
    }
}

fn start() -> Result<(Machine, Cluster, Coild, Host)> {
    let machine = Machine::start()?;
    machine.forward()?;
    // Few addresses, so that they are used again at once.
    let cluster = Cluster::start_on(&machine, "--subnet 10.64.0.0/27 --block-size 29")?;
    let coild = cluster.coild("n1", &["--cooldown", "0s"])?;
    let host = Host::new(coild.dir(), &coild.socket())?;
    host.install(0)?;
    Ok((machine, cluster, coild, host))
}

#[test]
fn pods_come_and_go_while_a_node_is_upgraded() -> Result<()> {
    let (machine, cluster, mut coild, host) = start()?;
    let plugin = Plugin::other(machine.place(), &host.plugin())?;
    let (config, pods) = (main_config(&coild.socket()), Pods::default());
    std::thread::scope(|scope| -> Result<()> {
        let (pods, machine, plugin, config) = (&pods, &machine, &plugin, &config);
        let come_and_go = |worker| scope.spawn(move || pods.come_and_go(worker, machine, plugin, config));
        let workers: Vec<_> = (0..PODS).map(come_and_go).collect();
        let mut upgrade_all = || -> Result<()> {
            for upgrade in 1..=UPGRADES {
                let before = pods.lives.load(Ordering::Relaxed);
                wait_until("pods to come and go", PATIENCE, || {
                    ensure!(!workers.iter().any(std::thread::ScopedJoinHandle::is_finished), "a pod failed");
                    Ok(pods.lives.load(Ordering::Relaxed) >= before + 2 * PODS)
                })?;
                // The old one has ended when the new pod's init container runs; by hand it may be the other way round.
                match upgrade % 3 {
                    0 => host.install(upgrade).and_then(|()| coild.kill())?,
                    1 => coild.stop().and_then(|_| host.install(upgrade))?,
                    _ => host.install(upgrade).and_then(|()| coild.stop().map(drop))?,
                }
                coild.run()?;
            }
            Ok(())
        };
        let outcome = upgrade_all();
        pods.done.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a pod panicked"))??;
        }
        outcome
    })?;
    ensure!(pods.retries.load(Ordering::Relaxed) > 0, "no pod has noticed that coild was away");
    let expected = pods.holders().clone();
    ensure!(
        expected.len() == PODS && held(&coild.status()?) == expected,
        "{:?}: {expected:?}",
        coild.status()?
    );
    for (address, id) in expected {
        machine.reach(None, &address.to_string())?;
        let worker = id.split('-').next().context("a name")?;
        pods.del(&plugin.clone().attachment(&id, &format!("/run/netns/{worker}")), &config)?;
    }
    ensure!(coild.status()?.attachments.is_empty(), "{:?}", coild.status()?);
    wait_until("the store to know it", PATIENCE, || Ok(cluster.mirror("n1")?.is_empty()))
}

#[test]
fn a_plugin_that_runs_while_it_is_replaced_does_its_work() -> Result<()> {
    let (machine, _cluster, mut coild, host) = start()?;
    let netns = machine.netns("pod")?;
    let plugin = Plugin::other(machine.place(), &host.plugin())?.attachment("pod", &netns);
    let config = main_config(&coild.socket());
    // It waits for an answer.
    coild.signal(Signal::SIGSTOP)?;
    std::thread::scope(|scope| -> Result<()> {
        let adding = scope.spawn(|| plugin.add(&config));
        let runs = |suffix: &str| -> Result<bool> {
            let program = format!("{}{suffix}", host.plugin().display());
            let processes = fs::read_dir("/proc")?.flatten();
            let mut programs = processes.filter_map(|process| fs::read_link(process.path().join("exe")).ok());
            Ok(programs.any(|exe| exe == Path::new(&program)))
        };
        let replaced = wait_until("the plugin to run", PATIENCE, || runs(""))
            .and_then(|()| host.install(1))
            .and_then(|()| runs(" (deleted)"));
        coild.signal(Signal::SIGCONT)?;
        ensure!(replaced?, "the older plugin does not run any more");
        let given = adding.join().map_err(|_| anyhow::anyhow!("the plugin panicked"))??;
        ensure!(coild.status()?.pods.get("pod") == given.first(), "{given:?}");
        machine.reach(None, &given[0].to_string())
    })?;
    // The newer one takes down what the older one has made.
    plugin.del(&config)?;
    ensure!(coild.status()?.attachments.is_empty(), "{:?}", coild.status()?);
    Ok(())
}
