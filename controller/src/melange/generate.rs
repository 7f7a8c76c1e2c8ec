//! The address that an interface gets in an IPv6 block.

use common::ipam::{Range, number};
use common::mac::MacAddress;
use common::name::TenantId;
use ipnet::IpNet;
use sha1::{Digest, Sha1};
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// How IPv6 addresses are generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generator {
    /// Of the tenant and the last three octets of the MAC address.
    Tenant,
    /// Of the MAC address: the modified EUI-64 of RFC 2462.
    Eui64,
}

impl Generator {
    /// The address that a block has for an interface. Another one may have it already.
    pub(super) fn address(self, cidr: IpNet, tenant: &TenantId, mac: MacAddress) -> IpAddr {
        let MacAddress([vendor @ .., fourth, fifth, sixth]) = mac;
        let host = match self {
            Self::Tenant => {
                let hash = Sha1::digest(tenant.as_str().as_bytes());
                u64::from_be_bytes([hash[0], hash[1], hash[2], hash[3], 0xff, fourth, fifth, sixth])
            }
            // The bit that says that the octets are unique in the world is inverted (RFC 4291, appendix A).
            Self::Eui64 => {
                let [first, second, third] = vendor;
                u64::from_be_bytes([first ^ 2, second, third, 0xff, 0xfe, fourth, fifth, sixth])
            }
        };
        // Of a block that is smaller than the host part, as many bits as it has.
        let block = Range::of_net(cidr);
        let within = u128::from(host) & (block.last() - block.first());
        Ipv6Addr::from_bits(number(cidr.network()) | within).into()
    }
}

/// A text names no way to generate addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is neither tenant nor eui64")]
pub struct UnknownGenerator;

impl FromStr for Generator {
    type Err = UnknownGenerator;

    fn from_str(text: &str) -> Result<Self, UnknownGenerator> {
        match text {
            "tenant" => Ok(Self::Tenant),
            "eui64" => Ok(Self::Eui64),
            _ => Err(UnknownGenerator),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_algorithms() {
        let tenant = TenantId::new("tenant").expect("id");
        let mac: MacAddress = "00:16:3e:aa:bb:cc".parse().expect("MAC address");
        for (generator, cidr, expected) in [
            // sha1("tenant") begins with 0e6aa4f1.
            (Generator::Tenant, "fe::/64", "fe::HASH:ffaa:bbcc"),
            (Generator::Eui64, "fe::/64", "fe::216:3eff:feaa:bbcc"),
            (Generator::Eui64, "fd00:1:2::/48", "fd00:1:2::216:3eff:feaa:bbcc"),
            (Generator::Eui64, "fd00::ff00/120", "fd00::ffcc"),
            (Generator::Tenant, "fd00::7/128", "fd00::7"),
        ] {
            let hash = Sha1::digest(b"tenant");
            let hash = format!("{:02x}{:02x}:{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3]);
            let expected: IpAddr = expected.replace("HASH", &hash).parse().expect("address");
            let cidr: IpNet = cidr.parse().expect("net");
            assert_eq!(generator.address(cidr, &tenant, mac), expected, "{generator:?} {cidr}");
        }
    }
}
