//! The neighbours of a container's interface: who else is in its network. They are spoken to by raw frames, as the
//! kernel announces nothing by itself.

use super::frame::{self, Mac};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How often each address is asked for (RFC 5227 `PROBE_NUM`).
const PROBES: u32 = 3;
/// The time for answers to each. The standard waits for seconds, for networks slower than those of data centres, and
/// a container would wait too.
const PAUSE: Duration = Duration::from_millis(100);
/// No frame that matters is longer than this.
const FRAME: usize = 256;

/// A socket for frames of one interface.
#[derive(Debug)]
pub(super) struct Neighbours {
    socket: OwnedFd,
    mac: Mac,
}

impl Neighbours {
    /// Those of an interface of the namespace that the thread is in.
    pub(super) fn of(interface: &str) -> Result<Self, Errno> {
        let of_interface = |link: nix::ifaddrs::InterfaceAddress| {
            let address = link.address.filter(|_| link.interface_name == interface)?;
            address.as_link_addr().copied()
        };
        let link: LinkAddr = getifaddrs()?.find_map(of_interface).ok_or(Errno::ENODEV)?;
        let mac = link.addr().ok_or(Errno::EADDRNOTAVAIL)?;
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
        bind(socket.as_raw_fd(), &link)?;
        Ok(Self { socket, mac })
    }

    /// Tells all of them that addresses are here now, whatever they remember.
    pub(super) fn announce(&self, addresses: &[IpAddr]) -> Result<(), Errno> {
        addresses.iter().try_for_each(|address| self.send(&frame::announcement(self.mac, *address)))
    }

    /// Asks whether any of the addresses, which the interface does not have yet, is in use; gives the first one of which
    /// somebody says so, and its hardware address.
    pub(super) fn find_claimant(&self, addresses: &[IpAddr]) -> Result<Option<(IpAddr, Mac)>, Errno> {
        // What came in before the socket was bound may be of another interface.
        while self.receive(&mut [0; FRAME], MsgFlags::MSG_DONTWAIT)?.is_some() {}
        for _ in 0..PROBES {
            for address in addresses {
                self.send(&frame::probe(self.mac, *address))?;
            }
            let until = Instant::now() + PAUSE;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                // 0 would be for ever.
                let micros = i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1);
                setsockopt(&self.socket, ReceiveTimeout, &TimeVal::microseconds(micros))?;
                let mut frame = [0; FRAME];
                let Some(length) = self.receive(&mut frame, MsgFlags::empty())? else { continue };
                let claims = |address: &IpAddr| {
                    Some((*address, frame::claimant(&frame[..length], self.mac, *address)?))
                };
                if let Some(found) = addresses.iter().find_map(claims) {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// The length of the next frame; `None` if none came in time.
    fn receive(&self, frame: &mut [u8], flags: MsgFlags) -> Result<Option<usize>, Errno> {
        match recv(self.socket.as_raw_fd(), frame, flags) {
            Ok(length) => Ok(Some(length)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn send(&self, frame: &[u8]) -> Result<(), Errno> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).map(|_| ())
    }
}
