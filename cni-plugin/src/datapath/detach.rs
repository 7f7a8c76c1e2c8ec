//! Undoing an attachment, however it was made.

use super::message::{self, KernelRoute, Link};
use super::netlink::{Netlink, Request};
use super::netns::Netns;
use super::veth::{self, HostNames};
use super::{DatapathError, Doing};
use common::ipam::Family;
use common::name::IfName;
use ipnet::IpNet;
use nix::errno::Errno;
use std::net::IpAddr;

/// Detaches the container: removes its interface if it is one that was made for this attachment. `netns`
/// is absent where the namespace is gone, and with it the pair, as a rule.
///
/// A namespace can live on without its path, for as long as a process is in it. Then the pair is found from the
/// host: by its name, if it serves one of `addresses` or is the port of a bridge, which always has a name of its own.
pub fn detach(
    netns: Option<&Netns>,
    interface: &IfName,
    names: &HostNames,
    addresses: impl FnOnce() -> Vec<IpAddr>,
) -> Result<(), DatapathError> {
    let doing = || "find the host's end of the veth pair".to_owned();
    let mut host = Netlink::open().doing(doing)?;
    if let Some(netns) = netns {
        let Some(link) = veth::find_in(netns, interface)? else { return Ok(()) };
        let peer = link.peer.filter(|_| link.is_veth());
        let other =
            peer.map(|peer| veth::find(&mut host, message::link_at(peer), doing)).transpose()?.flatten();
        if let Some(end) = other.filter(|end| names.contains(&end.name) && end.peer == Some(link.index)) {
            delete(&mut host, &end)?;
        }
        return Ok(());
    }
    let mut ends = Vec::new();
    for name in names.iter() {
        ends.extend(veth::find(&mut host, message::link_named(name), doing)?);
    }
    if let Some(at) = ends.iter().position(|end| is_port(end, names)) {
        delete(&mut host, &ends.swap_remove(at))?;
    }
    if ends.is_empty() {
        return Ok(());
    }
    for address in addresses() {
        let serving = host_route(&mut host, address)?.and_then(|route| route.link);
        if let Some(at) = ends.iter().position(|end| Some(end.index) == serving) {
            delete(&mut host, &ends.swap_remove(at))?;
        }
    }
    Ok(())
}

/// Whether this is the host's end of an attachment to a bridge with these names.
fn is_port(end: &Link, names: &HostNames) -> bool {
    end.is_veth() && end.master.is_some() && end.name == names.own()
}

/// Removes the pairs of attachments, from the host: those that serve their addresses, and ports of bridges.
pub fn remove_host_ends(attachments: &[(HostNames, IpAddr)]) -> Result<(), DatapathError> {
    let doing = || "find the host's end of the veth pair".to_owned();
    let mut host = Netlink::open().doing(doing)?;
    for (names, address) in attachments {
        let mut ends = Vec::from_iter(
            veth::find(&mut host, message::link_named(names.own()), doing)?.filter(|end| is_port(end, names)),
        );
        if let Some(index) = host_route(&mut host, *address)?.and_then(|route| route.link) {
            let link = veth::find(&mut host, message::link_at(index), doing)?;
            ends.extend(link.filter(|link| link.is_veth() && veth::is_host_name(&link.name)));
        }
        for end in ends {
            delete(&mut host, &end)?;
        }
    }
    Ok(())
}

fn delete(host: &mut Netlink, end: &Link) -> Result<(), DatapathError> {
    let request = [Request::delete_link(message::link_at(end.index))];
    let doing = || format!("delete {}", end.name);
    match host.batch(&request).doing(doing)?.pop() {
        // Its namespace may end just now.
        Some(Err(Errno::ENODEV) | Ok(_)) | None => Ok(()),
        Some(Err(reason)) => Err(request[0].refused(reason)).doing(doing),
    }
}

/// The entry of the host's routing tables that serves just this address, if there is one.
pub(super) fn host_route(host: &mut Netlink, address: IpAddr) -> Result<Option<KernelRoute>, DatapathError> {
    let doing = || format!("look for the route to {address}");
    let answer = host.batch(&[Request::get_route(message::route_to(address))]).doing(doing)?.pop();
    // No route at all is an error of the kernel's.
    let Some(Ok(mut bodies)) = answer else { return Ok(None) };
    let route = KernelRoute::parse(&bodies.pop().unwrap_or_default(), Family::of(address)).doing(doing)?;
    Ok(Some(route).filter(|route| route.dst == Some(IpNet::from(address))))
}
