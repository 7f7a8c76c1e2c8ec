//! The rtnetlink messages of an attachment, and what is read out of the kernel's.

use super::netlink::NetlinkError;
use common::ipam::Family;
use ipnet::IpNet;
use netlink_packet_core::{NlasIterator, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{
    AfSpecBridge, AfSpecInet6, AfSpecUnspec, BridgeVlanInfo, BridgeVlanInfoFlags, In6AddrGenMode, InfoBridge,
    InfoData, InfoKind, InfoVeth, InfoVlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkHeader, LinkInfo,
    LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use nix::libc;
use std::net::IpAddr;
use std::os::fd::RawFd;

// linux/if.h and linux/if_link.h, linux/if_bridge.h
const IF_OPER_UP: u8 = 6;
const IFLA_BRPORT_STATE: u16 = 1;
const BR_STATE_FORWARDING: u8 = 3;
const IFLA_BR_VLAN_FILTERING: u16 = 7;
const IFLA_BR_VLAN_DEFAULT_PVID: u16 = 39;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_BRIDGE_VLAN_INFO: u16 = 2;

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// A link by its name.
pub(super) fn link_named(name: &str) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    link
}

/// A link by its index.
pub(super) fn link_at(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link
}

/// A link by its index, to be brought up.
pub(super) fn link_up(index: u32) -> LinkMessage {
    let mut link = link_at(index);
    set_up(&mut link.header);
    link
}

/// A link by its index, to get no IPv6 address of the kernel's choice when it is brought up.
pub(super) fn link_without_own_address(index: u32) -> LinkMessage {
    let mut link = link_at(index);
    let no_address = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    link.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![no_address])]));
    link
}

fn set_up(header: &mut LinkHeader) {
    header.flags = LinkFlags::Up;
    header.change_mask = LinkFlags::Up;
}

/// A veth pair: `container` in the namespace behind the descriptor and up, `host` here and still down. Only the end
/// that the message is about can be up from the start, as the other one is made before it has a peer.
pub(super) fn veth(host: &str, container: &str, netns: RawFd, mtu: Option<u32>) -> LinkMessage {
    let mut peer = link_named(host);
    peer.attributes.extend(mtu.map(LinkAttribute::Mtu));
    let mut link = link_named(container);
    set_up(&mut link.header);
    link.attributes.push(LinkAttribute::NetNsFd(netns));
    link.attributes.extend(mtu.map(LinkAttribute::Mtu));
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    link
}

/// A bridge, to be made.
pub(super) fn bridge(name: &str) -> LinkMessage {
    let mut link = link_named(name);
    link.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
    link
}

/// A link by its index, to be made a port of a bridge.
pub(super) fn link_in_bridge(index: u32, bridge: u32) -> LinkMessage {
    let mut link = link_at(index);
    link.attributes.push(LinkAttribute::Controller(bridge));
    link
}

/// A VLAN's link on another link, to be made.
pub(super) fn vlan(name: &str, parent: u32, vlan: u16) -> LinkMessage {
    let mut link = link_named(name);
    link.attributes.push(LinkAttribute::Link(parent));
    let data = InfoData::Vlan(vec![InfoVlan::Id(vlan)]);
    link.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(data)]));
    link
}

/// A bridge by its index, to look at the VLANs of frames.
pub(super) fn bridge_that_filters(index: u32) -> LinkMessage {
    let mut link = link_at(index);
    let data = InfoData::Bridge(vec![InfoBridge::VlanFiltering(true)]);
    link.attributes
        .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(data)]));
    link
}

/// A VLAN of a port of a bridge; with `untagged`, the one of its frames without a tag.
pub(super) fn port_vlan(index: u32, vid: u16, untagged: bool) -> LinkMessage {
    let mut link = link_at(index);
    link.header.interface_family = AddressFamily::Bridge;
    let flags = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
    let flags = if untagged { flags } else { BridgeVlanInfoFlags::empty() };
    let info = AfSpecBridge::VlanInfo(BridgeVlanInfo { flags, vid });
    link.attributes.push(LinkAttribute::AfSpecBridge(vec![info]));
    link
}

/// All ports of bridges with their VLANs.
pub(super) fn any_port() -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.interface_family = AddressFamily::Bridge;
    link.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::Brvlan]));
    link
}

