//! Pools of single addresses: a namespace's pool, and the parts of it that are set aside for services.
//!
//! Invariants: a service's range lies within its namespace pool's, and the ranges of services are disjoint; the
//! gateway, the first and the last address of the subnet are in no range.

use super::addr::{Family, Range, number};
use super::space::Space;
use crate::name::PodText;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What an interface needs to know of the network that its address is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Segment {
    /// Prefix length of the subnet.
    pub prefix: u8,
    /// Gateway of the subnet.
    pub gateway: IpAddr,
    /// VLAN id; 0 means untagged.
    pub vlan: u16,
}

/// Two addresses of one family in order, both included. As text: `10.0.0.5-10.0.0.24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first address.
    pub start: IpAddr,
    /// The last address.
    pub end: IpAddr,
}

impl Span {
    /// The addresses as a range. What is in the wrong order is only its first address: a record in the store is
    /// checked before it is written.
    pub fn range(&self) -> Range {
        Range::new(self.start, self.end).unwrap_or_else(|| Range::of_net(self.start.into()))
    }

    /// How many addresses it has; all of IPv6 count one less than they are.
    pub fn total(&self) -> u128 {
        let range = self.range();
        (range.last() - range.first()).saturating_add(1)
    }
}

/// What makes a pool of addresses invalid. The texts name the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressPoolError {
    /// The subnet has bits set beyond its prefix.
    #[error("subnet {subnet} has host bits set; did you mean {meant}?")]
    HostBits {
        /// As given.
        subnet: IpNet,
        /// The network that contains it.
        meant: IpNet,
    },
    /// The subnet has no room for a gateway and an address.
    #[error("subnet {0} is smaller than /{1}")]
    SubnetTooSmall(IpNet, u8),
    /// The range given by `cidr` has bits set beyond its prefix.
    #[error("cidr {cidr} has host bits set; did you mean {meant}?")]
    RangeHostBits {
        /// As given.
        cidr: IpNet,
        /// The network that contains it.
        meant: IpNet,
    },
    /// Neither `start` and `end` nor `cidr` are given.
    #[error("{0} is missing: give start and end, or cidr")]
    NoRange(&'static str),
    /// `cidr` says something else than `start` and `end`.
    #[error("cidr {0} contradicts start and end: give one of the two")]
    TwoRanges(IpNet),
    /// The range ends before it starts.
    #[error("start {start} is behind end {end}")]
    Order {
        /// First address.
        start: IpAddr,
        /// Last address.
        end: IpAddr,
    },
    /// An address is not of the subnet.
    #[error("{field} {address} is not in subnet {subnet}")]
    Outside {
        /// Name of the field.
        field: &'static str,
        /// The address.
        address: IpAddr,
        /// The subnet.
        subnet: IpNet,
    },
    /// Only the network's and the broadcast address are in the range.
    #[error("the range has no address but the first and the last of subnet {0}, which are never given")]
    NothingLeft(IpNet),
    /// The gateway would be given to a pod.
    #[error("gateway {gateway} lies in the range {start}-{end}; it must be outside")]
    GatewayInside {
        /// The gateway.
        gateway: IpAddr,
        /// First address.
        start: IpAddr,
        /// Last address.
        end: IpAddr,
    },
    /// The gateway is an address that no interface can have.
    #[error("gateway {gateway} is the first or the last address of subnet {subnet}")]
    GatewayAtEnd {
        /// The gateway.
        gateway: IpAddr,
        /// The subnet.
        subnet: IpNet,
    },
    /// The VLAN id is none.
    #[error("vlanid {0} is not between 0 and {max}", max = NamespacePool::MAX_VLAN)]
    Vlan(i64),
}

/// A range as clients write it: by its ends, or as a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RangeSpec {
    /// The first address.
    pub start: Option<IpAddr>,
    /// The last address.
    pub end: Option<IpAddr>,
    /// The network instead.
    pub cidr: Option<IpNet>,
}

