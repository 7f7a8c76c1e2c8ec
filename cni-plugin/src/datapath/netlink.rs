//! A synchronous rtnetlink socket that sends several requests in one message. The kernel works them off in
//! order while it takes the message, so that a batch costs one system call and its replies are there at once.

use common::fault;
use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NetlinkBuffer, NetlinkHeader,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike};
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

const HEADER: usize = 16;
const ALIGN: usize = 4;
/// The most that the kernel puts into one message of a dump; other messages are shorter.
const RECEIVE: usize = 32 * 1024;
/// The group of changes of links (linux/rtnetlink.h).
const RTMGRP_LINK: u32 = 1;

/// Why an exchange with the kernel failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket failed.
    #[error("the netlink socket failed")]
    Socket(#[from] io::Error),
    /// The kernel refused a request.
    #[error("the kernel refused {request}: {reason}")]
    Refused {
        /// What was asked of it.
        request: String,
        /// What it says.
        reason: Errno,
    },
    /// The kernel's reply can't be understood.
    #[error("the kernel's reply is malformed: {0}")]
    Reply(String),
}

/// One request of a batch.
#[derive(Debug)]
pub(super) struct Request {
    kind: u16,
    flags: u16,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Link(LinkMessage),
    Address(AddressMessage),
    Route(RouteMessage),
}

impl Request {
    /// Makes a link, which must not exist.
    pub(super) fn create_link(link: LinkMessage) -> Self {
        Self { kind: libc::RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, body: Body::Link(link) }
    }

    /// Changes a link that exists.
    pub(super) fn change_link(link: LinkMessage) -> Self {
        Self { kind: libc::RTM_SETLINK, flags: 0, body: Body::Link(link) }
    }

    /// Changes what a link of its kind has besides.
    pub(super) fn configure_link(link: LinkMessage) -> Self {
        Self { kind: libc::RTM_NEWLINK, flags: 0, body: Body::Link(link) }
    }

    /// Asks for all links.
    pub(super) fn list_links(link: LinkMessage) -> Self {
        Self { kind: libc::RTM_GETLINK, flags: NLM_F_DUMP, body: Body::Link(link) }
    }

    /// Asks for a link.
    pub(super) fn get_link(link: LinkMessage) -> Self {
        Self { kind: libc::RTM_GETLINK, flags: 0, body: Body::Link(link) }
    }

    /// Deletes a link.
    pub(super) fn delete_link(link: LinkMessage) -> Self {
        Self { kind: libc::RTM_DELLINK, flags: 0, body: Body::Link(link) }
    }

    /// Adds an address, which must not exist.
    pub(super) fn add_address(address: AddressMessage) -> Self {
        Self { kind: libc::RTM_NEWADDR, flags: NLM_F_CREATE | NLM_F_EXCL, body: Body::Address(address) }
    }

    /// Asks for all addresses.
    pub(super) fn list_addresses(address: AddressMessage) -> Self {
        Self { kind: libc::RTM_GETADDR, flags: NLM_F_DUMP, body: Body::Address(address) }
    }

    /// Adds a route, which must not exist.
    pub(super) fn add_route(route: RouteMessage) -> Self {
        Self { kind: libc::RTM_NEWROUTE, flags: NLM_F_CREATE | NLM_F_EXCL, body: Body::Route(route) }
    }

    /// Adds a route, in the place of one that goes elsewhere.
    pub(super) fn replace_route(route: RouteMessage) -> Self {
        Self { kind: libc::RTM_NEWROUTE, flags: NLM_F_CREATE | NLM_F_REPLACE, body: Body::Route(route) }
    }

    /// Asks which route serves a destination.
    pub(super) fn get_route(route: RouteMessage) -> Self {
        Self { kind: libc::RTM_GETROUTE, flags: 0, body: Body::Route(route) }
    }

    /// Asks for all routes of a family.
    pub(super) fn list_routes(route: RouteMessage) -> Self {
        Self { kind: libc::RTM_GETROUTE, flags: NLM_F_DUMP, body: Body::Route(route) }
    }

    /// The error that says that the kernel refused this.
    pub(super) fn refused(&self, reason: Errno) -> NetlinkError {
        NetlinkError::Refused { request: self.to_string(), reason }
    }

