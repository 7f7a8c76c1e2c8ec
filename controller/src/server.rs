//! The service: the API over a store, for as long as it is wanted; alone, or with a coild in the same process.

use crate::api::{Context, REQUEST_TIME, router};
use crate::auth::{Authentication, Tokens, TokensError};
use crate::lastbackend::Platform;
use crate::lastbackend::engine::Engine;
use crate::lastbackend::engine::keeper::Keeper;
use crate::melange::Settings;
use crate::reload;
use coild::config::NodeConfig;
use coild::daemon::{Daemon, DaemonError};
use common::error::chain;
use common::server::{Bind, BindError, Limits, Listener, serve};
#[cfg(feature = "tls")]
use common::server::{Tls, TlsError, TlsFiles};
use common::store::embedded::Embedded;
use common::store::schema::{SchemaError, ensure_schema};
use common::store::{Store, StoreError};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Why the service can't run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data directory can't be made.
    #[error("can't make the data directory {0}")]
    DataDir(PathBuf, #[source] std::io::Error),
    /// The store can't be opened.
    #[error("can't open the store {0}")]
    Open(PathBuf, #[source] StoreError),
    /// The store's layout is not ours.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A socket can't be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The file of tokens is of no use.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The files of TLS are of no use.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The coild in this process can't run.
    #[error("coild")]
    Daemon(#[from] DaemonError),
}

/// Where the API is, and how its callers are known.
#[derive(Debug, Clone, Default)]
pub struct Listening {
    /// The places.
    pub binds: Vec<Bind>,
    /// The file of tokens, if callers on TCP need one.
    pub tokens: Option<PathBuf>,
    /// The files of TLS, which is then spoken on all TCP ports.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsFiles>,
}

/// What of the APIs is configured.
#[derive(Clone, Default)]
pub struct Parts {
    /// What tenants have.
    pub melange: Settings,
    /// What runs services on this machine, if anything does.
    pub engine: Option<Arc<dyn Engine>>,
}

/// Serves the API until `shutdown` is done. A store that does not answer yet is waited for.
pub async fn run(
    store: Arc<dyn Store>,
    listening: &Listening,
    parts: Parts,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    tokio::pin!(shutdown);
    // What the configuration has wrong is told at once.
    let (authentication, tls) = open(listening)?;
    tokio::select! {
        usable = usable(store.as_ref()) => usable?,
        () = &mut shutdown => return Ok(()),
    }
    let https = tls.is_some();
    let listeners = listen(&listening.binds, tls).await?;
    let context = Context { https, ..Context::with(store, authentication, parts.melange) };
    serve_with(context, listeners, parts.engine.map(|engine| (engine, host())), shutdown).await;
    Ok(())
}

/// Serves the API, runs services, and sees to what is due, until `shutdown` is done. `engine` is what runs services, and on
/// which machine.
async fn serve_with(
    mut context: Context,
    listeners: Vec<Listener>,
    engine: Option<(Arc<dyn Engine>, String)>,
    shutdown: impl Future<Output = ()>,
) {
    let (end, ending) = watch::channel(false);
    let store = Arc::clone(&context.store);
    let keeper = engine.map(|(engine, machine)| Keeper { store: Arc::clone(&store), engine, machine });
    if let Some(keeper) = &keeper {
        let platform = Platform::new(store).with_engine(Arc::clone(&keeper.engine), ending.clone());
        context = context.with_platform(platform);
    }
    let shutdown = async {
        shutdown.await;
        // Readers of logs would stay for ever.
        let _ = end.send(true);
    };
    let keep = async {
        if let Some(keeper) = &keeper {
            keeper.run(ending).await;
        }
    };
    let melange = Arc::clone(&context.melange);
    let serve = async { tokio::join!(serve(listeners, router(context), limits(), shutdown), keep) };
    tokio::select! {
        _ = serve => {}
        () = melange.keep_purging() => {}
        () = melange.keep_following_pods() => {}
    }
}

fn host() -> String {
    nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned()
}

fn limits() -> Limits {
    // The API itself ends a request that takes too long, with its id in the reply.
    Limits { request_time: REQUEST_TIME + Duration::from_secs(5), ..Limits::default() }
}

#[cfg(feature = "tls")]
type MayBeTls = Option<Tls>;
#[cfg(not(feature = "tls"))]
type MayBeTls = Option<std::convert::Infallible>;

/// Reads the files that say who may call, and keeps up with them.
fn open(listening: &Listening) -> Result<(Authentication, MayBeTls), ServerError> {
    // SIGHUP ends nothing, also when there is nothing to be read anew.
    let _ = signal(SignalKind::hangup());
    let tokens = listening.tokens.as_ref().map(|path| {
        let file = path.clone();
        reload::watch("tokens", vec![path.clone()], move || Tokens::load(&file).map(Arc::new))
    });
    let tokens = tokens.transpose()?;
    #[cfg(not(feature = "tls"))]
    return Ok((Authentication { tokens, certificates: false }, None));
    #[cfg(feature = "tls")]
    {
        let certificates = listening.tls.as_ref().is_some_and(|files| files.client_ca.is_some());
        let tls = listening.tls.clone().map(|files| {
            reload::watch("TLS certificates", files.paths(), move || files.load()).map(Tls::new)
        });
        Ok((Authentication { tokens, certificates }, tls.transpose()?))
    }
}

/// How long to wait before asking again a store that did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits until the store answers, and makes sure that its layout is ours.
async fn usable(store: &dyn Store) -> Result<(), SchemaError> {
    loop {
        match ensure_schema(store).await {
            Err(SchemaError::Store(error)) if error.is_unavailable() => {
                tracing::warn!(error = %chain(&error), "nothing is served before the store answers");
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

async fn listen(binds: &[Bind], tls: MayBeTls) -> Result<Vec<Listener>, BindError> {
    let mut listeners = Vec::new();
    for bind in binds {
        let listener = Listener::bind(bind).await?;
        let place = listener.tcp_address().map_or_else(|| bind.to_string(), |bound| bound.to_string());
        tracing::info!(
            listen = place,
            tls = tls.is_some() && matches!(bind, Bind::Tcp(_)),
            "the API is here"
        );
        #[cfg(feature = "tls")]
        let listener = match &tls {
            Some(tls) => listener.with_tls(tls.clone()),
            None => listener,
        };
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Controller and coild in one process, on the store in `data_dir`. When the coild can't run, the controller
/// is stopped too.
pub async fn run_standalone(
    data_dir: &Path,
    node: NodeConfig,
    listening: &Listening,
    parts: Parts,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let (authentication, tls) = open(listening)?;
    std::fs::create_dir_all(data_dir).map_err(|error| ServerError::DataDir(data_dir.to_owned(), error))?;
    let path = data_dir.join("store.redb");
    let store = Embedded::open(&path).await.map_err(|error| ServerError::Open(path, error))?;
    let store: Arc<dyn Store> = Arc::new(store);
    let (stop, stopped) = watch::channel(false);
    let until_stopped = || {
        let mut stopped = stopped.clone();
        async move {
            // An error means that the sender is gone, and so is the reason to go on.
            let _ = stopped.wait_for(|stop| *stop).await;
        }
    };
    ensure_schema(store.as_ref()).await?;
    let https = tls.is_some();
    // Requests wait from here on until both serve.
    let listeners = listen(&listening.binds, tls).await?;
    let socket = node.socket.clone();
    let machine = node.node_name.as_ref().map_or_else(host, ToString::to_string);
    let daemon = Daemon {
        config: node,
        data_dir: data_dir.to_owned(),
        inherited: None,
        listen: None,
        store: Arc::clone(&store),
    };
    let controller = async {
        tokio::select! {
            () = appeared(&socket) => {}
            () = until_stopped() => {}
        }
        let context = Context { https, ..Context::with(store, authentication, parts.melange) };
        let engine = parts.engine.map(|engine| (engine, machine));
        serve_with(context, listeners, engine, until_stopped()).await;
    };
    let daemon = async {
        let outcome = daemon.run(until_stopped()).await;
        let _ = stop.send(true);
        outcome
    };
    let told = async {
        tokio::select! {
            () = shutdown => {}
            () = until_stopped() => {}
        }
        let _ = stop.send(true);
    };
    let ((), daemon, ()) = tokio::join!(controller, daemon, told);
    Ok(daemon?)
}

/// Waits until somebody serves a unix socket.
async fn appeared(socket: &Path) {
    while UnixStream::connect(socket).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
