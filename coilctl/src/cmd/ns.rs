//! `coilctl ns`

use crate::client::{Client, Target};
use crate::exit::Failure;
use crate::output::Output;
use crate::table::{Table, plain};
use crate::watch::Watch;
use clap::{Args, Subcommand};
use common::wire::lastbackend::{CreateNamespace, NamespaceView};
use hyper::Method;
use std::io::{self, Write};

/// Namespaces of services.
#[derive(Debug, Subcommand)]
pub(crate) enum Namespace {
    /// Make a namespace
    Create(Create),
    /// List the namespaces
    List(List),
    /// Show a namespace
    Show(Show),
    /// Remove a namespace and its services; it stays until their pods are gone
    Rm(Name),
}

/// Which namespace.
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// Name of the namespace
    name: String,
}

/// Make a namespace.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  coilctl ns create demo --description 'to try things' --pool web")]
pub(crate) struct Create {
    #[command(flatten)]
    name: Name,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The namespace pool that its pods have their addresses from
    #[arg(long, value_name = "NSPOOL")]
    pool: Option<String>,
}

/// List the namespaces.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    watch: Watch,
}

/// Show a namespace.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    watch: Watch,
}

impl Namespace {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        match self {
            Self::Create(Create { name: Name { name }, description, pool }) => {
                let body = CreateNamespace { name: Some(name), description, pool };
                let (_, view): (_, NamespaceView) =
                    client.send(Method::POST, Target::root(&["namespace"]), Some(&body)).await?;
                output.print(&view, |out| writeln!(out, "namespace {} created", plain(&view.meta.name)))
            }
            Self::List(List { watch }) => {
                let ask = async || client.get(Target::root(&["namespace"])).await;
                watch.show(output, ask, |out, all: &Vec<_>| write_list(out, all)).await
            }
            Self::Show(Show { name, watch }) => {
                watch.show(output, async || client.get(name.target()).await, show).await
            }
            Self::Rm(name) => {
                client.remove(name.target()).await?;
                let done = serde_json::json!({"removed": name.name});
                output.print(&done, |out| {
                    writeln!(
                        out,
                        "namespace {} is removed as soon as the pods of its services are gone",
                        plain(&name.name)
                    )
                })
            }
        }
    }
}

impl Name {
    fn target(&self) -> Target {
        Target::root(&["namespace", &self.name])
    }
}

fn write_list(out: &mut dyn Write, all: &[NamespaceView]) -> io::Result<()> {
    let mut table = Table::new(&["NAME", "POOL", "CREATED", "DESCRIPTION"]);
    for NamespaceView { meta } in all {
        table.row(vec![
            plain(&meta.name),
            plain(meta.pool.as_deref().unwrap_or_default()),
            to_seconds(&meta.created),
            plain(&meta.description),
        ]);
    }
    table.write(out, "namespaces; `coilctl ns create --help` shows how one is made")
}

fn show(out: &mut dyn Write, NamespaceView { meta }: &NamespaceView) -> io::Result<()> {
    writeln!(out, "Name:         {}", plain(&meta.name))?;
    writeln!(out, "Description:  {}", plain(&meta.description))?;
    if let Some(pool) = &meta.pool {
        writeln!(out, "Pool:         {}", plain(pool))?;
    }
    writeln!(out, "Created:      {}", to_seconds(&meta.created))?;
    writeln!(out, "Updated:      {}", to_seconds(&meta.updated))
}

/// A time without the parts of its second.
pub(super) fn to_seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{}Z", plain(seconds)),
        None => plain(time),
    }
}