impl RangeSpec {
    /// The addresses of the range that can be given in a subnet, and the network that stands for it: `cidr` if it
    /// was given alone, else the subnet.
    pub fn resolve(&self, subnet: IpNet) -> Result<(Span, IpNet), AddressPoolError> {
        let by_cidr = self.cidr.map(|cidr| of_network(cidr, subnet));
        match (self.start, self.end) {
            (Some(start), Some(end)) => {
                let span = by_ends(start, end, subnet)?;
                match self.cidr {
                    None => Ok((span, subnet)),
                    Some(cidr) if cidr == subnet => Ok((span, subnet)),
                    // As a pool is shown, so it can be given again.
                    Some(cidr) if by_cidr == Some(Ok(span)) => Ok((span, cidr)),
                    Some(cidr) => Err(AddressPoolError::TwoRanges(cidr)),
                }
            }
            (None, None) => match (self.cidr, by_cidr) {
                (Some(cidr), Some(span)) => Ok((span?, cidr)),
                _ => Err(AddressPoolError::NoRange("start")),
            },
            (None, Some(_)) => Err(AddressPoolError::NoRange("start")),
            (Some(_), None) => Err(AddressPoolError::NoRange("end")),
        }
    }
}

fn of_network(cidr: IpNet, subnet: IpNet) -> Result<Span, AddressPoolError> {
    if cidr.trunc() != cidr {
        return Err(AddressPoolError::RangeHostBits { cidr, meant: cidr.trunc() });
    }
    for address in [cidr.network(), cidr.broadcast()] {
        must_contain(subnet, "cidr", address)?;
    }
    trimmed(cidr.network(), cidr.broadcast(), subnet)
}

fn by_ends(start: IpAddr, end: IpAddr, subnet: IpNet) -> Result<Span, AddressPoolError> {
    must_contain(subnet, "start", start)?;
    must_contain(subnet, "end", end)?;
    if start > end {
        return Err(AddressPoolError::Order { start, end });
    }
    trimmed(start, end, subnet)
}

fn must_contain(subnet: IpNet, field: &'static str, address: IpAddr) -> Result<(), AddressPoolError> {
    if subnet.contains(&address) { Ok(()) } else { Err(AddressPoolError::Outside { field, address, subnet }) }
}

/// The range without the subnet's first and last address.
fn trimmed(start: IpAddr, end: IpAddr, subnet: IpNet) -> Result<Span, AddressPoolError> {
    let family = Family::of(start);
    let first = number(start).max(number(subnet.network()) + 1);
    let last = number(end).min(number(subnet.broadcast()) - 1);
    if first > last {
        return Err(AddressPoolError::NothingLeft(subnet));
    }
    Ok(Span { start: family.address(first), end: family.address(last) })
}

/// `nspool/<namespace>/<pool>`: a namespace's pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespacePool {
    /// The subnet that the addresses are in.
    pub subnet: IpNet,
    /// The addresses.
    #[serde(flatten)]
    pub span: Span,
    /// The network by which the range was given; the subnet if it was given by its ends.
    pub cidr: IpNet,
    /// The gateway of the subnet.
    pub gateway: IpAddr,
    /// VLAN id; 0 means untagged.
    pub vlan: u16,
    /// A disabled pool gives nothing new; what is held stays held.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// What of the range is set aside for services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceRange>,
}

/// A part of a namespace's pool that is set aside for a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRange {
    /// Name of the service's pool.
    pub name: PodText,
    /// Its addresses.
    #[serde(flatten)]
    pub span: Span,
}

impl NamespacePool {
    /// The largest VLAN id (IEEE 802.1Q; 4095 is reserved).
    pub const MAX_VLAN: u16 = 4094;

