//! coil-controller's configuration: flags, environment, TOML file.

#[cfg(any(feature = "cri", feature = "kubernetes"))]
mod engine;
#[cfg(feature = "etcd")]
mod import;
mod melange;

#[cfg(any(feature = "cri", feature = "kubernetes"))]
pub use engine::{EngineArgs, EngineKind, Means, WrongEngine};
#[cfg(feature = "etcd")]
pub use import::{CoilV1, ImportSource};
pub use melange::MelangeConfig;

use crate::auth::Role;
#[cfg(feature = "kubernetes")]
use crate::kubernetes::Access;
use crate::server::Listening;
use clap::{Args, Parser, Subcommand, ValueEnum};
#[cfg(feature = "kubernetes")]
use coild::config::parse_time;
use coild::config::{LogConfig, NodeConfig};
use common::server::Bind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
#[cfg(feature = "kubernetes")]
use std::time::Duration;

/// The central service of Coil: pools of addresses, the nodes that lease blocks of them, and the admin API that
/// coilctl talks to.
///
/// `serve` keeps the pools in etcd, where the coild of every node leases its blocks. `standalone` is the whole of
/// Coil on one machine: controller and coild in one process, with a store of their own in a directory.
///
/// Every flag can also be set by the environment variable shown with it, or in a TOML file named by --config, under
/// the flag's name without the dashes. Flags win over the environment, and the environment over the file.
#[derive(Debug, Parser)]
#[command(
    name = "coil-controller",
    version,
    after_help = "Examples:\n  coil-controller standalone --data-dir /var/lib/coil\n  coil-controller serve --store \
                  etcd --etcd-endpoints http://127.0.0.1:2379\n\nExit codes: 0 after SIGTERM or SIGINT, 1 on failure, \
                  2 for wrong usage."
)]
pub struct Config {
    /// What to run.
    #[command(subcommand)]
    pub mode: Mode,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub enum Mode {
    /// The controller of a cluster, on etcd
    Serve(ServeConfig),
    /// Controller and coild in one process, on a store of their own: one machine, nothing else installed
    Standalone(StandaloneConfig),
    /// Make a bearer token: its hash is added to a file, and the token itself is printed once
    CreateToken(CreateToken),
    /// Take over the pools, blocks and addresses of another system
    #[cfg(feature = "etcd")]
    #[command(subcommand)]
    Import(ImportSource),
}

/// `coil-controller create-token`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coil-controller create-token alice --role admin --tokens /etc/coil/tokens.toml > \
                        alice.token\n  coil-controller create-token ci --role namespace:team-a --tokens \
                        /etc/coil/tokens.toml > ci.token\n\nA token is taken back by deleting its entry from the file."
)]
pub struct CreateToken {
    /// What the log calls its bearer: letters, digits, '-', '_', '.', '@'
    pub name: String,
    /// What it may do: admin, operator, viewer, tenant:NAME or namespace:NAME
    #[arg(long, value_name = "ROLE")]
    pub role: Role,
    /// The file; made if it does not exist
    #[arg(long, env = "COIL_TOKENS", value_name = "FILE")]
    pub tokens: PathBuf,
}

/// `coil-controller serve`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  coil-controller serve --store etcd --etcd-endpoints \
                        https://10.0.0.1:2379,https://10.0.0.2:2379 \\\n    --etcd-ca ca.pem --etcd-cert cert.pem --etcd-key \
                        key.pem\n\nAny number of controllers may serve the same store.")]
pub struct ServeConfig {
    /// TOML file with values for these flags
    #[arg(long, env = "COIL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the pools are kept
    #[arg(long, env = "COIL_STORE", value_name = "STORE", value_enum, default_value = "etcd")]
    pub store: StoreKind,
    /// The etcd cluster.
    #[cfg(feature = "etcd")]
    #[command(flatten)]
    pub etcd: coild::etcd::EtcdArgs,
    /// Where the API is.
    #[command(flatten)]
    pub listen: ListenConfig,
    /// Kubernetes.
    #[cfg(feature = "kubernetes")]
    #[command(flatten)]
    pub kubernetes: KubernetesConfig,
    /// What tenants have.
    #[command(flatten)]
    pub melange: MelangeConfig,
    /// Unix socket of the CRI service of the container runtime on this machine, which then runs services
    #[cfg(feature = "cri")]
    #[arg(long, env = "COIL_CRI_SOCKET", value_name = "PATH")]
    pub cri_socket: Option<PathBuf>,
    /// What runs services.
    #[cfg(any(feature = "cri", feature = "kubernetes"))]
    #[command(flatten)]
    pub engine: EngineArgs,
    /// The log.
    #[command(flatten)]
    pub log: LogConfig,
}

