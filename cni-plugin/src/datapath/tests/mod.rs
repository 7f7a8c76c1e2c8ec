//! In real network namespaces: each test's thread moves to a new one that plays the host. They go with the
//! thread. Needs root, or a user namespace.

mod bridge;

use super::check::check_routed;
use super::detach::{detach, remove_host_ends};
use super::netns::{Netns, NetnsError};
use super::routed::{Attachment, attach};
use super::veth::HostNames;
use super::{DatapathError, GATEWAY_V4};
use common::name::{ContainerId, IfName, PodText};
use ipnet::IpNet;
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;

/// A host with one container; the thread is on the host.
struct Lab {
    container: Netns,
    _held: File,
    path: PathBuf,
}

impl Lab {
    fn new() -> Self {
        let container = new_namespace();
        let _host = new_namespace();
        let path = PathBuf::from(format!("/proc/self/fd/{}", container.as_raw_fd()));
        Self { container: Netns::open(&path).expect("open"), _held: container, path }
    }

    fn in_container(&self, command: &str) -> String {
        self.container.run(|| on_host(command)).expect("enter")
    }
}

fn new_namespace() -> File {
    unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace; run as root");
    on_host("ip link set lo up");
    File::open("/proc/thread-self/ns/net").expect("own namespace")
}

/// A container more for the host that the thread is on.
fn another_container() -> (File, Netns) {
    let host = File::open("/proc/thread-self/ns/net").expect("host");
    let container = new_namespace();
    setns(&host, CloneFlags::CLONE_NEWNET).expect("back to the host");
    let path = PathBuf::from(format!("/proc/self/fd/{}", container.as_raw_fd()));
    (container, Netns::open(&path).expect("open"))
}

/// Runs a command in the namespace of this thread; it may fail.
fn on_host(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().expect("sh");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn names(container: &str, interface: &str) -> HostNames {
    let text = |text| PodText::new(text).expect("valid");
    let interface = IfName::new(interface).expect("valid");
    HostNames::of(&text("team"), &text("web-0"), &ContainerId::new(container).expect("valid"), &interface)
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().expect("address")).collect()
}

fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|net| net.parse().expect("network")).collect()
}

fn attachment<'a>(lab: &'a Lab, interface: &'a IfName, names: &'a HostNames, dual: bool) -> Attachment<'a> {
    Attachment {
        netns: &lab.container,
        interface,
        names,
        addresses: if dual { ips(&["10.64.0.5", "fd00:64::5"]) } else { ips(&["10.64.0.5"]) },
        routes: if dual { nets(&["0.0.0.0/0", "::/0"]) } else { nets(&["0.0.0.0/0"]) },
        mtu: Some(1400),
    }
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

/// Pings until there is an answer: the kernel finishes adding an IPv6 address after it has said that it did.
fn reaches(run: impl Fn(&str) -> String, address: &str) {
    let command = format!("busybox ping -c1 -W1 {address}");
    let mut said = String::new();
    let answered = (0..10).any(|_| {
        said = run(&command);
        said.contains("1 packets received")
    });
    assert!(answered, "{said}");
}

