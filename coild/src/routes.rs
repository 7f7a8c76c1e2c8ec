//! The kernel's routes to the node's blocks: each block has one through `lo` in a table of its own, for a
//! routing daemon to announce. Only routes of that table with our protocol number are ever touched.

use crate::allocator::{Allocator, AllocatorError};
use common::error::chain;
use common::fault;
use common::ipam::{Family, Unit};
use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The protocol number by which our routes are known.
const PROTOCOL: u8 = 30;
/// How often the kernel's routes are looked at when no block changed.
const INTERVAL: Duration = Duration::from_mins(1);
/// Pause after the kernel refused.
const PAUSE: Duration = Duration::from_secs(2);

/// Why routes can't be exported.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// No netlink socket.
    #[error("can't talk to the kernel")]
    Socket(#[from] std::io::Error),
    /// The kernel refused.
    #[error("the kernel refuses to {0}")]
    Refused(&'static str, #[source] Box<rtnetlink::Error>),
    /// There is no loopback interface.
    #[error("there is no interface lo")]
    NoLoopback,
    /// The blocks are not known.
    #[error(transparent)]
    Allocator(#[from] AllocatorError),
}

/// Keeps the table in step with the node's blocks, for ever.
pub async fn run(allocator: Allocator, table: u32) {
    loop {
        let pause = match sync(&allocator, table).await {
            Ok(()) => INTERVAL,
            Err(RouteError::Allocator(AllocatorError::Stopped)) => return,
            Err(error) => {
                tracing::warn!(table, error = %chain(&error), "the routes of the blocks are not up to date");
                PAUSE
            }
        };
        // Woken by a change, or to see whether somebody else changed our routes.
        let _ = tokio::time::timeout(pause, allocator.signals().blocks.notified()).await;
    }
}

/// Makes the table have exactly the routes of the blocks that the node holds.
async fn sync(allocator: &Allocator, table: u32) -> Result<(), RouteError> {
    let wanted: BTreeSet<IpNet> =
        allocator.run(|state, _| state.routed()).await?.iter().map(Unit::net).collect();
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let outcome = apply(&handle, table, &wanted).await;
    connection.abort();
    outcome
}

async fn apply(handle: &Handle, table: u32, wanted: &BTreeSet<IpNet>) -> Result<(), RouteError> {
    let refused = |what| move |error| RouteError::Refused(what, Box::new(error));
    let mut links = handle.link().get().match_name("lo".to_owned()).execute();
    let lo = links.try_next().await.map_err(refused("show lo"))?.ok_or(RouteError::NoLoopback)?.header.index;
    let mut present = BTreeSet::new();
    for family in Family::BOTH {
        for message in ours(handle, family, table).await.map_err(refused("list routes"))? {
            let Some(net) = destination(&message) else { continue };
            if wanted.contains(&net) {
                present.insert(net);
            } else {
                fault::point("route.before");
                handle.route().del(message).execute().await.map_err(refused("remove a route"))?;
                fault::point("route.after");
                tracing::info!(route = %net, table, "route removed");
            }
        }
    }
    for net in wanted.difference(&present) {
        fault::point("route.before");
        handle
            .route()
            .add(route(*net, table, lo))
            .replace()
            .execute()
            .await
            .map_err(refused("add a route"))?;
        fault::point("route.after");
        tracing::info!(route = %net, table, "route added");
    }
    Ok(())
}

async fn ours(handle: &Handle, family: Family, table: u32) -> Result<Vec<RouteMessage>, rtnetlink::Error> {
    let request = match family {
        Family::V4 => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        Family::V6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    };
    let all = handle.route().get(request).execute();
    all.try_filter(|message| {
        let ours = table_of(message) == table
            && message.header.protocol == RouteProtocol::from(PROTOCOL)
            && message.header.kind == RouteType::Unicast;
        std::future::ready(ours)
    })
    .try_collect()
    .await
}

fn table_of(message: &RouteMessage) -> u32 {
    let attribute = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    attribute.unwrap_or_else(|| message.header.table.into())
}

fn destination(message: &RouteMessage) -> Option<IpNet> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    });
    IpNet::new(address?, message.header.destination_prefix_length).ok()
}

fn route(net: IpNet, table: u32, lo: u32) -> RouteMessage {
    let protocol = RouteProtocol::from(PROTOCOL);
    match net {
        IpNet::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(v4.addr(), v4.prefix_len())
            .output_interface(lo)
            .table_id(table)
            .protocol(protocol)
            .scope(netlink_packet_route::route::RouteScope::Link)
            .build(),
        IpNet::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(v6.addr(), v6.prefix_len())
            .output_interface(lo)
            .table_id(table)
            .protocol(protocol)
            .build(),
    }
}
