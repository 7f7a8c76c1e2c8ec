//! What `make demo` runs: as root, without privileges, and interrupted. Nothing is left behind.

use anyhow::{Context, Result, ensure};
use coil_tests::binaries::binary;
use coil_tests::place::Place;
use coil_tests::process::Process;
use coil_tests::tools::directory;
use coil_tests::tools::{find, text};
use coil_tests::wait::wait_until;
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const LONG: Duration = Duration::from_mins(1);

/// The programs of the demo in a directory of their own, so that any user can run them and their processes
/// can be told from others.
fn copies() -> Result<TempDir> {
    let dir = directory()?;
    for name in ["coil", "coil-controller", "coilctl", "demo"] {
        fs::copy(binary(name)?, dir.path().join(name))?;
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    Ok(dir)
}

/// Programs of the directory that still run.
fn running(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")? {
        let program = fs::read_link(process?.path().join("exe")).unwrap_or_default();
        if program.starts_with(dir) {
            found.push(program.display().to_string());
        }
    }
    Ok(found)
}

fn interfaces() -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/net/dev")?;
    Ok(table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect())
}

fn assert_told(story: &str) {
    for part in ["coilctl pool create", "demo-c", "10.64.", "fd00:64:", "CNI_COMMAND=DEL", "nothing is left"]
    {
        assert!(story.contains(part), "{part:?} is missing in:\n{story}");
    }
}

#[test]
fn as_root() -> Result<()> {
    let (dir, before) = (copies()?, interfaces()?);
    let output = Command::new(dir.path().join("demo")).output()?;
    ensure!(output.status.success(), "{}", text(&output));
    assert_told(&text(&output));
    assert_eq!(running(dir.path())?, [""; 0]);
    assert_eq!(interfaces()?, before);
    Ok(())
}

#[test]
fn without_privileges() -> Result<()> {
    let dir = copies()?;
    let nobody = |program: &Path| -> Result<Command> {
        let mut command = Command::new(find("setpriv", "util-linux")?);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
        Ok(command)
    };
    let output = nobody(&dir.path().join("demo"))?.output()?;
    if nobody(&find("unshare", "util-linux")?)?.args(["--user", "true"]).status()?.success() {
        ensure!(output.status.success(), "{}", text(&output));
        assert_told(&text(&output));
    } else {
        // The machine does not allow it: the demo says what to do.
        assert!(text(&output).contains("user.max_user_namespaces"), "{}", text(&output));
    }
    assert_eq!(running(dir.path())?, [""; 0]);
    Ok(())
}

#[test]
fn interrupted() -> Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGKILL] {
        let dir = copies()?;
        let log = dir.path().join("log");
        let mut command = Command::new(dir.path().join("demo"));
        let mut demo = Process::start("demo", Place::Here, &mut command, &log)?;
        wait_until("the containers", LONG, || Ok(demo.log().contains("demo-b")))?;
        demo.signal(signal)?;
        let status = demo.wait(LONG)?;
        if signal != Signal::SIGKILL {
            assert_eq!(status.code(), Some(128 + signal as i32), "{}", demo.log());
        }
        wait_until("all processes to be gone", LONG, || Ok(running(dir.path())?.is_empty()))
            .with_context(|| format!("{signal}"))?;
    }
    Ok(())
}

#[test]
fn a_failure_is_told_and_cleaned_up() -> Result<()> {
    let dir = copies()?;
    fs::remove_file(dir.path().join("coil"))?;
    let output = Command::new(dir.path().join("demo")).output()?;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("coil is missing"), "{}", text(&output));
    assert_eq!(running(dir.path())?, [""; 0]);
    Ok(())
}
