//! What the keys of the tenants' API hold.

use crate::ipam::BlockType;
use crate::name::{Label, OpaqueId, PoolName, TenantId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use uuid::Uuid;

/// Something that belongs to a tenant, by its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owned {
    /// The tenant.
    pub tenant: TenantId,
    /// The id.
    pub id: Uuid,
}

/// `melange/block/<tenant>/<block>`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The addresses.
    pub cidr: IpNet,
    /// Who sees them.
    #[serde(rename = "type")]
    pub kind: BlockType,
    /// The tenant's network that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<OpaqueId>,
    /// What of it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Owned>,
    /// The gateway, which is not given; none in a block of one address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Name servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns1: Option<IpAddr>,
    /// The second one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns2: Option<IpAddr>,
    /// The blocks that it is a subnet of, the one next to it last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Owned>,
    /// How many subnets it has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub subnets: u64,
    /// The pool of pods that has its addresses: nobody else is given any of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created: u64,
    /// When it was changed last.
    pub updated: u64,
}

/// `melange/owner/<block>`: whose a block is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The tenant.
    pub tenant: TenantId,
}

/// `melange/gone/<block>`: a block that was deleted, and of which addresses or routes are left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Of a public block that is no subnet: its addresses, which are nobody else's before all of them are removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<IpNet>,
}

/// `melange/public/<unit>`: a public block that is no subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicBlock {
    /// The addresses.
    pub cidr: IpNet,
    /// Whose it is.
    pub tenant: TenantId,
    /// The block.
    pub block: Uuid,
}

/// `melange/typed/<tenant>/<type>/<block>`, `melange/network/<tenant>/<network>`,
/// `melange/member/<tenant>/<network>/<block>`, `melange/purge` and `melange/pods`: only that it is there, or its revision,
/// counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {}

/// `melange/subnet/<block>/<subnet>`: a subnet of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Whose it is.
    pub tenant: TenantId,
    /// The addresses.
    pub cidr: IpNet,
}

/// `melange/address/<block>/<unit>`: an address that is held, or was and is not yet given again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Its id.
    pub id: Uuid,
    /// Whose the block is.
    pub owner: TenantId,
    /// Who holds it.
    pub tenant: TenantId,
    /// The device that it is held for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<OpaqueId>,
    /// The interface that it is held for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<OpaqueId>,
    /// When it was given, in milliseconds since the Unix epoch.
    pub created: u64,
    /// When it was changed last.
    pub updated: u64,
    /// When it was deallocated; absent as long as it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed: Option<u64>,
    /// Whether a pod holds it, as its node says. The interface is then only the name of one in the container.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pod: bool,
}

impl Address {
    /// The interface that holds it, as tenants know interfaces: by ids.
    pub fn plug(&self) -> Option<&OpaqueId> {
        self.interface.as_ref().filter(|_| !self.pod)
    }
}

/// `melange/list/<list>/<address>`: where an address of a list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its block.
    pub block: Uuid,
    /// The address.
    pub address: IpAddr,
}

/// `melange/due/<time>/<block>/<unit>`: an address that was deallocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// Its id.
    pub id: Uuid,
}

/// `melange/interface/<interface>`: an interface that holds addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Whose it is.
    pub tenant: TenantId,
    /// The network that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<OpaqueId>,
    /// The device that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<OpaqueId>,
    /// Its MAC address, if one was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// `melange/mac/<mac>`: whose a MAC address is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mac {
    /// The interface.
    pub interface: OpaqueId,
}

/// `melange/nat/<side>/<block>/<unit>/<address>`: an address on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nat {
    /// Its block.
    pub block: Uuid,
    /// The address.
    pub address: IpAddr,
    /// The id of the address whose NAT this is.
    pub own: Uuid,
}

/// `melange/route/<block>/<route>`: a static route of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Host or network.
    pub destination: String,
    /// Mask of the network, if it was given apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netmask: Option<IpAddr>,
    /// Where it leads.
    pub gateway: IpAddr,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created: u64,
    /// When it was changed last.
    pub updated: u64,
}

/// `melange/policy/<tenant>/<policy>`: what blocks don't give. Its revision counts for its ranges and octets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// For a person.
    pub name: Label,
    /// For a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Label>,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created: u64,
    /// When it was changed last.
    pub updated: u64,
}

/// `melange/range/<policy>/<range>`: addresses that a policy forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpRange {
    /// The first one: counted from the first address of a block, or if it is negative from behind the last one.
    pub offset: i64,
    /// How many.
    pub length: u64,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created: u64,
    /// When it was changed last.
    pub updated: u64,
}

/// `melange/octet/<policy>/<octet>`: a last octet that a policy forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpOctet {
    /// The octet.
    pub octet: u8,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created: u64,
    /// When it was changed last.
    pub updated: u64,
}

/// `melange/governed/<policy>/<block>`: a block that a policy is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Governed {
    /// Whose the block is.
    pub tenant: TenantId,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "this is how serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
