//! Addresses as numbers: families, ranges and units. Everything here is arithmetic on `u128`, and every
//! range is inclusive, so that one that ends at the family's last address needs no special case.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Family {
    /// IPv4, written `ipv4`.
    #[serde(rename = "ipv4")]
    V4,
    /// IPv6, written `ipv6`.
    #[serde(rename = "ipv6")]
    V6,
}

impl Family {
    /// Both families, IPv4 first.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// How many bits an address has: 32 or 128.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The number of the family's last address.
    pub fn last(self) -> u128 {
        match self {
            Self::V4 => u128::from(u32::MAX),
            Self::V6 => u128::MAX,
        }
    }

    /// The address with a number; bits beyond the family's are dropped.
    #[expect(clippy::cast_possible_truncation, reason = "an IPv4 number has 32 bits")]
    pub fn address(self, number: u128) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::from_bits(number as u32).into(),
            Self::V6 => Ipv6Addr::from_bits(number).into(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        })
    }
}

/// The number of an address: its bits, read as an unsigned integer.
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// A run of addresses of one family, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    family: Family,
    first: u128,
    last: u128,
}

impl Range {
    /// The range from `first` to `last`; `None` if they differ in family or are in the wrong order.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        let family = Family::of(first);
        (family == Family::of(last) && number(first) <= number(last)).then(|| Self {
            family,
            first: number(first),
            last: number(last),
        })
    }

    /// All addresses of a network, its first and last included.
    pub fn of_net(net: IpNet) -> Self {
        Self { family: Family::of(net.addr()), first: number(net.network()), last: number(net.broadcast()) }
    }

    /// The family of the addresses.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Number of the first address.
    pub fn first(&self) -> u128 {
        self.first
    }

    /// Number of the last address.
    pub fn last(&self) -> u128 {
        self.last
    }

    /// Whether the address lies in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family && (self.first..=self.last).contains(&number(address))
    }

    /// Whether the two have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.family == other.family && self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.family.address(self.first), self.family.address(self.last))
    }
}

/// An aligned power-of-two run of addresses: what a lease claims. A block is a unit of more than one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit {
    family: Family,
    first: u128,
    /// The unit has 2^bits addresses.
    bits: u8,
}

impl Unit {
    /// The largest unit that a node may lease: 2^10 addresses, so that the mirror of one is a single record of a
    /// size that etcd takes.
    pub const MAX_BITS: u8 = 10;

    /// The unit of 2^`bits` addresses that the address belongs to. `bits` above the family's count as all.
    pub fn containing(address: IpAddr, bits: u8) -> Self {
        let family = Family::of(address);
        let bits = bits.min(family.bits());
        let mask = if bits == 128 { u128::MAX } else { (1 << bits) - 1 };
        Self { family, first: number(address) & !mask, bits }
    }

    /// The family of the addresses.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The unit has 2^bits addresses.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// The first address.
    pub fn first(&self) -> IpAddr {
        self.family.address(self.first)
    }

    /// Number of the first address.
    pub fn first_number(&self) -> u128 {
        self.first
    }

    /// Number of the last address.
    pub fn last_number(&self) -> u128 {
        self.range().last
    }

    /// The addresses of the unit.
    pub fn range(&self) -> Range {
        let span = if self.bits == 128 { u128::MAX } else { (1 << self.bits) - 1 };
        Range { family: self.family, first: self.first, last: self.first | span }
    }

    /// The unit in CIDR form.
    pub fn net(&self) -> IpNet {
        let prefix = self.family.bits() - self.bits;
        IpNet::new(self.first(), prefix).unwrap_or_else(|_| IpNet::from(self.first()))
    }

    /// The place of an address in the unit; `None` if it lies outside, or beyond 2^32 addresses.
    pub fn offset_of(&self, address: IpAddr) -> Option<u32> {
        self.range().contains(address).then(|| number(address) - self.first)?.try_into().ok()
    }

    /// The address at a place; `None` if the unit is smaller.
    pub fn address(&self, offset: u32) -> Option<IpAddr> {
        (u128::from(offset) <= self.range().last - self.first)
            .then(|| self.family.address(self.first + u128::from(offset)))
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.net().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn units_are_aligned() {
        let unit = Unit::containing(ip("10.64.0.21"), 4);
        assert_eq!(unit.net().to_string(), "10.64.0.16/28");
        assert_eq!(unit.offset_of(ip("10.64.0.31")), Some(15));
        assert_eq!(unit.offset_of(ip("10.64.0.32")), None);
        assert_eq!(unit.offset_of(ip("::10")), None);
        assert_eq!(unit.address(15), Some(ip("10.64.0.31")));
        assert_eq!(unit.address(16), None);
    }

    #[test]
    fn units_at_the_ends_of_the_families() {
        let all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        assert_eq!(Unit::containing(ip("255.255.255.255"), 0).to_string(), "255.255.255.255/32");
        assert_eq!(Unit::containing(ip("255.255.255.255"), 32).to_string(), "0.0.0.0/0");
        assert_eq!(Unit::containing(ip(all), 128).to_string(), "::/0");
        assert_eq!(Unit::containing(ip(all), 128).range().last(), u128::MAX);
        assert_eq!(Unit::containing(ip(all), 4).range().last(), u128::MAX);
        assert_eq!(Unit::containing(ip("0.0.0.0"), 200).bits(), 32);
    }

    #[test]
    fn ranges_refuse_disorder() {
        assert!(Range::new(ip("10.0.0.2"), ip("10.0.0.1")).is_none());
        assert!(Range::new(ip("10.0.0.2"), ip("::1")).is_none());
        let range = Range::new(ip("10.0.0.1"), ip("10.0.0.1")).expect("one address");
        assert!(range.contains(ip("10.0.0.1")) && !range.contains(ip("10.0.0.2")));
        assert!(!range.overlaps(&Range::of_net("::/0".parse().expect("net"))));
        assert!(range.overlaps(&Range::of_net("0.0.0.0/0".parse().expect("net"))));
    }
}
