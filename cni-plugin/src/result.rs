//! What ADD answers, in each version of the specification.

use crate::version::SpecVersion;
use common::wire::node::Route;
use ipnet::IpNet;
use serde::Serialize;
use std::net::IpAddr;

/// The result of an ADD.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddResult {
    /// Interfaces that were made; none in an IPAM result.
    pub interfaces: Vec<Interface>,
    /// Addresses, IPv4 first.
    pub ips: Vec<AssignedIp>,
    /// Routes, IPv4 first.
    pub routes: Vec<Route>,
    /// Name servers and search domains.
    pub dns: Dns,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: String,
    /// Its MTU. Since 1.1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Path of its network namespace; absent on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignedIp {
    /// The address with the prefix that it has on its interface.
    pub address: IpNet,
    /// Its gateway.
    pub gateway: IpAddr,
    /// Index of its interface; absent in an IPAM result.
    pub interface: Option<usize>,
}

/// Name servers and search domains.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// Addresses of the servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Domains to search.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of the resolver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    cni_version: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<Interface>,
    ips: Vec<Ip>,
    routes: &'a [Route],
    dns: &'a Dns,
}

#[derive(Serialize)]
struct Ip {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    address: IpNet,
    gateway: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<usize>,
}

impl AddResult {
    /// The result as JSON, in the shape of a version of the specification.
    pub fn to_json(&self, version: SpecVersion) -> serde_json::Result<String> {
        let ip = |ip: &AssignedIp| Ip {
            version: (version < SpecVersion::V1_0_0).then_some(if ip.gateway.is_ipv4() { "4" } else { "6" }),
            address: ip.address,
            gateway: ip.gateway,
            interface: ip.interface,
        };
        let interface = |interface: &Interface| Interface {
            mtu: interface.mtu.filter(|_| version >= SpecVersion::V1_1_0),
            ..interface.clone()
        };
        serde_json::to_string(&Document {
            cni_version: version.as_str(),
            interfaces: self.interfaces.iter().map(interface).collect(),
            ips: self.ips.iter().map(ip).collect(),
            routes: &self.routes,
            dns: &self.dns,
        })
    }
}
