//! A routed attachment. Host: the pair's end with the gateway address, and a route to each of the container's
//! addresses. Container: its addresses, each alone in its prefix, and routes by the gateway.

use super::message::{self, KernelRoute, Link};
use super::netlink::{Netlink, Request};
use super::netns::Netns;
use super::veth::{self, HostNames};
use super::{DatapathError, Doing, gateway, sysctl};
use common::ipam::Family;
use common::name::IfName;
use ipnet::IpNet;
use netlink_packet_route::address::AddressScope;
use netlink_packet_route::route::RouteMessage;
use nix::errno::Errno;
use std::net::IpAddr;

/// Metric of the routes of an interface that is not the first, less its index. IPv6 gives routes without a
/// metric 1024.
const SECOND_METRIC: u32 = 1024;

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

/// An end of the pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: String,
    /// Its MTU.
    pub mtu: u32,
}

impl From<Link> for End {
    fn from(link: Link) -> Self {
        Self { name: link.name, mac: link.mac, mtu: link.mtu }
    }
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// The end on the host.
    pub host: End,
    /// The end in the container.
    pub container: End,
}

/// A failure, and what went wrong when its traces were removed.
#[derive(Debug)]
pub struct Failed {
    /// Why the container can't be attached.
    pub first: DatapathError,
    /// What could not be undone.
    pub undo: Option<DatapathError>,
}

impl From<DatapathError> for Failed {
    fn from(first: DatapathError) -> Self {
        Self { first, undo: None }
    }
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
    let link =
        veth::create(&mut host, attachment.netns, attachment.interface, attachment.names, attachment.mtu)?;
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
    configure_container(index, attachment)
}

/// Whether the host's route to an address is that of an earlier container, whose namespace takes a while to go.
fn is_left_over(host: &mut Netlink, address: IpAddr) -> Result<bool, DatapathError> {
    let Some(index) = host_route(host, address)?.and_then(|route| route.link) else { return Ok(true) };
    let doing = || format!("look at the route to {address}");
    let link = veth::find(host, message::link_at(index), doing)?;
    Ok(link.is_none_or(|link| link.is_veth && veth::is_host_name(&link.name)))
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

fn configure_container(index: u32, attachment: &Attachment<'_>) -> Result<End, DatapathError> {
    let interface = attachment.interface;
    let doing = || format!("set up {interface} in {}", attachment.netns.path().display());
    let prepare = || {
        if attachment.has(Family::V6) {
            sysctl::ensure(&format!("ipv6/conf/{interface}/disable_ipv6"), "0")?;
            // Where the gateway is given, an advertised one has no business.
            sysctl::ensure(&format!("ipv6/conf/{interface}/accept_ra"), "0")?;
        }
        Netlink::open().doing(doing)
    };
    let mut netlink = attachment.netns.run(prepare)??;
    let mut requests = vec![Request::get_link(message::link_at(index))];
    for address in &attachment.addresses {
        let address = message::address(index, IpNet::from(*address), AddressScope::Universe);
        requests.push(Request::add_address(address));
    }
    let before_routes = requests.len();
    let routes = container_routes(index, attachment);
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
        let second = |route| Request::add_route(message::with_metric(route, SECOND_METRIC + index));
        let requests: Vec<Request> = failed.map(|(_, route)| second(route)).collect();
        netlink.run(&requests).doing(doing)?;
    } else {
        for (answer, request) in of_routes.into_iter().zip(&requests[before_routes..]) {
            answer.map_err(|reason| request.refused(reason)).doing(doing)?;
        }
    }
    Ok(Link::parse(&shown.pop().unwrap_or_default()).doing(doing)?.into())
}

/// The container's routes: to its gateway, which IPv6 needs no route for, and by it.
fn container_routes(index: u32, attachment: &Attachment<'_>) -> Vec<RouteMessage> {
    let to_gateway = attachment.has(Family::V4).then(|| IpNet::from(gateway(Family::V4)));
    let by_gateway = |dst: &IpNet| message::route(index, *dst, Some(gateway(Family::of(dst.addr()))));
    let to_gateway = to_gateway.map(|net| message::route(index, net, None));
    to_gateway.into_iter().chain(attachment.routes.iter().map(by_gateway)).collect()
}

/// Detaches the container: removes its interface if it is one that [`attach`] made for this attachment. `netns`
/// is absent where the namespace is gone, and with it the pair, as a rule.
///
/// A namespace can live on without its path, for as long as a process is in it. Then the pair is found from the
/// host: by its name, if it serves one of `addresses`.
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
        let peer = link.peer.filter(|_| link.is_veth);
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

/// Removes the pairs that serve some addresses, from the host.
pub fn remove_host_ends(addresses: &[IpAddr]) -> Result<(), DatapathError> {
    let doing = || "find the host's end of the veth pair".to_owned();
    let mut host = Netlink::open().doing(doing)?;
    for address in addresses {
        let Some(index) = host_route(&mut host, *address)?.and_then(|route| route.link) else { continue };
        let link = veth::find(&mut host, message::link_at(index), doing)?;
        if let Some(end) = link.filter(|link| link.is_veth && veth::is_host_name(&link.name)) {
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
