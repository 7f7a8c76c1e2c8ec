//! The frames by which an address is announced in its network: ARP (RFC 826, RFC 5227) and neighbour discovery
//! (RFC 4861). Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A hardware address.
pub(super) type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ARP_REQUEST: u16 = 1;
const ICMPV6: u8 = 58;
const ADVERTISEMENT: u8 = 136;
/// Flag of an advertisement: what is remembered of the address is to be replaced.
const OVERRIDE: u8 = 0x20;
/// Option of an advertisement: the hardware address that has the target.
const TARGET_LINK_ADDRESS: u8 = 2;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Says that an address is here now: an ARP announcement (RFC 5227, section 3), or an unsolicited neighbour
/// advertisement (RFC 4861, section 7.2.6).
pub(super) fn announcement(mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => arp_request(mac, v4, v4),
        IpAddr::V6(v6) => {
            let mut message = vec![ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
            message.extend(v6.octets());
            message.extend([TARGET_LINK_ADDRESS, 1]);
            message.extend(mac);
            icmpv6(mac, v6, ALL_NODES, &message)
        }
    }
}

fn ethernet(to: Mac, from: Mac, ethertype: u16) -> Vec<u8> {
    [to.as_slice(), &from, &ethertype.to_be_bytes()].concat()
}

/// To everybody, from an address, for the one that is asked for.
fn arp_request(mac: Mac, from: Ipv4Addr, about: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, ETHERTYPE_ARP);
    // Hardware Ethernet, protocol IPv4, and the lengths of their addresses.
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(ARP_REQUEST.to_be_bytes());
    frame.extend(mac);
    frame.extend(from.octets());
    frame.extend([0; 6]);
    frame.extend(about.octets());
    frame
}

/// A message of ICMP for IPv6 to a multicast address; its checksum is still 0.
fn icmpv6(mac: Mac, from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let [.., a, b, c, d] = to.octets();
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut frame = ethernet([0x33, 0x33, a, b, c, d], mac, ETHERTYPE_IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    // The hop limit shows that no router has passed it on.
    frame.extend([ICMPV6, 255]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    let checksum_at = frame.len() + 2;
    frame.extend(message);
    let checksum = checksum(from, to, message);
    frame[checksum_at..checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// The checksum of a message of ICMP for IPv6 (RFC 8200, section 8.1); 0 for one that has its checksum in it.
fn checksum(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let words = from.segments().into_iter().chain(to.segments()).map(u32::from);
    let halves =
        message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut sum = words.chain(halves).fold(length + u32::from(ICMPV6), |sum, word| sum + word);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = [2, 0, 0, 0, 0, 1];

    #[test]
    fn announcements_are_what_the_standards_say() {
        let frame = announcement(OWN, [192, 0, 2, 9].into());
        let expected = "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 c0000209 000000000000 \
                        c0000209";
        assert_eq!(hex(&frame), expected.replace(' ', ""));
        let target: Ipv6Addr = "2001:db8::9".parse().expect("address");
        let frame = announcement(OWN, target.into());
        assert_eq!(hex(&frame[..20]), "333300000001 020000000001 86dd 60000000 0020".replace(' ', ""));
        assert_eq!(&frame[20..22], [ICMPV6, 255]);
        let message = &frame[54..];
        assert_eq!((message[0], message[4], &message[24..]), (136, 0x20, &[2, 1, 2, 0, 0, 0, 0, 1][..]));
        assert_eq!(checksum(target, ALL_NODES, message), 0);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    }
}