    /// A pool of these addresses.
    pub fn new(
        subnet: IpNet,
        range: RangeSpec,
        gateway: IpAddr,
        vlan: i64,
    ) -> Result<Self, AddressPoolError> {
        if subnet.trunc() != subnet {
            return Err(AddressPoolError::HostBits { subnet, meant: subnet.trunc() });
        }
        let smallest = subnet.max_prefix_len() - 2;
        if subnet.prefix_len() > smallest {
            return Err(AddressPoolError::SubnetTooSmall(subnet, smallest));
        }
        let (span, cidr) = range.resolve(subnet)?;
        must_contain(subnet, "gateway", gateway)?;
        if gateway == subnet.network() || gateway == subnet.broadcast() {
            return Err(AddressPoolError::GatewayAtEnd { gateway, subnet });
        }
        if span.range().contains(gateway) {
            return Err(AddressPoolError::GatewayInside { gateway, start: span.start, end: span.end });
        }
        let vlan = u16::try_from(vlan)
            .ok()
            .filter(|vlan| *vlan <= Self::MAX_VLAN)
            .ok_or(AddressPoolError::Vlan(vlan))?;
        Ok(Self { subnet, span, cidr, gateway, vlan, disabled: false, services: Vec::new() })
    }

    /// The family of the addresses.
    pub fn family(&self) -> Family {
        Family::of(self.span.start)
    }

    /// What an interface with one of the addresses needs.
    pub fn segment(&self) -> Segment {
        Segment { prefix: self.subnet.prefix_len(), gateway: self.gateway, vlan: self.vlan }
    }

    /// The addresses that pods get which are of no service.
    pub fn space(&self) -> Space {
        let reserved: Vec<Range> = self.services.iter().map(|service| service.span.range()).collect();
        space(&self.span, &reserved)
    }

    /// The part of a service that has an address.
    pub fn service_of(&self, address: IpAddr) -> Option<&ServiceRange> {
        self.services.iter().find(|service| service.span.range().contains(address))
    }

    /// How many addresses are set aside for services.
    pub fn reserved(&self) -> u128 {
        self.services.iter().fold(0, |sum, service| sum.saturating_add(service.span.total()))
    }
}

/// `svcpool/<namespace>/<pool>`: a service's pool. It has all that is needed to give one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePool {
    /// The namespace's pool that it is a part of.
    pub pool: PodText,
    /// The service.
    pub service: PodText,
    /// The addresses.
    #[serde(flatten)]
    pub span: Span,
    /// The network by which the range was given; the subnet if it was given by its ends.
    pub cidr: IpNet,
    /// The network of the namespace's pool.
    #[serde(flatten)]
    pub segment: Segment,
    /// A disabled pool gives nothing new; what is held stays held.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

impl ServicePool {
    /// The family of the addresses.
    pub fn family(&self) -> Family {
        Family::of(self.span.start)
    }

    /// The addresses that the service's pods get.
    pub fn space(&self) -> Space {
        space(&self.span, &[])
    }
}