/// Whether there is a Kubernetes, and how it is asked.
#[cfg(feature = "kubernetes")]
#[derive(Debug, Clone, Args)]
pub struct KubernetesConfig {
    /// Ask Kubernetes which StatefulSets there are, and give up the addresses that are kept for pods of those that are
    /// gone; and which nodes, and remove those that it has deleted. Tell it which pods get no address, what nodes have free, and
    /// that they are ready. `in-cluster`, as the pod that this runs in, or the path of a kubeconfig. Without it, Kubernetes is
    /// neither asked nor told.
    /// With --engine kubernetes, services run there too
    #[arg(long, env = "COIL_KUBERNETES", value_name = "in-cluster|FILE")]
    pub kubernetes: Option<Access>,
    /// How often Kubernetes is asked; what it says twice is acted on
    #[arg(long, env = "COIL_KUBERNETES_INTERVAL", value_name = "TIME", default_value = "5m",
          value_parser = parse_interval, requires = "kubernetes")]
    pub kubernetes_interval: Duration,
}

#[cfg(feature = "kubernetes")]
fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_time(text)? {
        Duration::ZERO => Err("it can't be asked all the time".to_owned()),
        interval => Ok(interval),
    }
}

/// `coil-controller standalone`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  coil-controller standalone --data-dir /var/lib/coil\n  coilctl pool create default \
                        --subnet 10.64.0.0/16\n\nOne process may use a data directory at a time."
)]
pub struct StandaloneConfig {
    /// TOML file with values for these flags
    #[arg(long, env = "COIL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory for the store, the journal and the instance id; made if it does not exist
    #[arg(long, env = "COIL_DATA_DIR", value_name = "DIR", required = true)]
    pub data_dir: PathBuf,
    /// The node.
    #[command(flatten)]
    pub node: NodeConfig,
    /// Where the API is.
    #[command(flatten)]
    pub listen: ListenConfig,
    /// What tenants have.
    #[command(flatten)]
    pub melange: MelangeConfig,
    /// What runs services.
    #[cfg(feature = "cri")]
    #[command(flatten)]
    pub engine: EngineArgs,
    /// The log.
    #[command(flatten)]
    pub log: LogConfig,
}

/// Which store keeps the pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// An etcd cluster.
    Etcd,
}

/// Where the API listens, and how its callers are known.
#[derive(Debug, Clone, Args)]
pub struct ListenConfig {
    /// Where to serve the API: an address and port, or `unix:` and a path; several with commas between
    #[arg(
        long,
        env = "COIL_LISTEN",
        value_name = "ADDRESS:PORT|unix:PATH",
        default_value = "127.0.0.1:9898",
        value_delimiter = ','
    )]
    pub listen: Vec<ListenOn>,
    /// Group, by name or number, that may use the unix sockets besides their owner (their mode is then 0660, not
    /// 0600)
    #[arg(long, env = "COIL_LISTEN_GROUP", value_name = "GROUP")]
    pub listen_group: Option<String>,
    /// TOML file with the hashes of bearer tokens; callers on TCP then need a token, or a client certificate. Made by
    /// `coil-controller create-token`, and read anew when it changes
    #[arg(long, env = "COIL_TOKENS", value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// PEM file with the server's certificate and those that lead to its authority: TCP is then TLS. The files of TLS
    /// are read anew when they change
    #[cfg(feature = "tls")]
    #[arg(long, env = "COIL_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the private key of the server's certificate
    #[cfg(feature = "tls")]
    #[arg(long, env = "COIL_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// PEM file with the authority of client certificates, whose organizations `coil:ROLE` are roles; callers on TCP
    /// then need such a certificate, or a token
    #[cfg(feature = "tls")]
    #[arg(long, env = "COIL_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
}

/// A place to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenOn {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl FromStr for ListenOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err("the path of a unix socket starts with /".to_owned()),
            None => text.parse().map(Self::Tcp).map_err(|_| "neither ADDRESS:PORT nor unix:PATH".to_owned()),
        }
    }
}

/// Listening beyond loopback needs more than is configured.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--listen {address} is reachable from other machines, and needs {missing}: see docs/coil-controller.md; or use \
     127.0.0.1, [::1] or a unix socket"
)]
pub struct Exposed {
    address: SocketAddr,
    missing: &'static str,
}

impl ListenConfig {
    /// Where to listen, and how callers are known.
    pub fn listening(&self) -> Result<Listening, Exposed> {
        let binds = self.listen.iter().map(|place| match place {
            ListenOn::Tcp(address) => match self.missing() {
                Some(missing) if !address.ip().is_loopback() => Err(Exposed { address: *address, missing }),
                _ => Ok(Bind::Tcp(*address)),
            },
            ListenOn::Unix(path) => {
                let mode = if self.listen_group.is_some() { 0o660 } else { 0o600 };
                Ok(Bind::Unix { path: path.clone(), mode, group: self.listen_group.clone() })
            }
        });
        Ok(Listening {
            binds: binds.collect::<Result<_, _>>()?,
            tokens: self.tokens.clone(),
            #[cfg(feature = "tls")]
            tls: self.tls_cert.clone().zip(self.tls_key.clone()).map(|(cert, key)| {
                common::server::TlsFiles { cert, key, client_ca: self.tls_client_ca.clone() }
            }),
        })
    }

