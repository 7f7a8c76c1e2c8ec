//! `coilctl melange route`

use super::{OfBlock, cell, delete, list, send};
use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;
use crate::table::Table;
use clap::{Args, Subcommand};
use common::wire::melange::{CreateIpRoute, Destination, IpRouteView};
use hyper::Method;
use std::net::IpAddr;

/// Static routes of blocks.
#[derive(Debug, Subcommand)]
pub(crate) enum Route {
    /// Make a static route
    Create(Create),
    /// List the static routes of a block
    List(OfBlock),
    /// Delete a static route
    Delete(Delete),
}

/// Make a static route.
#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    block: OfBlock,
    /// An address, or a network as CIDR
    #[arg(long, value_name = "ADDRESS|CIDR", value_parser = destination)]
    destination: Destination,
    /// Where it leads
    #[arg(long, value_name = "ADDRESS")]
    gateway: IpAddr,
}

fn destination(text: &str) -> Result<Destination, &'static str> {
    text.to_owned().try_into()
}

/// Delete a static route.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    block: OfBlock,
    /// Id of the route
    #[arg(value_name = "ROUTE")]
    route: String,
}

impl Route {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        match self {
            Self::Create(Create { block, destination, gateway }) => {
                let body = CreateIpRoute { destination, netmask: None, gateway };
                let target = block.target(&["ip_routes"]);
                let route: IpRouteView = send(client, Method::POST, target, "ip_route", &body).await?;
                output.print(&route, |out| table(std::slice::from_ref(&route)).write(out, "routes"))
            }
            Self::List(block) => {
                let routes: Vec<IpRouteView> =
                    list(client, "ip_routes", || block.target(&["ip_routes"])).await?;
                output.print(&routes, |out| table(&routes).write(out, "routes"))
            }
            Self::Delete(Delete { block, route }) => {
                let what = format!("route {route} is deleted");
                delete(client, output, block.target(&["ip_routes", &route]), &what).await
            }
        }
    }
}

fn table(routes: &[IpRouteView]) -> Table {
    let mut table = Table::new(&["ID", "DESTINATION", "NETMASK", "GATEWAY"]);
    for route in routes {
        table.row(vec![
            cell(Some(&route.id)),
            cell(Some(&route.destination)),
            cell(route.netmask.as_ref()),
            cell(Some(&route.gateway)),
        ]);
    }
    table
}
