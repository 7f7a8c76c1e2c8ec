//! The frames by which an address is announced in its network: ARP (RFC 826, RFC 5227) and neighbour discovery
//! (RFC 4861). Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A hardware address.
pub(super) type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// In ARP: hardware Ethernet, protocol IPv4, and the lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_REQUEST: u16 = 1;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Flag of an advertisement: what is remembered of the address is to be replaced.
const OVERRIDE: u8 = 0x20;
/// Option of an advertisement: the hardware address that has the target.
const TARGET_LINK_ADDRESS: u8 = 2;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Asks whether anybody has an address that nobody is known to have: an ARP probe (RFC 5227, section 2.1.1), or the
/// neighbour solicitation of duplicate address detection (RFC 4862, section 5.4.2).
pub(super) fn probe(mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => arp_request(mac, Ipv4Addr::UNSPECIFIED, v4),
        IpAddr::V6(v6) => {
            let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
            message.extend(v6.octets());
            icmpv6(mac, Ipv6Addr::UNSPECIFIED, solicited_node(v6), &message)
        }
    }
}

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

/// The group of all nodes with addresses that end like this one (RFC 4291, section 2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., middle, last] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (middle & 0xff), last)
}

/// Who shows by a frame that it has an address or is about to take it; nobody if the frame is `own`.
pub(super) fn claimant(frame: &[u8], own: Mac, address: IpAddr) -> Option<Mac> {
    let sender: Mac = *frame.get(6..)?.first_chunk()?;
    let ethertype = u16::from_be_bytes(*frame.get(12..)?.first_chunk()?);
    let payload = &frame[14..];
    let found = match (ethertype, address) {
        (ETHERTYPE_ARP, IpAddr::V4(v4)) => claimant_by_arp(payload, v4),
        (ETHERTYPE_IPV6, IpAddr::V6(v6)) => claimant_by_icmpv6(payload, sender, v6),
        _ => None,
    };
    found.filter(|mac| *mac != own && sender != own)
}

/// Whoever has the address as its own in any packet, or probes for it too.
fn claimant_by_arp(packet: &[u8], address: Ipv4Addr) -> Option<Mac> {
    if packet.get(..6)? != ETHERNET_IPV4 {
        return None;
    }
    let request = *packet.get(6..8)? == ARP_REQUEST.to_be_bytes();
    let sender: Mac = *packet.get(8..)?.first_chunk()?;
    let from = Ipv4Addr::from(*packet.get(14..)?.first_chunk::<4>()?);
    let about = Ipv4Addr::from(*packet.get(24..)?.first_chunk::<4>()?);
    let probes = request && from.is_unspecified() && about == address;
    (from == address || probes).then_some(sender)
}

/// Whoever advertises the address, by the hardware address that it tells if it tells one; or probes for it too.
fn claimant_by_icmpv6(packet: &[u8], sender: Mac, address: Ipv6Addr) -> Option<Mac> {
    // A router would have made the hop limit smaller.
    if packet.get(6..8)? != [ICMPV6, 255] {
        return None;
    }
    let from = Ipv6Addr::from(*packet.get(8..)?.first_chunk::<16>()?);
    let message = packet.get(40..)?;
    let target = Ipv6Addr::from(*message.get(8..)?.first_chunk::<16>()?);
    if target != address {
        return None;
    }
    match *message.first()? {
        ADVERTISEMENT => {
            let option = message.get(24..).filter(|option| option.starts_with(&[TARGET_LINK_ADDRESS, 1]));
            Some(option.and_then(|option| option.get(2..)?.first_chunk().copied()).unwrap_or(sender))
        }
        SOLICITATION if from.is_unspecified() => Some(sender),
        _ => None,
    }
}

fn ethernet(to: Mac, from: Mac, ethertype: u16) -> Vec<u8> {
    [to.as_slice(), &from, &ethertype.to_be_bytes()].concat()
}

/// To everybody, from an address, for the one that is asked for.
fn arp_request(mac: Mac, from: Ipv4Addr, about: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, ETHERTYPE_ARP);
    frame.extend(ETHERNET_IPV4);
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

    #[test]
    fn probes_are_what_the_standards_say() {
        let frame = probe(OWN, [192, 0, 2, 9].into());
        let expected = "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 00000000 000000000000 \
                        c0000209";
        assert_eq!(hex(&frame), expected.replace(' ', ""));
        let target: Ipv6Addr = "2001:db8::a1b2:c3d4".parse().expect("address");
        let frame = probe(OWN, target.into());
        assert_eq!(hex(&frame[..12]), "3333ffb2c3d4020000000001");
        let to: Ipv6Addr = "ff02::1:ffb2:c3d4".parse().expect("address");
        assert_eq!((&frame[22..38], &frame[38..54]), (&[0; 16][..], &to.octets()[..]));
        let message = &frame[54..];
        assert_eq!((message[0], &message[8..]), (135, &target.octets()[..]));
        assert_eq!(checksum(Ipv6Addr::UNSPECIFIED, to, message), 0);
    }

    #[test]
    fn who_claims_an_address() {
        let other: Mac = [2, 0, 0, 0, 0, 9];
        for address in ["192.0.2.9", "2001:db8::9"] {
            let address: IpAddr = address.parse().expect("address");
            let elsewhere: IpAddr = if address.is_ipv4() { [192, 0, 2, 8].into() } else { [1; 16].into() };
            for frame in [probe(other, address), announcement(other, address)] {
                assert_eq!(claimant(&frame, OWN, address), Some(other));
                assert_eq!(claimant(&frame, other, address), None, "its own");
                assert_eq!(claimant(&frame, OWN, elsewhere), None);
                for end in 0..frame.len() {
                    let found = claimant(&frame[..end], OWN, address);
                    assert!(found.is_none() || found == Some(other), "cut at {end}");
                }
            }
            assert_eq!(claimant(&announcement(other, elsewhere), OWN, address), None);
        }
        // Somebody who asks for an address has another one.
        let asks = arp_request(other, [192, 0, 2, 8].into(), [192, 0, 2, 9].into());
        assert_eq!(claimant(&asks, OWN, [192, 0, 2, 9].into()), None);
        let mut routed = announcement(other, "2001:db8::9".parse().expect("address"));
        routed[21] = 254;
        assert_eq!(claimant(&routed, OWN, "2001:db8::9".parse().expect("address")), None, "from elsewhere");
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    }
}