#[test]
fn dual_stack_reaches_both_ways() {
    let (lab, eth0, names) = (Lab::new(), IfName::eth0(), names("c1", "eth0"));
    let attachment = attachment(&lab, &eth0, &names, true);
    let ends = attach(&attachment).expect("attach");
    let host = names.iter().next().expect("name");
    assert_eq!((ends.host.name.as_str(), ends.container.name.as_str()), (host, "eth0"));
    assert_eq!((ends.host.mtu, ends.container.mtu), (1400, 1400));
    let shown = on_host(&format!("ip addr show {host}; cat /proc/sys/net/ipv6/conf/{host}/accept_ra"));
    has(&shown, &["169.254.1.1/32 scope link", "fe80::1/64", "mtu 1400", ",UP", "\n0\n"]);
    assert_eq!(shown.matches("inet6").count(), 1, "{shown}");
    has(&on_host("ip route"), &[&format!("10.64.0.5 dev {host} scope link")]);
    has(&on_host("ip -6 route"), &[&format!("fd00:64::5 dev {host}")]);
    let shown = lab.in_container("ip addr show eth0; ip route; ip -6 route");
    has(&shown, &["inet 10.64.0.5/32", "inet6 fd00:64::5/128 scope global nodad", &ends.container.mac]);
    has(&shown, &["default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"]);
    has(&shown, &["default via fe80::1 dev eth0"]);
    has(&on_host("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding"), &["1\n1"]);
    for pinged in ["10.64.0.5", "fd00:64::5"] {
        reaches(on_host, pinged);
    }
    // An address of the host that is on none of the pairs.
    on_host("ip addr add 192.0.2.1/32 dev lo; ip addr add 2001:db8::1/128 dev lo nodad");
    for pinged in ["192.0.2.1", "2001:db8::1", "169.254.1.1"] {
        reaches(|command| lab.in_container(command), pinged);
    }
    check_routed(&attachment).expect("as it was made");
    detach(Some(&lab.container), &eth0, &names, Vec::new).expect("detach");
    assert!(!lab.in_container("ip link").contains("eth0"));
    assert!(!on_host("ip link; ip route; ip -6 route").contains("veth"));
    detach(Some(&lab.container), &eth0, &names, Vec::new).expect("nothing left to do");
}

#[test]
fn a_container_reaches_another_by_the_host() {
    let (lab, eth0) = (Lab::new(), IfName::eth0());
    let (_held, other) = another_container();
    let (one, two) = (names("c1", "eth0"), names("c2", "eth0"));
    attach(&attachment(&lab, &eth0, &one, false)).expect("attach");
    let second =
        Attachment { netns: &other, addresses: ips(&["10.64.0.6"]), ..attachment(&lab, &eth0, &two, false) };
    attach(&second).expect("attach");
    reaches(|command| lab.in_container(command), "10.64.0.6");
}

#[test]
fn without_ipv6_the_host_end_has_no_such_address() {
    let (lab, eth0, names) = (Lab::new(), IfName::eth0(), names("c1", "eth0"));
    let ends = attach(&attachment(&lab, &eth0, &names, false)).expect("attach");
    let host = &ends.host.name;
    assert!(!on_host(&format!("ip addr show {host}")).contains("inet6"));
    assert_eq!(on_host(&format!("cat /proc/sys/net/ipv6/conf/{host}/accept_ra")), "0\n");
    reaches(on_host, "10.64.0.5");
}

#[test]
fn an_mtu_too_small_for_ipv6() {
    let (lab, eth0, names) = (Lab::new(), IfName::eth0(), names("c1", "eth0"));
    let small = Attachment { mtu: Some(1000), ..attachment(&lab, &eth0, &names, false) };
    let ends = attach(&small).expect("attach");
    assert_eq!((ends.host.mtu, ends.container.mtu), (1000, 1000));
    check_routed(&small).expect("as it was made");
}

#[test]
fn a_taken_interface_name_leaves_everything_alone() {
    let (lab, eth0, names) = (Lab::new(), IfName::eth0(), names("c1", "eth0"));
    let made =
        lab.in_container("ip link add eth0 type veth peer name other; ip addr add 10.9.9.9/24 dev eth0");
    assert_eq!(made, "");
    let (before, links) = (lab.in_container("ip addr"), on_host("ip addr"));
    let failed = attach(&attachment(&lab, &eth0, &names, true)).expect_err("taken");
    assert!(matches!(&failed.first, DatapathError::InterfaceExists(name) if name == "eth0"), "{failed:?}");
    assert!(failed.undo.is_none());
    assert_eq!((lab.in_container("ip addr"), on_host("ip addr")), (before.clone(), links));
    // It is not ours, so that DEL leaves it alone too.
    detach(Some(&lab.container), &eth0, &names, Vec::new).expect("nothing to do");
    assert_eq!(lab.in_container("ip addr"), before);
}

