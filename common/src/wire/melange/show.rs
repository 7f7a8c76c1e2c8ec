//! What is shown.

use crate::ipam::BlockType;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// An address as this API writes it: IPv6 with all of its digits.
pub fn expanded(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => v6.segments().map(|segment| format!("{segment:04x}")).join(":"),
    }
}

/// A failure: the only field of an object, named like the status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Fault {
    /// The HTTP status.
    pub code: u16,
    /// What kind of failure it is.
    pub message: String,
    /// What went wrong, for a person.
    pub detail: String,
}

/// Where something is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Link {
    /// What is there: `self` with the version of the API, `bookmark` without it, or the `next` page.
    pub rel: String,
    /// Its URI.
    pub href: String,
}

/// `ip_block` and `subnet`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IpBlockView {
    /// Its id.
    pub id: String,
    /// The addresses.
    pub cidr: String,
    /// Who sees them.
    #[serde(rename = "type")]
    pub kind: BlockType,
    /// Whose it is.
    pub tenant_id: String,
    /// The network that it is in.
    pub network_id: Option<String>,
    /// The block that it is a subnet of.
    pub parent_id: Option<String>,
    /// Its policy.
    pub policy_id: Option<String>,
    /// The gateway; none in a block of one address.
    pub gateway: Option<String>,
    /// The last address.
    pub broadcast: String,
    /// The mask of its network.
    pub netmask: String,
    /// Name server.
    pub dns1: Option<String>,
    /// Second name server.
    pub dns2: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// When it was changed last.
    pub updated_at: String,
    /// Where it is; in the details.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
}

/// `ip_address`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IpAddressView {
    /// Its id.
    pub id: String,
    /// Its block.
    pub ip_block_id: String,
    /// The address.
    pub address: String,
    /// 4 or 6.
    pub version: u8,
    /// The interface that has it.
    pub interface_id: Option<String>,
    /// Who uses it.
    pub used_by_tenant: String,
    /// The device that uses it.
    pub used_by_device: Option<String>,
    /// When it was allocated.
    pub created_at: String,
    /// When it was changed last.
    pub updated_at: String,
    /// Where it is; in the details.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
}

/// An item of an interface's allocations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AllocationView {
    /// The address.
    #[serde(flatten)]
    pub address: IpAddressView,
    /// Its block.
    pub ip_block: NetworkBlockView,
}

/// The block of an allocation, with its routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkBlockView {
    /// The block.
    #[serde(flatten)]
    pub block: IpBlockView,
    /// Its routes.
    pub ip_routes: Vec<IpRouteView>,
}

/// `ip_route`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IpRouteView {
    /// Its id.
    pub id: String,
    /// The block that it is of.
    pub source_block_id: String,
    /// An address or a network.
    pub destination: String,
    /// Mask of the network.
    pub netmask: Option<String>,
    /// Where it leads.
    pub gateway: String,
    /// When it was made.
    pub created_at: String,
    /// When it was changed last.
    pub updated_at: String,
    /// Where it is; in the details.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
}

/// `policy`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = IpPolicyView))]
pub struct PolicyView {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub tenant_id: String,
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// When it was changed last.
    pub updated_at: String,
    /// Where it is; in the details.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
}

/// `ip_range`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IpRangeView {
    /// Its id.
    pub id: String,
    /// The policy that it is of.
    pub policy_id: String,
    /// The first address.
    pub offset: i64,
    /// How many addresses.
    pub length: u64,
    /// When it was made.
    pub created_at: String,
    /// When it was changed last.
    pub updated_at: String,
    /// Where it is; in the details.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
}

/// `ip_octet`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IpOctetView {
    /// Its id.
    pub id: String,
    /// The policy that it is of.
    pub policy_id: String,
    /// The octet.
    pub octet: u8,
    /// When it was made.
    pub created_at: String,
    /// When it was changed last.
    pub updated_at: String,
    /// Where it is; in the details.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
}

/// `usage`: how much of a block is used. Counts that don't fit 64 bits are texts' worth: they are all texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = IpBlockUsage))]
pub struct UsageView {
    /// How many addresses can be given.
    pub total: String,
    /// How many are held, or deallocated and not yet given again.
    pub used: String,
    /// How many are left.
    pub free: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_has_all_its_digits() {
        for (text, expected) in [
            ("10.0.0.1", "10.0.0.1"),
            ("fd00::1", "fd00:0000:0000:0000:0000:0000:0000:0001"),
            ("::", "0000:0000:0000:0000:0000:0000:0000:0000"),
        ] {
            assert_eq!(expanded(text.parse().expect("address")), expected);
        }
    }
}
