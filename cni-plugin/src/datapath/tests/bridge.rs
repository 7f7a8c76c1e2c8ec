//! Containers in a bridge, with a router beyond the uplink.

use super::*;
use crate::config::{Bridge, VlanDriver};
use crate::datapath::bridge::{Attachment, attach};
use crate::datapath::check::check_bridge;
use crate::datapath::{Ends, Failed};

/// A host with two containers, whose interface `up0` leads to a router in a namespace of its own.
struct Site {
    lab: Lab,
    other: Netns,
    router: Netns,
    bridge: Bridge,
    eth0: IfName,
    _held: [File; 2],
}

impl Site {
    fn new() -> Self {
        let lab = Lab::new();
        let (first, other) = another_container();
        let (second, router) = another_container();
        let made = on_host("ip link add up0 type veth peer name gw0; ip link set up0 mtu 1450");
        assert_eq!(made, "");
        let fd = second.as_raw_fd();
        on_host(&format!("ip link set gw0 netns /proc/{}/fd/{fd}", std::process::id()));
        let site = Self {
            lab,
            other,
            router,
            bridge: bridge("br0", "up0"),
            eth0: IfName::eth0(),
            _held: [first, second],
        };
        let up =
            "ip link set gw0 up; ip addr add 10.9.0.1/24 dev gw0; ip addr add fd00:9::1/64 dev gw0 nodad";
        assert_eq!(site.in_router(up), "");
        site
    }

    fn in_router(&self, command: &str) -> String {
        self.router.run(|| on_host(command)).expect("enter")
    }

    fn in_other(&self, command: &str) -> String {
        self.other.run(|| on_host(command)).expect("enter")
    }

    /// Of the first container.
    fn attachment<'a>(&'a self, names: &'a HostNames, last: u8) -> Attachment<'a> {
        Attachment {
            netns: &self.lab.container,
            interface: &self.eth0,
            host_name: names.own(),
            bridge: &self.bridge,
            vlan: 0,
            addresses: nets(&[&format!("10.9.0.{last}/24"), &format!("fd00:9::{last}/64")]),
            routes: vec![
                ("0.0.0.0/0".parse().expect("network"), "10.9.0.1".parse().expect("address")),
                ("::/0".parse().expect("network"), "fd00:9::1".parse().expect("address")),
            ],
            mtu: None,
        }
    }
}

fn bridge(bridge: &str, uplink: &str) -> Bridge {
    Bridge {
        name: name(bridge),
        uplink: Some(name(uplink)),
        vlan_driver: VlanDriver::Filtering,
        detect_conflicts: true,
    }
}

fn name(text: &str) -> IfName {
    IfName::new(text).expect("valid")
}

fn first_of(result: Result<Ends, Failed>, message: &str) -> DatapathError {
    let failed = result.expect_err(message);
    assert!(failed.undo.is_none(), "{failed:?}");
    has(&failed.first.to_string(), &[message]);
    failed.first
}

#[test]
fn containers_reach_each_other_and_their_gateway() {
    let site = Site::new();
    let (one, two) = (names("c1", "eth0"), names("c2", "eth0"));
    let first = site.attachment(&one, 5);
    let second = Attachment { netns: &site.other, ..site.attachment(&two, 6) };
    // What the router remembers of an earlier holder of the addresses.
    site.in_router(
        "ip neigh replace 10.9.0.5 lladdr 02:00:00:00:00:99 nud stale dev gw0; \
         ip neigh replace fd00:9::5 lladdr 02:00:00:00:00:99 nud stale dev gw0",
    );
    let ends = attach(&first).expect("attach");
    assert_eq!(ends.host.name, one.own());
    assert_eq!((ends.host.mtu, ends.container.mtu), (1450, 1450), "the uplink's");
    for address in ["10.9.0.5", "fd00:9::5"] {
        let announced = || site.in_router(&format!("ip neigh show {address}")).contains(&ends.container.mac);
        assert!((0..100).any(|_| announced()), "{}", site.in_router("ip neigh"));
    }
    attach(&second).expect("attach");
    for to in ["10.9.0.6", "fd00:9::6", "10.9.0.1", "fd00:9::1"] {
        reaches(|command| site.lab.in_container(command), to);
    }
    reaches(|command| site.in_other(command), "10.9.0.5");
    reaches(|command| site.in_router(command), "10.9.0.6");
    let shown = site.lab.in_container("ip addr show eth0; ip route; ip -6 route");
    has(&shown, &["inet 10.9.0.5/24", "inet6 fd00:9::5/64 scope global nodad"]);
    has(&shown, &["default via 10.9.0.1 dev eth0", "default via fd00:9::1 dev eth0"]);
    // The host has no business in the network.
    let shown = on_host("ip addr");
    assert!(!shown.contains("inet ") || !shown.contains("10.9."), "{shown}");
    let of_bridge = on_host(&format!("ip addr show br0; ip addr show {}; ip addr show up0", one.own()));
    assert!(!of_bridge.contains("inet"), "{of_bridge}");
    check_bridge(&first).expect("as it was made");
    check_bridge(&second).expect("as it was made");
    detach(Some(&site.lab.container), &site.eth0, &one, Vec::new).expect("detach");
    assert!(!site.lab.in_container("ip link").contains("eth0"));
    detach(Some(&site.lab.container), &site.eth0, &one, Vec::new).expect("nothing left to do");
    check_bridge(&second).expect("as it was made");
}

