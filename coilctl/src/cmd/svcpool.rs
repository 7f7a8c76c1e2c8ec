//! `coilctl svcpool`

use super::drain::Progress;
use super::scoped::{DrainPool, List, Name, Range, Ranged, Resize, Show, addresses, state};
use crate::client::{Client, Target};
use crate::exit::Failure;
use crate::map;
use crate::output::Output;
use crate::table::{Table, count, percent, plain};
use clap::{Args, Subcommand};
use common::name::PodText;
use common::wire::ip_pools::{CreateServicePool, ServicePoolView};
use common::wire::namespaces::{NewRange, ServicePoolDetail, ServicePoolSummary};
use hyper::Method;
use std::io::{self, Write};
use std::net::IpAddr;

/// Service pools: parts of namespace pools for the pods of a service.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "A pod chooses one by the annotation `hcipam_service_ippool: NAME`, of its own namespace."
)]
pub(crate) enum ServicePool {
    /// Set a part of a namespace pool aside
    Create(Create),
    /// List the pools and how many of their addresses are leased
    List(List),
    /// Show a pool with a map of its range
    Show(Show),
    /// Give a pool more addresses of its namespace pool: another range, which has all that the pool has
    Extend(Resize),
    /// Give a pool fewer addresses: another range, of which the pool has all; nobody may have what goes
    Shrink(Resize),
    /// Give nothing new from a pool; what is held stays held
    Disable(Name),
    /// Give addresses from a pool again
    Enable(Name),
    /// Disable a pool, and wait until no address is leased
    Drain(DrainPool),
    /// Delete a pool of which no address is leased
    Delete(Name),
}

/// Set a part of a namespace pool aside.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  coilctl svcpool create team front --pool web --service shop --start 192.168.1.5 --end 192.168.1.14"
)]
pub(crate) struct Create {
    #[command(flatten)]
    pool: Name,
    /// The namespace pool that it is a part of, of the same namespace
    #[arg(long = "pool", value_name = "NAME")]
    parent: PodText,
    /// The Kubernetes service
    #[arg(long, value_name = "SERVICE")]
    service: PodText,
    #[command(flatten)]
    range: Range,
}

impl ServicePool {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let (pool, done) = match self {
            Self::List(list) => {
                let ask = async || client.list(|| list.target("svcpools")).await;
                return list.watch.show(output, ask, |out, pools: &Vec<_>| write_list(out, pools)).await;
            }
            Self::Show(Show { pool, watch }) => {
                let ask = async || client.get(pool.target("svcpools", &[])).await;
                return watch.show(output, ask, show).await;
            }
            Self::Create(create) => {
                let view = create.run(client).await?;
                return output.print(&view, |out| told(out, &view, "created"));
            }
            Self::Delete(pool) => {
                let (_, view): (_, ServicePoolView) =
                    client.send(Method::DELETE, pool.root("serviceIPPool"), None::<&()>).await?;
                return output.print(&view, |out| told(out, &view, "deleted"));
            }
            Self::Drain(DrainPool { pool, drain }) => {
                let _: ServicePoolSummary = pool.set_disabled(client, "svcpools", true).await?;
                let ask = async || {
                    let detail: ServicePoolDetail = client.get(pool.target("svcpools", &[])).await?;
                    Ok(Progress::of_map(&detail.map))
                };
                let what = format!("service pool {}/{}", pool.namespace, pool.name);
                return drain.run(output, &what, ask).await;
            }
            Self::Extend(resize) => (resize.run(client, "svcpools", true).await?, "extended"),
            Self::Shrink(resize) => (resize.run(client, "svcpools", false).await?, "shrunk"),
            Self::Disable(pool) => (pool.set_disabled(client, "svcpools", true).await?, "disabled"),
            Self::Enable(pool) => (pool.set_disabled(client, "svcpools", false).await?, "enabled"),
        };
        output.print(&pool, |out| changed(out, &pool, done))
    }
}

impl Create {
    async fn run(self, client: &Client) -> Result<ServicePoolView, Failure> {
        let NewRange { start, end, cidr } = self.range.fields();
        let body = CreateServicePool {
            name: self.pool.name,
            namespace: self.pool.namespace,
            start,
            end,
            cidr,
            service_name: self.service,
            namespace_pool: self.parent,
        };
        client.send(Method::POST, Target::root(&["serviceIPPool"]), Some(&body)).await.map(|(_, view)| view)
    }
}

impl Ranged for ServicePoolSummary {
    fn range(&self) -> (IpAddr, IpAddr) {
        (self.start, self.end)
    }
}

fn write_list(out: &mut dyn Write, pools: &[ServicePoolSummary]) -> io::Result<()> {
    let mut table = Table::new(&[
        "NAMESPACE",
        "NAME",
        "RANGE",
        "POOL",
        "SERVICE",
        ">ADDRESSES",
        ">LEASED",
        ">USE",
        "STATE",
    ]);
    for pool in pools {
        table.row(vec![
            plain(pool.namespace.as_str()),
            plain(pool.name.as_str()),
            format!("{}-{}", pool.start, pool.end),
            plain(pool.pool.as_str()),
            plain(pool.service.as_str()),
            count(pool.total),
            count(pool.leased),
            percent(pool.leased, pool.total),
            state(pool.disabled).to_owned(),
        ]);
    }
    table.write(out, "service pools; `coilctl svcpool create --help` shows how one is made")
}

fn show(out: &mut dyn Write, detail: &ServicePoolDetail) -> io::Result<()> {
    let pool = &detail.pool;
    writeln!(out, "Namespace:  {}", plain(pool.namespace.as_str()))?;
    writeln!(out, "Name:       {}", plain(pool.name.as_str()))?;
    writeln!(out, "State:      {}", state(pool.disabled))?;
    writeln!(out, "Pool:       {}", plain(pool.pool.as_str()))?;
    writeln!(out, "Service:    {}", plain(pool.service.as_str()))?;
    writeln!(out, "Range:      {}-{}", pool.start, pool.end)?;
    map::write(out, &detail.map)
}

fn told(out: &mut dyn Write, view: &ServicePoolView, done: &str) -> io::Result<()> {
    let (namespace, name) = (plain(view.namespace.as_str()), plain(view.name.as_str()));
    writeln!(out, "service pool {namespace}/{name} {done}: {}", addresses(view.total, view.start, view.end))
}

fn changed(out: &mut dyn Write, pool: &ServicePoolSummary, done: &str) -> io::Result<()> {
    let (namespace, name) = (plain(pool.namespace.as_str()), plain(pool.name.as_str()));
    let addresses = addresses(pool.total.into(), pool.start, pool.end);
    writeln!(out, "service pool {namespace}/{name} {done}: {addresses}")
}
