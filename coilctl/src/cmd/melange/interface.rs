//! `coilctl melange interface`

use super::{OfTenant, cell, delete, list, open};
use crate::client::{Client, Target};
use crate::exit::Failure;
use crate::output::Output;
use crate::table::Table;
use clap::{Args, Subcommand};
use common::mac::MacAddress;
use common::name::{OpaqueId, TenantId};
use common::wire::melange::{AllocationView, CreateAllocations};
use hyper::Method;
use serde_json::json;
use std::net::IpAddr;

/// What interfaces have in a network.
#[derive(Debug, Subcommand)]
pub(crate) enum Interface {
    /// List the addresses that an interface has in a network
    List(OfInterface),
    /// Allocate addresses of a network for an interface: the next one of each family, or certain ones
    Allocate(Allocate),
    /// Deallocate all addresses that an interface has in a network
    Deallocate(OfInterface),
}

/// An interface in a network of a tenant.
#[derive(Debug, Args)]
pub(crate) struct OfInterface {
    #[command(flatten)]
    tenant: OfTenant,
    /// The network
    #[arg(value_name = "NETWORK")]
    network: OpaqueId,
    /// The interface
    #[arg(value_name = "INTERFACE")]
    interface: OpaqueId,
}

impl OfInterface {
    fn target(&self) -> Target {
        let (network, interface) = (self.network.as_str(), self.interface.as_str());
        self.tenant.target(&["networks", network, "interfaces", interface, "ip_allocations"])
    }
}

/// Allocate addresses for an interface.
#[derive(Debug, Args)]
pub(crate) struct Allocate {
    #[command(flatten)]
    interface: OfInterface,
    /// This address; may be repeated
    #[arg(long = "address", value_name = "ADDRESS", value_delimiter = ',')]
    addresses: Vec<IpAddr>,
    /// The device that uses them
    #[arg(long, value_name = "DEVICE")]
    device: Option<OpaqueId>,
    /// Who uses them; the tenant if it is not given
    #[arg(long = "for", value_name = "TENANT")]
    lessee: Option<TenantId>,
    /// MAC address of the interface, of which an IPv6 address is generated
    #[arg(long, value_name = "MAC")]
    mac: Option<MacAddress>,
}

impl Interface {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let allocations: Vec<AllocationView> = match self {
            Self::List(interface) => list(client, "ip_addresses", || interface.target()).await?,
            Self::Allocate(Allocate { interface, addresses, device, lessee, mac }) => {
                let body = CreateAllocations {
                    addresses,
                    tenant_id: lessee,
                    used_by_device: device,
                    mac_address: mac,
                };
                let body = json!({ "network": body });
                let (_, reply) = client.send(Method::POST, interface.target(), Some(&body)).await?;
                open(client, "ip_addresses", reply)?
            }
            Self::Deallocate(interface) => {
                let OfInterface { network, interface: id, .. } = &interface;
                let what = format!("the addresses of interface {id} in network {network} are deallocated");
                return delete(client, output, interface.target(), &what).await;
            }
        };
        output.print(&allocations, |out| table(&allocations).write(out, "addresses"))
    }
}

fn table(allocations: &[AllocationView]) -> Table {
    let mut table = Table::new(&["ADDRESS", "BLOCK", "CIDR", "GATEWAY", "ROUTES", "TENANT", "DEVICE"]);
    for AllocationView { address, ip_block } in allocations {
        table.row(vec![
            cell(Some(&address.address)),
            cell(Some(&address.ip_block_id)),
            cell(Some(&ip_block.block.cidr)),
            cell(ip_block.block.gateway.as_ref()),
            ip_block.ip_routes.len().to_string(),
            cell(Some(&address.used_by_tenant)),
            cell(address.used_by_device.as_ref()),
        ]);
    }
    table
}
