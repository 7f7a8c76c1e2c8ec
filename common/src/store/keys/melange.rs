//! Keys of the tenants' API: blocks, addresses, policies, routes and NAT.
//!
//! Ids are made by the time, so that a list by id is one by age; but those of addresses, of which there are many more, are
//! random, so that a list can be read in [parts](crate::store::spread). Texts that tenants choose are percent-encoded.

use super::{address_name, parse_unit, units_between};
use crate::ipam::{Family, Unit, UnitRun, number};
use crate::name::{OpaqueId, TenantId};
use crate::pool_id::encoded;
use crate::store::KeyRange;
use std::fmt;
use std::net::IpAddr;
use uuid::Uuid;

/// `melange/block/<tenant>/<block>`
pub fn block(tenant: &TenantId, block: Uuid) -> String {
    format!("melange/block/{}/{block}", encoded(tenant))
}

/// The blocks of a tenant.
pub fn blocks(tenant: &TenantId) -> KeyRange {
    KeyRange::prefix(format!("melange/block/{}/", encoded(tenant)))
}

/// `melange/typed/<tenant>/<type>/<block>`
pub fn typed(tenant: &TenantId, kind: impl fmt::Display, block: Uuid) -> String {
    format!("melange/typed/{}/{kind}/{block}", encoded(tenant))
}

/// The blocks of a tenant that are of one type.
pub fn typed_blocks(tenant: &TenantId, kind: impl fmt::Display) -> KeyRange {
    KeyRange::prefix(format!("melange/typed/{}/{kind}/", encoded(tenant)))
}

/// `melange/owner/<block>`
pub fn owner(block: Uuid) -> String {
    format!("melange/owner/{block}")
}

/// `melange/public/<unit>`
pub fn public(first: IpAddr) -> String {
    format!("melange/public/{}", name(first))
}

/// The public blocks that are no subnets.
pub fn public_blocks() -> KeyRange {
    KeyRange::prefix("melange/public/")
}

/// `melange/network/<tenant>/<network>`
pub fn network(tenant: &TenantId, network: &OpaqueId) -> String {
    format!("melange/network/{}/{}", encoded(tenant), encoded(network))
}

/// `melange/member/<tenant>/<network>/<block>`
pub fn member(tenant: &TenantId, network: &OpaqueId, block: Uuid) -> String {
    format!("{}{block}", members(tenant, network).from)
}

/// The blocks of a tenant's network.
pub fn members(tenant: &TenantId, network: &OpaqueId) -> KeyRange {
    KeyRange::prefix(format!("melange/member/{}/{}/", encoded(tenant), encoded(network)))
}

/// `melange/subnet/<block>/<subnet>`
pub fn subnet(block: Uuid, subnet: Uuid) -> String {
    format!("melange/subnet/{block}/{subnet}")
}

/// The subnets of a block.
pub fn subnets(block: Uuid) -> KeyRange {
    KeyRange::prefix(format!("melange/subnet/{block}/"))
}

/// `melange/address/<block>/<unit>`
pub fn address(block: Uuid, address: IpAddr) -> String {
    format!("{}{}", addresses(block).from, name(address))
}

/// The addresses of a block that are held, or not yet given again.
pub fn addresses(block: Uuid) -> KeyRange {
    KeyRange::prefix(format!("melange/address/{block}/"))
}

/// Those of [`addresses`] that are in a unit.
pub fn addresses_in(block: Uuid, unit: Unit) -> KeyRange {
    units_between(&addresses(block).from, run(unit))
}

/// The address that a key of [`addresses`] names.
pub fn parse_address(key: &str) -> Option<IpAddr> {
    let (_, name) = key.strip_prefix("melange/address/")?.split_once('/')?;
    parse_unit(name, |_| 0).map(|unit: Unit| unit.first())
}

/// A list of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List<'a> {
    /// Those of a block, held or not yet given again.
    Block(Uuid),
    /// All that are held.
    All,
    /// Those that a tenant holds.
    Tenant(&'a TenantId),
    /// Those that are held for a device.
    Device(&'a OpaqueId),
    /// Those that a tenant holds for a device.
    TenantDevice(&'a TenantId, &'a OpaqueId),
    /// Those that an interface holds.
    Interface(&'a OpaqueId),
}

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(block) => write!(f, "block:{block}"),
            Self::All => f.write_str("all"),
            Self::Tenant(tenant) => write!(f, "tenant:{}", encoded(*tenant)),
            Self::Device(device) => write!(f, "device:{}", encoded(*device)),
            Self::TenantDevice(tenant, device) => {
                write!(f, "tenant:{}:device:{}", encoded(*tenant), encoded(*device))
            }
            Self::Interface(interface) => write!(f, "interface:{}", encoded(*interface)),
        }
    }
}

