//! The node daemon `coild`.

use anyhow::Context;
use coild::config::{Command, Config};
use coild::daemon::Daemon;
use coild::probe::Probe;
use common::server::{Bind, allow_many_files, keep_files_private, terminated};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coild: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let config: Config = common::config::parse()?;
    coild::logging::start(&config.log).context("--log")?;
    match config.command {
        Some(Command::Install(install)) => return Ok(install.run()?),
        Some(Command::Uninstall(uninstall)) => return Ok(uninstall.run()?),
        Some(Command::Probe(probe)) => return probed(&probe),
        None => {}
    }
    let inherited = Bind::inherited().context("the socket that this was started with")?;
    keep_files_private();
    allow_many_files();
    // One thread for all sockets, besides the allocator's: an ADD is a chain of wake-ups, and each one more costs.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = config.etcd.connect()?;
        let daemon = Daemon {
            config: config.node,
            data_dir: config.data_dir,
            inherited,
            listen: config.listen,
            store,
        };
        Ok(daemon.run(terminated()).await?)
    })
}

fn probed(probe: &Probe) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(probe.run())?)
}