#[test]
fn a_new_container_of_a_pod_lives_beside_the_old_one() {
    let (lab, eth0) = (Lab::new(), IfName::eth0());
    let (old, new) = (names("old", "eth0"), names("new", "eth0"));
    let (_held, other) = another_container();
    let first = attach(&attachment(&lab, &eth0, &old, false)).expect("attach");
    let second =
        Attachment { netns: &other, addresses: ips(&["10.64.0.6"]), ..attachment(&lab, &eth0, &new, false) };
    let made = attach(&second).expect("attach");
    assert_eq!(first.host.name, new.iter().next().expect("name"), "same preferred name");
    assert_eq!(made.host.name, new.iter().last().expect("name"));
    check_routed(&second).expect("as it was made");
    // The old one's namespace has no path any more: only its own pair may go, found by its address.
    detach(None, &eth0, &new, || ips(&["10.64.0.6"])).expect("detach");
    has(&on_host("ip route"), &["10.64.0.5 dev"]);
    assert!(!on_host("ip route").contains("10.64.0.6"));
    detach(None, &eth0, &old, || ips(&["10.64.0.99"])).expect("nothing to do");
    has(&on_host("ip route"), &["10.64.0.5 dev"]);
    detach(None, &eth0, &old, || ips(&["10.64.0.5"])).expect("detach");
    assert_eq!(on_host("ip route"), "");
}

#[test]
fn several_interfaces() {
    let (lab, eth0, net1) = (Lab::new(), IfName::eth0(), IfName::new("net1").expect("valid"));
    let (names0, names1) = (names("c1", "eth0"), names("c1", "net1"));
    let first = attachment(&lab, &eth0, &names0, true);
    attach(&first).expect("attach");
    let second = Attachment {
        addresses: ips(&["10.64.0.6", "fd00:64::6"]),
        routes: nets(&["0.0.0.0/0", "10.65.0.0/16", "::/0"]),
        ..attachment(&lab, &net1, &names1, true)
    };
    attach(&second).expect("attach");
    check_routed(&first).expect("as it was made");
    check_routed(&second).expect("as it was made");
    has(&lab.in_container("ip route get 192.0.2.1; ip -6 route get 2001:db8::1"), &["dev eth0", "dev eth0"]);
    has(&lab.in_container("ip route get 10.65.0.1"), &["via 169.254.1.1 dev net1"]);
    detach(Some(&lab.container), &net1, &names1, Vec::new).expect("detach");
    check_routed(&first).expect("as it was made");
    assert!(!on_host("ip route; ip -6 route").contains("64.0.6"));
}

#[test]
fn a_failure_in_the_middle_leaves_nothing() {
    let (lab, eth0, names) = (Lab::new(), IfName::eth0(), names("c1", "eth0"));
    // Somebody else's route to the container's address.
    let made =
        on_host("ip link add d0 up type veth peer name d1; ip route add 10.64.0.5/32 dev d0 scope link");
    assert_eq!(made, "");
    let before = on_host("ip addr; ip route");
    let failed = attach(&attachment(&lab, &eth0, &names, true)).expect_err("route taken");
    assert_eq!(
        source(&failed.first),
        "the kernel refused to add the route to 10.64.0.5: EEXIST: File exists"
    );
    assert!(failed.undo.is_none());
    assert_eq!(on_host("ip addr; ip route"), before);
    assert!(!lab.in_container("ip link").contains("eth0"));
    // An address that the container can't have.
    let impossible = Attachment { addresses: ips(&["ff02::5"]), ..attachment(&lab, &eth0, &names, false) };
    let failed = attach(&impossible).expect_err("multicast");
    assert_eq!(
        source(&failed.first),
        "the kernel refused to add the address ff02::5: EADDRNOTAVAIL: Cannot assign requested address"
    );
    assert!(!on_host("ip link").contains("veth2d") && !lab.in_container("ip link").contains("eth0"));
}

fn source(error: &DatapathError) -> String {
    std::error::Error::source(error).expect("source").to_string()
}

#[test]
fn a_route_left_over_gives_way() {
    let (lab, eth0, names) = (Lab::new(), IfName::eth0(), names("c1", "eth0"));
    let made = on_host(
        "ip link add veth0123456789a up type veth peer name d1; ip link set d1 up; \
         ip route add 10.64.0.5/32 dev veth0123456789a scope link; \
         ip -6 route add fd00:64::5/128 dev veth0123456789a",
    );
    assert_eq!(made, "");
    let attachment = attachment(&lab, &eth0, &names, true);
    attach(&attachment).expect("attach");
    check_routed(&attachment).expect("as it was made");
    assert!(!on_host("ip route; ip -6 route").contains("5 dev veth0123456789a"));
}

