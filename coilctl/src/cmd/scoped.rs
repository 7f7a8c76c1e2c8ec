//! What `nspool` and `svcpool` share: names, ranges, and the flags of both.

use super::drain::Drain;
use crate::client::{Client, Target};
use crate::exit::Failure;
use crate::table::count;
use crate::watch::Watch;
use clap::Args;
use common::name::PodText;
use common::wire::namespaces::NewRange;
use hyper::Method;
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use std::net::IpAddr;

/// Which pool.
#[derive(Debug, Clone, Args)]
pub(crate) struct Name {
    /// Namespace of the pool
    pub(super) namespace: PodText,
    /// Name of the pool
    pub(super) name: PodText,
}

/// A range: by its ends, or as a network.
#[derive(Debug, Args)]
pub(super) struct Range {
    /// The first address
    #[arg(long, value_name = "ADDRESS", requires = "end", required_unless_present = "cidr")]
    start: Option<IpAddr>,
    /// The last address
    #[arg(long, value_name = "ADDRESS", requires = "start")]
    end: Option<IpAddr>,
    /// The addresses as a network, instead of --start and --end
    #[arg(long, value_name = "CIDR", conflicts_with_all = ["start", "end"])]
    cidr: Option<IpNet>,
}

impl Range {
    /// The fields of a body.
    pub(super) fn fields(&self) -> NewRange {
        NewRange { start: self.start, end: self.end, cidr: self.cidr }
    }
}

/// List the pools.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Those of this namespace only
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(super) namespace: Option<PodText>,
    #[command(flatten)]
    pub(super) watch: Watch,
}

impl List {
    pub(super) fn target(&self, noun: &str) -> Target {
        match &self.namespace {
            Some(namespace) => Target::path(&[noun, namespace.as_str()]),
            None => Target::path(&[noun]),
        }
    }
}

/// Show a pool.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(super) pool: Name,
    #[command(flatten)]
    pub(super) watch: Watch,
}

/// Give a pool another range.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  coilctl nspool extend team web --start 192.168.1.5 --end 192.168.1.99\n\nWhat stands in the way is \
                  named, and then nothing is changed."
)]
pub(crate) struct Resize {
    #[command(flatten)]
    pub(super) pool: Name,
    #[command(flatten)]
    range: Range,
}

/// Wait until a pool is empty.
#[derive(Debug, Args)]
pub(crate) struct DrainPool {
    #[command(flatten)]
    pub(super) pool: Name,
    #[command(flatten)]
    pub(super) drain: Drain,
}

impl Name {
    /// What is called so.
    pub(super) fn target(&self, noun: &str, rest: &[&str]) -> Target {
        let parts = [&[noun, self.namespace.as_str(), self.name.as_str()], rest].concat();
        Target::path(&parts)
    }

    /// The same in the API by which it is made and deleted.
    pub(super) fn root(&self, noun: &str) -> Target {
        Target::root(&[noun, self.namespace.as_str(), self.name.as_str()])
    }

    /// Makes that the pool gives nothing new, or that it does again.
    pub(super) async fn set_disabled<T: DeserializeOwned>(
        &self,
        client: &Client,
        noun: &str,
        disabled: bool,
    ) -> Result<T, Failure> {
        let method = if disabled { Method::PUT } else { Method::DELETE };
        client.send(method, self.target(noun, &["disabled"]), None::<&()>).await.map(|(_, pool)| pool)
    }
}

impl Resize {
    /// Gives the pool its new range, if that has all of the old one, or is a part of it.
    pub(super) async fn run<T: DeserializeOwned + Ranged>(
        &self,
        client: &Client,
        noun: &str,
        extend: bool,
    ) -> Result<T, Failure> {
        let before: T = client.get(self.pool.target(noun, &[])).await?;
        let fields = self.range.fields();
        let new = match (fields.start, fields.end, fields.cidr) {
            (Some(start), Some(end), _) => (start, end),
            (_, _, Some(cidr)) => (cidr.network(), cidr.broadcast()),
            _ => return Err(Failure::Usage("--start and --end, or --cidr, are missing".to_owned())),
        };
        let (start, end) = before.range();
        let right = if extend { new.0 <= start && end <= new.1 } else { start <= new.0 && new.1 <= end };
        if !right {
            let wrong = if extend { "does not have all of" } else { "is not a part of" };
            return Err(Failure::Usage(format!(
                "{}-{} {wrong} {start}-{end}, which the pool has; nothing was changed",
                new.0, new.1
            )));
        }
        let target = self.pool.target(noun, &["range"]);
        client.send(Method::PUT, target, Some(&fields)).await.map(|(_, pool)| pool)
    }
}

/// What has a first and a last address.
pub(super) trait Ranged {
    fn range(&self) -> (IpAddr, IpAddr);
}

pub(super) fn state(disabled: bool) -> &'static str {
    if disabled { "disabled" } else { "active" }
}

/// How many addresses a range has, and which.
pub(super) fn addresses(total: u128, start: IpAddr, end: IpAddr) -> String {
    let es = if total == 1 { "" } else { "es" };
    format!("{} address{es}, {start}-{end}", count(u64::try_from(total).unwrap_or(u64::MAX)))
}
