//! A routed attachment. Host: the pair's end with the gateway address, and a route to each of the container's
//! addresses. Container: its addresses, each alone in its prefix, and routes by the gateway.

use super::detach::host_route;
use super::message::{self, Link};
use super::netlink::{Netlink, Request};
use super::netns::Netns;
use super::veth::{self, HostNames};
use super::{DatapathError, Doing, End, Ends, Failed, container, gateway, sysctl};
use common::ipam::Family;
use common::name::IfName;
use ipnet::IpNet;
use netlink_packet_route::address::AddressScope;
use netlink_packet_route::route::RouteMessage;
use nix::errno::Errno;
use std::net::IpAddr;

/// An attachment to be made, or that was made.
#[derive(Debug, Clone)]
pub struct Attachment<'a> {
    /// The container's namespace.
    pub netns: &'a Netns,
    /// Name of the interface in the container.
    pub interface: &'a IfName,
    /// Names that the host's end may have.
    pub names: &'a HostNames,
    /// The container's addresses.
    pub addresses: Vec<IpAddr>,
    /// Destinations that the container reaches by the gateway.
    pub routes: Vec<IpNet>,
    /// MTU of both ends; the kernel's default if absent.
    pub mtu: Option<u32>,
}

impl Attachment<'_> {
    pub(super) fn families(&self) -> impl Iterator<Item = Family> {
        Family::BOTH.into_iter().filter(|family| self.addresses.iter().any(|ip| Family::of(*ip) == *family))
    }

    fn has(&self, family: Family) -> bool {
        self.families().any(|other| other == family)
    }
}

/// Attaches the container. On failure nothing stays.
pub fn attach(attachment: &Attachment<'_>) -> Result<Ends, Failed> {
    let opening = || "open a netlink socket".to_owned();
    let mut host = Netlink::open().doing(opening)?;
    let names: Vec<&str> = attachment.names.iter().collect();
    let link = veth::create(&mut host, attachment.netns, attachment.interface, &names, attachment.mtu)?;
    let index = link.index;
    configure(&mut host, &link, attachment)
        .map_err(|first| {
            let undone = host.run(&[Request::delete_link(message::link_at(index))]);
            Failed { first, undo: undone.doing(|| format!("delete {}", link.name)).err() }
        })
        .map(|container| Ends { host: link.into(), container })
}

fn configure(host: &mut Netlink, link: &Link, attachment: &Attachment<'_>) -> Result<End, DatapathError> {
    let has_ipv6 = prepare_host(&link.name, attachment)?;
    let doing = || format!("set up {}", link.name);
    let mut requests = Vec::new();
    if has_ipv6 {
        requests.push(Request::change_link(message::link_without_own_address(link.index)));
    }
    requests.push(Request::change_link(message::link_up(link.index)));
    for family in attachment.families() {
        let net = match family {
            Family::V4 => IpNet::from(gateway(family)),
            Family::V6 => IpNet::new_assert(gateway(family), 64),
        };
        requests.push(Request::add_address(message::address(link.index, net, AddressScope::Link)));
    }
    let routes = attachment.addresses.iter().map(|ip| message::route(link.index, IpNet::from(*ip), None));
    let before_routes = requests.len();
    requests.extend(routes.map(Request::add_route));
    let answers = host.batch(&requests).doing(doing)?;
    for (at, (answer, request)) in answers.into_iter().zip(&requests).enumerate() {
        let Err(reason) = answer else { continue };
        let taken = at.checked_sub(before_routes).and_then(|at| attachment.addresses.get(at));
        match taken.filter(|_| reason == Errno::EEXIST) {
            Some(address) if is_left_over(host, *address)? => {
                let route = message::route(link.index, IpNet::from(*address), None);
                host.run(&[Request::replace_route(route)]).doing(doing)?;
            }
            _ => return Err(request.refused(reason)).doing(doing),
        }
    }
    let index = link.peer.ok_or_else(|| DatapathError::Differs(format!("{} has no other end", link.name)))?;
    let Attachment { netns, interface, addresses, .. } = attachment;
    let settings = || if attachment.has(Family::V6) { container::enable_ipv6(interface) } else { Ok(()) };
    let mut netlink = container::open(netns, interface, settings)?;
    let addresses: Vec<IpNet> = addresses.iter().copied().map(IpNet::from).collect();
    let routes = container_routes(index, attachment);
    container::configure(&mut netlink, (netns, interface), index, &addresses, &routes)
}

/// Whether the host's route to an address is that of an earlier container, whose namespace takes a while to go.
fn is_left_over(host: &mut Netlink, address: IpAddr) -> Result<bool, DatapathError> {
    let Some(index) = host_route(host, address)?.and_then(|route| route.link) else { return Ok(true) };
    let doing = || format!("look at the route to {address}");
    let link = veth::find(host, message::link_at(index), doing)?;
    Ok(link.is_none_or(|link| link.is_veth() && veth::is_host_name(&link.name)))
}

/// Settings of the host: it forwards, and takes no router advertisements from the container, which could turn
/// the host's own traffic to itself with them. Says whether the host's end has IPv6, wanted or not.
///
/// Only settings that need no lock are made on the end itself: the kernel makes a writer of the others spin until
/// nobody else changes interfaces.
fn prepare_host(name: &str, attachment: &Attachment<'_>) -> Result<bool, DatapathError> {
    if attachment.has(Family::V4) {
        sysctl::ensure("ipv4/ip_forward", "1")?;
    }
    if attachment.has(Family::V6) {
        sysctl::ensure("ipv6/conf/all/forwarding", "1")?;
    }
    Ok(sysctl::ensure_if_there(&format!("ipv6/conf/{name}/accept_ra"), "0")?)
}

/// The container's routes: to its gateway, which IPv6 needs no route for, and by it.
fn container_routes(index: u32, attachment: &Attachment<'_>) -> Vec<RouteMessage> {
    let to_gateway = attachment.has(Family::V4).then(|| IpNet::from(gateway(Family::V4)));
    let by_gateway = |dst: &IpNet| message::route(index, *dst, Some(gateway(Family::of(dst.addr()))));
    let to_gateway = to_gateway.map(|net| message::route(index, net, None));
    to_gateway.into_iter().chain(attachment.routes.iter().map(by_gateway)).collect()
}
