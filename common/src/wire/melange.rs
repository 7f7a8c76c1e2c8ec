//! The tenants' API (`docs/api/melange.md`): what requests hold and what is shown. A body is an object with one field,
//! the envelope, which is named with each type; lists are named in the plural.
//!
//! Fields that a body has besides are ignored, and null is as good as nothing. Numbers may come as texts.

use crate::ipam::BlockType;
use crate::mac::MacAddress;
use crate::name::{Label, OpaqueId, TenantId};
use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

mod show;

pub use show::{
    AllocationView, Fault, IpAddressView, IpBlockView, IpOctetView, IpRangeView, IpRouteView, Link,
    NetworkBlockView, PolicyView, UsageView, expanded,
};

/// `ip_block`: makes a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(json!({"type": "private", "cidr": "10.1.0.0/24", "network_id": "net1"}))))]
pub struct CreateIpBlock {
    /// Whether other blocks and pools may have the same addresses.
    #[serde(rename = "type")]
    pub kind: BlockType,
    /// The addresses; of an address with a prefix, its network.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Cidr))]
    pub cidr: IpNet,
    /// The network that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_id: Option<OpaqueId>,
    /// The policy, which must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_id: Option<String>,
    /// Name server; the one configured if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Address>))]
    pub dns1: Option<IpAddr>,
    /// Second name server; the one configured if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Address>))]
    pub dns2: Option<IpAddr>,
    /// The gateway; the second address if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Address>))]
    pub gateway: Option<IpAddr>,
}

/// `subnet`: makes a subnet of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(json!({"cidr": "10.1.0.0/26"}))))]
pub struct CreateSubnet {
    /// The addresses, which lie in the block.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Cidr))]
    pub cidr: IpNet,
    /// The network that it is in; the block's if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_id: Option<OpaqueId>,
    /// The policy, which must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_id: Option<String>,
    /// Whose it is; the block's tenant if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
}

/// `ip_block`: changes a block. What is not given stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateIpBlock {
    /// The network that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_id: Option<OpaqueId>,
    /// The policy, which must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_id: Option<String>,
}

/// `ip_address`: allocates an address of a block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(json!({"interface_id": "eth0-of-vm1", "used_by_device": "vm1"}))))]
pub struct CreateIpAddress {
    /// This address; the next one that is free if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Address>))]
    pub address: Option<IpAddr>,
    /// The interface that gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_id: Option<OpaqueId>,
    /// Who uses it; the block's tenant if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    /// The device that uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by_device: Option<OpaqueId>,
    /// MAC address of the interface, of which an IPv6 address is generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<MacAddress>,
}

/// `network`: allocates addresses of a network for an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(json!({"mac_address": "00:16:3e:0a:0b:0c"}))))]
pub struct CreateAllocations {
    /// These addresses; if there are none, the next free one of each family that the network has.
    #[serde(default, deserialize_with = "none_is_empty", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::openapi::Address>, max_items = 8))]
    pub addresses: Vec<IpAddr>,
    /// Who uses them; the block's tenant if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    /// The device that uses them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by_device: Option<OpaqueId>,
    /// MAC address of the interface, of which an IPv6 address is generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<MacAddress>,
}

/// `ip_route`: makes a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(json!({"destination": "192.168.0.0", "netmask": "255.255.0.0", "gateway": "10.1.0.1"}))))]
pub struct CreateIpRoute {
    /// An address or a network.
    pub destination: Destination,
    /// Mask of the network, if the destination has no prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Address>))]
    pub netmask: Option<IpAddr>,
    /// Where it leads.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub gateway: IpAddr,
}

/// `ip_route`: changes a route. What is not given stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateIpRoute {
    /// An address or a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
    /// Mask of the network, if the destination has no prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Address>))]
    pub netmask: Option<IpAddr>,
    /// Where it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Address>))]
    pub gateway: Option<IpAddr>,
}

/// Where a route leads: an address, or a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Destination {
    /// A host, or a network with its mask apart.
    Host(IpAddr),
    /// A network with its prefix.
    Net(IpNet),
}