/// The index of a port that a reply shows, and the VLAN of its frames without a tag.
pub(super) fn port_vlan_of(body: &[u8]) -> Result<(u32, Option<u16>), NetlinkError> {
    let header = LinkHeader::parse(body).map_err(|error| malformed(&error))?;
    let attributes = NlasIterator::new(body.get(16..).unwrap_or_default()).filter_map(Result::ok);
    let mut found = None;
    for attribute in attributes.filter(|attribute| attribute.kind() == libc::IFLA_AF_SPEC) {
        for vlan in NlasIterator::new(attribute.value()).filter_map(Result::ok) {
            if vlan.kind() != IFLA_BRIDGE_VLAN_INFO {
                continue;
            }
            let info = vlan.value();
            if short(info).is_some_and(|flags| flags & BridgeVlanInfoFlags::Pvid.bits() != 0) {
                found = info.get(2..).and_then(short);
            }
        }
    }
    Ok((header.index, found))
}

/// An address on a link. An IPv6 address is usable at once: the pool makes sure that nobody else has it.
pub(super) fn address(index: u32, net: IpNet, scope: AddressScope) -> AddressMessage {
    let family = Family::of(net.addr());
    let mut message = AddressMessage::default();
    message.header.family = address_family(family);
    message.header.prefix_len = net.prefix_len();
    message.header.index = index;
    message.header.scope = scope;
    match family {
        Family::V4 => message.attributes.push(AddressAttribute::Local(net.addr())),
        Family::V6 => {
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    message.attributes.push(AddressAttribute::Address(net.addr()));
    message
}

/// All addresses.
pub(super) fn any_address() -> AddressMessage {
    AddressMessage::default()
}

/// A route of the main table through a link, by a gateway or to a neighbour.
pub(super) fn route(index: u32, dst: IpNet, gateway: Option<IpAddr>) -> RouteMessage {
    let mut message = any_route(Family::of(dst.addr()));
    message.header.destination_prefix_length = dst.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.kind = RouteType::Unicast;
    message.header.scope =
        if gateway.is_none() && dst.addr().is_ipv4() { RouteScope::Link } else { RouteScope::Universe };
    if dst.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(dst.network())));
    }
    message.attributes.extend(gateway.map(|gateway| RouteAttribute::Gateway(RouteAddress::from(gateway))));
    message.attributes.push(RouteAttribute::Oif(index));
    message
}

/// The same route, less preferred than one without a metric.
pub(super) fn with_metric(mut route: RouteMessage, metric: u32) -> RouteMessage {
    route.attributes.push(RouteAttribute::Priority(metric));
    route
}

/// All routes of a family.
pub(super) fn any_route(family: Family) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(family);
    message
}

/// The entry of the routing tables that serves an address.
pub(super) fn route_to(address: IpAddr) -> RouteMessage {
    let family = Family::of(address);
    let mut message = any_route(family);
    message.header.destination_prefix_length = family.bits();
    message.header.flags = RouteFlags::FibMatch;
    message.attributes.push(RouteAttribute::Destination(RouteAddress::from(address)));
    message
}

/// A link as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) up: bool,
    pub(super) name: String,
    /// Hardware address, as text.
    pub(super) mac: String,
    pub(super) mtu: u32,
    /// Whether frames get through: the kernel says so a moment after the link is up.
    pub(super) running: bool,
    /// Index of the other end of a pair, in its namespace; of the link under a VLAN's.
    pub(super) peer: Option<u32>,
    /// Index of the bridge (or other link) that it is a port of.
    pub(super) master: Option<u32>,
    /// `veth`, `bridge`, `vlan`; empty for a device.
    pub(super) kind: String,
    /// As bridge: what it does with VLANs.
    pub(super) vlans: BridgeVlans,
    /// As a VLAN's link: the VLAN.
    pub(super) vlan: Option<u16>,
    /// As port of a bridge: whether it forwards.
    pub(super) forwards: bool,
}

/// What a bridge does with VLANs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct BridgeVlans {
    /// Whether it looks at the tags of frames.
    pub(super) filters: bool,
    /// The VLAN into which it puts frames without a tag, if any.
    pub(super) untagged: Option<u16>,
}

