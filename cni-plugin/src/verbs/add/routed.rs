//! ADD with routes on the host: the container's addresses are its alone, and all containers have the same gateway.

use super::{assigned, default_of, failed, interface, is_of};
use crate::client::AttachmentPath;
use crate::config::NetworkConfig;
use crate::datapath::netns::Netns;
use crate::datapath::routed::{self, Attachment};
use crate::datapath::{self, Ends};
use crate::error::Error;
use crate::result::{AddResult, AssignedIp};
use crate::verbs::names_of;
use common::ipam::Family;
use common::wire::node::{AddressReply, Route};
use ipnet::IpNet;
use std::net::IpAddr;

/// Makes the interface.
pub(super) fn attach(
    config: &NetworkConfig,
    path: &AttachmentPath,
    netns: &Netns,
    reply: &AddressReply,
) -> Result<AddResult, Error> {
    let addresses: Vec<IpAddr> = assigned(config, reply)?.iter().map(|assigned| assigned.address).collect();
    let attachment = Attachment {
        netns,
        interface: &path.interface,
        names: &names_of(path),
        addresses: addresses.clone(),
        routes: destinations(config, reply),
        mtu: config.mtu,
    };
    let ends = routed::attach(&attachment).map_err(failed)?;
    let sandbox = netns.path().to_string_lossy();
    Ok(main_result(config, &addresses, &attachment.routes, ends, &sandbox))
}

/// What the container reaches by its gateway: what the configuration says, else the pool's routes, else all.
/// Whatever gateways the pool names are on a network of their own; here there is one way out.
pub fn destinations(config: &NetworkConfig, reply: &AddressReply) -> Vec<IpNet> {
    let mut destinations = Vec::new();
    for assigned in &reply.addresses {
        let family = Family::of(assigned.address);
        match &config.routes {
            Some(routes) => {
                destinations
                    .extend(routes.iter().filter(|route| is_of(route, family)).map(|route| route.dst));
            }
            None if assigned.routes.is_empty() => destinations.push(default_of(family)),
            None => destinations.extend(assigned.routes.iter().map(|route| route.dst.trunc())),
        }
    }
    destinations
}

/// The result as main plugin.
pub fn main_result(
    config: &NetworkConfig,
    addresses: &[IpAddr],
    destinations: &[IpNet],
    ends: Ends,
    sandbox: &str,
) -> AddResult {
    let ip = |address: &IpAddr| AssignedIp {
        address: (*address).into(),
        gateway: datapath::gateway(Family::of(*address)),
        interface: Some(1),
    };
    let route = |dst: &IpNet| Route { dst: *dst, gw: Some(datapath::gateway(Family::of(dst.addr()))) };
    AddResult {
        interfaces: vec![interface(ends.host, None), interface(ends.container, Some(sandbox))],
        ips: addresses.iter().map(ip).collect(),
        routes: destinations.iter().map(route).collect(),
        dns: config.dns.clone(),
    }
}
