//! `coilctl melange nat`

use super::address::table;
use super::{delete, list, send};
use crate::client::{Client, Target};
use crate::exit::Failure;
use crate::output::Output;
use clap::{Args, Subcommand, ValueEnum};
use common::wire::melange::{IpAddressView, NatAddress};
use hyper::Method;
use std::net::IpAddr;

/// NAT: which addresses outside stand for an inside one, and the other way round.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Example, with the ids of an inside block and of a public one:\n  coilctl melange nat assign globals INSIDE \
                  10.1.0.2 PUBLIC/203.0.113.9\n  coilctl melange nat list locals PUBLIC 203.0.113.9"
)]
pub(crate) enum Nat {
    /// List the addresses that stand for an address
    List(OfAddress),
    /// Make addresses stand for an address; those that nobody has are allocated
    Assign(Assign),
    /// Make an address stand for another one no longer
    Remove(Remove),
}

/// Which of the addresses that are joined to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    /// The addresses outside that stand for an inside one
    Globals,
    /// The inside addresses that an address outside stands for
    Locals,
}

/// An address, and a side of it.
#[derive(Debug, Args)]
pub(crate) struct OfAddress {
    /// Its inside globals, or its inside locals
    #[arg(value_name = "SIDE")]
    side: Side,
    /// Id of the address's block
    #[arg(value_name = "BLOCK")]
    block: String,
    /// The address
    #[arg(value_name = "ADDRESS")]
    address: IpAddr,
}

impl OfAddress {
    fn target(&self, rest: &[&str]) -> Target {
        let (address, side) = (
            self.address.to_string(),
            match self.side {
                Side::Globals => "inside_globals",
                Side::Locals => "inside_locals",
            },
        );
        let own = ["v0.1", "ipam", "ip_blocks", &self.block, "ip_addresses", &address, side];
        Target::root(&[&own, rest].concat())
    }
}

/// Make addresses stand for an address.
#[derive(Debug, Args)]
pub(crate) struct Assign {
    #[command(flatten)]
    own: OfAddress,
    /// An address on that side, with the id of its block; may be repeated
    #[arg(value_name = "BLOCK/ADDRESS", required = true, value_parser = other)]
    others: Vec<NatAddress>,
}

fn other(text: &str) -> Result<NatAddress, String> {
    let (block, address) = text.rsplit_once('/').ok_or("it must be BLOCK/ADDRESS")?;
    let ip_address = address.parse().map_err(|error| format!("{address:?}: {error}"))?;
    Ok(NatAddress { ip_block_id: block.to_owned(), ip_address })
}

/// Make an address stand for another one no longer.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    own: OfAddress,
    /// The address on that side
    #[arg(value_name = "OTHER", required_unless_present = "all", conflicts_with = "all")]
    other: Option<IpAddr>,
    /// All addresses on that side
    #[arg(long)]
    all: bool,
}

impl Nat {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let addresses: Vec<IpAddressView> = match self {
            Self::List(own) => list(client, "ip_addresses", || own.target(&[])).await?,
            Self::Assign(Assign { own, others }) => {
                send(client, Method::POST, own.target(&[]), "ip_addresses", &others).await?
            }
            Self::Remove(Remove { own, other, .. }) => {
                let rest = other.map(|other| other.to_string());
                let rest: Vec<&str> = rest.as_deref().into_iter().collect();
                let what = match other {
                    Some(other) => format!("the NAT of {} and {other} is removed", own.address),
                    None => format!("all NAT of {} on this side is removed", own.address),
                };
                return delete(client, output, own.target(&rest), &what).await;
            }
        };
        output.print(&addresses, |out| table(&addresses).write(out, "addresses"))
    }
}
