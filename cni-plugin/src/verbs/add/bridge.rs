//! ADD with a bridge: the container is in the network that its addresses' pools say.

use super::{assigned, failed, interface, routes_of};
use crate::client::AttachmentPath;
use crate::config::{Bridge, NetworkConfig};
use crate::datapath::Ends;
use crate::datapath::bridge::{self, Attachment};
use crate::datapath::netns::Netns;
use crate::error::Error;
use crate::result::{AddResult, AssignedIp, Interface};
use crate::verbs::names_of;
use common::wire::node::{AddressReply, AssignedAddress, Route};
use ipnet::IpNet;
use std::net::IpAddr;

/// What the pools of an attachment's addresses say of its interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The addresses with the prefix lengths of their subnets, and their gateways.
    pub addresses: Vec<(IpNet, IpAddr)>,
    /// The routes, each by a gateway.
    pub routes: Vec<(IpNet, IpAddr)>,
    /// The VLAN of their network; 0 means untagged.
    pub vlan: u16,
}

/// Reads it out of coild's reply.
pub fn plan(config: &NetworkConfig, reply: &AddressReply) -> Result<Plan, Error> {
    let assigned = assigned(config, reply)?;
    let (mut addresses, mut routes, mut vlans) = (Vec::new(), Vec::new(), Vec::new());
    for assigned in assigned {
        let AssignedAddress { address, prefix, vlan, pool, .. } = assigned;
        let (Some(gateway), Ok(net)) = (assigned.gateway, IpNet::new(*address, *prefix)) else {
            return Err(Error::NotOfANetwork { address: *address, pool: pool.to_string() });
        };
        vlans.push((*address, vlan.unwrap_or(0)));
        addresses.push((net, gateway));
        let by_gateway = |route: Route| (route.dst, route.gw.unwrap_or(gateway));
        routes.extend(routes_of(config, assigned, gateway).into_iter().map(by_gateway));
    }
    if let Some(pair) = vlans.windows(2).find(|pair| pair[0].1 != pair[1].1) {
        return Err(Error::Vlans { first: pair[0], second: pair[1] });
    }
    let vlan = vlans.first().map_or(0, |(_, vlan)| *vlan);
    Ok(Plan { addresses, routes, vlan })
}

impl Plan {
    /// The attachment that it makes.
    pub fn attachment<'a>(
        &self,
        (config, bridge): (&NetworkConfig, &'a Bridge),
        host_name: &'a str,
        path: &'a AttachmentPath,
        netns: &'a Netns,
    ) -> Attachment<'a> {
        Attachment {
            netns,
            interface: &path.interface,
            host_name,
            bridge,
            vlan: self.vlan,
            addresses: self.addresses.iter().map(|(net, _)| *net).collect(),
            routes: self.routes.clone(),
            mtu: config.mtu,
        }
    }
}

/// Makes the interface.
pub(super) fn attach(
    (config, bridge): (&NetworkConfig, &Bridge),
    path: &AttachmentPath,
    netns: &Netns,
    reply: &AddressReply,
) -> Result<AddResult, Error> {
    let plan = plan(config, reply)?;
    let names = names_of(path);
    let attachment = plan.attachment((config, bridge), names.own(), path, netns);
    let ends = bridge::attach(&attachment).map_err(failed)?;
    Ok(result(config, plan, ends, &netns.path().to_string_lossy()))
}

/// The result: the host's end, and the container's with the addresses.
pub fn result(config: &NetworkConfig, plan: Plan, ends: Ends, sandbox: &str) -> AddResult {
    let interfaces: Vec<Interface> =
        vec![interface(ends.host, None), interface(ends.container, Some(sandbox))];
    let ip = |(address, gateway)| AssignedIp { address, gateway, interface: Some(1) };
    let route = |(dst, gateway)| Route { dst, gw: Some(gateway) };
    AddResult {
        interfaces,
        ips: plan.addresses.into_iter().map(ip).collect(),
        routes: plan.routes.into_iter().map(route).collect(),
        dns: config.dns.clone(),
    }
}