/// `melange/list/<list>/<address>`
pub fn listed(list: List<'_>, address: Uuid) -> String {
    format!("melange/list/{list}/{address}")
}

/// What is on a list.
pub fn list(list: List<'_>) -> KeyRange {
    KeyRange::prefix(format!("melange/list/{list}/"))
}

/// `melange/due/<time>/<block>/<unit>`
pub fn due(since: u64, block: Uuid, address: IpAddr) -> String {
    format!("melange/due/{since:016x}/{block}/{}", name(address))
}

/// What was deallocated at this time or before.
pub fn due_until(time: u64) -> KeyRange {
    KeyRange { from: "melange/due/".to_owned(), to: format!("melange/due/{:016x}/", time.saturating_add(1)) }
}

/// Block and address that a key of [`due_until`] names.
pub fn parse_due(key: &str) -> Option<(Uuid, IpAddr)> {
    let mut parts = key.strip_prefix("melange/due/")?.split('/').skip(1);
    let block = parts.next()?.parse().ok()?;
    Some((block, parse_unit(parts.next()?, |_| 0)?.first()))
}

/// `melange/interface/<interface>`
pub fn interface(interface: &OpaqueId) -> String {
    format!("melange/interface/{}", encoded(interface))
}

/// `melange/mac/<mac>`
pub fn mac(mac: impl fmt::Display) -> String {
    format!("melange/mac/{mac}")
}

/// One of the two sides of a NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The addresses that an inside address has outside.
    Global,
    /// The inside addresses that an address outside stands for.
    Local,
}

impl Side {
    /// The other side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Global => Self::Local,
            Self::Local => Self::Global,
        }
    }
}

/// `melange/nat/<side>/<block>/<unit>/<address>`
pub fn nat(side: Side, block: Uuid, address: IpAddr, other: Uuid) -> String {
    format!("{}{other}", nats(side, block, address).from)
}

/// The addresses that an address has on a side.
pub fn nats(side: Side, block: Uuid, address: IpAddr) -> KeyRange {
    KeyRange::prefix(format!("{}{}/", nats_of(side, block), name(address)))
}

/// What the addresses of a unit have on a side.
pub fn nats_in(side: Side, block: Uuid, unit: Unit) -> KeyRange {
    let KeyRange { from, to } = units_between(&nats_of(side, block), run(unit));
    // Behind the name of the last one there is a slash.
    KeyRange { from, to: to.replace('\0', "0") }
}

/// What all addresses of a block have on a side.
pub fn all_nats(side: Side, block: Uuid) -> KeyRange {
    KeyRange::prefix(nats_of(side, block))
}

fn nats_of(side: Side, block: Uuid) -> String {
    let side = match side {
        Side::Global => "global",
        Side::Local => "local",
    };
    format!("melange/nat/{side}/{block}/")
}

/// All single addresses of a unit.
fn run(unit: Unit) -> UnitRun {
    UnitRun { family: unit.family(), first: unit.first_number(), last: unit.last_number(), bits: 0 }
}

/// `melange/route/<block>/<route>`
pub fn route(block: Uuid, route: Uuid) -> String {
    format!("melange/route/{block}/{route}")
}

/// The routes of a block.
pub fn routes(block: Uuid) -> KeyRange {
    KeyRange::prefix(format!("melange/route/{block}/"))
}

/// `melange/policy/<tenant>/<policy>`
pub fn policy(tenant: &TenantId, policy: Uuid) -> String {
    format!("melange/policy/{}/{policy}", encoded(tenant))
}

/// The policies of a tenant.
pub fn policies(tenant: &TenantId) -> KeyRange {
    KeyRange::prefix(format!("melange/policy/{}/", encoded(tenant)))
}

/// `melange/range/<policy>/<range>`
pub fn range(policy: Uuid, range: Uuid) -> String {
    format!("melange/range/{policy}/{range}")
}

/// The ranges of a policy.
pub fn ranges(policy: Uuid) -> KeyRange {
    KeyRange::prefix(format!("melange/range/{policy}/"))
}

