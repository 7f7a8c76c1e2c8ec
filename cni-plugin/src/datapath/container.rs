//! The container's end of a pair: its settings, addresses and routes, whatever is at the other end.

use super::message::{self, Link};
use super::netlink::{Netlink, Request};
use super::netns::Netns;
use super::sysctl::{self, SysctlError};
use super::{DatapathError, Doing, End};
use common::name::IfName;
use ipnet::IpNet;
use netlink_packet_route::address::AddressScope;
use netlink_packet_route::route::RouteMessage;
use nix::errno::Errno;

/// Metric of the routes of an interface that is not the first, less its index. IPv6 gives routes without a
/// metric 1024.
const SECOND_METRIC: u32 = 1024;

/// Makes the settings of the interface, and opens a socket beside it.
pub(super) fn open(
    netns: &Netns,
    interface: &IfName,
    settings: impl FnOnce() -> Result<(), SysctlError>,
) -> Result<Netlink, DatapathError> {
    let doing = || format!("set up {interface} in {}", netns.path().display());
    netns.run(|| settings().map_err(DatapathError::from).and_then(|()| Netlink::open().doing(doing)))?
}

/// Lets the interface have IPv6. Where the gateway is given, an advertised one has no business.
pub(super) fn enable_ipv6(interface: &IfName) -> Result<(), SysctlError> {
    sysctl::ensure(&format!("ipv6/conf/{interface}/disable_ipv6"), "0")?;
    sysctl::ensure(&format!("ipv6/conf/{interface}/accept_ra"), "0")
}

/// Gives the interface its addresses and routes. `netlink` is open in its namespace.
pub(super) fn configure(
    netlink: &mut Netlink,
    (netns, interface): (&Netns, &IfName),
    index: u32,
    addresses: &[IpNet],
    routes: &[RouteMessage],
) -> Result<End, DatapathError> {
    let doing = || format!("set up {interface} in {}", netns.path().display());
    let mut requests = vec![Request::get_link(message::link_at(index))];
    for address in addresses {
        requests.push(Request::add_address(message::address(index, *address, AddressScope::Universe)));
    }
    let before_routes = requests.len();
    requests.extend(routes.iter().cloned().map(Request::add_route));
    let mut answers = netlink.batch(&requests).doing(doing)?;
    let of_routes = answers.split_off(before_routes);
    let mut shown = Vec::new();
    for (answer, request) in answers.into_iter().zip(&requests) {
        shown.extend(answer.map_err(|reason| request.refused(reason)).doing(doing)?);
    }
    if of_routes.contains(&Err(Errno::EEXIST)) {
        // Another interface has the same routes: this one is second to it. What failed for another reason did so
        // because the route to its gateway was not there.
        let failed = of_routes.iter().zip(routes).filter(|(answer, _)| answer.is_err());
        let second = |route: &RouteMessage| {
            Request::add_route(message::with_metric(route.clone(), SECOND_METRIC + index))
        };
        let requests: Vec<Request> = failed.map(|(_, route)| second(route)).collect();
        netlink.run(&requests).doing(doing)?;
    } else {
        for (answer, request) in of_routes.into_iter().zip(&requests[before_routes..]) {
            answer.map_err(|reason| request.refused(reason)).doing(doing)?;
        }
    }
    Ok(Link::parse(&shown.pop().unwrap_or_default()).doing(doing)?.into())
}
