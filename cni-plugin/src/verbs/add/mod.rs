//! ADD: addresses from coild, and as main plugin the interface. On failure nothing stays.

pub mod bridge;
pub mod routed;

use super::{coild, path_of};
use crate::client::AttachmentPath;
use crate::config::{ConfigError, Datapath, Mode, NetworkConfig};
use crate::datapath::netns::Netns;
use crate::datapath::{self, DatapathError, End, Failed};
use crate::env::{EnvError, Target};
use crate::error::Error;
use crate::field::FieldError;
use crate::result::{AddResult, AssignedIp, Interface};
use common::ipam::Family;
use common::wire::node::{AddressReply, AllocateRequest, AssignedAddress, Route};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// How many addresses are tried that a foreign host turns out to use.
const TRIES: u32 = 5;

/// Attaches the container and gives the result as JSON.
pub fn run(config: &NetworkConfig, target: &Target, netns: &Path) -> Result<String, Error> {
    let path = path_of(config, target)?;
    let request = request(config, target, &path)?;
    let container = match config.mode {
        Mode::Main => Some(Netns::open(netns).map_err(DatapathError::from)?),
        Mode::Ipam => None,
    };
    let mut tries = 1;
    loop {
        let reply = coild(config).allocate(&request)?;
        let result = match &container {
            None => ipam_result(config, &reply),
            Some(container) => match &config.datapath {
                Datapath::Routed => routed::attach(config, &path, container, &reply),
                Datapath::Bridge(bridge) => bridge::attach((config, bridge), &path, container, &reply),
            },
        };
        let json = result.and_then(|result| result.to_json(config.version).map_err(Error::Result));
        let error = match json {
            Ok(json) => return Ok(json),
            Err(error) => error,
        };
        let Error::Datapath(DatapathError::InUse { address, mac }) = &error else {
            return Err(undo(error, config, &path));
        };
        if let Err(report) = coild(config).release_conflicting(&path, *address, mac) {
            return Err(Error::Undo { first: Box::new(error), undo: vec![report.into()] });
        }
        // An address that is asked for has no other in its place.
        if tries == TRIES || !request.addresses.is_empty() || request.address.is_some() {
            return Err(error);
        }
        tries += 1;
    }
}

/// Gives the addresses back after a failure.
fn undo(first: Error, config: &NetworkConfig, path: &AttachmentPath) -> Error {
    let Err(error) = coild(config).release(path) else { return first };
    match first {
        Error::Undo { first, mut undo } => {
            undo.push(error.into());
            Error::Undo { first, undo }
        }
        first => Error::Undo { first: Box::new(first), undo: vec![error.into()] },
    }
}

/// What coild is asked.
pub fn request(
    config: &NetworkConfig,
    target: &Target,
    path: &AttachmentPath,
) -> Result<AllocateRequest, Error> {
    let mut addresses = requested(config, target)?;
    // What a single family needs is in the original API too.
    let (family, families, address) = match config.families.as_slice() {
        [family] => (Some(*family), Vec::new(), addresses.pop()),
        families => (None, families.to_vec(), None),
    };
    Ok(AllocateRequest {
        pod_namespace: path.namespace.clone(),
        pod_name: path.pod.clone(),
        container_id: path.container_id.clone(),
        address_type: family,
        address_types: families,
        interface: Some(path.interface.clone()),
        pool: config.pool.clone(),
        address,
        addresses,
        adopt: false,
        network: Some(config.network.as_str().to_owned()),
        netns: target.netns.as_ref().and_then(|path| path.to_str()).map(str::to_owned),
        annotations: annotations(config, target),
    })
}

/// The pod's annotations that choose its pools. What the pod itself says goes before the arguments of the call.
fn annotations(config: &NetworkConfig, target: &Target) -> BTreeMap<String, String> {
    let mut annotations = target.args.annotations.clone();
    annotations.extend(config.annotations.clone());
    annotations
}

/// The addresses asked for, one of a family at most, IPv4 first.
fn requested(config: &NetworkConfig, target: &Target) -> Result<Vec<IpAddr>, Error> {
    let of_args = &target.args.ips;
    if let Some(ip) = of_args.iter().find(|ip| !config.families.contains(&Family::of(**ip))) {
        let family = Family::of(*ip);
        return Err(EnvError::Args(format!("IP: {ip} is {family}, which addressTypes does not have")).into());
    }
    let mut addresses = [config.ips.as_slice(), of_args].concat();
    addresses.sort();
    addresses.dedup();
    let Some(pair) = addresses.windows(2).find(|pair| Family::of(pair[0]) == Family::of(pair[1])) else {
        return Ok(addresses);
    };
    let reason = format!("{} and {} are asked for, one of a family can be had", pair[0], pair[1]);
    if pair.iter().all(|ip| of_args.contains(ip)) {
        return Err(EnvError::Args(format!("IP: {reason}")).into());
    }
    Err(ConfigError::from(FieldError::Invalid { key: "runtimeConfig.ips".to_owned(), reason }).into())
}

