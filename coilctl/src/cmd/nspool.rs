//! `coilctl nspool`

use super::drain::{Drain, Progress};
use super::scoped::{DrainPool, List, Name, Range, Ranged, Resize, Show, addresses, state};
use crate::client::{Client, Target};
use crate::exit::Failure;
use crate::map;
use crate::output::Output;
use crate::table::{Table, count, percent, plain};
use clap::{Args, Subcommand};
use common::wire::ip_pools::{CreateNamespacePool, NamespacePoolView};
use common::wire::namespaces::{NamespacePoolDetail, NamespacePoolSummary, NewRange, ServicePoolSummary};
use hyper::Method;
use ipnet::IpNet;
use std::io::{self, Write};
use std::net::IpAddr;

/// Namespace pools: ranges whose single addresses pods choose by annotation.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "A pod chooses them by the annotation `hcipam_ns_ippool: NAME[,NAME…]`, those of its own namespace."
)]
pub(crate) enum NamespacePool {
    /// Make a pool
    Create(Create),
    /// List the pools and how many of their addresses are leased
    List(List),
    /// Show a pool with a map of its range
    Show(Show),
    /// Give a pool more addresses: another range, which has all that the pool has
    Extend(Resize),
    /// Give a pool fewer addresses: another range, of which the pool has all; nobody may have what goes
    Shrink(Resize),
    /// Give nothing new from a pool; what is held stays held
    Disable(Name),
    /// Give addresses from a pool again
    Enable(Name),
    /// Disable a pool and the service pools in it, and wait until no address is leased
    Drain(DrainPool),
    /// Delete a pool of which no address is leased and in which no service pool lies
    Delete(Name),
}

/// Make a pool.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coilctl nspool create team web --subnet 192.168.1.0/24 --start 192.168.1.5 --end 192.168.1.24 \
                  --gateway 192.168.1.1 --vlan 100\n  coilctl nspool create team six --subnet fd00:1::/64 --cidr fd00:1::1:0/112 \
                  --gateway fd00:1::1"
)]
pub(crate) struct Create {
    #[command(flatten)]
    pool: Name,
    /// The network of the addresses
    #[arg(long, value_name = "CIDR")]
    subnet: IpNet,
    #[command(flatten)]
    range: Range,
    /// Gateway of the pods: in the subnet, and not in the range
    #[arg(long, value_name = "ADDRESS")]
    gateway: IpAddr,
    /// VLAN id; 0 means untagged
    #[arg(long, value_name = "ID", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..=4094))]
    vlan: i64,
}

impl NamespacePool {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let (pool, done) = match self {
            Self::List(list) => {
                let ask = async || client.list(|| list.target("nspools")).await;
                return list.watch.show(output, ask, |out, pools: &Vec<_>| write_list(out, pools)).await;
            }
            Self::Show(Show { pool, watch }) => {
                let ask = async || client.get(pool.target("nspools", &[])).await;
                return watch.show(output, ask, show).await;
            }
            Self::Create(create) => {
                let view = create.run(client).await?;
                return output.print(&view, |out| told(out, &view, "created"));
            }
            Self::Delete(pool) => {
                let (_, view): (_, NamespacePoolView) =
                    client.send(Method::DELETE, pool.root("nsippool"), None::<&()>).await?;
                return output.print(&view, |out| told(out, &view, "deleted"));
            }
            Self::Drain(DrainPool { pool, drain }) => return drained(client, output, &pool, &drain).await,
            Self::Extend(resize) => (resize.run(client, "nspools", true).await?, "extended"),
            Self::Shrink(resize) => (resize.run(client, "nspools", false).await?, "shrunk"),
            Self::Disable(pool) => (pool.set_disabled(client, "nspools", true).await?, "disabled"),
            Self::Enable(pool) => (pool.set_disabled(client, "nspools", false).await?, "enabled"),
        };
        output.print(&pool, |out| changed(out, &pool, done))
    }
}