impl Link {
    /// Reads the few attributes that matter; others may take any shape that a kernel gives them.
    pub(super) fn parse(body: &[u8]) -> Result<Self, NetlinkError> {
        let header = LinkHeader::parse(body).map_err(|error| malformed(&error))?;
        let mut link = Self {
            index: header.index,
            up: header.flags.contains(LinkFlags::Up),
            name: String::new(),
            mac: String::new(),
            mtu: 0,
            running: false,
            peer: None,
            master: None,
            kind: String::new(),
            vlans: BridgeVlans::default(),
            vlan: None,
            forwards: false,
        };
        for attribute in NlasIterator::new(body.get(16..).unwrap_or_default()) {
            let attribute = attribute.map_err(|error| malformed(&error))?;
            let value = attribute.value();
            match attribute.kind() {
                libc::IFLA_IFNAME => link.name = text(value),
                libc::IFLA_ADDRESS => link.mac = mac(value),
                libc::IFLA_MTU => link.mtu = number(value).unwrap_or(0),
                libc::IFLA_LINK => link.peer = number(value),
                libc::IFLA_OPERSTATE => link.running = value == [IF_OPER_UP],
                libc::IFLA_MASTER => link.master = number(value),
                libc::IFLA_LINKINFO => link.read_info(value),
                _ => {}
            }
        }
        Ok(link)
    }

    fn read_info(&mut self, info: &[u8]) {
        for attribute in NlasIterator::new(info).filter_map(Result::ok) {
            match attribute.kind() {
                libc::IFLA_INFO_KIND => self.kind = text(attribute.value()),
                libc::IFLA_INFO_SLAVE_DATA => {
                    let state = NlasIterator::new(attribute.value())
                        .filter_map(Result::ok)
                        .find(|attribute| attribute.kind() == IFLA_BRPORT_STATE);
                    self.forwards = state.is_some_and(|state| state.value() == [BR_STATE_FORWARDING]);
                }
                libc::IFLA_INFO_DATA => self.read_data(attribute.value()),
                _ => {}
            }
        }
    }

    /// What a link of its kind has besides; the kernel tells the kind first.
    fn read_data(&mut self, data: &[u8]) {
        for attribute in NlasIterator::new(data).filter_map(Result::ok) {
            match (self.kind.as_str(), attribute.kind()) {
                ("bridge", IFLA_BR_VLAN_FILTERING) => self.vlans.filters = attribute.value() == [1],
                ("bridge", IFLA_BR_VLAN_DEFAULT_PVID) => self.vlans.untagged = short(attribute.value()),
                ("vlan", IFLA_VLAN_ID) => self.vlan = short(attribute.value()),
                _ => {}
            }
        }
    }

    pub(super) fn is_veth(&self) -> bool {
        self.kind == "veth"
    }

    pub(super) fn is_bridge(&self) -> bool {
        self.kind == "bridge"
    }
}

fn malformed(error: &dyn std::fmt::Display) -> NetlinkError {
    NetlinkError::Reply(error.to_string())
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn short(value: &[u8]) -> Option<u16> {
    value.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

pub(super) fn mac(value: &[u8]) -> String {
    value.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// The address on a link that a reply shows.
pub(super) fn address_of(body: &[u8]) -> Result<(u32, Option<IpNet>), NetlinkError> {
    let message = AddressMessage::parse(body).map_err(|error| malformed(&error))?;
    let mut found = None;
    for attribute in message.attributes {
        match attribute {
            // With a peer, the local one is the link's own.
            AddressAttribute::Local(address) => found = Some(address),
            AddressAttribute::Address(address) => found = found.or(Some(address)),
            _ => {}
        }
    }
    let net = found.and_then(|address| IpNet::new(address, message.header.prefix_len).ok());
    Ok((message.header.index, net))
}

/// A route as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KernelRoute {
    pub(super) dst: Option<IpNet>,
    pub(super) gateway: Option<IpAddr>,
    pub(super) link: Option<u32>,
}

impl KernelRoute {
    pub(super) fn parse(body: &[u8], family: Family) -> Result<Self, NetlinkError> {
        let message = RouteMessage::parse(body).map_err(|error| malformed(&error))?;
        let ip = |address: RouteAddress| match address {
            RouteAddress::Inet(v4) => Some(IpAddr::from(v4)),
            RouteAddress::Inet6(v6) => Some(IpAddr::from(v6)),
            _ => None,
        };
        let (mut dst, mut gateway, mut link) = (family.address(0), None, None);
        for attribute in message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => dst = ip(address).unwrap_or(dst),
                RouteAttribute::Gateway(address) => gateway = ip(address),
                RouteAttribute::Oif(index) => link = Some(index),
                _ => {}
            }
        }
        let dst = IpNet::new(dst, message.header.destination_prefix_length).ok();
        Ok(Self { dst, gateway, link })
    }
}
