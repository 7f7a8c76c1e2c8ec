//! The plugin's own keys. As main plugin it takes them from the top of the configuration or from `ipam`, under
//! another main plugin from `ipam` only, since the top is that plugin's.

use super::{
    Bridge, ConfigError, DEFAULT_BRIDGE, DEFAULT_SOCKET, DEFAULT_TIMEOUT, Datapath, Mode, VlanDriver,
};
use crate::env;
use crate::field::{Field, FieldError, shortened};
use crate::result::Dns;
use common::ipam::Family;
use common::name::{IfName, PoolName};
use common::wire::node::{Route, annotation};
use ipnet::IpNet;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

const OWN: [&str; 11] = [
    "vlanDriver",
    "socket",
    "pool",
    "addressTypes",
    "mtu",
    "timeout",
    "routes",
    "datapath",
    "bridge",
    "uplink",
    "detectConflicts",
];
/// Those that say how the interface is made, and so mean nothing under another main plugin.
const OF_MAIN: [&str; 6] = ["vlanDriver", "mtu", "datapath", "bridge", "uplink", "detectConflicts"];
/// Those that mean something in a bridge only.
const OF_BRIDGE: [&str; 4] = ["vlanDriver", "bridge", "uplink", "detectConflicts"];
const LONGEST_TIMEOUT: f64 = 3600.0;
/// What the kernel takes for a veth.
const MTU: std::ops::RangeInclusive<u64> = 68..=65535;
/// A name that a dot and a VLAN of four digits can follow (IFNAMSIZ is 16).
const LONGEST_TAGGED: usize = 10;
/// The least that IPv6 needs (RFC 8200, section 5).
const MTU_OF_IPV6: u64 = 1280;

/// The places where the plugin's keys are looked up.
pub(super) struct Keys<'a> {
    places: Vec<Field<'a>>,
    mode: Mode,
}

impl<'a> Keys<'a> {
    /// Finds the places, and refuses keys in them that look like mistakes.
    pub(super) fn of(root: &Field<'a>, mode: Mode) -> Result<Self, ConfigError> {
        let ipam = root.get("ipam")?;
        if let Some(ipam) = &ipam {
            refuse_unknown(ipam, mode)?;
        }
        let mut places = Vec::from_iter(ipam);
        if mode == Mode::Main {
            refuse_misspelt(root)?;
            places.insert(0, root.clone());
        }
        Ok(Self { places, mode })
    }

