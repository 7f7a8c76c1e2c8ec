//! `coilctl melange subnet`

use super::{OfBlock, block, list, send};
use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;
use clap::{Args, Subcommand};
use common::name::{OpaqueId, TenantId};
use common::wire::melange::{CreateSubnet, IpBlockView};
use hyper::Method;
use ipnet::IpNet;

/// Subnets of blocks.
#[derive(Debug, Subcommand)]
#[command(after_help = "A subnet is a block: `coilctl melange block` shows, changes and deletes it.")]
pub(crate) enum Subnet {
    /// Make a subnet of a block
    Create(Create),
    /// List the subnets of a block
    List(OfBlock),
}

/// Make a subnet of a block.
#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    block: OfBlock,
    /// The addresses, which lie in the block
    #[arg(long, value_name = "CIDR")]
    cidr: IpNet,
    /// The network that it is in; the block's if it is not given
    #[arg(long, value_name = "NETWORK")]
    network: Option<OpaqueId>,
    /// Id of its policy
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// Whose it is; the block's tenant if it is not given
    #[arg(long = "for", value_name = "TENANT")]
    owner: Option<TenantId>,
}

impl Subnet {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        match self {
            Self::Create(create) => {
                let body = CreateSubnet {
                    cidr: create.cidr,
                    network_id: create.network,
                    policy_id: create.policy,
                    tenant_id: create.owner,
                };
                let target = create.block.target(&["subnets"]);
                let subnet: IpBlockView = send(client, Method::POST, target, "subnet", &body).await?;
                output.print(&subnet, |out| block::show(out, &subnet))
            }
            Self::List(of) => {
                let subnets: Vec<IpBlockView> = list(client, "subnets", || of.target(&["subnets"])).await?;
                output.print(&subnets, |out| block::table(&subnets).write(out, "subnets"))
            }
        }
    }
}
