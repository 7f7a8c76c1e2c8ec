//! `coil-controller`

use anyhow::{Context, Result};
use coild::config::LogConfig;
use common::error::chain;
#[cfg(feature = "etcd")]
use common::progress::Bar;
use common::server::{allow_many_files, keep_files_private, terminated};
use controller::audit;
use controller::auth::NewToken;
#[cfg(any(feature = "cri", all(feature = "etcd", feature = "kubernetes")))]
use controller::config::Means;
#[cfg(feature = "etcd")]
use controller::config::{CoilV1, ImportSource, ServeConfig};
use controller::config::{Config, CreateToken, Mode, StandaloneConfig};
#[cfg(feature = "etcd")]
use controller::import::{Import, Progress};
#[cfg(all(feature = "etcd", feature = "kubernetes"))]
use controller::kubernetes::{Cluster, keep_up};
use controller::server::{self, Parts};
use std::io::Write;
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
    allow_many_files();
    let mut runtime = match &mode {
        Mode::Serve(_) => tokio::runtime::Builder::new_multi_thread(),
        // As in coild: the fewer threads an ADD passes through, the sooner it is answered.
        Mode::Standalone(_) | Mode::CreateToken(_) => tokio::runtime::Builder::new_current_thread(),
        #[cfg(feature = "etcd")]
        Mode::Import(_) => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.worker_threads(2).enable_all().build().context("can't start the runtime")?;
    runtime.block_on(async {
        match mode {
            #[cfg(feature = "etcd")]
            Mode::Serve(config) => serve(config).await,
            #[cfg(not(feature = "etcd"))]
            Mode::Serve(_) => Err(anyhow::anyhow!(WITHOUT_ETCD)),
            Mode::Standalone(config) => Box::pin(standalone(config)).await,
            Mode::CreateToken(token) => create_token(token),
            #[cfg(feature = "etcd")]
            Mode::Import(ImportSource::CoilV1(config)) => import_version_1(config).await,
        }
    })
}

async fn standalone(config: StandaloneConfig) -> Result<()> {
    start_log(&config.log)?;
    let listening = config.listen.listening()?;
    #[cfg(feature = "cri")]
    let engine =
        config.engine.engine(Means { socket: config.node.cri_socket.clone(), ..Means::default() })?;
    #[cfg(not(feature = "cri"))]
    let engine = None;
    let parts = Parts { melange: config.melange.settings(), engine };
    Ok(server::run_standalone(&config.data_dir, config.node, &listening, parts, terminated()).await?)
}

#[cfg(feature = "etcd")]
async fn serve(config: ServeConfig) -> Result<()> {
    start_log(&config.log)?;
    let listening = config.listen.listening()?;
    let store = config.etcd.connect()?;
    #[cfg(feature = "kubernetes")]
    let cluster = match &config.kubernetes.kubernetes {
        Some(access) => Some(Cluster::new(access).await?),
        None => None,
    };
    #[cfg(feature = "kubernetes")]
    if let Some(cluster) = cluster.clone() {
        let interval = config.kubernetes.kubernetes_interval;
        tokio::spawn(keep_up(cluster, interval, std::sync::Arc::clone(&store)));
    }
    #[cfg(any(feature = "cri", feature = "kubernetes"))]
    let engine = config.engine.engine(Means {
        #[cfg(feature = "cri")]
        socket: config.cri_socket,
        #[cfg(feature = "kubernetes")]
        cluster,
    })?;
    #[cfg(not(any(feature = "cri", feature = "kubernetes")))]
    let engine = None;
    let parts = Parts { melange: config.melange.settings(), engine };
    Ok(server::run(store, &listening, parts, terminated()).await?)
}

/// The audit log is there whatever the level, unless the filter names it.
fn start_log(config: &LogConfig) -> Result<()> {
    let log = format!("{}=info,{}", audit::TARGET, config.log);
    Ok(coild::logging::start(&LogConfig { log, ..config.clone() })?)
}

/// What was done, or is to be, goes to standard output; how far it is to standard error: as a bar on a terminal, and else
/// as lines of the audit log.
#[cfg(feature = "etcd")]
async fn import_version_1(config: CoilV1) -> Result<()> {
    let mut bar = Bar::on_terminal();
    if !bar.is_visible() {
        start_log(&config.log)?;
    }
    let source = config.source().connect()?;
    let target = config.etcd.connect()?;
    let import = Import { source: source.as_ref(), target: target.as_ref() };
    let mut out = std::io::stdout().lock();
    if config.dry_run {
        let outlook = import.look().await?;
        outlook.write(&mut out).context("can't print the plan")?;
        return Ok(outlook.obstacles()?);
    }
    let size = import.run(|Progress { done, all }| bar.show(done, all)).await?;
    writeln!(
        out,
        "imported: {size}. The pools are disabled: start coild on all nodes, then `coilctl pool enable` them"
    )
    .context("can't print the result")
}

/// The token goes to standard output, by itself.
fn create_token(CreateToken { name, role, tokens }: CreateToken) -> Result<()> {
    let new = NewToken::make(&name, role)?;
    new.add_to(&tokens)?;
    writeln!(std::io::stdout(), "{}", new.token).context("can't print the token")
}
