//! `coilctl address`

use super::block::Filter;
use super::history::History;
use crate::client::{Client, Target};
use crate::exit::Failure;
use crate::output::Output;
use crate::table::{Table, age, plain};
use clap::{Args, Subcommand};
use common::clock;
use common::name::NodeName;
use common::wire::admin::{AddressDetail, AddressState, AddressView, Eviction};
use common::wire::check::{Kind, Report};
use common::wire::node::Attachment;
use hyper::{Method, StatusCode};
use std::collections::BTreeSet;
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
    /// Tell who held an address, and when, by what a node wrote down of it
    History(History),
    /// Look for leases without a holder and records that contradict each other, and mend what is certain
    Check(Check),
}

/// Look for what is abnormal.
///
/// All leases of all pools are read for it. Exit code 6 says that something was found that was not mended.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  coilctl address check\n  coilctl address check --mend")]
pub(crate) struct Check {
    /// Mend what nobody needs for certain; the rest is only listed
    #[arg(long)]
    mend: bool,
    /// Days after which an address is listed that is kept for a pod which is away
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u64).range(..=36_500))]
    unused: u64,
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
            Self::Check(check) => check.run(client, output).await,
            Self::History(history) => history.run(output),
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

impl Check {
    async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let target = Target::path(&["check"]).with("unused", Some(self.unused * 86_400));
        let report: Report = if self.mend {
            client.send(Method::POST, target, None::<&()>).await?.1
        } else {
            client.get(target).await?
        };
        output.print(&report, |out| write_report(out, &report, self.mend))?;
        let left = report.findings.iter().filter(|finding| !finding.mended).count();
        if left == 0 && report.found == report.findings.len() as u64 {
            Ok(())
        } else {
            Err(Failure::Abnormal)
        }
    }
}

fn write_report(out: &mut dyn Write, report: &Report, mend: bool) -> io::Result<()> {
    let mut table =
        Table::new(&["KIND", "ADDRESSES", "POOL", "NODE", "POD", if mend { "MENDED" } else { "MENDABLE" }]);
    let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for finding in &report.findings {
        let yes = if mend { finding.mended } else { finding.certain };
        // What no other column tells apart is told by its key.
        let key = || plain(&finding.key);
        table.row(vec![
            finding.kind.to_string(),
            finding.net.map_or_else(key, |net| net.to_string()),
            text(finding.pool.as_ref().map(ToString::to_string)),
            text(finding.node.as_ref().map(ToString::to_string)),
            text(finding.pod.as_ref().map(|pod| plain(&format!("{}/{}", pod.namespace, pod.name)))),
            (if yes { "yes" } else { "no" }).to_owned(),
        ]);
    }
    table.write(out, &format!("abnormality in {} leases", report.leases))?;
    let kinds: BTreeSet<Kind> = report.findings.iter().map(|finding| finding.kind).collect();
    if !kinds.is_empty() {
        writeln!(out)?;
    }
    kinds.into_iter().try_for_each(|kind| writeln!(out, "{kind}: {}", kind.advice()))?;
    let more = report.found - report.findings.len() as u64;
    if more > 0 { writeln!(out, "and {more} more") } else { Ok(()) }
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
pub(super) fn short(id: &str) -> String {
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
