//! Blocks of addresses that tenants have, of which single addresses are given: what of a block can be given.

use super::addr::{Family, Range, number};
use super::space::Space;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Who sees the addresses of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum BlockType {
    /// Everybody: no two public blocks, and no public block and pool, share an address.
    Public,
    /// Its tenant alone.
    Private,
}

impl fmt::Display for BlockType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Private => "private",
        })
    }
}

impl FromStr for BlockType {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "public" => Ok(Self::Public),
            "private" => Ok(Self::Private),
            _ => Err("it must be public or private"),
        }
    }
}

/// What a policy forbids, in whatever block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forbidden {
    /// Offsets and lengths.
    pub ranges: Vec<(i64, u64)>,
    /// Last octets.
    pub octets: Vec<u8>,
}

impl Forbidden {
    /// The addresses of a block that a range forbids: so many from an offset on, which counts from the block's first
    /// address or, if it is negative, from behind its last one. Nothing beyond the block's ends.
    pub fn range(cidr: IpNet, offset: i64, length: u64) -> Option<Range> {
        let block = Range::of_net(cidr);
        let (size_less_one, distance) = (block.last() - block.first(), u128::from(offset.unsigned_abs()));
        let mut length = u128::from(length);
        let start = if offset >= 0 {
            (distance <= size_less_one).then(|| block.first() + distance)?
        } else if distance - 1 <= size_less_one {
            block.last() - (distance - 1)
        } else {
            // What of it lies before the block is not of the block.
            length = length.saturating_sub(distance - 1 - size_less_one);
            block.first()
        };
        let last = start.saturating_add(length.checked_sub(1)?).min(block.last());
        Range::new(block.family().address(start), block.family().address(last))
    }

    /// Whether it forbids an address of a block.
    pub fn forbids(&self, cidr: IpNet, address: IpAddr) -> bool {
        let octet = number(address).to_le_bytes()[0];
        let mut ranges =
            self.ranges.iter().filter_map(|(offset, length)| Self::range(cidr, *offset, *length));
        self.octets.contains(&octet) || ranges.any(|range| range.contains(address))
    }

    /// What of a block can be given: not the gateway, in IPv4 not the broadcast address, and nothing that is forbidden.
    pub fn space(&self, cidr: IpNet, gateway: Option<IpAddr>) -> Space {
        let family = Family::of(cidr.addr());
        let ranges = self.ranges.iter().filter_map(|(offset, length)| Self::range(cidr, *offset, *length));
        let own = [gateway, broadcast(cidr)].into_iter().flatten();
        let own =
            own.filter(|address| Family::of(*address) == family).map(|address| Range::of_net(address.into()));
        let exclusions: Vec<Range> = own.chain(ranges).collect();
        Space::new(family, 0, &[Range::of_net(cidr)], &exclusions)
            .unwrap_or_else(|error| unreachable!("single addresses of one family: {error}"))
            .without_octets(&self.octets)
    }
}

/// The second address of a block, which is its gateway unless another one is given; none in a block of one address.
pub fn default_gateway(cidr: IpNet) -> Option<IpAddr> {
    let range = Range::of_net(cidr);
    let second = range.first().checked_add(1).filter(|second| *second <= range.last())?;
    Some(range.family().address(second))
}

/// The broadcast address, which is never given; none in IPv6, nor in a block of one address.
pub fn broadcast(cidr: IpNet) -> Option<IpAddr> {
    (cidr.addr().is_ipv4() && cidr.prefix_len() < 32).then(|| cidr.broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("net")
    }

    fn shown(cidr: &str, offset: i64, length: u64) -> Option<String> {
        Forbidden::range(net(cidr), offset, length).map(|range| range.to_string())
    }

    #[test]
    fn ranges_count_from_both_ends_and_do_not_wrap() {
        for (offset, length, expected) in [
            (0, 1, Some("10.0.0.0-10.0.0.0")),
            (1, 3, Some("10.0.0.1-10.0.0.3")),
            (255, 9, Some("10.0.0.255-10.0.0.255")),
            (256, 1, None),
            (-1, 1, Some("10.0.0.255-10.0.0.255")),
            (-3, 2, Some("10.0.0.253-10.0.0.254")),
            (-3, 9, Some("10.0.0.253-10.0.0.255")),
            (-256, 1, Some("10.0.0.0-10.0.0.0")),
            (-258, 2, None),
            (-258, 3, Some("10.0.0.0-10.0.0.0")),
            (0, u64::MAX, Some("10.0.0.0-10.0.0.255")),
            (0, 0, None),
            (i64::MIN, u64::MAX, Some("10.0.0.0-10.0.0.255")),
            (i64::MAX, u64::MAX, None),
        ] {
            assert_eq!(shown("10.0.0.0/24", offset, length).as_deref(), expected, "{offset} {length}");
        }
        assert_eq!(shown("255.255.255.255/32", 0, 7).as_deref(), Some("255.255.255.255-255.255.255.255"));
        assert!(shown("::/0", -1, 7).expect("a range").ends_with("ffff:ffff"));
    }

    #[test]
    fn what_is_never_given() {
        let all = |cidr: &str, gateway: Option<&str>| -> Vec<String> {
            let space =
                Forbidden::default().space(net(cidr), gateway.map(|text| text.parse().expect("address")));
            let last = space.last_index().map_or(0, |last| last + 1);
            (0..last).filter_map(|index| space.unit_at(index)).map(|unit| unit.first().to_string()).collect()
        };
        assert_eq!(all("10.0.0.0/30", Some("10.0.0.1")), ["10.0.0.0", "10.0.0.2"]);
        assert_eq!(all("10.0.0.0/30", Some("192.0.2.1")), ["10.0.0.0", "10.0.0.1", "10.0.0.2"]);
        assert_eq!(all("10.0.0.0/30", Some("fd00::1")), ["10.0.0.0", "10.0.0.1", "10.0.0.2"]);
        assert_eq!(all("10.0.0.7/32", None), ["10.0.0.7"]);
        assert_eq!(all("fd00::/126", Some("fd00::1")), ["fd00::", "fd00::2", "fd00::3"]);
        assert_eq!(default_gateway(net("10.0.0.7/32")), None);
        assert_eq!(default_gateway(net("10.0.0.6/31")), "10.0.0.7".parse().ok());
    }
}
