//! Blocks of addresses that tenants have, of which single addresses are given: what of a block can be given, by itself or
//! by the pool that it backs.

use super::addr::{Family, Range, number};
use super::space::{Space, normalise};
use crate::name::{BlockId, TenantId};
use ipnet::{IpNet, IpSubnets, Ipv4Subnets, Ipv6Subnets};
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

/// A block of a tenant, written `TENANT/BLOCK`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantBlock {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its id.
    pub block: BlockId,
}

impl fmt::Display for TenantBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.block)
    }
}

impl FromStr for TenantBlock {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A tenant's id may have any character in it.
        let (tenant, block) = text.rsplit_once('/').ok_or("it must be TENANT/BLOCK")?;
        let tenant = tenant.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { tenant, block: block.parse().map_err(|error| format!("{error}"))? })
    }
}

impl TryFrom<String> for TenantBlock {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TenantBlock> for String {
    fn from(block: TenantBlock) -> Self {
        block.to_string()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for TenantBlock {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        crate::openapi::text(
            "a tenant, / and the id of its block",
            r"^[^\x00-\x1f\x7f-\x9f]+/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
            "acme/01a1ff4f-de69-75d7-b160-dd3f860eadbd",
            255 + 1 + 36,
        )
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for TenantBlock {}

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
        Space::new(Family::of(cidr.addr()), 0, &[Range::of_net(cidr)], &self.excluded(cidr, gateway))
            .unwrap_or_else(|error| unreachable!("single addresses of one family: {error}"))
            .without_octets(&self.octets)
    }

    /// The rest of the block, which is never given, as networks: what a pool excludes that has the block's addresses.
    /// `None` if there are more than `most`.
    pub fn exclusions(&self, cidr: IpNet, gateway: Option<IpAddr>, most: usize) -> Option<Vec<IpNet>> {
        let mut excluded = self.excluded(cidr, gateway);
        excluded.extend(self.octets_in(cidr, most)?);
        let runs = normalise(&excluded).into_iter();
        let nets = runs.flat_map(|(first, last)| networks(Family::of(cidr.addr()), first, last));
        let nets: Vec<IpNet> = nets.take(most.saturating_add(1)).collect();
        (nets.len() <= most).then_some(nets)
    }

    /// Gateway, broadcast address, and the ranges that are forbidden, as far as they are in the block.
    fn excluded(&self, cidr: IpNet, gateway: Option<IpAddr>) -> Vec<Range> {
        let ranges = self.ranges.iter().filter_map(|(offset, length)| Self::range(cidr, *offset, *length));
        let own = [gateway, broadcast(cidr)].into_iter().flatten().filter(|address| cidr.contains(address));
        own.map(|address| Range::of_net(address.into())).chain(ranges).collect()
    }

    /// The addresses of a block that end in forbidden octets; `None` if these are surely more than `most` networks.
    fn octets_in(&self, cidr: IpNet, most: usize) -> Option<Vec<Range>> {
        let mut octets = self.octets.clone();
        octets.sort_unstable();
        octets.dedup();
        let block = Range::of_net(cidr);
        if octets.is_empty() {
            return Some(Vec::new());
        }
        if octets.len() == 256 {
            return Some(vec![block]);
        }
        // Each 256 addresses have a run of them that is not joined to any other but one.
        let chunks = (block.first() >> 8)..=(block.last() >> 8);
        if chunks.end() - chunks.start() > most as u128 {
            return None;
        }
        let of_chunk = |chunk: u128| octets.iter().map(move |octet| chunk << 8 | u128::from(*octet));
        let addresses = chunks.flat_map(of_chunk).map(|number| block.family().address(number));
        let inside = addresses.filter(|address| block.contains(*address));
        Some(inside.map(|address| Range::of_net(address.into())).collect())
    }
}

/// A run of addresses as networks, the fewest there can be.
fn networks(family: Family, first: u128, last: u128) -> IpSubnets {
    match (family.address(first), family.address(last)) {
        (IpAddr::V4(first), IpAddr::V4(last)) => IpSubnets::V4(Ipv4Subnets::new(first, last, 0)),
        (IpAddr::V6(first), IpAddr::V6(last)) => IpSubnets::V6(Ipv6Subnets::new(first, last, 0)),
        _ => unreachable!("both are of the one family"),
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

    #[test]
    fn what_a_pool_excludes() {
        let forbidden = |ranges: &[(i64, u64)], octets: &[u8]| Forbidden {
            ranges: ranges.to_vec(),
            octets: octets.to_vec(),
        };
        let shown = |forbidden: &Forbidden, cidr: &str, gateway: &str, most: usize| {
            let nets = forbidden.exclusions(net(cidr), gateway.parse().ok(), most)?;
            Some(nets.iter().map(IpNet::to_string).collect::<Vec<_>>().join(" "))
        };
        let none = Forbidden::default();
        for (forbidden, cidr, gateway, expected) in [
            (&none, "10.0.0.0/24", "10.0.0.1", "10.0.0.1/32 10.0.0.255/32"),
            (&none, "10.0.0.0/24", "192.0.2.1", "10.0.0.255/32"),
            (&none, "10.0.0.0/24", "fd00::1", "10.0.0.255/32"),
            (&none, "fd00::/64", "fd00::1", "fd00::1/128"),
            (&none, "10.0.0.7/32", "", ""),
            (&forbidden(&[(-8, 8), (0, 2)], &[]), "10.0.0.0/24", "10.0.0.1", "10.0.0.0/31 10.0.0.248/29"),
            (
                &forbidden(&[], &[0, 255, 0]),
                "10.0.0.0/23",
                "10.0.0.1",
                "10.0.0.0/31 10.0.0.255/32 10.0.1.0/32 10.0.1.255/32",
            ),
            (&forbidden(&[], &[9, 77]), "10.0.0.0/28", "10.0.0.9", "10.0.0.9/32 10.0.0.15/32"),
            (&forbidden(&[(0, u64::MAX)], &[]), "0.0.0.0/0", "", "0.0.0.0/0"),
            (&forbidden(&[], &(0..=255).collect::<Vec<u8>>()), "fd00::/64", "", "fd00::/64"),
            (&forbidden(&[], &[0xff]), "fd00::/119", "", "fd00::ff/128 fd00::1ff/128"),
        ] {
            assert_eq!(shown(forbidden, cidr, gateway, 1_000).as_deref(), Some(expected), "{cidr}");
        }
        let octet = forbidden(&[], &[13]);
        assert_eq!(octet.exclusions(net("10.0.0.0/16"), None, 257).map(|nets| nets.len()), Some(257));
        for (cidr, most) in
            [("10.0.0.0/16", 256), ("10.0.0.0/8", 1_000), ("fd00::/64", 1_000), ("::/0", 1_000)]
        {
            assert_eq!(octet.exclusions(net(cidr), None, most), None, "{cidr}");
        }
    }

    /// Whatever is forbidden: the pool has exactly what the block would give by itself.
    #[test]
    fn a_pool_gives_what_its_block_would() {
        let forbidden =
            Forbidden { ranges: vec![(3, 9), (-40, 7), (600, 1)], octets: vec![0, 1, 2, 77, 128, 255] };
        let cidr = net("10.9.8.0/21");
        let gateway = Some("10.9.8.9".parse().expect("address"));
        let own = forbidden.space(cidr, gateway);
        let excluded = forbidden.exclusions(cidr, gateway, 1_000).expect("few enough");
        for address in cidr.hosts().chain([cidr.network(), cidr.broadcast()]) {
            let of_pool = !excluded.iter().any(|net| net.contains(&address));
            assert_eq!(own.contains(address), of_pool, "{address}");
        }
    }

    #[test]
    fn a_tenants_block_as_text() {
        let id = "01a1ff4f-de69-75d7-b160-dd3f860eadbd";
        for tenant in ["acme", "a/b", "50% ü"] {
            let text = format!("{tenant}/{id}");
            let block: TenantBlock = text.parse().expect("a block");
            assert_eq!((block.tenant.as_str(), block.to_string()), (tenant, text));
        }
        for bad in ["", "acme", "acme/", &format!("/{id}"), "acme/x", &format!("acme/{id}/")] {
            assert!(bad.parse::<TenantBlock>().is_err(), "{bad}");
        }
    }
}
