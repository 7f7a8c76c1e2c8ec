//! `coilctl import`
//!
//! * [`host_local`]: the files that host-local keeps of a network, and what a runtime remembers of its pods

mod host_local;

use crate::client::{Client, Server, Target};
use crate::cmd::address::short;
use crate::exit::Failure;
use crate::identity::Identity;
use crate::output::Output;
use crate::table::{Table, plain};
use clap::{Args, Subcommand};
use common::name::PoolName;
use common::progress::Bar;
use common::wire::node::{AddressReply, AllocateRequest, StatusReply};
use host_local::{Directory, Reservation};
use hyper::Method;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Adopt the addresses that containers have from another ipam.
#[derive(Debug, Subcommand)]
pub(crate) enum Import {
    /// Those that host-local gave on this node
    HostLocal(HostLocal),
}

/// Adopt the addresses that host-local gave on this node: containers keep them, and coil gives them to nobody else.
///
/// Make a pool of the same subnet, disabled, so that nobody gets an address of it; import on every node; have the
/// network use coil; and enable the pool. While this runs, host-local waits. It may be run again at any time: what was adopted stays.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coilctl pool create default --subnet 10.244.0.0/16 --disabled\n  coilctl import host-local cbr0 --dry-run\n  coilctl import host-local cbr0\n  coilctl pool enable default"
)]
pub(crate) struct HostLocal {
    /// Name of the CNI network
    network: String,
    /// Where host-local keeps a directory for each network
    #[arg(long, value_name = "DIR", default_value = "/var/lib/cni/networks")]
    dir: PathBuf,
    /// Where the runtime remembers what it called plugins with: there are the names of the pods
    #[arg(long, value_name = "DIR", default_value = "/var/lib/cni/results")]
    results: PathBuf,
    /// The pool that the addresses are of
    #[arg(long, value_name = "POOL", default_value = "default")]
    pool: PoolName,
    /// The coild of this node
    #[arg(long, env = "COIL_SOCKET", value_name = "PATH", default_value = "/run/coild.sock")]
    socket: PathBuf,
    /// Only tell what would be done; exit code 6 says that there is something
    #[arg(long)]
    dry_run: bool,
}

/// What is or was done with what a container has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
enum Outcome {
    /// Coil knows it already.
    Held,
    /// It would be adopted.
    ToAdopt,
    /// It was adopted.
    Adopted,
    /// It can't be.
    Refused(String),
}

/// What a container has, and what comes of it.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    reservation: Reservation,
    #[serde(flatten)]
    outcome: Outcome,
}

impl Import {
    pub(crate) async fn run(self, timeout: Duration, output: Output) -> Result<(), Failure> {
        match self {
            Self::HostLocal(import) => import.run(timeout, output).await,
        }
    }
}

impl HostLocal {
    async fn run(self, timeout: Duration, output: Output) -> Result<(), Failure> {
        let coild = Client::new(Server::Unix(self.socket.clone()), timeout, Identity::default());
        let directory = Directory::lock(&self.dir.join(&self.network)).map_err(|error| {
            Failure::Usage(format!("can't lock {}/{}: {error}", self.dir.display(), self.network))
        })?;
        let reservations = directory.read(&self.network, &self.results).map_err(Failure::Usage)?;
        let status: StatusReply =
            coild.get(Target::root(&["status"])).await.map_err(|failure| self.of_coild(failure))?;
        let mut rows = plan(reservations, &status);
        if !self.dry_run {
            self.adopt(&coild, &mut rows).await?;
        }
        output.print(&rows, |out| write(out, &rows))?;
        if rows.iter().any(|row| matches!(row.outcome, Outcome::Refused(_))) {
            return Err(Failure::NotYet("not everything could be adopted".to_owned()));
        }
        let differs = rows.iter().any(|row| row.outcome == Outcome::ToAdopt);
        if differs { Err(Failure::Differs) } else { Ok(()) }
    }

    async fn adopt(&self, coild: &Client, rows: &mut [Row]) -> Result<(), Failure> {
        let (mut bar, all) = (Bar::on_terminal(), rows.len());
        for (done, row) in (1..).zip(rows) {
            if row.outcome == Outcome::ToAdopt {
                let asked: Result<(_, AddressReply), Failure> = coild
                    .send(Method::POST, Target::root(&["ip"]), Some(&self.request(&row.reservation)))
                    .await;
                row.outcome = match asked {
                    Ok(_) => Outcome::Adopted,
                    Err(Failure::Refused { error, .. }) => Outcome::Refused(error),
                    Err(failure) => return Err(self.of_coild(failure)),
                };
            }
            bar.show(done, all);
        }
        Ok(())
    }

    fn request(&self, reservation: &Reservation) -> AllocateRequest {
        AllocateRequest {
            pod_namespace: reservation.namespace.clone(),
            pod_name: reservation.pod.clone(),
            container_id: reservation.container.clone(),
            interface: Some(reservation.interface.clone()),
            address_type: None,
            address_types: Vec::new(),
            pool: Some(self.pool.clone()),
            address: None,
            addresses: reservation.addresses.clone(),
            adopt: true,
            network: Some(self.network.clone()),
            netns: None,
            annotations: BTreeMap::new(),
        }
    }

    /// It is the node's daemon that does not answer, and not the controller.
    fn of_coild(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Unreachable { reason, .. } => {
                Failure::NoCoild { socket: self.socket.display().to_string(), reason }
            }
            other => other,
        }
    }
}

/// What is to be done with each, by what coild says that it holds.
fn plan(reservations: Vec<Reservation>, status: &StatusReply) -> Vec<Row> {
    let holder = |address: IpAddr| status.attachments.iter().find(|attachment| attachment.address == address);
    let rows = reservations.into_iter().map(|reservation| {
        let own = |address: &&IpAddr| {
            holder(**address).is_some_and(|held| {
                held.container_id == reservation.container && held.interface == reservation.interface
            })
        };
        let foreign =
            reservation.addresses.iter().find(|address| holder(**address).is_some() && !own(address));
        let outcome = match foreign.and_then(|address| holder(*address)) {
            Some(held) => {
                Outcome::Refused(format!("container {} holds {} already", held.container_id, held.address))
            }
            None if reservation.addresses.iter().all(|address| own(&address)) => Outcome::Held,
            None => Outcome::ToAdopt,
        };
        Row { reservation, outcome }
    });
    rows.collect()
}

fn write(out: &mut dyn Write, rows: &[Row]) -> io::Result<()> {
    let mut table = Table::new(&["ADDRESSES", "NAMESPACE", "POD", "CONTAINER", "INTERFACE", "STATE"]);
    for Row { reservation, outcome } in rows {
        let addresses: Vec<String> = reservation.addresses.iter().map(IpAddr::to_string).collect();
        table.row(vec![
            addresses.join(","),
            plain(reservation.namespace.as_str()),
            plain(reservation.pod.as_str()),
            short(reservation.container.as_str()),
            plain(reservation.interface.as_str()),
            match outcome {
                Outcome::Held => "held already".to_owned(),
                Outcome::ToAdopt => "to adopt".to_owned(),
                Outcome::Adopted => "adopted".to_owned(),
                Outcome::Refused(reason) => format!("refused: {}", plain(reason)),
            },
        ]);
    }
    table.write(out, "container has an address of host-local")
}