/// `melange/octet/<policy>/<octet>`
pub fn octet(policy: Uuid, octet: Uuid) -> String {
    format!("melange/octet/{policy}/{octet}")
}

/// The octets of a policy.
pub fn octets(policy: Uuid) -> KeyRange {
    KeyRange::prefix(format!("melange/octet/{policy}/"))
}

/// `melange/governed/<policy>/<block>`
pub fn governed(policy: Uuid, block: Uuid) -> String {
    format!("melange/governed/{policy}/{block}")
}

/// The blocks that a policy is of.
pub fn governed_by(policy: Uuid) -> KeyRange {
    KeyRange::prefix(format!("melange/governed/{policy}/"))
}

/// `melange/gone/<block>`
pub fn gone(block: Uuid) -> String {
    format!("melange/gone/{block}")
}

/// The blocks that were deleted, and of which something is left.
pub fn all_gone() -> KeyRange {
    KeyRange::prefix("melange/gone/")
}

/// There while a controller removes what was deallocated long ago.
pub const PURGE: &str = "melange/purge";
/// There while a controller makes the addresses of blocks that back pools follow what pods hold.
pub const PODS: &str = "melange/pods";

/// The id that a key ends in.
pub fn parse_id(key: &str) -> Option<Uuid> {
    key.rsplit_once('/')?.1.parse().ok()
}

fn name(address: IpAddr) -> String {
    address_name(Family::of(address), number(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_both_ways() {
        let (block, id) = (Uuid::from_u128(7), Uuid::from_u128(9));
        for text in ["10.0.0.9", "fd00::1", "255.255.255.255", "::"] {
            let ip: IpAddr = text.parse().expect("address");
            let key = address(block, ip);
            assert_eq!(parse_address(&key), Some(ip));
            assert!(addresses(block).contains(&key) && !addresses(id).contains(&key));
            assert_eq!(parse_due(&due(5, block, ip)), Some((block, ip)));
        }
        let tenant = TenantId::new("a/b:c").expect("tenant");
        assert_eq!(parse_id(&super::block(&tenant, id)), Some(id));
        assert!(blocks(&tenant).contains(&super::block(&tenant, id)));
        for malformed in ["", "melange/address/", "melange/address/x", "melange/due/0/x", "melange/due/0"] {
            assert_eq!((parse_address(malformed), parse_due(malformed)), (None, None), "{malformed}");
        }
    }

    #[test]
    fn what_is_in_a_unit() {
        let block = Uuid::from_u128(7);
        let unit = Unit::containing("10.0.0.16".parse().expect("address"), 4);
        for (text, inside) in
            [("10.0.0.15", false), ("10.0.0.16", true), ("10.0.0.31", true), ("10.0.0.32", false)]
        {
            let ip = text.parse().expect("address");
            assert_eq!(addresses_in(block, unit).contains(&address(block, ip)), inside, "{text}");
            for side in [Side::Global, Side::Local] {
                let key = nat(side, block, ip, Uuid::from_u128(9));
                assert_eq!(nats_in(side, block, unit).contains(&key), inside, "{text}");
                assert!(!nats_in(side.other(), block, unit).contains(&key));
            }
        }
    }

    #[test]
    fn what_is_due() {
        let ip: IpAddr = "10.0.0.9".parse().expect("address");
        let key = due(1_700_000_000_000, Uuid::from_u128(7), ip);
        assert!(due_until(1_700_000_000_000).contains(&key));
        assert!(!due_until(1_699_999_999_999).contains(&key));
        assert!(due_until(u64::MAX).contains(&key));
    }

    #[test]
    fn lists_are_apart() {
        let id = Uuid::from_u128(9);
        let (tenant, device) = (TenantId::new("a").expect("id"), OpaqueId::new("a").expect("id"));
        let odd = TenantId::new("a:device:a").expect("id");
        let lists = [
            List::Block(id),
            List::All,
            List::Tenant(&tenant),
            List::Tenant(&odd),
            List::Device(&device),
            List::TenantDevice(&tenant, &device),
            List::Interface(&device),
        ];
        for (one, other) in lists.iter().flat_map(|one| lists.iter().map(move |other| (one, other))) {
            assert_eq!(list(*one).contains(&listed(*other, id)), one == other, "{one} {other}");
        }
    }
}
