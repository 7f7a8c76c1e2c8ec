//! `coilctl pool`

use super::drain::{Drain, Progress};
use crate::client::{Client, Target};
use crate::exit::Failure;
use crate::output::Output;
use crate::table::{Table, count, percent};
use clap::{Args, Subcommand, ValueEnum};
use common::ipam::{self, BlockGateway, Family, TenantBlock};
use common::name::PoolName;
use common::wire::admin::{AddSubnet, CreatePool, PoolView, RemoveSubnet};
use hyper::Method;
use ipnet::IpNet;
use std::io::{self, Write};

/// Pools: named sets of subnets, cut in blocks that nodes lease.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Pods of a namespace get their addresses from the pool of the same name if there is one, else from the pool \
                        `default`."
)]
pub(crate) enum Pool {
    /// Make a pool
    Create(Create),
    /// List the pools and how many of their blocks are leased
    List,
    /// Show a pool, with the addresses held in it
    Show(Name),
    /// Add a subnet to a pool
    AddSubnet(Add),
    /// Remove a subnet of which no block is leased; exclusions in it go with it
    RemoveSubnet(Remove),
    /// Give nothing new from a pool; what is held stays held
    Disable(Name),
    /// Give addresses from a pool again
    Enable(Name),
    /// Disable a pool, and wait until the nodes have released all its blocks
    Drain(DrainPool),
    /// Delete a pool of which no block is leased
    Delete(Name),
}

/// Which pool.
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// Name of the pool
    pool: PoolName,
}

/// Make a pool.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coilctl pool create default --subnet 10.64.0.0/16 --subnet fd00:64::/64\n  coilctl pool create \
                        team-a --subnet 10.65.0.0/20 --block-size 26 --exclude 10.65.0.0/30\n  coilctl pool create bridged \
                        --subnet 10.66.0.0/16 --block-gateway first\n  coilctl pool create acme --from-block \
                        acme/01a1ff4f-de69-75d7-b160-dd3f860eadbd\n\nBlock sizes can't be changed later, and no two pools may \
                        share an address."
)]
pub(crate) struct Create {
    /// Name of the pool: lower-case letters, digits, `-`, `_`, `.`
    pool: PoolName,
    /// A subnet in CIDR form, IPv4 or IPv6; may be repeated
    #[arg(
        long = "subnet",
        value_name = "CIDR",
        value_delimiter = ',',
        required_unless_present = "from_block",
        conflicts_with = "from_block"
    )]
    subnets: Vec<IpNet>,
    /// Have the addresses of a tenant's block, in the place of subnets; the tenant sees which pods hold them
    #[arg(long, value_name = "TENANT/BLOCK")]
    from_block: Option<TenantBlock>,
    /// Prefix length of an IPv4 block, the unit that a node leases: 28 is 16 addresses
    #[arg(long, value_name = "LENGTH", default_value_t = ipam::Pool::BLOCK_SIZE)]
    block_size: u8,
    /// Prefix length of an IPv6 block
    #[arg(long, value_name = "LENGTH", default_value_t = ipam::Pool::BLOCK_SIZE_V6)]
    block_size_v6: u8,
    /// Addresses that are never given, in CIDR form, within a subnet; may be repeated
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    exclude: Vec<IpNet>,
    /// Whether a block's first address is the gateway of the pods in it, as the bridge plugin needs it
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Gateway::None)]
    block_gateway: Gateway,
    /// Give nothing from the pool until it is enabled
    #[arg(long)]
    disabled: bool,
}

/// Wait until a pool is empty.
#[derive(Debug, Args)]
#[command(
    after_help = "Nodes release a block soon after its last address is free and has rested. `coilctl address list --pool \
                  POOL` shows who holds addresses; `coilctl node remove` takes the blocks of a node that is gone."
)]
pub(crate) struct DrainPool {
    /// Name of the pool
    pool: PoolName,
    #[command(flatten)]
    drain: Drain,
}

/// Which address of a block is its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Gateway {
    /// None: pods are routed one by one, and every address of a block is given
    None,
    /// The first, which is never given; nor, in IPv4, is the last
    First,
}

/// Add a subnet to a pool.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  coilctl pool add-subnet default 10.67.0.0/16 --exclude 10.67.0.0/30")]
pub(crate) struct Add {
    /// Name of the pool
    pool: PoolName,
    /// The subnet, in CIDR form
    subnet: IpNet,
    /// Addresses in it that are never given; may be repeated
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    exclude: Vec<IpNet>,
}

/// Remove a subnet.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Name of the pool
    pool: PoolName,
    /// The subnet, in CIDR form
    subnet: IpNet,
}

impl Pool {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let (view, done) = match self {
            Self::List => return list(client, output).await,
            Self::Show(Name { pool }) => {
                let view: PoolView = client.get(Target::path(&["pools", pool.as_str()])).await?;
                return output.print(&view, |out| show(out, &view));
            }
            Self::Create(create) => (create.run(client).await?, "created"),
            Self::AddSubnet(Add { pool, subnet, exclude }) => {
                let target = Target::path(&["pools", pool.as_str(), "subnets"]);
                let (_, view) =
                    client.send(Method::POST, target, Some(&AddSubnet { subnet, exclude })).await?;
                (view, "changed")
            }
            Self::RemoveSubnet(Remove { pool, subnet }) => {
                let target = Target::path(&["pools", pool.as_str(), "subnets"]);
                let (_, view) = client.send(Method::DELETE, target, Some(&RemoveSubnet { subnet })).await?;
                (view, "changed")
            }
            Self::Disable(Name { pool }) => (set_disabled(client, &pool, Method::PUT).await?, "disabled"),
            Self::Enable(Name { pool }) => (set_disabled(client, &pool, Method::DELETE).await?, "enabled"),
            Self::Drain(DrainPool { pool, drain }) => {
                set_disabled(client, &pool, Method::PUT).await?;
                let ask = async || {
                    let view: PoolView = client.get(Target::path(&["pools", pool.as_str()])).await?;
                    Ok(Progress::of_blocks(&view))
                };
                return drain.run(output, &format!("pool {pool}"), ask).await;
            }
            Self::Delete(Name { pool }) => {
                let target = Target::path(&["pools", pool.as_str()]);
                let (_, view) = client.send(Method::DELETE, target, None::<&()>).await?;
                (view, "deleted")
            }
        };
        output.print(&view, |out| changed(out, &view, done))
    }
}