impl Create {
    async fn run(self, client: &Client) -> Result<NamespacePoolView, Failure> {
        let NewRange { start, end, cidr } = self.range.fields();
        let body = CreateNamespacePool {
            name: self.pool.name,
            namespace: self.pool.namespace,
            subnet: self.subnet,
            start,
            end,
            cidr,
            gateway: self.gateway,
            vlanid: self.vlan,
        };
        client.send(Method::POST, Target::root(&["nsippool"]), Some(&body)).await.map(|(_, view)| view)
    }
}

impl Ranged for NamespacePoolSummary {
    fn range(&self) -> (IpAddr, IpAddr) {
        (self.start, self.end)
    }
}

/// Disables a pool and its service pools, and waits until nothing of it is leased.
async fn drained(client: &Client, output: Output, pool: &Name, drain: &Drain) -> Result<(), Failure> {
    let disabled: NamespacePoolSummary = pool.set_disabled(client, "nspools", true).await?;
    for name in disabled.services {
        let service = Name { namespace: pool.namespace.clone(), name };
        let _: ServicePoolSummary = service.set_disabled(client, "svcpools", true).await?;
    }
    let ask = async || {
        let detail: NamespacePoolDetail = client.get(pool.target("nspools", &[])).await?;
        Ok(Progress::of_map(&detail.map))
    };
    drain.run(output, &format!("namespace pool {}/{}", pool.namespace, pool.name), ask).await
}

fn write_list(out: &mut dyn Write, pools: &[NamespacePoolSummary]) -> io::Result<()> {
    let mut table = Table::new(&[
        "NAMESPACE",
        "NAME",
        "RANGE",
        "SUBNET",
        "GATEWAY",
        ">VLAN",
        ">ADDRESSES",
        ">LEASED",
        ">USE",
        ">RESERVED",
        "STATE",
    ]);
    for pool in pools {
        table.row(vec![
            plain(pool.namespace.as_str()),
            plain(pool.name.as_str()),
            format!("{}-{}", pool.start, pool.end),
            pool.subnet.to_string(),
            pool.gateway.to_string(),
            pool.vlan.to_string(),
            count(pool.total),
            count(pool.leased),
            percent(pool.leased, pool.total),
            count(pool.reserved),
            state(pool.disabled).to_owned(),
        ]);
    }
    table.write(out, "namespace pools; `coilctl nspool create --help` shows how one is made")
}

fn show(out: &mut dyn Write, detail: &NamespacePoolDetail) -> io::Result<()> {
    let pool = &detail.pool;
    writeln!(out, "Namespace:  {}", plain(pool.namespace.as_str()))?;
    writeln!(out, "Name:       {}", plain(pool.name.as_str()))?;
    writeln!(out, "State:      {}", state(pool.disabled))?;
    let vlan = if pool.vlan == 0 { "untagged".to_owned() } else { format!("VLAN {}", pool.vlan) };
    writeln!(out, "Network:    {}, gateway {}, {vlan}", pool.subnet, pool.gateway)?;
    writeln!(out, "Range:      {}-{}", pool.start, pool.end)?;
    if !pool.services.is_empty() {
        let names: Vec<String> = pool.services.iter().map(|name| plain(name.as_str())).collect();
        writeln!(out, "Services:   {}", names.join(", "))?;
    }
    map::write(out, &detail.map)
}

fn told(out: &mut dyn Write, view: &NamespacePoolView, done: &str) -> io::Result<()> {
    let (namespace, name) = (plain(view.namespace.as_str()), plain(view.name.as_str()));
    writeln!(out, "namespace pool {namespace}/{name} {done}: {}", addresses(view.total, view.start, view.end))
}

fn changed(out: &mut dyn Write, pool: &NamespacePoolSummary, done: &str) -> io::Result<()> {
    let (namespace, name) = (plain(pool.namespace.as_str()), plain(pool.name.as_str()));
    let addresses = addresses(pool.total.into(), pool.start, pool.end);
    writeln!(out, "namespace pool {namespace}/{name} {done}: {addresses}")
}
