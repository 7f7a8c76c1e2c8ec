//! The commands, one file for each noun.

mod address;
mod apply;
mod block;
mod completions;
mod drain;
mod history;
mod import;
mod melange;
mod node;
mod ns;
mod nspool;
mod pool;
mod scoped;
mod svc;
mod svcpool;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;
use clap::Subcommand;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pools: named sets of subnets, cut in blocks that nodes lease
    #[command(subcommand)]
    Pool(pool::Pool),
    /// Namespace pools: ranges whose single addresses pods choose by annotation
    #[command(subcommand)]
    Nspool(nspool::NamespacePool),
    /// Service pools: parts of namespace pools for the pods of a service
    #[command(subcommand)]
    Svcpool(svcpool::ServicePool),
    /// What tenants have: blocks, subnets, addresses, policies and routes
    #[command(subcommand)]
    Melange(melange::Melange),
    /// Namespaces of services
    #[command(subcommand)]
    Ns(ns::Namespace),
    /// Services: containers that run in a namespace
    #[command(subcommand)]
    Svc(svc::Service),
    /// Nodes: the machines on which a coild runs
    #[command(subcommand)]
    Node(node::Node),
    /// Blocks that nodes lease
    #[command(subcommand)]
    Block(block::Block),
    /// Addresses: who holds which
    #[command(subcommand)]
    Address(address::Address),
    /// Make the pools, namespaces and services that a file describes, and change those that exist to match
    Apply(apply::Apply),
    /// Adopt the addresses that containers have from another ipam
    #[command(subcommand)]
    Import(import::Import),
    /// Print a script that completes coilctl's commands in a shell
    Completions(completions::Completions),
}

impl Command {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        match self {
            Self::Pool(pool) => pool.run(client, output).await,
            Self::Nspool(pool) => pool.run(client, output).await,
            Self::Svcpool(pool) => pool.run(client, output).await,
            Self::Melange(melange) => melange.run(client, output).await,
            Self::Ns(namespace) => namespace.run(client, output).await,
            Self::Svc(service) => service.run(client, output).await,
            Self::Node(node) => node.run(client, output).await,
            Self::Block(block) => block.run(client, output).await,
            Self::Address(address) => address.run(client, output).await,
            Self::Apply(apply) => apply.run(client, output).await,
            Self::Import(import) => import.run(client.timeout(), output).await,
            Self::Completions(completions) => completions.run(),
        }
    }
}
