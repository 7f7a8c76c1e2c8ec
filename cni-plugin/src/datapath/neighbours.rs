//! The neighbours of a container's interface: who else is in its network. They are spoken to by raw frames, as the
//! kernel announces nothing by itself.

use super::frame::{self, Mac};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, send, socket,
};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

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

    fn send(&self, frame: &[u8]) -> Result<(), Errno> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).map(|_| ())
    }
}