/// The addresses of a reply, which must be one of each family wanted, IPv4 first.
fn assigned<'a>(config: &NetworkConfig, reply: &'a AddressReply) -> Result<Vec<&'a AssignedAddress>, Error> {
    let mut given: Vec<&AssignedAddress> = reply.addresses.iter().collect();
    given.sort_by_key(|assigned| Family::of(assigned.address));
    let fits = |assigned: &&AssignedAddress| assigned.prefix <= Family::of(assigned.address).bits();
    let families: Vec<Family> = given.iter().map(|assigned| Family::of(assigned.address)).collect();
    if families != config.families || !given.iter().all(fits) {
        let wanted = config.families.iter().map(Family::to_string).collect::<Vec<_>>().join(" and ");
        let texts: Vec<String> =
            given.iter().map(|assigned| format!("{}/{}", assigned.address, assigned.prefix)).collect();
        return Err(Error::Answer { wanted, given: format!("[{}]", texts.join(", ")) });
    }
    Ok(given)
}

/// The result for the main plugin that delegated.
pub fn ipam_result(config: &NetworkConfig, reply: &AddressReply) -> Result<AddResult, Error> {
    let mut result = AddResult { dns: config.dns.clone(), ..AddResult::default() };
    for assigned in assigned(config, reply)? {
        let family = Family::of(assigned.address);
        let gateway = assigned.gateway.unwrap_or_else(|| datapath::gateway(family));
        let address =
            IpNet::new(assigned.address, assigned.prefix).unwrap_or_else(|_| assigned.address.into());
        let mut ip = AssignedIp { address, gateway, interface: None };
        let mut routes = routes_of(config, assigned, gateway);
        if config.main_plugin == "ptp" && assigned.gateway.is_none() {
            suit_ptp(&mut ip, &mut routes)?;
        }
        result.ips.push(ip);
        result.routes.extend(routes);
    }
    Ok(result)
}

/// The routes of an address: what the configuration says, else the pool's, else all by the gateway.
fn routes_of(config: &NetworkConfig, assigned: &AssignedAddress, gateway: IpAddr) -> Vec<Route> {
    let family = Family::of(assigned.address);
    let by_gateway = |route: &Route| Route { dst: route.dst, gw: Some(route.gw.unwrap_or(gateway)) };
    match &config.routes {
        Some(routes) => routes.iter().filter(|route| is_of(route, family)).map(by_gateway).collect(),
        None if assigned.routes.is_empty() => vec![Route { dst: default_of(family), gw: Some(gateway) }],
        None => assigned.routes.iter().map(by_gateway).collect(),
    }
}

/// Puts the same thing in the one way in which ptp can set it up.
///
/// ptp adds the routes of the result while the gateway is still unreachable for an IPv4 address that is alone in
/// its prefix. Then it deletes the route to the address's prefix, which the kernel makes for shorter prefixes
/// only, and adds a link route to the gateway and a route to the prefix by it. So with a prefix of everything
/// the last of these is the default route, and a route to everything without a gateway is there to be deleted.
/// Without any routes there is just the route to the address itself to be deleted.
fn suit_ptp(ip: &mut AssignedIp, routes: &mut Vec<Route>) -> Result<(), Error> {
    if ip.address.addr().is_ipv6() {
        return Ok(());
    }
    let everything = default_of(Family::V4);
    if routes.iter().any(|route| route.dst == everything) {
        ip.address = IpNet::new(ip.address.addr(), 0).unwrap_or(ip.address);
    } else if let Some(route) = routes.first() {
        return Err(Error::Ptp(route.dst));
    }
    *routes = vec![Route { dst: ip.address.trunc(), gw: Some(Ipv4Addr::UNSPECIFIED.into()) }];
    Ok(())
}

fn interface(end: End, sandbox: Option<&str>) -> Interface {
    Interface { name: end.name, mac: end.mac, mtu: Some(end.mtu), sandbox: sandbox.map(str::to_owned) }
}

fn failed(failed: Failed) -> Error {
    let first = Error::from(failed.first);
    match failed.undo {
        None => first,
        Some(undo) => Error::Undo { first: Box::new(first), undo: vec![undo.into()] },
    }
}

fn is_of(route: &Route, family: Family) -> bool {
    Family::of(route.dst.addr()) == family
}

fn default_of(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0),
        Family::V6 => IpNet::new_assert(Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}