    fn get(&self, name: &str) -> Result<Option<Field<'a>>, FieldError> {
        let mut found: Option<Field<'a>> = None;
        for place in &self.places {
            let Some(field) = place.get(name)? else { continue };
            match &found {
                Some(first) if first.value() != field.value() => {
                    return Err(field.invalid(format!("differs from {}, give it once", first.key())));
                }
                Some(_) => {}
                None => found = Some(field),
            }
        }
        Ok(found)
    }

    pub(super) fn socket(&self) -> Result<PathBuf, FieldError> {
        let Some(field) = self.get("socket")? else { return Ok(DEFAULT_SOCKET.into()) };
        let text = field.text()?;
        let path = PathBuf::from(text.strip_prefix("unix:").unwrap_or(text));
        if !path.is_absolute() {
            return Err(field.invalid(format!("{text:?} is not an absolute path")));
        }
        Ok(path)
    }

    pub(super) fn timeout(&self) -> Result<Duration, FieldError> {
        let Some(field) = self.get("timeout")? else { return Ok(DEFAULT_TIMEOUT) };
        let seconds = field.value().as_f64().ok_or_else(|| field.kind("a number of seconds"))?;
        if !(0.001..=LONGEST_TIMEOUT).contains(&seconds) {
            return Err(field.invalid(format!("{seconds} is not within 0.001 to {LONGEST_TIMEOUT} seconds")));
        }
        Ok(Duration::from_secs_f64(seconds))
    }

    pub(super) fn pool(&self) -> Result<Option<PoolName>, FieldError> {
        self.get("pool")?.map(|field| field.parse()).transpose()
    }

    pub(super) fn families(&self) -> Result<Vec<Family>, FieldError> {
        let Some(field) = self.get("addressTypes")? else { return Ok(vec![Family::V4]) };
        let mut families = Vec::new();
        for item in field.items()? {
            let family = match item.text()? {
                "ipv4" => Family::V4,
                "ipv6" => Family::V6,
                _ => {
                    let text = shortened(item.value());
                    return Err(item.invalid(format!("{text} is neither \"ipv4\" nor \"ipv6\"")));
                }
            };
            if families.contains(&family) {
                return Err(item.invalid(format!("\"{family}\" is given twice")));
            }
            families.push(family);
        }
        if families.is_empty() {
            return Err(field.invalid("is empty, give \"ipv4\", \"ipv6\" or both"));
        }
        families.sort();
        Ok(families)
    }

    pub(super) fn mtu(&self, families: &[Family]) -> Result<Option<u32>, FieldError> {
        let Some(field) = (self.mode == Mode::Main).then(|| self.get("mtu")).transpose()?.flatten() else {
            return Ok(None);
        };
        let mtu = field.value().as_u64().ok_or_else(|| field.kind("a number"))?;
        // 0 is what other plugins take for "the default".
        if mtu == 0 {
            return Ok(None);
        }
        let least = if families.contains(&Family::V6) { MTU_OF_IPV6 } else { *MTU.start() };
        match u32::try_from(mtu) {
            Ok(value) if (least..=*MTU.end()).contains(&mtu) => Ok(Some(value)),
            _ => Err(field.invalid(format!("{mtu} is not within {least} to {}", MTU.end()))),
        }
    }

    pub(super) fn datapath(&self) -> Result<Datapath, FieldError> {
        let field = match self.mode {
            Mode::Main => self.get("datapath")?,
            Mode::Ipam => return Ok(Datapath::Routed),
        };
        let Some(field) = field else { return self.routed() };
        match field.text()? {
            "routed" => self.routed(),
            "bridge" => self.bridge().map(Datapath::Bridge),
            _ => {
                let text = shortened(field.value());
                Err(field.invalid(format!("{text} is neither \"routed\" nor \"bridge\"")))
            }
        }
    }

    fn routed(&self) -> Result<Datapath, FieldError> {
        for name in OF_BRIDGE {
            if let Some(field) = self.get(name)? {
                return Err(field.invalid("goes with \"datapath\": \"bridge\" only"));
            }
        }
        Ok(Datapath::Routed)
    }

    fn bridge(&self) -> Result<Bridge, FieldError> {
        let default = Value::from(DEFAULT_BRIDGE);
        let name: IfName = self.get("bridge")?.unwrap_or_else(|| Field::root(&default)).parse()?;
        let uplink: Option<IfName> =
            self.get("uplink")?.map(|field| Self::other_than(&name, &field)).transpose()?;
        let detect_conflicts = match self.get("detectConflicts")? {
            Some(field) => field.value().as_bool().ok_or_else(|| field.kind("true or false"))?,
            None => true,
        };
        let vlan_driver = self.vlan_driver()?;
        for (key, long) in [("bridge", Some(&name)), ("uplink", uplink.as_ref())] {
            if vlan_driver == VlanDriver::Subinterface
                && let Some(long) = long.filter(|name| name.as_str().len() > LONGEST_TAGGED)
            {
                let key = self.get(key)?.map_or_else(|| key.to_owned(), |field| field.key().to_owned());
                let reason = format!("{long} is too long to be followed by a VLAN, as in {long}.100");
                return Err(FieldError::Invalid { key, reason });
            }
        }
        Ok(Bridge { name, uplink, vlan_driver, detect_conflicts })
    }

    fn vlan_driver(&self) -> Result<VlanDriver, FieldError> {
        let Some(field) = self.get("vlanDriver")? else { return Ok(VlanDriver::Filtering) };
        match field.text()? {
            "filtering" => Ok(VlanDriver::Filtering),
            "subinterface" => Ok(VlanDriver::Subinterface),
            _ => {
                let text = shortened(field.value());
                Err(field.invalid(format!("{text} is neither \"filtering\" nor \"subinterface\"")))
            }
        }
    }

    fn other_than(bridge: &IfName, field: &Field<'_>) -> Result<IfName, FieldError> {
        let uplink = field.parse()?;
        if uplink == *bridge {
            Err(field.invalid(format!("{bridge} is the bridge itself")))
        } else {
            Ok(uplink)
        }
    }

    pub(super) fn routes(
        &self,
        families: &[Family],
        datapath: &Datapath,
    ) -> Result<Option<Vec<Route>>, FieldError> {
        let Some(field) = self.get("routes")? else { return Ok(None) };
        let route = |item: &Field<'_>| {
            let dst_field = item.require("dst")?;
            let dst: IpNet = dst_field.parse()?;
            must_be_wanted(&dst_field, dst.addr(), families)?;
            let Some(gw_field) = item.get("gw")? else { return Ok(Route { dst: dst.trunc(), gw: None }) };
            let gw: IpAddr = gw_field.parse()?;
            if self.mode == Mode::Main && *datapath == Datapath::Routed {
                return Err(gw_field
                    .invalid("as main plugin coil routes everything by its own gateway; leave it out"));
            }
            if Family::of(gw) != Family::of(dst.addr()) {
                return Err(gw_field.invalid(format!("{gw} is of another family than {dst}")));
            }
            Ok(Route { dst: dst.trunc(), gw: Some(gw) })
        };
        field.items()?.iter().map(route).collect::<Result<_, _>>().map(Some)
    }
}

