//! `coilctl melange`: what tenants have, one file for each noun.

mod address;
mod block;
mod interface;
mod nat;
mod policy;
mod route;
mod subnet;

use crate::client::{Client, Target};
use crate::exit::Failure;
use crate::output::Output;
use clap::{Args, Subcommand};
use common::name::TenantId;
use hyper::Method;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::io::{self, Write};

/// What tenants have.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Example:\n  coilctl melange policy create acme \"no routers\"\n  coilctl melange block create acme \
                  --cidr 10.1.0.0/24 --type private --network net1\n  coilctl melange address allocate acme BLOCK"
)]
pub(crate) enum Melange {
    /// Blocks of addresses
    #[command(subcommand)]
    Block(block::Block),
    /// Subnets of blocks
    #[command(subcommand)]
    Subnet(subnet::Subnet),
    /// Addresses of blocks
    #[command(subcommand)]
    Address(address::Address),
    /// Policies: what of a block is not given
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Static routes of blocks
    #[command(subcommand)]
    Route(route::Route),
    /// What interfaces have in a network
    #[command(subcommand)]
    Interface(interface::Interface),
    /// Which addresses stand for each other
    #[command(subcommand)]
    Nat(nat::Nat),
}

impl Melange {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        match self {
            Self::Block(block) => block.run(client, output).await,
            Self::Subnet(subnet) => subnet.run(client, output).await,
            Self::Address(address) => address.run(client, output).await,
            Self::Policy(policy) => policy.run(client, output).await,
            Self::Route(route) => route.run(client, output).await,
            Self::Interface(interface) => interface.run(client, output).await,
            Self::Nat(nat) => nat.run(client, output).await,
        }
    }
}

/// A tenant.
#[derive(Debug, Args)]
pub(crate) struct OfTenant {
    /// The tenant
    #[arg(value_name = "TENANT")]
    tenant: TenantId,
}

impl OfTenant {
    fn target(&self, rest: &[&str]) -> Target {
        let parts: Vec<&str> =
            ["v0.1", "ipam", "tenants", self.tenant.as_str()].iter().chain(rest).copied().collect();
        Target::root(&parts)
    }
}

/// A block of a tenant.
#[derive(Debug, Args)]
pub(crate) struct OfBlock {
    #[command(flatten)]
    tenant: OfTenant,
    /// Id of the block
    #[arg(value_name = "BLOCK")]
    block: String,
}

impl OfBlock {
    fn target(&self, rest: &[&str]) -> Target {
        let parts: Vec<&str> = ["ip_blocks", self.block.as_str()].iter().chain(rest).copied().collect();
        self.tenant.target(&parts)
    }
}

/// How many items are asked for at once: the most that the controller gives.
const PAGE: usize = 1_000;

/// All items of a list, page by page.
async fn list<T: DeserializeOwned>(
    client: &Client,
    name: &str,
    target: impl Fn() -> Target,
) -> Result<Vec<T>, Failure> {
    let (mut items, mut marker): (Vec<T>, Option<String>) = (Vec::new(), None);
    loop {
        let target = target().with("limit", Some(PAGE)).with("marker", marker.as_ref());
        let mut page: Map<String, Value> = client.get(target).await?;
        let Some(Value::Array(found)) = page.remove(name) else { return Ok(items) };
        let last = found.last().and_then(|item| item["id"].as_str()).map(str::to_owned);
        for item in found {
            items.push(
                serde_json::from_value(item).map_err(|error| client.not_understood(error.to_string()))?,
            );
        }
        let more = page.contains_key(&format!("{name}_links"));
        if !more || last.is_none() || last == marker {
            return Ok(items);
        }
        marker = last;
    }
}

/// A resource, out of its envelope.
async fn get<T: DeserializeOwned>(client: &Client, name: &str, target: Target) -> Result<T, Failure> {
    open(client, name, client.get(target).await?)
}

/// Sends a body in its envelope, and answers what is in the reply's.
async fn send<T: DeserializeOwned>(
    client: &Client,
    method: Method,
    target: Target,
    name: &str,
    body: &impl serde::Serialize,
) -> Result<T, Failure> {
    let body = serde_json::json!({ name: body });
    let (_, reply) = client.send(method, target, Some(&body)).await?;
    open(client, name, reply)
}

fn open<T: DeserializeOwned>(client: &Client, name: &str, mut reply: Value) -> Result<T, Failure> {
    let inner = reply.get_mut(name).map(Value::take).unwrap_or_default();
    serde_json::from_value(inner).map_err(|error| client.not_understood(format!("{name}: {error}")))
}

/// Deletes something, and says so.
async fn delete(client: &Client, output: Output, target: Target, what: &str) -> Result<(), Failure> {
    let (_, _): (_, Value) = client.send(Method::DELETE, target, None::<&()>).await?;
    output.print(&serde_json::json!({}), |out| writeln!(out, "{what}"))
}

/// A line for each field of what is shown.
fn fields(out: &mut dyn Write, fields: &[(&str, Option<&str>)]) -> io::Result<()> {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    fields.iter().try_for_each(|(name, value)| {
        writeln!(out, "{name:<width$}  {}", crate::table::plain(value.unwrap_or("-")))
    })
}

/// What stands in a cell without a value.
fn cell(value: Option<&String>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| crate::table::plain(value))
}
