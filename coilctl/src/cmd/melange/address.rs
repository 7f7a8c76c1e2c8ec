//! `coilctl melange address`

use super::{OfBlock, OfTenant, cell, delete, fields, get, list, open, send};
use crate::client::{Client, Target};
use crate::exit::Failure;
use crate::output::Output;
use crate::table::Table;
use clap::{Args, Subcommand};
use common::mac::MacAddress;
use common::name::{OpaqueId, TenantId};
use common::wire::melange::{CreateIpAddress, IpAddressView};
use hyper::Method;
use std::io::{self, Write};
use std::net::IpAddr;

/// Addresses of blocks.
#[derive(Debug, Subcommand)]
pub(crate) enum Address {
    /// Allocate an address: the next one that is free, or a certain one
    Allocate(Allocate),
    /// List the addresses of a block, allocated and deallocated
    List(OfBlock),
    /// List the addresses that are allocated, to a tenant or to anybody
    Allocated(Allocated),
    /// Show an address of a block
    Show(OfAddress),
    /// Deallocate an address; it can be restored for some days
    Deallocate(OfAddress),
    /// Restore a deallocated address
    Restore(OfAddress),
}

/// Allocate an address.
#[derive(Debug, Args)]
pub(crate) struct Allocate {
    #[command(flatten)]
    block: OfBlock,
    /// This address
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// The interface that gets it
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<OpaqueId>,
    /// The device that uses it
    #[arg(long, value_name = "DEVICE")]
    device: Option<OpaqueId>,
    /// Who uses it; the block's tenant if it is not given
    #[arg(long = "for", value_name = "TENANT")]
    lessee: Option<TenantId>,
    /// MAC address of the interface, of which an IPv6 address is generated
    #[arg(long, value_name = "MAC")]
    mac: Option<MacAddress>,
}

/// An address of a block.
#[derive(Debug, Args)]
pub(crate) struct OfAddress {
    #[command(flatten)]
    block: OfBlock,
    /// The address
    #[arg(value_name = "ADDRESS")]
    address: IpAddr,
}

impl OfAddress {
    fn target(&self, rest: &[&str]) -> Target {
        let address = self.address.to_string();
        let parts: Vec<&str> = ["ip_addresses", &address].iter().chain(rest).copied().collect();
        self.block.target(&parts)
    }
}

/// List the addresses that are allocated.
#[derive(Debug, Args)]
pub(crate) struct Allocated {
    /// To this tenant only
    #[arg(value_name = "TENANT")]
    tenant: Option<TenantId>,
    /// For this device only
    #[arg(long, value_name = "DEVICE")]
    device: Option<OpaqueId>,
}

impl Address {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let address: IpAddressView = match self {
            Self::Allocate(allocate) => {
                let body = CreateIpAddress {
                    address: allocate.address,
                    interface_id: allocate.interface,
                    tenant_id: allocate.lessee,
                    used_by_device: allocate.device,
                    mac_address: allocate.mac,
                };
                let target = allocate.block.target(&["ip_addresses"]);
                send(client, Method::POST, target, "ip_address", &body).await?
            }
            Self::Show(address) => get(client, "ip_address", address.target(&[])).await?,
            Self::Restore(address) => {
                let (_, reply) = client.send(Method::PUT, address.target(&["restore"]), None::<&()>).await?;
                open(client, "ip_address", reply)?
            }
            Self::Deallocate(address) => {
                let what = format!("address {} is deallocated", address.address);
                return delete(client, output, address.target(&[]), &what).await;
            }
            Self::List(block) => {
                let target = || block.target(&["ip_addresses"]);
                let addresses = list(client, "ip_addresses", target).await?;
                return output.print(&addresses, |out| table(&addresses).write(out, "addresses"));
            }
            Self::Allocated(Allocated { tenant, device }) => {
                let target = || {
                    let target = match &tenant {
                        Some(tenant) => {
                            OfTenant { tenant: tenant.clone() }.target(&["allocated_ip_addresses"])
                        }
                        None => Target::root(&["v0.1", "ipam", "allocated_ip_addresses"]),
                    };
                    target.with("used_by_device", device.as_ref())
                };
                let addresses = list(client, "ip_addresses", target).await?;
                return output.print(&addresses, |out| table(&addresses).write(out, "addresses"));
            }
        };
        output.print(&address, |out| show(out, &address))
    }
}

/// The table of addresses.
pub(super) fn table(addresses: &[IpAddressView]) -> Table {
    let mut table = Table::new(&["ADDRESS", "BLOCK", "TENANT", "DEVICE", "INTERFACE", "SINCE"]);
    for address in addresses {
        table.row(vec![
            cell(Some(&address.address)),
            cell(Some(&address.ip_block_id)),
            cell(Some(&address.used_by_tenant)),
            cell(address.used_by_device.as_ref()),
            cell(address.interface_id.as_ref()),
            cell(Some(&address.created_at)),
        ]);
    }
    table
}

fn show(out: &mut dyn Write, address: &IpAddressView) -> io::Result<()> {
    fields(
        out,
        &[
            ("id", Some(&address.id)),
            ("address", Some(&address.address)),
            ("block", Some(&address.ip_block_id)),
            ("tenant", Some(&address.used_by_tenant)),
            ("device", address.used_by_device.as_deref()),
            ("interface", address.interface_id.as_deref()),
            ("created", Some(&address.created_at)),
            ("updated", Some(&address.updated_at)),
        ],
    )
}
