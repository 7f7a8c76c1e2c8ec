//! Namespaces of the demo's own. Two processes take part: the outer one makes the namespaces and waits; the
//! inner one, process 1 of a process namespace, tells the story. When the inner one ends, for any reason, the
//! kernel ends all that it started, and with the last process go the mounts, the network and every file that
//! was made, as they lie on a tmpfs that nobody else sees.

use crate::netns;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{getegid, geteuid};
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode};

/// The argument by which the inner process knows itself.
pub(crate) const INSIDE: &str = "--inside";
/// A tmpfs is mounted here: the programs' default places are below it.
pub(crate) const DIRECTORY: &str = "/run";

/// Runs the inner process to its end, or until a signal asks for it.
pub(crate) fn run() -> Result<ExitCode> {
    separate()?;
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    // A process group of its own: Ctrl-C reaches this process alone.
    let mut inner = Command::new(std::env::current_exe()?)
        .arg(INSIDE)
        .process_group(0)
        .spawn()
        .context("can't start the demo in its namespaces")?;
    loop {
        match signals.wait()? {
            Signal::SIGCHLD => {
                if let Some(status) = inner.try_wait()? {
                    return Ok(ExitCode::from(
                        status.code().map_or(1, |code| u8::try_from(code).unwrap_or(1)),
                    ));
                }
            }
            signal => return interrupted(&mut inner, signal),
        }
    }
}

fn interrupted(inner: &mut Child, signal: Signal) -> Result<ExitCode> {
    inner.kill()?;
    let status = inner.wait()?;
    eprintln!("\nInterrupted by {signal}; everything is gone again.");
    // As a shell does: 128 plus the number of the signal.
    let code = if status.signal().is_some() { 128 + signal as i32 } else { 1 };
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// Puts this process into a new network and mount namespace, and its children into a new process namespace;
/// without privileges, in a new user namespace first.
fn separate() -> Result<()> {
    let flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    if geteuid().is_root() {
        match unshare(flags) {
            Err(Errno::EPERM) => {}
            other => return other.context("can't make namespaces"),
        }
    }
    let (uid, gid) = (geteuid(), getegid());
    if let Err(error) = unshare(flags | CloneFlags::CLONE_NEWUSER) {
        bail!(
            "can't make a user namespace ({error}). Run `sudo make demo`, or allow user namespaces: see \
             user.max_user_namespaces, kernel.unprivileged_userns_clone and \
             kernel.apparmor_restrict_unprivileged_userns"
        );
    }
    let write =
        |file: &str, text: String| fs::write(file, text).with_context(|| format!("can't write {file}"));
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Makes the namespaces fit to live in; the first thing that the inner process does.
pub(crate) fn enter() -> Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    SigSet::empty().thread_set_mask()?;
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .context("can't make the mounts private")?;
    mount(Some("tmpfs"), DIRECTORY, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755"))
        .with_context(|| format!("can't mount a tmpfs on {DIRECTORY}"))?;
    // The old one serves as well, and in a container it may be the only one allowed.
    let _ = mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), nothing);
    netns::loopback_up()?;
    let forward_v6 = netns::has_ipv6().then_some("ipv6/conf/all/forwarding");
    for setting in std::iter::once("ipv4/ip_forward").chain(forward_v6) {
        let file = format!("/proc/sys/net/{setting}");
        fs::write(&file, "1").with_context(|| format!("can't let the kernel forward packets: {file}"))?;
    }
    Ok(())
}