fn space(span: &Span, exclusions: &[Range]) -> Space {
    let family = Family::of(span.start);
    let exclusions: Vec<Range> =
        exclusions.iter().copied().filter(|range| range.family() == family).collect();
    Space::new(family, 0, &[span.range()], &exclusions)
        .unwrap_or_else(|error| unreachable!("single addresses of one family: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    fn net(text: &str) -> IpNet {
        text.parse().expect("net")
    }

    fn ends(start: &str, end: &str) -> RangeSpec {
        RangeSpec { start: Some(ip(start)), end: Some(ip(end)), cidr: None }
    }

    fn cidr(text: &str) -> RangeSpec {
        RangeSpec { cidr: Some(net(text)), ..RangeSpec::default() }
    }

    fn pool(subnet: &str, range: RangeSpec, gateway: &str) -> Result<NamespacePool, AddressPoolError> {
        NamespacePool::new(net(subnet), range, ip(gateway), 100)
    }

    #[test]
    fn what_is_refused() {
        let good = ends("192.168.1.5", "192.168.1.24");
        let all = "192.168.1.0/24";
        for (outcome, reason) in [
            (pool("192.168.1.1/24", good, "192.168.1.1"), "did you mean 192.168.1.0/24?"),
            (pool("192.168.1.0/31", good, "192.168.1.1"), "smaller than /30"),
            (pool("fd00::/127", good, "fd00::1"), "smaller than /126"),
            (pool(all, ends("192.168.1.9", "192.168.1.8"), "192.168.1.1"), "start 192.168.1.9 is behind end"),
            (pool(all, ends("192.168.0.9", "192.168.1.8"), "192.168.1.1"), "start 192.168.0.9 is not in"),
            (pool(all, ends("192.168.1.9", "192.168.2.8"), "192.168.1.1"), "end 192.168.2.8 is not in"),
            (pool(all, ends("192.168.1.9", "fd00::1"), "192.168.1.1"), "end fd00::1 is not in"),
            (pool(all, ends("192.168.1.0", "192.168.1.0"), "192.168.1.1"), "no address but the first"),
            (pool(all, good, "192.168.2.1"), "gateway 192.168.2.1 is not in"),
            (pool(all, good, "192.168.1.255"), "gateway 192.168.1.255 is the first or the last"),
            (pool(all, good, "192.168.1.5"), "gateway 192.168.1.5 lies in the range"),
            (pool(all, cidr("192.168.1.0/28"), "192.168.1.1"), "gateway 192.168.1.1 lies in the range"),
            (pool(all, cidr("192.168.1.3/28"), "192.168.1.1"), "did you mean 192.168.1.0/28?"),
            (pool(all, cidr("192.168.0.0/16"), "192.168.1.1"), "cidr 192.168.0.0 is not in"),
            (pool(all, RangeSpec::default(), "192.168.1.1"), "start is missing"),
            (pool(all, RangeSpec { end: None, ..good }, "192.168.1.1"), "end is missing"),
            (
                pool(all, RangeSpec { cidr: Some(net("192.168.1.0/28")), ..good }, "192.168.1.1"),
                "contradicts start and end",
            ),
            (NamespacePool::new(net(all), good, ip("192.168.1.1"), 4095), "vlanid 4095"),
            (NamespacePool::new(net(all), good, ip("192.168.1.1"), -1), "vlanid -1"),
        ] {
            let error = outcome.expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn ends_of_the_subnet_are_trimmed() {
        let whole =
            pool("192.168.1.0/24", ends("192.168.1.128", "192.168.1.255"), "192.168.1.1").expect("valid");
        assert_eq!((whole.span.end, whole.span.total()), (ip("192.168.1.254"), 127));
        assert_eq!(whole.cidr, whole.subnet);
        let low = pool("192.168.1.0/24", cidr("192.168.1.0/28"), "192.168.1.254").expect("valid");
        assert_eq!(
            (low.span.start, low.span.total(), low.cidr),
            (ip("192.168.1.1"), 15, net("192.168.1.0/28"))
        );
        let again = RangeSpec { start: Some(low.span.start), end: Some(low.span.end), cidr: Some(low.cidr) };
        assert_eq!(pool("192.168.1.0/24", again, "192.168.1.254"), Ok(low));
        let v6 = pool("fd00::/64", cidr("fd00::/64"), "fd00::1").expect_err("the gateway is inside");
        assert!(matches!(v6, AddressPoolError::GatewayInside { .. }));
    }

    #[test]
    fn services_are_set_aside() {
        let mut pool = pool("10.0.0.0/24", ends("10.0.0.5", "10.0.0.24"), "10.0.0.1").expect("valid");
        let span = Span { start: ip("10.0.0.5"), end: ip("10.0.0.14") };
        pool.services.push(ServiceRange { name: PodText::new("svc").expect("name"), span });
        assert_eq!((pool.reserved(), pool.span.total()), (10, 20));
        let space = pool.space();
        assert_eq!(space.last_index(), Some(9));
        assert!(!space.contains(ip("10.0.0.14")) && space.contains(ip("10.0.0.15")));
    }
}
