//! coil-controller's configuration: flags, environment, TOML file.

use clap::{Args, Parser, Subcommand, ValueEnum};
use coild::config::{LogConfig, NodeConfig};
use common::server::Bind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

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
    /// The log.
    #[command(flatten)]
    pub log: LogConfig,
}

/// `coil-controller standalone`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  coil-controller standalone --data-dir /var/lib/coil\n  coilctl pool create default \
                        --subnet 10.64.0.0/16\n\nOne process may use a data directory at a time. The API has no \
                        authentication: it listens on loopback or on a unix socket."
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

/// Where the admin API listens.
#[derive(Debug, Clone, Args)]
pub struct ListenConfig {
    /// Where to serve the admin API: an address and port, or `unix:` and a path; several with commas between
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
    /// Let --listen name addresses beyond loopback. The API has no authentication yet: whoever reaches the port
    /// can change and delete pools
    #[arg(long, env = "COIL_LISTEN_WITHOUT_AUTHENTICATION")]
    pub listen_without_authentication: bool,
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

/// Listening beyond loopback was not allowed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--listen {0} is reachable from other machines, and the API has no authentication yet: use 127.0.0.1, [::1] or a unix \
     socket, or allow it with --listen-without-authentication if the network is yours alone"
)]
pub struct NotLoopback(SocketAddr);

impl ListenConfig {
    /// What to bind.
    pub fn binds(&self) -> Result<Vec<Bind>, NotLoopback> {
        self.listen
            .iter()
            .map(|place| match place {
                ListenOn::Tcp(address)
                    if !address.ip().is_loopback() && !self.listen_without_authentication =>
                {
                    Err(NotLoopback(*address))
                }
                ListenOn::Tcp(address) => Ok(Bind::Tcp(*address)),
                ListenOn::Unix(path) => {
                    let mode = if self.listen_group.is_some() { 0o660 } else { 0o600 };
                    Ok(Bind::Unix { path: path.clone(), mode, group: self.listen_group.clone() })
                }
            })
            .collect()
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
        let binds = config.listen.binds().expect("loopback");
        assert!(
            matches!(binds[..], [Bind::Tcp(address)] if address.to_string() == "127.0.0.1:9898"),
            "{binds:?}"
        );
        assert!(standalone(&[]).expect_err("no directory").contains("--data-dir <DIR>"));
    }

    #[test]
    fn listening_beyond_loopback_must_be_meant() {
        let config = standalone(&["--data-dir", "/d", "--listen", "[::1]:1,0.0.0.0:9898"]).expect("parsed");
        let error = config.listen.binds().expect_err("refused").to_string();
        assert!(error.contains("0.0.0.0:9898") && error.contains("no authentication"), "{error}");
        let args = ["--data-dir", "/d", "--listen", "0.0.0.0:9898", "--listen-without-authentication"];
        standalone(&args).expect("parsed").listen.binds().expect("allowed");
    }

    #[test]
    fn unix_sockets() {
        let args = ["--data-dir", "/d", "--listen", "unix:/run/c.sock", "--listen-group", "adm"];
        let binds = standalone(&args).expect("parsed").listen.binds().expect("local");
        assert!(matches!(&binds[..], [Bind::Unix { mode: 0o660, group: Some(group), .. }] if group == "adm"));
        for bad in ["unix:c.sock", "localhost:80", "127.0.0.1", ""] {
            assert!(standalone(&["--data-dir", "/d", "--listen", bad]).is_err(), "{bad}");
        }
    }
}
