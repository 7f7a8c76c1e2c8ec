//! `coil-controller`

use anyhow::{Context, Result};
use common::error::chain;
use common::server::{keep_files_private, terminated};
#[cfg(feature = "etcd")]
use controller::config::ServeConfig;
use controller::config::{Config, Mode, StandaloneConfig};
use controller::server;
use std::process::ExitCode;

#[cfg(not(feature = "etcd"))]
const WITHOUT_ETCD: &str = "this program was built without etcd: build it with the feature `etcd`, which is on by default \
                            and needs protoc, or run `coil-controller standalone`";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coil-controller: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let Config { mode } = common::config::parse()?;
    keep_files_private();
    let mut runtime = match &mode {
        Mode::Serve(_) => tokio::runtime::Builder::new_multi_thread(),
        // As in coild: the fewer threads an ADD passes through, the sooner it is answered.
        Mode::Standalone(_) => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.worker_threads(2).enable_all().build().context("can't start the runtime")?;
    runtime.block_on(async {
        match mode {
            #[cfg(feature = "etcd")]
            Mode::Serve(config) => serve(config).await,
            #[cfg(not(feature = "etcd"))]
            Mode::Serve(_) => Err(anyhow::anyhow!(WITHOUT_ETCD)),
            Mode::Standalone(config) => standalone(config).await,
        }
    })
}

async fn standalone(config: StandaloneConfig) -> Result<()> {
    coild::logging::start(&config.log)?;
    let binds = config.listen.binds()?;
    Ok(server::run_standalone(&config.data_dir, config.node, &binds, terminated()).await?)
}

#[cfg(feature = "etcd")]
async fn serve(config: ServeConfig) -> Result<()> {
    coild::logging::start(&config.log)?;
    let binds = config.listen.binds()?;
    let store = config.etcd.connect()?;
    Ok(server::run(store, &binds, terminated()).await?)
}
