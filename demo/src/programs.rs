//! The programs that are shown. They lie beside this one.

use crate::sandbox::DIRECTORY;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(15);

fn program(name: &str) -> Result<Command> {
    let file = std::env::current_exe()?.with_file_name(name);
    ensure!(file.is_file(), "{} is missing: `make demo` builds it", file.display());
    Ok(Command::new(file))
}

/// Looks again and again until there is a value.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let last = match look() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => anyhow::anyhow!("not yet"),
            Err(error) => error,
        };
        if Instant::now() > deadline {
            return Err(last.context(format!("waited {PATIENCE:?} for {what}")));
        }
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "between two looks at the condition")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// `coil-controller standalone`: controller and coild in one process. It ends with this process, as all
/// others do.
#[derive(Debug)]
pub(crate) struct Standalone {
    child: Child,
    log: PathBuf,
}

impl Standalone {
    /// Starts it with these arguments and waits until it answers.
    pub(crate) fn start(args: &[&str]) -> Result<Self> {
        let log = Path::new(DIRECTORY).join("coil-controller.log");
        let file = File::create(&log)?;
        let mut command = program("coil-controller")?;
        let child = command
            .args(args)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("can't start coil-controller")?;
        let mut standalone = Self { child, log };
        let answers = wait_for("coil-controller to answer", || {
            if let Some(status) = standalone.child.try_wait()? {
                return Ok(Some(Err(anyhow::anyhow!("coil-controller ended with {status}"))));
            }
            coilctl(&["pool", "list"]).map(|_| Some(Ok(())))
        });
        answers.and_then(|result| result).with_context(|| standalone.last_words())?;
        Ok(standalone)
    }

    /// Asks it to end; it must do so, and without a failure.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        let status = wait_for("coil-controller to end", || Ok(self.child.try_wait()?))?;
        ensure!(status.success(), "coil-controller ended with {status}\n{}", self.last_words());
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("its last words:\n{}\n", lines[lines.len().saturating_sub(15)..].join("\n"))
    }
}

/// What `coilctl` prints.
pub(crate) fn coilctl(args: &[&str]) -> Result<String> {
    let output = program("coilctl")?.args(args).output().context("can't start coilctl")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "coilctl {} failed: {error}", args.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}

/// A call of the plugin, as a container runtime makes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attachment<'a> {
    /// Id of the container.
    pub(crate) container: &'a str,
    /// Path of its network namespace.
    pub(crate) netns: &'a Path,
}

impl Attachment<'_> {
    /// The environment that tells the plugin what to do.
    fn env(&self, verb: &str) -> [(&'static str, String); 4] {
        [
            ("CNI_COMMAND", verb.to_owned()),
            ("CNI_CONTAINERID", self.container.to_owned()),
            ("CNI_NETNS", self.netns.display().to_string()),
            ("CNI_IFNAME", "eth0".to_owned()),
        ]
    }

    /// The call as one would type it.
    pub(crate) fn typed(&self, verb: &str) -> String {
        let env = self.env(verb).map(|(name, value)| format!("{name}={value}"));
        format!("{} coil < net.json", env.join(" "))
    }

    /// Makes the interface and answers its addresses.
    pub(crate) fn add(&self, config: &Value) -> Result<Vec<IpAddr>> {
        let printed = self.call("ADD", config)?;
        let result: Value = serde_json::from_str(&printed).context("the plugin did not print JSON")?;
        let ips = result["ips"].as_array().with_context(|| format!("no addresses in {printed}"))?;
        ips.iter()
            .map(|ip| {
                let address = ip["address"].as_str().and_then(|text| text.split_once('/'));
                Ok(address.with_context(|| format!("no address in {ip}"))?.0.parse()?)
            })
            .collect()
    }

    /// Removes the interface.
    pub(crate) fn del(&self, config: &Value) -> Result<()> {
        self.call("DEL", config).map(|_| ())
    }

    fn call(&self, verb: &str, config: &Value) -> Result<String> {
        let mut command = program("coil")?;
        let mut child = command
            .envs(self.env(verb))
            .env("CNI_PATH", std::env::current_exe()?.with_file_name(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("can't start coil")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(config.to_string().as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let printed = String::from_utf8(output.stdout)?;
        if !output.status.success() {
            bail!("the plugin's {verb} for {} failed: {printed}", self.container);
        }
        Ok(printed)
    }
}