#[test]
fn a_container_whose_namespace_is_gone_is_found_by_its_own_name() {
    let site = Site::new();
    let (old, new) = (names("old", "eth0"), names("new", "eth0"));
    attach(&site.attachment(&old, 5)).expect("attach");
    let second = Attachment { netns: &site.other, ..site.attachment(&new, 6) };
    attach(&second).expect("attach");
    detach(None, &site.eth0, &old, || ips(&["10.9.0.5"])).expect("detach");
    assert!(!on_host("ip link").contains(old.own()));
    check_bridge(&second).expect("another container of the pod is left alone");
    remove_host_ends(&[(new.clone(), "10.9.0.6".parse().expect("address"))]).expect("removed");
    assert!(!site.in_other("ip link").contains("eth0"));
}

#[test]
fn without_ipv6_the_container_takes_nothing_from_routers() {
    let site = Site::new();
    let names = names("c1", "eth0");
    let all = site.attachment(&names, 5);
    let attachment =
        Attachment { addresses: all.addresses[..1].to_vec(), routes: all.routes[..1].to_vec(), ..all };
    attach(&attachment).expect("attach");
    assert_eq!(site.lab.in_container("cat /proc/sys/net/ipv6/conf/eth0/accept_ra"), "0\n");
    check_bridge(&attachment).expect("as it was made");
}

#[test]
fn what_can_not_be_attached_leaves_nothing() {
    let site = Site::new();
    let names = names("c1", "eth0");
    let attachment = site.attachment(&names, 5);
    assert_eq!(on_host("ip link add br1 type bridge; ip link add d0 type veth peer name d1"), "");
    assert_eq!(on_host("ip link set d0 master br1; ip addr add 192.0.2.1/24 dev d1"), "");
    for (bridge, message) in [
        (bridge("d0", "up0"), "bridge: d0 on the host is not a bridge"),
        (bridge("br0", "up9"), "uplink: the host has no interface up9"),
        (bridge("br0", "d0"), "uplink: d0 is attached to br1, not to br0"),
        (bridge("br0", "d1"), "uplink: d1 has the address 192.0.2.1/24, which would be cut off"),
    ] {
        let error = first_of(attach(&Attachment { bridge: &bridge, ..attachment.clone() }), message);
        assert!(matches!(error, DatapathError::HostLink { .. }), "{error:?}");
    }
    let impossible = Attachment { addresses: nets(&["ff02::5/64"]), ..attachment.clone() };
    first_of(attach(&impossible), "set up eth0");
    site.lab.in_container("ip link add eth0 type veth peer name other");
    first_of(attach(&attachment), "the container has an interface of that name");
    assert!(!on_host("ip link").contains(names.own()));
    assert!(site.lab.in_container("ip link").contains("other"));
}

#[test]
fn an_address_that_a_foreign_host_has_is_not_used() {
    let site = Site::new();
    let names = names("c1", "eth0");
    for (taken, held) in [("10.9.0.5/24", "10.9.0.5"), ("fd00:9::5/64 nodad", "fd00:9::5")] {
        assert_eq!(site.in_router(&format!("ip addr add {taken} dev gw0")), "");
        let mac = site.in_router("cat /sys/class/net/gw0/address; ip -o link show gw0");
        let mac =
            mac.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
        let error = first_of(attach(&site.attachment(&names, 5)), "is in use by");
        let DatapathError::InUse { address, mac: by } = error else { panic!("{error:?}") };
        assert_eq!((address.to_string().as_str(), by.as_str()), (held, mac));
        assert!(
            !on_host("ip link").contains(names.own()) && !site.lab.in_container("ip link").contains("eth0")
        );
        site.in_router("ip addr del 10.9.0.5/24 dev gw0");
    }
    let trusting = Bridge { detect_conflicts: false, ..site.bridge.clone() };
    attach(&Attachment { bridge: &trusting, ..site.attachment(&names, 5) }).expect("attach");
}

#[test]
fn a_bridge_that_is_in_a_spanning_tree_is_refused() {
    let site = Site::new();
    let names = names("c1", "eth0");
    let made = on_host("ip link add br0 type bridge stp_state 1; ip link set br0 up");
    assert_eq!(made, "");
    first_of(attach(&site.attachment(&names, 5)), "spanning tree");
    assert!(!on_host("ip link").contains(names.own()) && !site.lab.in_container("ip link").contains("eth0"));
}

#[test]
fn check_names_what_is_missing() {
    for (damage, place, message) in [
        ("ip addr del 10.9.0.5/24 dev eth0", "container", "has no address 10.9.0.5/24"),
        ("ip -6 route del default", "container", "has no route to ::/0 by fd00:9::1"),
        ("ip link set HOST down", "host", "HOST on the host is down"),
        ("ip link set HOST nomaster", "host", "HOST is not attached to br0"),
        ("ip link set br0 down", "host", "br0 on the host is down"),
        ("ip link set up0 nomaster", "host", "up0 is not attached to br0"),
        ("ip link set up0 down", "host", "up0 on the host is down"),
        ("ip link del up0", "host", "the host has no interface up0"),
    ] {
        let (site, names) = (Site::new(), names("c1", "eth0"));
        let attachment = site.attachment(&names, 5);
        attach(&attachment).expect("attach");
        check_bridge(&attachment).expect("as it was made");
        let damage = damage.replace("HOST", names.own());
        let said = if place == "host" { on_host(&damage) } else { site.lab.in_container(&damage) };
        assert_eq!(said, "", "{damage}");
        let error = check_bridge(&attachment).expect_err(message);
        has(&error.to_string(), &[&message.replace("HOST", names.own())]);
    }
}
