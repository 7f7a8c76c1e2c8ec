//! The veth pair of an attachment: the names of its host end, and its creation.

use super::message::{self, Link};
use super::netlink::{Netlink, Request};
use super::netns::Netns;
use super::{DatapathError, Doing};
use common::name::{ContainerId, IfName, PodText};
use nix::errno::Errno;
use sha1::{Digest, Sha1};

/// The names that the host end of an attachment may have, the preferred one first. In a bridge it has the last one.
///
/// For `eth0` that is `veth` and the first 11 hex digits of SHA-1 over `<namespace>/<pod>`. For every other
/// interface, and where that name is taken (as by the container that the pod had before), it is the same over
/// `<namespace>/<pod>/<container id>/<interface>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNames(Vec<String>);

impl HostNames {
    /// The names for an attachment.
    pub fn of(namespace: &PodText, pod: &PodText, container_id: &ContainerId, interface: &IfName) -> Self {
        let own = hashed(&format!("{namespace}/{pod}/{container_id}/{interface}"));
        if *interface == IfName::eth0() {
            Self(vec![hashed(&format!("{namespace}/{pod}")), own])
        } else {
            Self(vec![own])
        }
    }

    /// The attachment's own name, which no other has: that of the host end in a bridge.
    pub fn own(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    /// The names, the preferred one first.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether a name is one of them.
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|candidate| candidate == name)
    }
}

/// Whether a name looks like the host end of an attachment, whichever it is.
pub(super) fn is_host_name(name: &str) -> bool {
    name.strip_prefix("veth")
        .is_some_and(|hex| hex.len() == 11 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn hashed(text: &str) -> String {
    let digest = Sha1::digest(text);
    let mut number = [0; 8];
    number[2..].copy_from_slice(&digest[..6]);
    format!("veth{:011x}", u64::from_be_bytes(number) >> 4)
}

/// Makes the pair, the container's end up and the host's still down, and gives the host's end.
pub(super) fn create(
    host: &mut Netlink,
    netns: &Netns,
    interface: &IfName,
    names: &[&str],
    mtu: Option<u32>,
) -> Result<Link, DatapathError> {
    for name in names {
        let doing = || format!("make the veth pair {name} and {interface}");
        let pair = message::veth(name, interface.as_str(), netns.descriptor(), mtu);
        let requests = [Request::create_link(pair), Request::get_link(message::link_named(name))];
        let mut answers = host.batch(&requests).doing(doing)?.into_iter().zip(&requests);
        match answers.next() {
            Some((Err(Errno::EEXIST), _)) => {
                if find_in(netns, interface)?.is_some() {
                    return Err(DatapathError::InterfaceExists(interface.to_string()));
                }
                continue;
            }
            Some((Err(reason), request)) => return Err(request.refused(reason)).doing(doing),
            Some((Ok(_), _)) | None => {}
        }
        let shown = answers.next().and_then(|(answer, _)| answer.ok()?.pop());
        return Link::parse(&shown.unwrap_or_default()).doing(doing);
    }
    Err(DatapathError::HostNamesTaken(names.join(" and ")))
}

/// A link of the container, if there is one of that name.
pub(super) fn find_in(netns: &Netns, interface: &IfName) -> Result<Option<Link>, DatapathError> {
    let doing = || format!("look for {interface} in {}", netns.path().display());
    find(&mut netns.run(Netlink::open)?.doing(doing)?, message::link_named(interface.as_str()), doing)
}

/// A link by its name or index, if there is one.
pub(super) fn find(
    netlink: &mut Netlink,
    link: netlink_packet_route::link::LinkMessage,
    doing: impl Fn() -> String,
) -> Result<Option<Link>, DatapathError> {
    let request = [Request::get_link(link)];
    match netlink.batch(&request).doing(&doing)?.pop() {
        Some(Ok(mut bodies)) => Link::parse(&bodies.pop().unwrap_or_default()).doing(doing).map(Some),
        Some(Err(Errno::ENODEV)) | None => Ok(None),
        Some(Err(reason)) => Err(request[0].refused(reason)).doing(doing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pod: &str, container: &str, interface: &str) -> Vec<String> {
        let pod = PodText::new(pod).expect("valid");
        let container = ContainerId::new(container).expect("valid");
        let interface = IfName::new(interface).expect("valid");
        HostNames::of(&PodText::new("team").expect("valid"), &pod, &container, &interface).0
    }

    #[test]
    fn names_are_stable_and_distinct() {
        // printf team/web-0 | sha1sum
        assert_eq!(names("web-0", "c1", "eth0")[0], "veth2d074a3fdfa");
        // printf team/web-0/c1/eth0 | sha1sum
        assert_eq!(names("web-0", "c1", "eth0")[1], "veth7fcd410650c");
        assert_eq!(names("web-0", "c1", "eth0")[0], names("web-0", "c2", "eth0")[0]);
        assert_ne!(names("web-0", "c1", "eth0")[1], names("web-0", "c2", "eth0")[1]);
        assert_eq!(names("web-0", "c1", "net1").len(), 1);
        assert_ne!(names("web-0", "c1", "net1")[0], names("web-0", "c1", "net2")[0]);
        for name in names("web-0", "c1", "eth0") {
            IfName::new(name).expect("a name that Linux takes");
        }
    }
}
