//! CHECK: whether an attachment is as ADD made it. The first difference is the error.

use super::{add, coild, names_of, path_of};
use crate::config::{Datapath, Mode, NetworkConfig};
use crate::datapath::netns::Netns;
use crate::datapath::routed::Attachment;
use crate::datapath::{DatapathError, check};
use crate::env::Target;
use crate::error::Error;
use crate::prev_result::PrevResult;
use std::net::IpAddr;
use std::path::Path;

/// Compares the result of ADD with what coild holds, and as main plugin with the interfaces and routes.
pub fn run(config: &NetworkConfig, target: &Target, netns: &Path) -> Result<String, Error> {
    let prev = config.prev_result()?;
    let path = path_of(config, target)?;
    let reply = coild(config).lookup(&path)?;
    let held: Vec<IpAddr> =
        reply.iter().flat_map(|reply| &reply.addresses).map(|assigned| assigned.address).collect();
    compare(&prev, path.interface.as_str(), &held)?;
    if config.mode == Mode::Ipam {
        return Ok(String::new());
    }
    let netns = Netns::open(netns).map_err(DatapathError::from)?;
    let names = names_of(&path);
    match &config.datapath {
        Datapath::Routed => check::check_routed(&Attachment {
            netns: &netns,
            interface: &path.interface,
            names: &names,
            addresses: held,
            routes: prev.routes,
            mtu: config.mtu,
        })?,
        Datapath::Bridge(bridge) => {
            let plan = reply.as_ref().map(|reply| add::bridge::plan(config, reply)).transpose()?;
            if let Some(plan) = plan {
                check::check_bridge(&plan.attachment((config, bridge), names.own(), &path, &netns))?;
            }
        }
    }
    Ok(String::new())
}

/// Compares the addresses of the result with those that coild holds for the attachment.
pub fn compare(prev: &PrevResult, interface: &str, held: &[IpAddr]) -> Result<(), Error> {
    let given: Vec<IpAddr> = prev.addresses_of(interface).collect();
    if held.is_empty() {
        return Err(Error::Differs(format!("coild holds no address for {interface} of this container")));
    }
    if let Some(missing) = given.iter().find(|address| !held.contains(address)) {
        return Err(Error::Differs(format!(
            "coild does not hold {missing} for {interface} of this container"
        )));
    }
    if let Some(extra) = held.iter().find(|address| !given.contains(address)) {
        return Err(Error::Differs(format!(
            "prevResult.ips does not have {extra}, which coild holds for {interface}"
        )));
    }
    Ok(())
}
