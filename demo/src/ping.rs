//! ICMP echo (RFC 792) and its counterpart of IPv6 (RFC 4443).

use anyhow::{Context, Result, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

const ATTEMPTS: u16 = 10;
const PATIENCE: Duration = Duration::from_millis(500);
const REQUEST_LEN: usize = 40;

/// Round-trip time to an address from this thread's namespace. Tries again for a few seconds, as an
/// interface may just have come up.
pub(crate) fn ping(to: IpAddr) -> Result<Duration> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).context("a raw socket")?;
    // The standard library's socket calls fit a raw socket as well.
    let socket = UdpSocket::from(socket);
    let id = u16::try_from(std::process::id() & 0xffff).unwrap_or(1);
    for sequence in 1..=ATTEMPTS {
        let start = Instant::now();
        if let Err(error) = socket.send_to(&request(to, id, sequence), (to, 0)) {
            let passing = matches!(error.kind(), ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable);
            if !passing || sequence == ATTEMPTS {
                return Err(error).with_context(|| format!("can't send to {to}"));
            }
        }
        if answered(&socket, to, id, sequence, start)? {
            return Ok(start.elapsed());
        }
    }
    bail!("{to} does not answer")
}

fn answered(socket: &UdpSocket, to: IpAddr, id: u16, sequence: u16, start: Instant) -> Result<bool> {
    let mut packet = [0; 1_500];
    loop {
        let left = PATIENCE.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv_from(&mut packet) {
            Ok((length, from)) => {
                if from.ip() == to && is_reply(&packet[..length], to, id, sequence) {
                    return Ok(true);
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn request(to: IpAddr, id: u16, sequence: u16) -> [u8; REQUEST_LEN] {
    let mut packet = [0; REQUEST_LEN];
    packet[0] = if to.is_ipv4() { 8 } else { 128 };
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    // Of IPv6 the kernel fills it in, as the source address is part of it.
    if to.is_ipv4() {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

fn is_reply(packet: &[u8], from: IpAddr, id: u16, sequence: u16) -> bool {
    // A raw IPv4 socket delivers the IP header as well; its length stands in the first byte, in words.
    let (header, kind) = match (from, packet.first()) {
        (IpAddr::V4(_), Some(first)) => (usize::from(first & 0x0f) * 4, 0),
        _ => (0, 129),
    };
    let expected = [id.to_be_bytes(), sequence.to_be_bytes()].concat();
    packet.get(header..).is_some_and(|echo| echo.first() == Some(&kind) && echo.get(4..8) == Some(&expected))
}

/// RFC 1071.
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn a_checked_packet_sums_to_zero() {
        let packet = request(Ipv4Addr::LOCALHOST.into(), 0x1234, 0xabcd);
        assert_ne!(packet[2..4], [0, 0]);
        assert_eq!(checksum(&packet), 0);
        assert_eq!(checksum(&[0xff, 0xff, 0x01]), !0x0100);
    }

    #[test]
    fn only_the_reply_to_the_request_counts() {
        let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet.extend([0, 0, 0, 0, 0, 7, 0, 9]);
        assert!(is_reply(&packet, v4, 7, 9));
        assert!(!is_reply(&packet, v4, 7, 8));
        assert!(!is_reply(&packet[..24], v4, 7, 9));
        packet[20] = 8;
        assert!(!is_reply(&packet, v4, 7, 9), "a request");
        assert!(is_reply(&[129, 0, 0, 0, 0, 7, 0, 9], v6, 7, 9));
        assert!(!is_reply(&[], v6, 7, 9));
    }
}
