//! coild on a socket that systemd has made: who connects while coild is being replaced waits for the next one.

use anyhow::{Context, Result, ensure};
use coil_tests::cluster::Cluster;
use coil_tests::coild::{Coild, request};
use coil_tests::http::Http;
use coil_tests::tools::find;
use coil_tests::wait::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// What systemd does before it starts a service with a socket: the third descriptor listens, and two variables say so.
const ACTIVATE: &str = r#"exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@""#;

struct Started(Child);

impl Started {
    fn new(coild: &Coild, listener: &UnixListener) -> Result<Self> {
        let real = coild.command()?;
        let mut command = Command::new("sh");
        command.args(["-c", ACTIVATE, "sh"]).arg(real.get_program()).args(real.get_args());
        let log =
            std::fs::File::options().create(true).append(true).open(coild.dir().join("activated.log"))?;
        command.stdin(Stdio::from(OwnedFd::from(listener.try_clone()?))).stderr(log);
        Ok(Self(command.spawn()?))
    }

    fn end(mut self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.0.id())?), signal)?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The address that a container gets, and whatever time it takes until somebody answers.
fn address(socket: &Path, container: &str) -> Result<String> {
    let reply: Value = Http::Unix(socket.to_owned()).post("/ip", &request(container))?.expect(200)?.json()?;
    Ok(reply["address"].as_str().context("an address")?.to_owned())
}

#[test]
fn nobody_is_turned_away_while_coild_is_replaced() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let coild = cluster.node("n1")?;
    let socket = coild.socket();
    let listener = UnixListener::bind(&socket)?;
    // The first one that asks comes before coild.
    for (number, signal) in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGKILL].into_iter().enumerate() {
        let (container, asked) = (format!("c{number}"), socket.clone());
        let client = std::thread::spawn(move || address(&asked, &container));
        let started = Started::new(&coild, &listener)?;
        client.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
        started.end(signal)?;
        ensure!(socket.exists(), "the socket is not coild's to remove");
    }
    let started = Started::new(&coild, &listener)?;
    wait_until("coild to hold all that it gave", SOON, || Ok(coild.status()?.attachments.len() == 3))?;
    started.end(Signal::SIGTERM)
}

/// As systemd itself says it, and the units that the package has are what it takes them for.
#[test]
fn systemd_takes_the_units() -> Result<()> {
    find("systemd-analyze", "systemd")?;
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/systemd");
    let dir = tempfile::tempdir()?;
    let mut names = Vec::new();
    for unit in std::fs::read_dir(units)? {
        let unit = unit?.path();
        let name = unit.file_name().context("a name")?.to_owned();
        if unit.extension().is_some_and(|extension| extension == "service" || extension == "socket") {
            // The programs are not installed here; any that is there will do.
            let text = std::fs::read_to_string(&unit)?;
            let lines = text
                .lines()
                .map(|line| if line.starts_with("ExecStart=") { "ExecStart=/bin/true" } else { line });
            let path = dir.path().join(&name);
            std::fs::write(&path, lines.collect::<Vec<_>>().join("\n"))?;
            names.push(path);
        }
    }
    ensure!(names.len() >= 4, "{names:?}");
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .args(&names)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.trim().is_empty(), "{said}");
    Ok(())
}
