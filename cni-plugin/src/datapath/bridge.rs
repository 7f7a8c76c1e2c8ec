//! An attachment to a bridge, by which the container is in the same network as other hosts. Host: a bridge, which is
//! made when it is first needed and stays, with the uplink as a port if there is one; and the pair's end as another
//! port. The host itself has no address there. Container: its addresses with the prefix of their subnet, and routes by
//! the subnet's gateway, which is somebody in the network.

use super::message::{self, Link};
use super::neighbours::Neighbours;
use super::netlink::{LinkEvents, Netlink, Request};
use super::netns::Netns;
use super::{DatapathError, Doing, Ends, Failed, container, sysctl, veth, vlan};
use crate::config::{Bridge, VlanDriver};
use common::ipam::Family;
use common::name::IfName;
use ipnet::IpNet;
use netlink_packet_route::link::LinkMessage;
use nix::errno::Errno;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long a new port may take until it forwards: far more than the kernel needs without a spanning tree.
const SOON: Duration = Duration::from_secs(2);

/// An attachment to be made, or that was made.
#[derive(Debug, Clone)]
pub struct Attachment<'a> {
    /// The container's namespace.
    pub netns: &'a Netns,
    /// Name of the interface in the container.
    pub interface: &'a IfName,
    /// Name of the host's end.
    pub host_name: &'a str,
    /// The bridge.
    pub bridge: &'a Bridge,
    /// VLAN of the network; 0 means untagged.
    pub vlan: u16,
    /// The container's addresses, with the prefix length of their subnet.
    pub addresses: Vec<IpNet>,
    /// What the container reaches, and by which gateway.
    pub routes: Vec<(IpNet, IpAddr)>,
    /// MTU of both ends; if absent the uplink's, or without one the kernel's default.
    pub mtu: Option<u32>,
}

impl Attachment<'_> {
    fn has_ipv6(&self) -> bool {
        self.addresses.iter().any(|net| Family::of(net.addr()) == Family::V6)
    }
}

/// Attaches the container. On failure nothing stays but the bridge, which may serve others by now.
pub fn attach(attachment: &Attachment<'_>) -> Result<Ends, Failed> {
    let mut host = Netlink::open().doing(|| "open a netlink socket".to_owned())?;
    let (bridge, uplink) = prepare_bridge(&mut host, attachment.bridge, attachment.vlan)?;
    let mtu = attachment.mtu.or_else(|| uplink.as_ref().map(|uplink| uplink.mtu));
    let names = [attachment.host_name];
    let link = veth::create(&mut host, attachment.netns, attachment.interface, &names, mtu)?;
    configure(&mut host, (&bridge, uplink.as_ref()), &link, attachment).map_err(|first| {
        let undone = host.run(&[Request::delete_link(message::link_at(link.index))]);
        Failed { first, undo: undone.doing(|| format!("delete {}", link.name)).err() }
    })
}

/// How long the uplink may take: its carrier comes some seconds after it was brought up.
const UPLINK_SOON: Duration = Duration::from_secs(10);

/// The bridge, up, with its uplink.
fn prepare_bridge(
    host: &mut Netlink,
    configured: &Bridge,
    vlan: u16,
) -> Result<(Link, Option<Link>), DatapathError> {
    let Bridge { name, uplink, .. } = &vlan::bridge_of(configured, vlan)?;
    if let Some((parent, tagged)) = configured.uplink.as_ref().zip(uplink.as_ref()).filter(|(a, b)| a != b) {
        vlan::make_subinterface(host, parent, tagged, vlan)?;
    }
    let bridge = find_or_make(host, "bridge", name.as_str(), || message::bridge(name.as_str()))?;
    if !bridge.is_bridge() {
        return Err(wrong("bridge", format!("{name} on the host is not a bridge")));
    }
    let uplink = match uplink {
        None => None,
        Some(uplink) => Some(attach_uplink(host, &bridge, uplink)?),
    };
    Ok((bridge, uplink))
}

/// The link of a name, which is made if it is not there, and brought up.
pub(super) fn find_or_make(
    host: &mut Netlink,
    what: &str,
    name: &str,
    make: impl Fn() -> LinkMessage,
) -> Result<Link, DatapathError> {
    let doing = || format!("make the {what} {name}");
    let found = veth::find(host, message::link_named(name), doing)?;
    if let Some(link) = found.filter(|link| link.up) {
        return Ok(link);
    }
    let create = [Request::create_link(make())];
    match host.batch(&create).doing(doing)?.pop() {
        // Another attachment may make it at the same time.
        Some(Ok(_) | Err(Errno::EEXIST)) | None => {}
        Some(Err(reason)) => return Err(create[0].refused(reason)).doing(doing),
    }
    let Some(link) = veth::find(host, message::link_named(name), doing)? else {
        return Err(DatapathError::Silent(format!("the {what} {name} was removed just after it was made")));
    };
    bring_up(host, &link)?;
    Ok(link)
}

/// Brings a link up on which the host has no business: it gets no address of its own, and takes none from routers.
fn bring_up(host: &mut Netlink, link: &Link) -> Result<(), DatapathError> {
    let mut requests = Vec::new();
    if sysctl::ensure_if_there(&format!("ipv6/conf/{}/accept_ra", link.name), "0")? {
        requests.push(Request::change_link(message::link_without_own_address(link.index)));
    }
    requests.push(Request::change_link(message::link_up(link.index)));
    host.run(&requests).doing(|| format!("set up {}", link.name)).map(|_| ())
}

