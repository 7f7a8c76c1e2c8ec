//! coild's configuration: flags, environment, TOML file.

use crate::cri::Cri;
#[cfg(feature = "host")]
use crate::install::{Install, Uninstall};
#[cfg(feature = "host")]
use crate::probe::Probe;
#[cfg(feature = "host")]
use clap::Subcommand;
use clap::{Args, Parser, ValueEnum};
use common::name::NodeName;
use common::server::Bind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What a node daemon needs, wherever its store is.
#[derive(Debug, Clone, Args)]
pub struct NodeConfig {
    /// Name of this node; every machine needs one of its own [default: the host's name]
    #[arg(long, env = "COIL_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<NodeName>,
    /// Unix socket that the plugin talks to
    #[arg(long, env = "COIL_SOCKET", value_name = "PATH", default_value = "/run/coild.sock")]
    pub socket: PathBuf,
    /// Group, by name or number, that may use the socket besides its owner (its mode is then 0660, not 0600)
    #[arg(long, env = "COIL_SOCKET_GROUP", value_name = "GROUP")]
    pub socket_group: Option<String>,
    /// Kernel routing table to export the node's blocks to, or `none`
    #[arg(long, env = "COIL_ROUTE_TABLE", value_name = "TABLE", default_value = "119", value_parser = parse_table)]
    pub route_table: RouteTable,
    /// How long an address rests after it is freed; it is given earlier when nothing else is free
    #[arg(long, env = "COIL_COOLDOWN", value_name = "TIME", default_value = "30s", value_parser = parse_time)]
    pub cooldown: Duration,
    /// Lease another block when fewer addresses than this are free
    #[arg(long, env = "COIL_LOW_WATER", value_name = "COUNT", default_value = "4")]
    pub low_water: u32,
    /// How long changes are gathered before they are copied to the store together
    #[arg(long, env = "COIL_MIRROR_WINDOW", value_name = "TIME", default_value = "900ms", value_parser = parse_time)]
    pub mirror_window: Duration,
    /// How often the node's addresses are compared with what really runs
    #[arg(long, env = "COIL_RECONCILE_INTERVAL", value_name = "TIME", default_value = "2m", value_parser = parse_time)]
    pub reconcile_interval: Duration,
    /// Unix socket of the container runtime's CRI service; if given, the runtime's sandboxes are compared too
    #[cfg(feature = "cri")]
    #[arg(long, env = "COIL_CRI_SOCKET", value_name = "PATH", value_parser = parse_socket)]
    pub cri_socket: Option<PathBuf>,
    /// Megabytes of who held which address when that are kept below the data directory; 0 for none
    #[arg(long, env = "COIL_HISTORY", value_name = "MEGABYTES", default_value = "128")]
    pub history: u64,
    /// Serve health, readiness and metrics on this TCP address too, and nothing else: it may be reached from other machines
    #[arg(long, env = "COIL_METRICS_LISTEN", value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<SocketAddr>,
    /// File with the kernel's boot id
    #[arg(
        long,
        env = "COIL_BOOT_ID_FILE",
        value_name = "PATH",
        default_value = "/proc/sys/kernel/random/boot_id",
        hide = true
    )]
    pub boot_id_file: PathBuf,
}

