//! `coilctl melange block`

use super::{OfBlock, OfTenant, cell, delete, fields, get, list, send};
use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;
use crate::table::Table;
use clap::{Args, Subcommand};
use common::ipam::BlockType;
use common::name::OpaqueId;
use common::wire::melange::{CreateIpBlock, IpBlockView, UpdateIpBlock, UsageView};
use hyper::Method;
use ipnet::IpNet;
use std::io::{self, Write};
use std::net::IpAddr;

/// Blocks of addresses.
#[derive(Debug, Subcommand)]
pub(crate) enum Block {
    /// Make a block
    Create(Create),
    /// List a tenant's blocks
    List(List),
    /// Show a block
    Show(OfBlock),
    /// Change network or policy of a block
    Update(Update),
    /// Tell how much of a block is used
    Usage(OfBlock),
    /// Delete a block with its subnets, addresses and routes
    Delete(OfBlock),
}

/// Make a block.
#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    tenant: OfTenant,
    /// The addresses
    #[arg(long, value_name = "CIDR")]
    cidr: IpNet,
    /// `private`, or `public` if nobody else may have the same addresses
    #[arg(long = "type", value_name = "TYPE", default_value = "private")]
    kind: BlockType,
    /// The network that it is in
    #[arg(long, value_name = "NETWORK")]
    network: Option<OpaqueId>,
    /// Id of its policy
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// The gateway; the second address if it is not given
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<IpAddr>,
    /// Name server
    #[arg(long, value_name = "ADDRESS")]
    dns1: Option<IpAddr>,
    /// Second name server
    #[arg(long, value_name = "ADDRESS")]
    dns2: Option<IpAddr>,
}

/// List a tenant's blocks.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    tenant: OfTenant,
    /// Those of this type only: `public` or `private`
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<BlockType>,
}

/// Change network or policy of a block.
#[derive(Debug, Args)]
pub(crate) struct Update {
    #[command(flatten)]
    block: OfBlock,
    /// The network that it is to be in
    #[arg(long, value_name = "NETWORK")]
    network: Option<OpaqueId>,
    /// Id of the policy that it is to have
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
}

impl Block {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let block: IpBlockView = match self {
            Self::Create(create) => {
                let body = CreateIpBlock {
                    kind: create.kind,
                    cidr: create.cidr,
                    network_id: create.network,
                    policy_id: create.policy,
                    dns1: create.dns1,
                    dns2: create.dns2,
                    gateway: create.gateway,
                };
                send(client, Method::POST, create.tenant.target(&["ip_blocks"]), "ip_block", &body).await?
            }
            Self::Update(update) => {
                let body = UpdateIpBlock { network_id: update.network, policy_id: update.policy };
                send(client, Method::PUT, update.block.target(&[]), "ip_block", &body).await?
            }
            Self::Show(block) => get(client, "ip_block", block.target(&[])).await?,
            Self::List(List { tenant, kind }) => {
                let target = || tenant.target(&["ip_blocks"]).with("type", kind);
                let blocks: Vec<IpBlockView> = list(client, "ip_blocks", target).await?;
                return output.print(&blocks, |out| table(&blocks).write(out, "blocks"));
            }
            Self::Usage(block) => {
                let usage: UsageView = get(client, "usage", block.target(&["usage"])).await?;
                let shown = [("total", &usage.total), ("used", &usage.used), ("free", &usage.free)];
                let shown = shown.map(|(name, value)| (name, Some(value.as_str())));
                return output.print(&usage, |out| fields(out, &shown));
            }
            Self::Delete(block) => {
                let what = format!("block {} is deleted", block.block);
                return delete(client, output, block.target(&[]), &what).await;
            }
        };
        output.print(&block, |out| show(out, &block))
    }
}

/// The table of blocks and subnets.
pub(super) fn table(blocks: &[IpBlockView]) -> Table {
    let mut table = Table::new(&["ID", "CIDR", "TYPE", "TENANT", "NETWORK", "GATEWAY", "POLICY"]);
    for block in blocks {
        table.row(vec![
            cell(Some(&block.id)),
            cell(Some(&block.cidr)),
            block.kind.to_string(),
            cell(Some(&block.tenant_id)),
            cell(block.network_id.as_ref()),
            cell(block.gateway.as_ref()),
            cell(block.policy_id.as_ref()),
        ]);
    }
    table
}

/// A block or subnet by itself.
pub(super) fn show(out: &mut dyn Write, block: &IpBlockView) -> io::Result<()> {
    let kind = block.kind.to_string();
    fields(
        out,
        &[
            ("id", Some(&block.id)),
            ("cidr", Some(&block.cidr)),
            ("type", Some(&kind)),
            ("tenant", Some(&block.tenant_id)),
            ("network", block.network_id.as_deref()),
            ("parent", block.parent_id.as_deref()),
            ("policy", block.policy_id.as_deref()),
            ("gateway", block.gateway.as_deref()),
            ("broadcast", Some(&block.broadcast)),
            ("netmask", Some(&block.netmask)),
            ("dns1", block.dns1.as_deref()),
            ("dns2", block.dns2.as_deref()),
            ("created", Some(&block.created_at)),
            ("updated", Some(&block.updated_at)),
        ],
    )
}
