//! Whether an attachment is as it was made.

use super::detach::host_route;
use super::message::{self, KernelRoute, Link};
use super::netlink::{Netlink, Request};
use super::netns::Netns;
use super::{DatapathError, Doing, bridge, gateway, routed, veth, vlan};
use crate::config::{Bridge, VlanDriver};
use common::ipam::Family;
use common::name::IfName;
use ipnet::IpNet;
use std::net::IpAddr;

/// Sees whether everything is as [`routed::attach`] made it; the first difference is the error.
pub fn check_routed(attachment: &routed::Attachment<'_>) -> Result<(), DatapathError> {
    let addresses: Vec<IpNet> = attachment.addresses.iter().copied().map(IpNet::from).collect();
    let by_gateway = |dst: &IpNet| (*dst, gateway(Family::of(dst.addr())));
    let routes: Vec<(IpNet, IpAddr)> = attachment.routes.iter().map(by_gateway).collect();
    let link = check_container(attachment.netns, attachment.interface, &addresses, &routes)?;
    let mut host = open_host()?;
    let end = host_end(&mut host, &link, |end| attachment.names.contains(&end.name))?;
    let held = addresses_of(&mut host, end.index)?;
    for family in attachment.families() {
        if !held.iter().any(|net| net.addr() == gateway(family)) {
            return differs(format!("{} on the host has no address {}", end.name, gateway(family)));
        }
    }
    for address in &attachment.addresses {
        if host_route(&mut host, *address)?.and_then(|route| route.link) != Some(end.index) {
            return differs(format!("the host has no route to {address} by {}", end.name));
        }
    }
    Ok(())
}

/// Sees whether everything is as [`bridge::attach`] made it, likewise.
pub fn check_bridge(attachment: &bridge::Attachment<'_>) -> Result<(), DatapathError> {
    let bridge::Attachment { netns, interface, host_name, bridge, vlan, addresses, routes, .. } = attachment;
    let link = check_container(netns, interface, addresses, routes)?;
    let mut host = open_host()?;
    let end = host_end(&mut host, &link, |end| end.name == *host_name)?;
    let Bridge { name, uplink, vlan_driver, .. } = vlan::bridge_of(bridge, *vlan)?;
    check_port(&mut host, "bridge", &end, &name)?;
    let is_in = if vlan_driver == VlanDriver::Filtering { vlan::of_port(&mut host, &end)? } else { None };
    if *vlan != 0 && vlan_driver == VlanDriver::Filtering && is_in != Some(*vlan) {
        return differs(format!("{} is not in VLAN {vlan} of {name}", end.name));
    }
    let Some(uplink) = &uplink else { return Ok(()) };
    let doing = || format!("look at {uplink}");
    match veth::find(&mut host, message::link_named(uplink.as_str()), doing)? {
        Some(link) if link.up => check_port(&mut host, "uplink", &link, &name),
        Some(_) => differs(format!("{uplink} on the host is down")),
        None => differs(format!("the host has no interface {uplink}")),
    }
}

/// Whether a link is a port of the bridge, which is up.
fn check_port(host: &mut Netlink, what: &str, link: &Link, name: &IfName) -> Result<(), DatapathError> {
    let doing = || format!("look at the {what} {name}");
    match veth::find(host, message::link_named(name.as_str()), doing)? {
        Some(bridge) if !bridge.up => differs(format!("{name} on the host is down")),
        Some(bridge) if link.master == Some(bridge.index) => Ok(()),
        _ => differs(format!("{} is not attached to {name}", link.name)),
    }
}

fn open_host() -> Result<Netlink, DatapathError> {
    Netlink::open().doing(|| "open a netlink socket".to_owned())
}

/// The other end of the container's interface, if it is ours and up.
fn host_end(
    host: &mut Netlink,
    link: &Link,
    is_ours: impl FnOnce(&Link) -> bool,
) -> Result<Link, DatapathError> {
    let doing = || "look at the host's end of the veth pair".to_owned();
    let peer = link.peer.filter(|_| link.is_veth());
    let end = peer.map(|peer| veth::find(host, message::link_at(peer), doing)).transpose()?.flatten();
    let Some(end) = end.filter(is_ours) else {
        return differs(format!("{} has no other end on the host that coil made", link.name));
    };
    if end.up { Ok(end) } else { differs(format!("{} on the host is down", end.name)) }
}

fn check_container(
    netns: &Netns,
    interface: &IfName,
    wanted: &[IpNet],
    routes: &[(IpNet, IpAddr)],
) -> Result<Link, DatapathError> {
    let place = netns.path().display();
    let Some(link) = veth::find_in(netns, interface)? else {
        return differs(format!("{interface} is missing in {place}"));
    };
    if !link.up {
        return differs(format!("{interface} in {place} is down"));
    }
    let doing = || format!("look at {interface} in {place}");
    let mut netlink = netns.run(Netlink::open)?.doing(doing)?;
    let held = addresses_of(&mut netlink, link.index)?;
    if let Some(missing) = wanted.iter().find(|net| !held.contains(net)) {
        let shown = if missing.prefix_len() == missing.max_prefix_len() {
            missing.addr().to_string()
        } else {
            missing.to_string()
        };
        return differs(format!("{interface} in {place} has no address {shown}"));
    }
    for family in Family::BOTH {
        let mut routes = routes.iter().filter(|(dst, _)| Family::of(dst.addr()) == family).peekable();
        if routes.peek().is_none() {
            continue;
        }
        let bodies = netlink.run(&[Request::list_routes(message::any_route(family))]).doing(doing)?;
        let shown: Vec<KernelRoute> = bodies
            .concat()
            .iter()
            .map(|body| KernelRoute::parse(body, family))
            .collect::<Result<_, _>>()
            .doing(doing)?;
        for (dst, gateway) in routes {
            let is_it = |route: &KernelRoute| {
                route.dst == Some(*dst) && route.link == Some(link.index) && route.gateway == Some(*gateway)
            };
            if !shown.iter().any(is_it) {
                return differs(format!("{interface} in {place} has no route to {dst} by {gateway}"));
            }
        }
    }
    Ok(link)
}

/// The addresses of a link.
pub(super) fn addresses_of(netlink: &mut Netlink, index: u32) -> Result<Vec<IpNet>, DatapathError> {
    let doing = || "list addresses".to_owned();
    let bodies = netlink.run(&[Request::list_addresses(message::any_address())]).doing(doing)?.concat();
    let mut found = Vec::new();
    for body in &bodies {
        let (link, net) = message::address_of(body).doing(doing)?;
        found.extend(net.filter(|_| link == index));
    }
    Ok(found)
}

fn differs<T>(text: String) -> Result<T, DatapathError> {
    Err(DatapathError::Differs(text))
}