impl TryFrom<String> for Destination {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let net = || text.parse().map(Self::Net).map_err(|_| "it is neither an IP address nor a CIDR");
        text.parse().map(Self::Host).or_else(|_| net())
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        match destination {
            Destination::Host(address) => expanded(address),
            Destination::Net(net) => net.to_string(),
        }
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Destination {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        crate::openapi::text("an IP address, or a network as CIDR", "^[0-9A-Fa-f.:/]+$", "192.168.0.0/16", 64)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Destination {}

/// `policy`: makes a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatePolicy {
    /// What people call it.
    pub name: Label,
    /// What it is for.
    #[serde(default, deserialize_with = "unless_empty", skip_serializing_if = "Option::is_none")]
    pub description: Option<Label>,
}

/// `policy`: changes a policy. What is not given stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdatePolicy {
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Label>,
    /// What it is for.
    #[serde(default, deserialize_with = "unless_empty", skip_serializing_if = "Option::is_none")]
    pub description: Option<Label>,
}

/// `ip_range`: forbids addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateIpRange {
    /// The first one: 0 is a block's first address, -1 its last.
    #[serde(deserialize_with = "number")]
    pub offset: i64,
    /// How many.
    #[serde(deserialize_with = "number")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub length: i64,
}

/// `ip_range`: changes a range. What is not given stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateIpRange {
    /// The first one.
    #[serde(default, deserialize_with = "some_number", skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// How many.
    #[serde(default, deserialize_with = "some_number", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub length: Option<i64>,
}

/// `ip_octet`: forbids addresses that end in an octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateIpOctet {
    /// The octet.
    #[serde(deserialize_with = "number")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 255))]
    pub octet: i64,
}

/// `ip_octet`: changes an octet. What is not given stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateIpOctet {
    /// The octet.
    #[serde(default, deserialize_with = "some_number", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 255))]
    pub octet: Option<i64>,
}

/// An item of `ip_addresses`: an address that a NAT joins to another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NatAddress {
    /// Its block.
    pub ip_block_id: String,
    /// The address, which is allocated if nobody has it.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub ip_address: IpAddr,
}

/// A number, or a text that has one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(serde_json::Number),
    Text(String),
}

impl Number {
    fn parse<E: serde::de::Error>(self) -> Result<i64, E> {
        let text = match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        };
        text.trim().parse().map_err(|_| E::custom(format!("{text:?} is not an integer of 64 bits")))
    }
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    some_number(from)?.ok_or_else(|| D::Error::custom("it is null, and must be a number"))
}

fn some_number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let wrong = |_| D::Error::custom("it must be a number");
    let number: Option<Number> = Option::deserialize(from).map_err(wrong)?;
    number.map(Number::parse).transpose()
}

fn none_is_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpAddr>, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

fn unless_empty<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: Display,
{
    let text = Option::<String>::deserialize(from)?.filter(|text| !text.is_empty());
    text.map(|text| text.parse()).transpose().map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_may_be_texts() {
        for value in [json!({"offset": -3, "length": "2"}), json!({"offset": "-3", "length": 2, "id": 7})] {
            let range: CreateIpRange = serde_json::from_value(value).expect("a range");
            assert_eq!((range.offset, range.length), (-3, 2));
        }
        for bad in
            [json!(null), json!(1.5), json!("x"), json!(true), json!([1]), json!({}), json!(""), json!(1e30)]
        {
            let range = json!({"offset": bad, "length": 1});
            assert!(serde_json::from_value::<CreateIpRange>(range).is_err(), "{bad}");
        }
        let none: UpdateIpRange = serde_json::from_value(json!({"offset": null})).expect("nothing");
        assert_eq!(none, UpdateIpRange::default());
    }

    #[test]
    fn null_is_not_given() {
        let nothing = json!({"address": null, "interface_id": null, "tenant_id": null, "mac_address": null});
        let address: CreateIpAddress = serde_json::from_value(nothing).expect("nothing");
        assert_eq!(address, CreateIpAddress::default());
        let network: CreateAllocations = serde_json::from_value(json!({"addresses": null})).expect("nothing");
        assert_eq!(network, CreateAllocations::default());
        let policy: CreatePolicy =
            serde_json::from_value(json!({"name": "a", "description": ""})).expect("a policy");
        assert_eq!(policy.description, None);
    }
}
