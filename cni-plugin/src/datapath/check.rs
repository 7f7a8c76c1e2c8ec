//! Whether an attachment is as it was made.

use super::message::{self, KernelRoute, Link};
use super::netlink::{Netlink, Request};
use super::routed::{Attachment, host_route};
use super::veth;
use super::{DatapathError, Doing, gateway};
use common::ipam::Family;
use ipnet::IpNet;

/// Sees whether everything is as [`attach`](super::routed::attach) made it; the first difference is the error.
pub fn check(attachment: &Attachment<'_>) -> Result<(), DatapathError> {
    let link = check_container(attachment)?;
    let interface = attachment.interface;
    let doing = || "look at the host's end of the veth pair".to_owned();
    let mut host = Netlink::open().doing(doing)?;
    let peer = link.peer.filter(|_| link.is_veth);
    let end = peer.map(|peer| veth::find(&mut host, message::link_at(peer), doing)).transpose()?.flatten();
    let Some(end) = end.filter(|end| attachment.names.contains(&end.name)) else {
        return differs(format!("{interface} has no other end on the host that coil made"));
    };
    if !end.up {
        return differs(format!("{} on the host is down", end.name));
    }
    let held = addresses(&mut host, end.index)?;
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

fn check_container(attachment: &Attachment<'_>) -> Result<Link, DatapathError> {
    let interface = attachment.interface;
    let place = attachment.netns.path().display();
    let Some(link) = veth::find_in(attachment.netns, interface)? else {
        return differs(format!("{interface} is missing in {place}"));
    };
    if !link.up {
        return differs(format!("{interface} in {place} is down"));
    }
    let doing = || format!("look at {interface} in {place}");
    let mut netlink = attachment.netns.run(Netlink::open)?.doing(doing)?;
    let held = addresses(&mut netlink, link.index)?;
    if let Some(missing) = attachment.addresses.iter().find(|ip| !held.contains(&IpNet::from(**ip))) {
        return differs(format!("{interface} in {place} has no address {missing}"));
    }
    for family in attachment.families() {
        let bodies = netlink.run(&[Request::list_routes(message::any_route(family))]).doing(doing)?;
        let routes: Vec<KernelRoute> = bodies
            .concat()
            .iter()
            .map(|body| KernelRoute::parse(body, family))
            .collect::<Result<_, _>>()
            .doing(doing)?;
        for dst in attachment.routes.iter().filter(|dst| Family::of(dst.addr()) == family) {
            let is_it = |route: &KernelRoute| {
                route.dst == Some(*dst)
                    && route.link == Some(link.index)
                    && route.gateway == Some(gateway(family))
            };
            if !routes.iter().any(is_it) {
                return differs(format!(
                    "{interface} in {place} has no route to {dst} by {}",
                    gateway(family)
                ));
            }
        }
    }
    Ok(link)
}

fn addresses(netlink: &mut Netlink, index: u32) -> Result<Vec<IpNet>, DatapathError> {
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
