//! The VLAN of an attachment to a bridge, by one of two drivers: one bridge whose ports filter by VLAN, or one bridge for
//! each VLAN, with a VLAN sub-interface of the uplink. Either way the container's frames are untagged, and those of the
//! uplink tagged.

use super::bridge::{find_or_make, wrong};
use super::message::{self, Link};
use super::netlink::{Netlink, Request};
use super::{DatapathError, Doing, veth};
use crate::config::{Bridge, VlanDriver};
use common::name::IfName;
use nix::errno::Errno;

/// The bridge and the uplink that containers of a VLAN are attached to; 0 means untagged.
pub(super) fn bridge_of(bridge: &Bridge, vlan: u16) -> Result<Bridge, DatapathError> {
    if vlan == 0 || bridge.vlan_driver == VlanDriver::Filtering {
        return Ok(bridge.clone());
    }
    let tagged = |key, name: &IfName| {
        IfName::new(format!("{name}.{vlan}")).map_err(|error| wrong(key, error.to_string()))
    };
    let uplink = bridge.uplink.as_ref().map(|uplink| tagged("uplink", uplink)).transpose()?;
    Ok(Bridge { name: tagged("bridge", &bridge.name)?, uplink, ..bridge.clone() })
}

/// Makes the sub-interface of the uplink for a VLAN.
pub(super) fn make_subinterface(
    host: &mut Netlink,
    uplink: &IfName,
    name: &IfName,
    vlan: u16,
) -> Result<(), DatapathError> {
    let doing = || format!("look for {uplink}");
    let Some(parent) = veth::find(host, message::link_named(uplink.as_str()), doing)? else {
        return Err(wrong("uplink", format!("the host has no interface {uplink}")));
    };
    if !parent.up {
        // The host may have addresses on it: they stay as they are.
        host.run(&[Request::change_link(message::link_up(parent.index))])
            .doing(|| format!("set up {uplink}"))?;
    }
    let link = find_or_make(host, "VLAN interface", name.as_str(), || {
        message::vlan(name.as_str(), parent.index, vlan)
    })?;
    if link.kind == "vlan" && link.vlan == Some(vlan) && link.peer == Some(parent.index) {
        return Ok(());
    }
    Err(wrong("uplink", format!("{name} on the host is not VLAN {vlan} of {uplink}")))
}

/// Lets frames of a VLAN pass between a port that is not up yet, where they are untagged, and the uplink.
pub(super) fn filter(
    host: &mut Netlink,
    bridge: &Link,
    uplink: Option<&Link>,
    port: &Link,
    vlan: u16,
) -> Result<(), DatapathError> {
    let untagged = bridge.vlans.untagged.unwrap_or(0);
    if vlan == 0 {
        if bridge.vlans.filters && untagged == 0 {
            let reason = format!("{} has no VLAN for untagged frames (vlan_default_pvid 0)", bridge.name);
            return Err(wrong("bridge", reason));
        }
        return Ok(());
    }
    if vlan == untagged {
        let reason = format!(
            "VLAN {vlan} is where {} puts untagged frames; set its vlan_default_pvid to another, or use \"vlanDriver\": \
             \"subinterface\"",
            bridge.name
        );
        return Err(wrong("bridge", reason));
    }
    let mut requests = Vec::new();
    if !bridge.vlans.filters {
        requests.push(Request::configure_link(message::bridge_that_filters(bridge.index)));
    }
    requests.extend(uplink.map(|uplink| Request::change_link(message::port_vlan(uplink.index, vlan, false))));
    requests.push(Request::change_link(message::port_vlan(port.index, vlan, true)));
    let doing = || format!("put {} into VLAN {vlan} of {}", port.name, bridge.name);
    host.run(&requests).doing(doing)?;
    if untagged == 0 {
        return Ok(());
    }
    let leave = [Request::delete_link(message::port_vlan(port.index, untagged, false))];
    match host.batch(&leave).doing(doing)?.pop() {
        Some(Ok(_) | Err(Errno::ENOENT)) | None => Ok(()),
        Some(Err(reason)) => Err(leave[0].refused(reason)).doing(doing),
    }
}

/// The VLAN that a port's untagged frames are in.
pub(super) fn of_port(host: &mut Netlink, port: &Link) -> Result<Option<u16>, DatapathError> {
    let doing = || "list the VLANs of bridges".to_owned();
    let bodies = host.run(&[Request::list_links(message::any_port())]).doing(doing)?.concat();
    for body in &bodies {
        let (index, vlan) = message::port_vlan_of(body).doing(doing)?;
        if index == port.index {
            return Ok(vlan);
        }
    }
    Ok(None)
}