#[test]
fn pairs_are_removed_by_their_addresses() {
    let (lab, eth0, names) = (Lab::new(), IfName::eth0(), names("c1", "eth0"));
    attach(&attachment(&lab, &eth0, &names, true)).expect("attach");
    let foreign =
        on_host("ip link add d0 up type veth peer name d1; ip route add 10.64.0.9/32 dev d0 scope link");
    assert_eq!(foreign, "");
    let others =
        ["10.64.0.6", "10.64.0.9"].map(|ip| (self::names("c9", "eth0"), ip.parse().expect("address")));
    remove_host_ends(&others).expect("nothing of ours");
    has(&lab.in_container("ip link"), &["eth0"]);
    let of_names = |ip: &str| (names.clone(), ip.parse().expect("address"));
    remove_host_ends(&["10.64.0.5", "fd00:64::5"].map(of_names)).expect("removed");
    assert!(!lab.in_container("ip link").contains("eth0"));
    has(&on_host("ip link"), &["d0"]);
}

#[test]
fn check_names_what_is_missing() {
    let eth0 = IfName::eth0();
    for (damage, place, message) in [
        ("ip link del eth0", "container", "eth0 is missing in /proc/self/fd/"),
        ("ip link set eth0 down", "container", "is down"),
        ("ip addr del 10.64.0.5/32 dev eth0", "container", "has no address 10.64.0.5"),
        ("ip addr del fd00:64::5/128 dev eth0", "container", "has no address fd00:64::5"),
        ("ip route del default", "container", "has no route to 0.0.0.0/0 by 169.254.1.1"),
        ("ip -6 route del default", "container", "has no route to ::/0 by fe80::1"),
        ("ip link set HOST down", "host", "HOST on the host is down"),
        ("ip link set HOST down; ip link set HOST name x; ip link set x up", "host", "eth0 has no other end"),
        ("ip addr del 169.254.1.1/32 dev HOST", "host", "HOST on the host has no address 169.254.1.1"),
        ("ip addr del fe80::1/64 dev HOST", "host", "HOST on the host has no address fe80::1"),
        ("ip route del 10.64.0.5", "host", "the host has no route to 10.64.0.5 by HOST"),
        ("ip -6 route del fd00:64::5", "host", "the host has no route to fd00:64::5 by HOST"),
    ] {
        let (lab, names) = (Lab::new(), names("c1", "eth0"));
        let attachment = attachment(&lab, &eth0, &names, true);
        let host = attach(&attachment).expect("attach").host.name;
        check_routed(&attachment).expect("as it was made");
        let damage = damage.replace("HOST", &host);
        let said = if place == "host" { on_host(&damage) } else { lab.in_container(&damage) };
        assert_eq!(said, "", "{damage}");
        let error = check_routed(&attachment).expect_err(message);
        assert!(matches!(error, DatapathError::Differs(_)), "{error:?}");
        has(&error.to_string(), &[&message.replace("HOST", &host)]);
    }
}

#[test]
fn namespaces_that_are_none() {
    let lab = Lab::new();
    let open = |path: &str| Netns::open(&PathBuf::from(path)).expect_err(path);
    assert!(matches!(open("/run/netns/coil-test-none"), NetnsError::Missing(_)));
    assert!(matches!(open("/proc/thread-self/ns/net"), NetnsError::Host(_)));
    let file = Netns::open(&PathBuf::from("/proc/self/status")).expect("a file");
    assert!(matches!(file.run(|| ()), Err(NetnsError::Enter { .. })));
    let uts = Netns::open(&PathBuf::from("/proc/self/ns/uts")).expect("a namespace");
    assert!(matches!(uts.run(|| ()), Err(NetnsError::Enter { .. })));
    assert!(lab.path.exists());
    assert_eq!(GATEWAY_V4.to_string(), "169.254.1.1");
}