/// How the daemons log.
#[derive(Debug, Clone, Args)]
pub struct LogConfig {
    /// What is logged: a level, or directives such as `info,coild=debug`
    #[arg(long, env = "COIL_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// Form of the log
    #[arg(long, env = "COIL_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Leases blocks of addresses for its node and hands the addresses out over a unix socket.
///
/// coild takes /28 blocks (or whatever the pool says) from the pools in etcd and gives single addresses of them
/// to the plugin `coil`. An address is given without asking etcd, and goes on being given while etcd is away, as
/// long as the blocks held have room. Pools are made with `coilctl pool create`.
///
/// Every flag can also be set by the environment variable shown with it, or in a TOML file named by --config, under
/// the flag's name without the dashes. Flags win over the environment, and the environment over the file.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  coild --node-name node-a --etcd-endpoints http://127.0.0.1:2379 --data-dir /var/lib/coil\n\nExit codes: 0 after SIGTERM or SIGINT, 1 on failure, 2 for wrong usage."
)]
pub struct Config {
    /// Something else than to run.
    #[cfg(feature = "host")]
    #[command(subcommand)]
    pub command: Option<Command>,
    /// TOML file with values for these flags
    #[arg(long, env = "COIL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The node.
    #[command(flatten)]
    pub node: NodeConfig,
    /// Directory for the journal and the instance id
    #[arg(long, env = "COIL_DATA_DIR", value_name = "DIR", default_value = "/var/lib/coil")]
    pub data_dir: PathBuf,
    /// Also serve the API on this TCP address, without authentication: loopback only
    #[arg(long, env = "COIL_LISTEN", value_name = "ADDRESS:PORT", value_parser = parse_loopback)]
    pub listen: Option<SocketAddr>,
    /// The store.
    #[cfg(feature = "etcd")]
    #[command(flatten)]
    pub etcd: crate::etcd::EtcdArgs,
    /// The log.
    #[command(flatten)]
    pub log: LogConfig,
}

/// What coild does instead of running.
#[cfg(feature = "host")]
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Put the plugin and a CNI configuration on this host, whole and durably, and set what pods need of its kernel
    Install(Install),
    /// Take plugin and configuration off this host
    Uninstall(Uninstall),
    /// Ask the coild that runs here whether it is well, by its socket
    Probe(Probe),
}

/// Where the blocks' routes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteTable {
    /// Nowhere.
    None,
    /// To this table.
    Table(u32),
}

impl NodeConfig {
    /// Where the socket is.
    pub fn bind(&self) -> Bind {
        let mode = if self.socket_group.is_some() { 0o660 } else { 0o600 };
        Bind::Unix { path: self.socket.clone(), mode, group: self.socket_group.clone() }
    }

    /// The container runtime to ask for its sandboxes, if any.
    pub fn runtime(&self) -> Option<Cri> {
        #[cfg(feature = "cri")]
        return self.cri_socket.clone().map(Cri::new);
        #[cfg(not(feature = "cri"))]
        return None;
    }
}

/// Parses the path of a socket, which other tools take with `unix://` before it.
#[cfg(feature = "cri")]
fn parse_socket(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("unix://").unwrap_or(text);
    if path.starts_with('/') {
        Ok(path.into())
    } else {
        Err("the path of a unix socket starts with /".to_owned())
    }
}

fn parse_table(text: &str) -> Result<RouteTable, String> {
    match text.parse() {
        _ if text == "none" => Ok(RouteTable::None),
        Ok(0) | Err(_) => Err("a table is a number from 1 on, or `none`".to_owned()),
        Ok(table) => Ok(RouteTable::Table(table)),
    }
}

/// Parses a time such as `500ms`, `30s`, `2m` or `1h`.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a time is a number with ms, s, m or h behind it".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a time starts with a number".to_owned())?;
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| "the time is too long".to_owned())
}

/// Parses an address to listen on without authentication.
pub fn parse_loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "not of the form ADDRESS:PORT".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("the API has no authentication and listens on loopback only (127.0.0.1 or [::1])".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_time("2h"), Ok(Duration::from_hours(2)));
        for bad in ["", "s", "5", "5 s", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_loopback_without_authentication() {
        assert!(parse_loopback("127.0.0.1:0").is_ok() && parse_loopback("[::1]:80").is_ok());
        assert!(parse_loopback("0.0.0.0:80").is_err() && parse_loopback("localhost").is_err());
    }

    #[cfg(feature = "cri")]
    #[test]
    fn sockets_of_runtimes() {
        for text in ["/run/containerd/containerd.sock", "unix:///run/containerd/containerd.sock"] {
            assert_eq!(parse_socket(text), Ok("/run/containerd/containerd.sock".into()));
        }
        for bad in ["", "containerd.sock", "unix://containerd.sock", "tcp://127.0.0.1:1"] {
            assert!(parse_socket(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tables() {
        assert_eq!(parse_table("none"), Ok(RouteTable::None));
        assert_eq!(parse_table("119"), Ok(RouteTable::Table(119)));
        assert!(parse_table("0").is_err() && parse_table("main").is_err());
    }
}