    fn append_to(&self, message: &mut Vec<u8>, sequence: u32, acknowledge: u16) {
        let body: &dyn Emitable = match &self.body {
            Body::Link(link) => link,
            Body::Address(address) => address,
            Body::Route(route) => route,
        };
        let length = HEADER + body.buffer_len();
        let start = message.len();
        message.resize(start + length.next_multiple_of(ALIGN), 0);
        let mut header = NetlinkHeader::default();
        header.length = u32::try_from(length).unwrap_or(u32::MAX);
        header.message_type = self.kind;
        header.flags = NLM_F_REQUEST | self.flags | acknowledge;
        header.sequence_number = sequence;
        header.emit(&mut message[start..start + HEADER]);
        body.emit(&mut message[start + HEADER..start + length]);
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.kind {
            libc::RTM_NEWLINK | libc::RTM_NEWADDR | libc::RTM_NEWROUTE => "to add",
            libc::RTM_DELLINK => "to delete",
            libc::RTM_SETLINK => "to change",
            _ => "to show",
        };
        match &self.body {
            Body::Link(link) => match link.attributes.first() {
                Some(LinkAttribute::IfName(name)) => write!(f, "{action} the link {name}"),
                _ => write!(f, "{action} the link of index {}", link.header.index),
            },
            Body::Address(message) => {
                let address = |attribute: &AddressAttribute| match attribute {
                    AddressAttribute::Address(address) => Some(address.to_string()),
                    _ => None,
                };
                match message.attributes.iter().find_map(address) {
                    Some(address) => write!(f, "{action} the address {address}"),
                    None => write!(f, "{action} the addresses"),
                }
            }
            Body::Route(message) => match message.attributes.first() {
                Some(RouteAttribute::Destination(RouteAddress::Inet(to))) => {
                    write!(f, "{action} the route to {to}")
                }
                Some(RouteAttribute::Destination(RouteAddress::Inet6(to))) => {
                    write!(f, "{action} the route to {to}")
                }
                Some(_) => write!(f, "{action} the default route"),
                None => write!(f, "{action} the routes"),
            },
        }
    }
}

/// What the kernel answers to one request: the bodies of its replies, or an error.
pub(super) type Answer = Result<Vec<Vec<u8>>, Errno>;

/// An rtnetlink socket of one network namespace.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket in the namespace that the thread is in.
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(RECEIVE) })
    }

    /// Sends requests and gives the answer to each, in order. A request that fails does not keep the kernel from
    /// the ones after it. A dump must be the only request of its batch.
    pub(super) fn batch(&mut self, requests: &[Request]) -> Result<Vec<Answer>, NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut message = Vec::with_capacity(1024);
        for (at, request) in requests.iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            // Replies come in order and errors come unasked, so that the last acknowledgement is for all. A dump
            // has an end of its own.
            let is_last = at + 1 == requests.len() && request.flags & NLM_F_DUMP != NLM_F_DUMP;
            request.append_to(&mut message, self.sequence, if is_last { NLM_F_ACK } else { 0 });
        }
        fault::point("netlink.before");
        if self.socket.send(&message, 0)? != message.len() {
            return Err(NetlinkError::Reply("the message was cut".to_owned()));
        }
        fault::point("netlink.after");
        let mut answers: Vec<Answer> = requests.iter().map(|_| Ok(Vec::new())).collect();
        let mut complete = requests.is_empty();
        while !complete {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0)?;
            complete = sort_replies(&self.buffer, first, &mut answers)?;
        }
        Ok(answers)
    }

    /// Sends requests that must all succeed, and gives the replies to each.
    pub(super) fn run(&mut self, requests: &[Request]) -> Result<Vec<Vec<Vec<u8>>>, NetlinkError> {
        let answers = self.batch(requests)?.into_iter().zip(requests);
        answers.map(|(answer, request)| answer.map_err(|reason| request.refused(reason))).collect()
    }
}

/// Sorts the replies in a message by the requests they answer. Says whether the last request is answered.
fn sort_replies(message: &[u8], first: u32, answers: &mut [Answer]) -> Result<bool, NetlinkError> {
    let mut complete = false;
    let mut rest = message;
    while !rest.is_empty() {
        let reply =
            NetlinkBuffer::new_checked(rest).map_err(|error| NetlinkError::Reply(error.to_string()))?;
        let at = reply.sequence_number().wrapping_sub(first) as usize;
        let is_last = at + 1 == answers.len();
        match (answers.get_mut(at), reply.message_type()) {
            (Some(answer), NLMSG_ERROR | NLMSG_DONE) => {
                complete |= is_last;
                let code = reply.payload().first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                if code != 0 {
                    *answer = Err(Errno::from_raw(code.wrapping_neg()));
                }
            }
            (Some(Ok(bodies)), _) => bodies.push(reply.payload().to_vec()),
            (Some(Err(_)) | None, _) => {}
        }
        let length = (reply.length() as usize).next_multiple_of(ALIGN);
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(complete)
}

/// Hears of every change of a link in one network namespace.
#[derive(Debug)]
pub(super) struct LinkEvents(Socket);

impl LinkEvents {
    /// Hears of the changes from now on, in the namespace that the thread is in.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, RTMGRP_LINK))?;
        Ok(Self(socket))
    }

    /// Waits for a change. Says whether there was one in time.
    pub(super) fn wait(&self, until: Instant) -> io::Result<bool> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        // 0 would be for ever.
        let left = left.max(Duration::from_millis(1));
        let micros = i64::try_from(left.as_micros()).unwrap_or(i64::MAX);
        setsockopt(&self.0, ReceiveTimeout, &TimeVal::microseconds(micros))?;
        match self.0.recv(&mut Vec::with_capacity(RECEIVE), 0) {
            Ok(_) => Ok(true),
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EAGAIN) => Ok(false),
                // More changes than the socket can hold, or a signal.
                Some(Errno::ENOBUFS | Errno::EINTR) => Ok(true),
                _ => Err(error),
            },
        }
    }
}
