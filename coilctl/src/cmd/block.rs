//! `coilctl block`

use crate::client::{Client, Target};
use crate::exit::Failure;
use crate::output::Output;
use crate::table::Table;
use clap::{Args, Subcommand};
use common::name::{NodeName, PoolName};
use common::wire::admin::BlockView;

/// Blocks that nodes lease.
#[derive(Debug, Subcommand)]
pub(crate) enum Block {
    /// List the leased blocks
    List(Filter),
}

/// Which blocks or addresses.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Those of this pool only
    #[arg(long, value_name = "POOL")]
    pool: Option<PoolName>,
    /// Those of this node only
    #[arg(long, value_name = "NODE")]
    node: Option<NodeName>,
}

impl Filter {
    pub(crate) fn target(&self, noun: &str) -> Target {
        Target::path(&[noun]).with("pool", self.pool.as_ref()).with("node", self.node.as_ref())
    }
}

impl Block {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let Self::List(filter) = self;
        let blocks: Vec<BlockView> = client.list(|| filter.target("blocks")).await?;
        output.print(&blocks, |out| table(&blocks).write(out, "blocks are leased"))
    }
}

/// The table of blocks.
pub(super) fn table(blocks: &[BlockView]) -> Table {
    let mut table = Table::new(&["BLOCK", "POOL", "NODE", ">HELD"]);
    for block in blocks {
        table.row(vec![
            block.block.to_string(),
            block.pool.to_string(),
            block.node.to_string(),
            block.allocated.to_string(),
        ]);
    }
    table
}
