//! A child process with its log.

use crate::place::Place;
use crate::tools::show;
use crate::wait::wait_for;
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Time for a program to end once it was asked to.
pub const STOP: Duration = Duration::from_secs(20);

/// A running child process. It is killed when dropped; after a panic its log is printed.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    /// The process itself: in a machine, `nsenter` stands between it and us.
    target: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts a command made by `place`; what it prints is appended to `log`.
    pub fn start(what: impl Into<String>, place: Place, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("can't start {}", show(command)))?;
        let target = pid(child.id())?;
        let mut process = Self { what: what.into(), child, target, log: log.to_owned() };
        if let Place::Inside(_) = place {
            process.target = process.behind_nsenter()?;
        }
        Ok(process)
    }

    fn behind_nsenter(&mut self) -> Result<Pid> {
        let id = self.child.id();
        let children = format!("/proc/{id}/task/{id}/children");
        let found = wait_for("nsenter to start the program", Duration::from_secs(10), || {
            let list = std::fs::read_to_string(&children)?;
            Ok(list.split_whitespace().next().map(str::parse::<u32>).transpose()?)
        });
        pid(found.with_context(|| self.story())?)
    }

    /// The process id, as seen from outside.
    pub fn id(&self) -> u32 {
        self.target.as_raw().unsigned_abs()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal; nothing happens if the process has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.is_running()? {
            kill(self.target, signal).with_context(|| format!("can't signal {}", self.what))?;
        }
        Ok(())
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.what);
        wait_for(&what, within, || Ok(self.child.try_wait()?)).with_context(|| self.story())
    }

    /// Asks it to end by SIGTERM, and waits.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(STOP)
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait(STOP).map(|_| ())
    }

    /// What it printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of the log, for an error message.
    pub fn story(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(40)..].join("\n");
        format!("the last that {} printed:\n{tail}\n", self.what)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.story());
        }
        let _ = self.kill();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pid(id: u32) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(id).context("a process id is a small number")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::directory;

    #[test]
    fn stops_and_tells() -> Result<()> {
        let dir = directory()?;
        let mut command = Command::new("sh");
        command.args(["-c", "echo hello; trap 'exit 7' TERM; while :; do read -r _ < /dev/zero; done"]);
        let mut process = Process::start("sh", Place::Here, &mut command, &dir.path().join("log"))?;
        wait_for("a greeting", STOP, || Ok(process.log().contains("hello").then_some(())))?;
        assert!(process.is_running()?);
        process.kill()?;
        assert!(!process.is_running()?);
        assert!(process.story().contains("hello"));
        Ok(())
    }

    #[test]
    fn is_gone_when_dropped() -> Result<()> {
        let dir = directory()?;
        let process =
            Process::start("sleep", Place::Here, Command::new("sleep").arg("60"), &dir.path().join("log"))?;
        let pid = process.target;
        drop(process);
        assert!(kill(pid, None).is_err(), "{pid} still runs");
        Ok(())
    }
}
