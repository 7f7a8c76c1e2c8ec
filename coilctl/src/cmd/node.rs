//! `coilctl node`

use super::block;
use crate::client::{Client, Target};
use crate::exit::Failure;
use crate::output::Output;
use crate::table::{Table, age, plain};
use clap::{Args, Subcommand};
use common::clock;
use common::name::NodeName;
use common::wire::admin::{NodeDetail, NodeView, Removal};
use hyper::Method;
use std::io::{self, Write};

/// Nodes: the machines on which a coild runs.
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// List the nodes
    List,
    /// Show a node with its blocks
    Show(Show),
    /// Give the blocks of a node that is gone for good back to their pools
    Remove(Remove),
}

/// Show a node with its blocks.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Name of the node
    node: NodeName,
}

/// Give the blocks of a node that is gone for good back to their pools.
///
/// Other nodes may then give the same addresses. A node that is merely cut off keeps its pods running with them: be sure that
/// the machine is gone, or that nothing runs on it any more.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  coilctl node remove node-17\n\nA removal that was cut short is finished by running it again."
)]
pub(crate) struct Remove {
    /// Name of the node
    node: NodeName,
    /// Remove it although its coild is alive
    #[arg(long)]
    force: bool,
}

impl Node {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        match self {
            Self::List => {
                let nodes: Vec<NodeView> = client.list(|| Target::path(&["nodes"])).await?;
                output.print(&nodes, |out| list(out, &nodes))
            }
            Self::Show(Show { node }) => {
                let detail: NodeDetail = client.get(Target::path(&["nodes", node.as_str()])).await?;
                output.print(&detail, |out| show(out, &detail))
            }
            Self::Remove(Remove { node, force }) => {
                let target = Target::path(&["nodes", node.as_str()]).with("force", force.then_some(true));
                let (_, removal): (_, Removal) = client.send(Method::DELETE, target, None::<&()>).await?;
                output.print(&removal, |out| removed(out, &removal))
            }
        }
    }
}

fn list(out: &mut dyn Write, nodes: &[NodeView]) -> io::Result<()> {
    let now = clock::now_millis();
    let mut table = Table::new(&["NAME", "ALIVE", ">BLOCKS", "STARTED"]);
    for node in nodes {
        let started = format!("{} ago", age(node.started, now));
        table.row(vec![node.name.to_string(), alive(node).to_owned(), node.blocks.to_string(), started]);
    }
    table.write(out, "nodes; a node appears when its coild starts")
}

fn show(out: &mut dyn Write, detail: &NodeDetail) -> io::Result<()> {
    let node = &detail.node;
    writeln!(out, "Name:      {}", node.name)?;
    writeln!(out, "Alive:     {}", alive(node))?;
    writeln!(out, "Instance:  {}", plain(&node.instance))?;
    writeln!(out, "Started:   {} ago", age(node.started, clock::now_millis()))?;
    writeln!(out)?;
    block::table(&detail.leases).write(out, "blocks")
}

fn removed(out: &mut dyn Write, removal: &Removal) -> io::Result<()> {
    let (blocks, held) = (removal.released.len(), removal.allocated);
    let (s, es) = (if blocks == 1 { "" } else { "s" }, if held == 1 { "" } else { "es" });
    writeln!(out, "node {} removed: {blocks} block{s} released, with {held} address{es} held", removal.node)?;
    removal.released.iter().try_for_each(|block| writeln!(out, "  {block}"))
}

fn alive(node: &NodeView) -> &'static str {
    if node.alive { "yes" } else { "no" }
}
