//! `coilctl address`

use super::block::Filter;
use crate::client::{Client, Target};
use crate::exit::Failure;
use crate::output::Output;
use crate::table::{Table, age, plain};
use clap::{Args, Subcommand};
use common::clock;
use common::name::NodeName;
use common::wire::admin::{AddressDetail, AddressState, AddressView, Eviction};
use common::wire::node::Attachment;
use hyper::{Method, StatusCode};
use std::io::{self, Write};
use std::net::IpAddr;

/// Addresses: who holds which.
#[derive(Debug, Subcommand)]
pub(crate) enum Address {
    /// List the addresses that are held, as the nodes last reported
    List(Filter),
    /// Show where an address belongs, and who holds it
    Show(Which),
    /// Free an address by force, although its container may still use it
    ///
    /// The order is carried out by the node that gave the address; if it does not answer, the order waits for it, and the exit code is 5.
    Free(Which),
}

/// Which address.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The address
    address: IpAddr,
}

impl Address {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        match self {
            Self::List(filter) => {
                let addresses: Vec<AddressView> = client.list(|| filter.target("addresses")).await?;
                output.print(&addresses, |out| list(out, &addresses))
            }
            Self::Show(Which { address }) => {
                let target = Target::path(&["addresses", &address.to_string()]);
                let detail: AddressDetail = client.get(target).await?;
                output.print(&detail, |out| show(out, &detail))
            }
            Self::Free(Which { address }) => {
                let target = Target::path(&["addresses", &address.to_string()]);
                let (status, eviction): (_, Eviction) =
                    client.send(Method::DELETE, target, None::<&()>).await?;
                let not_yet = status == StatusCode::ACCEPTED;
                output.print(&eviction, |out| {
                    if not_yet { Ok(()) } else { writeln!(out, "{}", plain(&eviction.message)) }
                })?;
                if not_yet { Err(Failure::NotYet(eviction.message)) } else { Ok(()) }
            }
        }
    }
}

fn list(out: &mut dyn Write, addresses: &[AddressView]) -> io::Result<()> {
    let now = clock::now_millis();
    let mut table =
        Table::new(&["ADDRESS", "POOL", "NODE", "NAMESPACE", "POD", "CONTAINER", "INTERFACE", ">HELD FOR"]);
    for AddressView { node, attachment, .. } in addresses {
        table.row(vec![
            attachment.address.to_string(),
            attachment.pool.to_string(),
            node.to_string(),
            plain(attachment.pod_namespace.as_str()),
            plain(attachment.pod_name.as_str()),
            short(attachment.container_id.as_str()),
            plain(attachment.interface.as_str()),
            age(attachment.since, now),
        ]);
    }
    table.write(out, "addresses are held")
}

/// Runtimes' ids are 64 hex digits, of which the first 12 are shown everywhere.
fn short(id: &str) -> String {
    let is_hash = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { id.chars().take(12).collect() } else { plain(id) }
}

fn show(out: &mut dyn Write, detail: &AddressDetail) -> io::Result<()> {
    writeln!(out, "Address:    {}", detail.address)?;
    let state = match detail.state {
        AddressState::Held => "held",
        AddressState::Free => "free",
        AddressState::Unleased => "unleased: no node leases its block",
        AddressState::Excluded => "excluded: it is never given",
        AddressState::Kept => "kept: it is fixed, and its pod is away",
    };
    writeln!(out, "State:      {state}")?;
    writeln!(out, "Pool:       {}", detail.pool)?;
    writeln!(out, "Block:      {}", detail.block)?;
    writeln!(out, "Node:       {}", detail.node.as_ref().map_or("none", NodeName::as_str))?;
    if let Some(pod) = &detail.kept_for {
        writeln!(out, "Kept for:   {}/{}", plain(pod.namespace.as_str()), plain(pod.name.as_str()))?;
    }
    match &detail.attachment {
        Some(attachment) => show_attachment(out, attachment),
        None => Ok(()),
    }
}

fn show_attachment(out: &mut dyn Write, attachment: &Attachment) -> io::Result<()> {
    writeln!(out, "Namespace:  {}", plain(attachment.pod_namespace.as_str()))?;
    writeln!(out, "Pod:        {}", plain(attachment.pod_name.as_str()))?;
    writeln!(out, "Container:  {}", plain(attachment.container_id.as_str()))?;
    writeln!(out, "Interface:  {}", plain(attachment.interface.as_str()))?;
    if let Some(network) = &attachment.network {
        writeln!(out, "Network:    {}", plain(network))?;
    }
    writeln!(out, "Held for:   {}", age(attachment.since, clock::now_millis()))
}