/// Addresses asked for by the `ips` capability (`runtimeConfig.ips`) and by `args.cni.ips`.
pub(super) fn requested_ips(root: &Field<'_>, families: &[Family]) -> Result<Vec<IpAddr>, FieldError> {
    let mut ips = Vec::new();
    for path in [&["runtimeConfig", "ips"][..], &["args", "cni", "ips"]] {
        let mut field = Some(root.clone());
        for name in path {
            field = field.map(|field| field.get(name)).transpose()?.flatten();
        }
        for item in field.map(|field| field.items()).transpose()?.unwrap_or_default() {
            let ip = env::address(item.text()?)
                .ok_or_else(|| item.invalid(format!("{} is not an IP address", shortened(item.value()))))?;
            must_be_wanted(&item, ip, families)?;
            ips.push(ip);
        }
    }
    Ok(ips)
}

/// What the runtime tells of the pod's annotations by the capability `io.kubernetes.cri.pod-annotations` (containerd's
/// name for it). Annotations of others are none of our business, whatever they hold.
pub(super) fn pod_annotations(root: &Field<'_>) -> Result<BTreeMap<String, String>, FieldError> {
    let mut field = Some(root.clone());
    for name in ["runtimeConfig", "io.kubernetes.cri.pod-annotations"] {
        field = field.map(|field| field.get(name)).transpose()?.flatten();
    }
    let mut annotations = BTreeMap::new();
    for name in annotation::ALL {
        if let Some(value) = field.as_ref().map(|field| field.get(name)).transpose()?.flatten() {
            annotations.insert(name.to_owned(), value.text()?.to_owned());
        }
    }
    Ok(annotations)
}

pub(super) fn dns(root: &Field<'_>) -> Result<Dns, FieldError> {
    let Some(field) = root.get("dns")? else { return Ok(Dns::default()) };
    let texts = |name| Ok(field.get(name)?.map(|list| list.texts()).transpose()?.unwrap_or_default());
    Ok(Dns {
        nameservers: texts("nameservers")?,
        domain: field.get("domain")?.map(|domain| domain.text().map(str::to_owned)).transpose()?,
        search: texts("search")?,
        options: texts("options")?,
    })
}

fn must_be_wanted(field: &Field<'_>, address: IpAddr, families: &[Family]) -> Result<(), FieldError> {
    let family = Family::of(address);
    if families.contains(&family) {
        return Ok(());
    }
    Err(field.invalid(format!("{} is {family}, which addressTypes does not have", shortened(field.value()))))
}

/// `ipam` is the plugin's own in both modes, so that any other key in it is a mistake.
fn refuse_unknown(ipam: &Field<'_>, mode: Mode) -> Result<(), ConfigError> {
    let known = |name: &str| {
        name == "type" || (OWN.contains(&name) && !(mode == Mode::Ipam && OF_MAIN.contains(&name)))
    };
    match ipam.names()?.find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => {
            Err(unsupported(ipam, name, "known keys are type, socket, pool, addressTypes, timeout, routes"))
        }
    }
}

/// The top of the configuration belongs to the runtime too; only keys that differ from one of ours by case and
/// punctuation are mistakes.
fn refuse_misspelt(root: &Field<'_>) -> Result<(), ConfigError> {
    let letters = |name: &str| name.replace(['-', '_'], "").to_ascii_lowercase();
    for name in root.names()? {
        if let Some(own) = OWN.iter().find(|own| **own != name && letters(own) == letters(name)) {
            return Err(unsupported(root, name, &format!("it is spelt {own}")));
        }
    }
    Ok(())
}

fn unsupported(place: &Field<'_>, name: &str, hint: &str) -> ConfigError {
    let value = place.value().get(name).map(shortened).unwrap_or_default();
    let key = if place.key().is_empty() { name.to_owned() } else { format!("{}.{name}", place.key()) };
    ConfigError::Unsupported { key, value, hint: hint.to_owned() }
}