/// Makes the uplink a port of the bridge. One that has addresses is refused: they would be cut off.
fn attach_uplink(host: &mut Netlink, bridge: &Link, name: &IfName) -> Result<Link, DatapathError> {
    let doing = || format!("attach {name} to {}", bridge.name);
    let Some(link) = veth::find(host, message::link_named(name.as_str()), doing)? else {
        return Err(wrong("uplink", format!("the host has no interface {name}")));
    };
    match link.master {
        Some(master) if master == bridge.index => {}
        Some(master) => {
            let of = veth::find(host, message::link_at(master), doing)?;
            let of = of.map_or_else(|| master.to_string(), |link| link.name);
            return Err(wrong("uplink", format!("{name} is attached to {of}, not to {}", bridge.name)));
        }
        None => {
            let held = super::check::addresses_of(host, link.index)?;
            if let Some(net) = held.iter().find(|net| !is_link_local(net.addr())) {
                let reason =
                    format!("{name} has the address {net}, which would be cut off; give it to the bridge");
                return Err(wrong("uplink", reason));
            }
            let port = message::link_in_bridge(link.index, bridge.index);
            host.run(&[Request::change_link(port)]).doing(doing)?;
        }
    }
    if !link.up {
        bring_up(host, &link)?;
    }
    Ok(link)
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn configure(
    host: &mut Netlink,
    (bridge, uplink): (&Link, Option<&Link>),
    link: &Link,
    attachment: &Attachment<'_>,
) -> Result<Ends, DatapathError> {
    let Attachment { netns, interface, .. } = attachment;
    let index = link.peer.ok_or_else(|| DatapathError::Differs(format!("{} has no other end", link.name)))?;
    let settings = || {
        if attachment.has_ipv6() {
            return container::enable_ipv6(interface);
        }
        // Routers of the network must not give it addresses that nobody knows of.
        sysctl::ensure_if_there(&format!("ipv6/conf/{interface}/accept_ra"), "0").map(|_| ())
    };
    let mut inside = container::open(netns, interface, settings)?;
    let port = message::link_in_bridge(link.index, bridge.index);
    host.run(&[Request::change_link(port)]).doing(|| format!("attach {} to {}", link.name, bridge.name))?;
    if attachment.bridge.vlan_driver == VlanDriver::Filtering {
        vlan::filter(host, bridge, uplink, link, attachment.vlan)?;
    }
    let (host_events, events) = (LinkEvents::open(), netns.run(LinkEvents::open)?);
    bring_up(host, link)?;
    let opening = || "open a netlink socket".to_owned();
    let until = Instant::now() + SOON;
    let host_events = host_events.doing(opening)?;
    let host_end = await_link(host, link.index, &host_events, until, |link| link.forwards)?;
    let Some(host_end) = host_end else {
        return Err(DatapathError::Silent(format!(
            "{} does not forward what comes from {}; if it has a spanning tree (STP), switch it off",
            bridge.name, link.name
        )));
    };
    if await_link(&mut inside, index, &events.doing(opening)?, until, |link| link.running)?.is_none() {
        return Err(DatapathError::Silent(format!("{interface} in the container has no carrier")));
    }
    // Who can't be heard can't object.
    let uplink = uplink.filter(|_| attachment.bridge.detect_conflicts);
    if let Some(uplink) = uplink {
        let until = Instant::now() + UPLINK_SOON;
        if await_link(host, uplink.index, &host_events, until, |link| link.forwards)?.is_none() {
            let reason = "does not forward: it has no carrier, or a spanning tree keeps it from it";
            return Err(DatapathError::Silent(format!("{} of {} {reason}", uplink.name, bridge.name)));
        }
    }
    let failed = |reason| DatapathError::Neighbours(interface.to_string(), reason);
    let neighbours = netns.run(|| Neighbours::of(interface.as_str()))?.map_err(failed)?;
    let addresses: Vec<IpAddr> = attachment.addresses.iter().map(IpNet::addr).collect();
    if attachment.bridge.detect_conflicts
        && let Some((address, mac)) = neighbours.find_claimant(&addresses).map_err(failed)?
    {
        return Err(DatapathError::InUse { address, mac: message::mac(&mac) });
    }
    let routes: Vec<_> =
        attachment.routes.iter().map(|(dst, gateway)| message::route(index, *dst, Some(*gateway))).collect();
    let end = container::configure(&mut inside, (netns, interface), index, &attachment.addresses, &routes)?;
    neighbours.announce(&addresses).map_err(failed)?;
    Ok(Ends { host: host_end.into(), container: end })
}

/// Waits until a link is as it should be; `None` if it is not so in time. `events` was opened before it could be.
fn await_link(
    netlink: &mut Netlink,
    index: u32,
    events: &LinkEvents,
    until: Instant,
    is_ready: impl Fn(&Link) -> bool,
) -> Result<Option<Link>, DatapathError> {
    let doing = || "wait for the interface".to_owned();
    loop {
        match veth::find(netlink, message::link_at(index), doing)? {
            Some(link) if is_ready(&link) => return Ok(Some(link)),
            Some(_) if events.wait(until).doing(doing)? => {}
            Some(_) | None => return Ok(None),
        }
    }
}

pub(super) fn wrong(key: &'static str, reason: String) -> DatapathError {
    DatapathError::HostLink { key, reason }
}