    /// What listening beyond loopback still needs.
    #[cfg(feature = "tls")]
    fn missing(&self) -> Option<&'static str> {
        if self.tls_cert.is_none() {
            return Some("TLS (--tls-cert, --tls-key)");
        }
        let known = self.tokens.is_some() || self.tls_client_ca.is_some();
        (!known).then_some("authentication (--tokens or --tls-client-ca)")
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "with TLS, it depends")]
    fn missing(&self) -> Option<&'static str> {
        Some("TLS, without which this program was built")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn standalone(args: &[&str]) -> Result<StandaloneConfig, String> {
        let all = ["coil-controller", "standalone"].iter().chain(args);
        match Config::try_parse_from(all) {
            Ok(Config { mode: Mode::Standalone(config) }) => Ok(config),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_flags_are_consistent() {
        Config::command().debug_assert();
    }

    #[test]
    fn standalone_needs_a_directory_and_nothing_else() {
        let config = standalone(&["--data-dir", "/d"]).expect("enough");
        assert_eq!(config.node.socket, PathBuf::from("/run/coild.sock"));
        let binds = config.listen.listening().expect("loopback").binds;
        assert!(
            matches!(binds[..], [Bind::Tcp(address)] if address.to_string() == "127.0.0.1:9898"),
            "{binds:?}"
        );
        assert!(standalone(&[]).expect_err("no directory").contains("--data-dir <DIR>"));
    }

    #[cfg(feature = "tls")]
    #[test]
    fn beyond_loopback_there_is_authentication_and_tls() {
        let listening = |more: &[&str]| {
            let args = ["--data-dir", "/d", "--listen", "[::1]:1,0.0.0.0:9898"];
            let args: Vec<&str> = args.iter().chain(more).copied().collect();
            standalone(&args).expect("parsed").listen.listening().map_err(|error| error.to_string())
        };
        let tls = ["--tls-cert", "c", "--tls-key", "k"];
        for (more, missing) in [
            (&[][..], "TLS (--tls-cert, --tls-key)"),
            (&["--tokens", "t"], "TLS (--tls-cert, --tls-key)"),
            (&tls, "authentication (--tokens or --tls-client-ca)"),
        ] {
            let error = listening(more).expect_err("refused");
            assert!(error.contains("0.0.0.0:9898") && error.contains(missing), "{error}");
        }
        for more in [["--tokens", "t"], ["--tls-client-ca", "a"]] {
            listening(&[&tls[..], &more].concat()).expect("allowed");
        }
        for alone in [["--tls-cert", "c"], ["--tls-key", "k"], ["--tls-client-ca", "a"]] {
            assert!(standalone(&[&["--data-dir", "/d"][..], &alone].concat()).is_err(), "{alone:?}");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn without_tls_it_stays_on_the_machine() {
        let args = ["--data-dir", "/d", "--listen", "0.0.0.0:9898", "--tokens", "t"];
        let error = standalone(&args).expect("parsed").listen.listening().expect_err("refused").to_string();
        assert!(error.contains("TLS, without which this program was built"), "{error}");
    }

    #[cfg(all(feature = "cri", feature = "kubernetes"))]
    #[tokio::test]
    async fn engines_have_what_they_need_and_nothing_else() {
        let kubeconfig = r#"{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c"}}],
            "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}]}"#;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig).expect("written");
        let cluster = crate::kubernetes::Cluster::new(&Access::Kubeconfig(path)).await.expect("a cluster");
        let engine = |args: &[&str], socket: bool, cluster| {
            let config = standalone(&[&["--data-dir", "/d"][..], args].concat()).expect("parsed");
            let socket = socket.then(|| PathBuf::from("/run/cri.sock"));
            match config.engine.engine(Means { socket, cluster }) {
                Ok(engine) => engine.map_or("none", |engine| engine.kind()).to_owned(),
                Err(error) => error.to_string(),
            }
        };
        let kubernetes = ["--engine", "kubernetes"];
        assert_eq!(engine(&[], false, Some(cluster.clone())), "none", "that is for its StatefulSets");
        assert_eq!(engine(&[], true, Some(cluster.clone())), "cri");
        assert_eq!(engine(&["--engine", "none"], true, Some(cluster.clone())), "none");
        assert_eq!(engine(&kubernetes, false, Some(cluster.clone())), "kubernetes");
        let error = engine(&kubernetes, true, None);
        assert!(error.contains("--engine kubernetes needs --kubernetes"), "{error}");
        let error = engine(&kubernetes, true, Some(cluster.clone()));
        assert!(error.starts_with("--cri-socket is of --engine cri"), "{error}");
        let error = engine(&[&kubernetes[..], &["--cgroup-parent", "/x"]].concat(), false, Some(cluster));
        assert!(error.starts_with("--cgroup-parent is of --engine cri"), "{error}");
    }

    #[test]
    fn unix_sockets() {
        let args = ["--data-dir", "/d", "--listen", "unix:/run/c.sock", "--listen-group", "adm"];
        let binds = standalone(&args).expect("parsed").listen.listening().expect("local").binds;
        assert!(matches!(&binds[..], [Bind::Unix { mode: 0o660, group: Some(group), .. }] if group == "adm"));
        for bad in ["unix:c.sock", "localhost:80", "127.0.0.1", ""] {
            assert!(standalone(&["--data-dir", "/d", "--listen", bad]).is_err(), "{bad}");
        }
    }
}