impl Create {
    async fn run(self, client: &Client) -> Result<PoolView, Failure> {
        let body = CreatePool {
            name: self.pool,
            subnets: self.subnets,
            from_block: self.from_block,
            block_size: self.block_size,
            block_size_v6: self.block_size_v6,
            exclude: self.exclude,
            block_gateway: match self.block_gateway {
                Gateway::None => BlockGateway::None,
                Gateway::First => BlockGateway::First,
            },
            disabled: self.disabled,
        };
        client.send(Method::POST, Target::path(&["pools"]), Some(&body)).await.map(|(_, view)| view)
    }
}

async fn set_disabled(client: &Client, pool: &PoolName, method: Method) -> Result<PoolView, Failure> {
    let target = Target::path(&["pools", pool.as_str(), "disabled"]);
    client.send(method, target, None::<&()>).await.map(|(_, view)| view)
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let pools: Vec<PoolView> = client.list(|| Target::path(&["pools"])).await?;
    output.print(&pools, |out| {
        let mut table =
            Table::new(&["NAME", "FAMILY", "SUBNETS", "BLOCK", ">BLOCKS", ">LEASED", ">USE", "STATE"]);
        for view in &pools {
            for usage in &view.usage {
                table.row(vec![
                    view.name.to_string(),
                    usage.family.to_string(),
                    subnets(view, usage.family) + &tenant(view),
                    format!("/{}", block_size(view, usage.family)),
                    count(usage.blocks),
                    count(usage.leased),
                    percent(usage.leased, usage.blocks),
                    state(view).to_owned(),
                ]);
            }
        }
        table.write(out, "pools; make one with `coilctl pool create default --subnet 10.64.0.0/16`")
    })
}

fn show(out: &mut dyn Write, view: &PoolView) -> io::Result<()> {
    writeln!(out, "Name:      {}", view.name)?;
    writeln!(out, "State:     {}", state(view))?;
    let gateway = match view.pool.block_gateway {
        BlockGateway::None => "none, every address of a block is given",
        BlockGateway::First => "the first address of each block",
    };
    writeln!(out, "Gateway:   {gateway}")?;
    writeln!(out, "Subnets:   {}", join(&view.pool.subnets))?;
    if let Some(block) = &view.pool.from_block {
        writeln!(out, "From:      block {block}")?;
    }
    writeln!(out, "Excluded:  {}", join(&view.pool.exclude))?;
    writeln!(out)?;
    let mut table = Table::new(&["FAMILY", "BLOCK", ">BLOCKS", ">LEASED", ">USE", ">ADDRESSES HELD"]);
    for usage in &view.usage {
        table.row(vec![
            usage.family.to_string(),
            format!("/{}", block_size(view, usage.family)),
            count(usage.blocks),
            count(usage.leased),
            percent(usage.leased, usage.blocks),
            usage.allocated.map_or_else(|| "-".to_owned(), |held| held.to_string()),
        ]);
    }
    table.write(out, "subnets")
}

fn changed(out: &mut dyn Write, view: &PoolView, done: &str) -> io::Result<()> {
    let blocks: Vec<String> = view
        .usage
        .iter()
        .map(|usage| {
            let size = block_size(view, usage.family);
            let plural = if usage.blocks == 1 { "" } else { "s" };
            format!("{} {} block{plural} (/{size})", count(usage.blocks), usage.family)
        })
        .collect();
    writeln!(out, "pool {} {done}: {} in {}", view.name, blocks.join(" and "), join(&view.pool.subnets))
}

fn state(view: &PoolView) -> &'static str {
    if view.pool.disabled { "disabled" } else { "active" }
}

fn block_size(view: &PoolView, family: Family) -> u8 {
    match family {
        Family::V4 => view.pool.block_size,
        Family::V6 => view.pool.block_size_v6,
    }
}

/// Subnets that a row of the list names.
const SHOWN: usize = 3;

fn subnets(view: &PoolView, family: Family) -> String {
    let of_family: Vec<IpNet> =
        view.pool.subnets.iter().filter(|subnet| Family::of(subnet.addr()) == family).copied().collect();
    match of_family.len() {
        0..=SHOWN => join(&of_family),
        many => format!("{} and {} more", join(&of_family[..SHOWN]), many - SHOWN),
    }
}

/// Whose they are, if it is a tenant's block that backs the pool.
fn tenant(view: &PoolView) -> String {
    view.pool.from_block.as_ref().map_or_else(String::new, |block| format!(" of {}", block.tenant))
}

fn join(nets: &[IpNet]) -> String {
    if nets.is_empty() {
        return "none".to_owned();
    }
    nets.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ")
}
