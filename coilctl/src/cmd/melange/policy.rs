//! `coilctl melange policy`

use super::{OfTenant, cell, delete, fields, get, list, send};
use crate::client::{Client, Target};
use crate::exit::Failure;
use crate::output::Output;
use crate::table::Table;
use clap::{Args, Subcommand};
use common::name::Label;
use common::wire::melange::{
    CreateIpOctet, CreateIpRange, CreatePolicy, IpOctetView, IpRangeView, PolicyView,
};
use hyper::Method;
use serde::Serialize;
use std::io::{self, Write};

/// Policies: what of a block is not given.
#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Make a policy, which forbids nothing yet
    Create(Create),
    /// List a tenant's policies
    List(OfTenant),
    /// Show a policy with what it forbids
    Show(OfPolicy),
    /// Forbid a range of addresses
    ForbidRange(ForbidRange),
    /// Forbid addresses that end in an octet
    ForbidOctet(ForbidOctet),
    /// Take a range or an octet from a policy
    Allow(Allow),
    /// Delete a policy; its blocks go on without one
    Delete(OfPolicy),
}

/// Make a policy.
#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    tenant: OfTenant,
    /// What people call it
    #[arg(value_name = "NAME")]
    name: Label,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<Label>,
}

/// A policy of a tenant.
#[derive(Debug, Args)]
pub(crate) struct OfPolicy {
    #[command(flatten)]
    tenant: OfTenant,
    /// Id of the policy
    #[arg(value_name = "POLICY")]
    policy: String,
}

impl OfPolicy {
    fn target(&self, rest: &[&str]) -> Target {
        let parts: Vec<&str> = ["policies", self.policy.as_str()].iter().chain(rest).copied().collect();
        self.tenant.target(&parts)
    }
}

/// Forbid a range of addresses.
#[derive(Debug, Args)]
pub(crate) struct ForbidRange {
    #[command(flatten)]
    policy: OfPolicy,
    /// The first address: 0 is a block's first, -1 its last
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true)]
    offset: i64,
    /// How many addresses
    #[arg(long, value_name = "NUMBER")]
    length: i64,
}

/// Forbid addresses that end in an octet.
#[derive(Debug, Args)]
pub(crate) struct ForbidOctet {
    #[command(flatten)]
    policy: OfPolicy,
    /// The octet, 0 to 255
    #[arg(value_name = "OCTET")]
    octet: u8,
}

/// Take a range or an octet from a policy.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Allow {
    #[command(flatten)]
    policy: OfPolicy,
    /// Id of a range
    #[arg(long, value_name = "ID", group = "what")]
    range: Option<String>,
    /// Id of an octet
    #[arg(long, value_name = "ID", group = "what")]
    octet: Option<String>,
}

/// A policy with what it forbids.
#[derive(Serialize)]
struct Detail {
    #[serde(flatten)]
    policy: PolicyView,
    ip_ranges: Vec<IpRangeView>,
    ip_octets: Vec<IpOctetView>,
}

impl Policy {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let of = match self {
            Self::Create(Create { tenant, name, description }) => {
                let body = CreatePolicy { name, description };
                let made: PolicyView =
                    send(client, Method::POST, tenant.target(&["policies"]), "policy", &body).await?;
                return output.print(&made, |out| table(std::slice::from_ref(&made)).write(out, "policies"));
            }
            Self::List(tenant) => {
                let policies = list(client, "policies", || tenant.target(&["policies"])).await?;
                return output.print(&policies, |out| table(&policies).write(out, "policies"));
            }
            Self::Delete(of) => {
                let what = format!("policy {} is deleted", of.policy);
                return delete(client, output, of.target(&[]), &what).await;
            }
            Self::Allow(Allow { policy, range, octet }) => {
                let (kind, id) = match (&range, &octet) {
                    (Some(range), _) => ("unusable_ip_ranges", range),
                    (None, octet) => ("unusable_ip_octets", octet.as_ref().unwrap_or(&policy.policy)),
                };
                return delete(client, output, policy.target(&[kind, id]), "it is allowed again").await;
            }
            Self::ForbidRange(ForbidRange { policy, offset, length }) => {
                let (target, body) =
                    (policy.target(&["unusable_ip_ranges"]), CreateIpRange { offset, length });
                let _: IpRangeView = send(client, Method::POST, target, "ip_range", &body).await?;
                policy
            }
            Self::ForbidOctet(ForbidOctet { policy, octet }) => {
                let (target, body) =
                    (policy.target(&["unusable_ip_octets"]), CreateIpOctet { octet: octet.into() });
                let _: IpOctetView = send(client, Method::POST, target, "ip_octet", &body).await?;
                policy
            }
            Self::Show(of) => of,
        };
        let detail = Detail {
            policy: get(client, "policy", of.target(&[])).await?,
            ip_ranges: list(client, "ip_ranges", || of.target(&["unusable_ip_ranges"])).await?,
            ip_octets: list(client, "ip_octets", || of.target(&["unusable_ip_octets"])).await?,
        };
        output.print(&detail, |out| show(out, &detail))
    }
}

fn table(policies: &[PolicyView]) -> Table {
    let mut table = Table::new(&["ID", "NAME", "DESCRIPTION"]);
    for policy in policies {
        table.row(vec![cell(Some(&policy.id)), cell(Some(&policy.name)), cell(policy.description.as_ref())]);
    }
    table
}

fn show(out: &mut dyn Write, Detail { policy, ip_ranges, ip_octets }: &Detail) -> io::Result<()> {
    let shown = [
        ("id", Some(policy.id.as_str())),
        ("name", Some(policy.name.as_str())),
        ("description", policy.description.as_deref()),
    ];
    fields(out, &shown)?;
    let mut forbidden = Table::new(&["ID", "FORBIDDEN", ">OFFSET", ">LENGTH"]);
    for range in ip_ranges {
        let numbers = (range.offset.to_string(), range.length.to_string());
        forbidden.row(vec![cell(Some(&range.id)), "range".to_owned(), numbers.0, numbers.1]);
    }
    for octet in ip_octets {
        let what = format!("octet {}", octet.octet);
        forbidden.row(vec![cell(Some(&octet.id)), what, String::new(), String::new()]);
    }
    writeln!(out)?;
    forbidden.write(out, "addresses are forbidden")
}
