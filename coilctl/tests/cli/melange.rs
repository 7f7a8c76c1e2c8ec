//! `melange`: what tenants have, from create to delete.

use crate::fixture::Controller;
use serde_json::{Value, json};

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("no id: {value}")).to_owned()
}

#[test]
fn from_create_to_delete() {
    let controller = Controller::start();
    assert_eq!(controller.ok("melange block list acme"), "no blocks\n");
    let policy = id(&controller.json("melange policy create acme routers --description first"));
    controller.ok(&format!("melange policy forbid-range acme {policy} --offset -3 --length 2"));
    let shown = controller.json(&format!("melange policy forbid-octet acme {policy} 2"));
    assert_eq!((&shown["ip_ranges"][0]["offset"], &shown["ip_octets"][0]["octet"]), (&json!(-3), &json!(2)));
    let block = controller.json(&format!(
        "melange block create acme --cidr 10.1.0.9/29 --network net1 --policy {policy} --dns1 192.0.2.53"
    ));
    assert_eq!((&block["cidr"], &block["dns1"]), (&json!("10.1.0.8/29"), &json!("192.0.2.53")));
    let block = id(&block);
    for expected in ["10.1.0.8", "10.1.0.10", "10.1.0.11", "10.1.0.12"] {
        let given =
            controller.json(&format!("melange address allocate acme {block} --interface i --device vm"));
        assert_eq!(given["address"], expected);
    }
    let list = controller.ok(&format!("melange address list acme {block}"));
    assert!(list.starts_with("ADDRESS    BLOCK") && list.lines().count() == 5, "{list}");
    let shown = controller.ok(&format!("melange address deallocate acme {block} 10.1.0.10"));
    assert_eq!(shown, "address 10.1.0.10 is deallocated\n");
    for list in ["melange address allocated acme", "melange address allocated --device vm"] {
        assert_eq!(controller.json(list).as_array().map(Vec::len), Some(3), "{list}");
    }
    let restored = controller.ok(&format!("melange address restore acme {block} 10.1.0.10"));
    assert!(restored.contains("interface  i\n"), "{restored}");
    let usage = controller.ok(&format!("melange block usage acme {block}"));
    assert_eq!(usage, "total  4\nused   4\nfree   0\n");
    let route = controller
        .json(&format!("melange route create acme {block} --destination 192.168.0.0/16 --gateway 10.1.0.9"));
    let route = id(&route);
    assert!(controller.ok(&format!("melange route list acme {block}")).contains("192.168.0.0/16"));
    controller.ok(&format!("melange route delete acme {block} {route}"));
    let parent = id(&controller.json("melange block create acme --cidr 203.0.113.0/24 --type public"));
    let subnet =
        controller.json(&format!("melange subnet create acme {parent} --cidr 203.0.113.0/26 --for shop"));
    assert_eq!((&subnet["tenant_id"], &subnet["parent_id"]), (&json!("shop"), &json!(parent)));
    assert!(controller.ok(&format!("melange subnet list acme {parent}")).contains("203.0.113.0/26"));
    controller.ok(&format!("melange block update acme {block} --network net2"));
    for (command, told) in [
        (format!("melange block delete acme {parent}"), format!("block {parent} is deleted\n")),
        (format!("melange policy delete acme {policy}"), format!("policy {policy} is deleted\n")),
        (format!("melange block delete acme {block}"), format!("block {block} is deleted\n")),
        ("melange block list acme".to_owned(), "no blocks\n".to_owned()),
    ] {
        assert_eq!(controller.ok(&command), told, "{command}");
    }
}

#[test]
fn interfaces_in_a_network() {
    let controller = Controller::start();
    for cidr in ["10.1.0.0/24", "fd00::/64"] {
        controller.ok(&format!("melange block create acme --cidr {cidr} --network net1"));
    }
    assert_eq!(controller.ok("melange interface list acme net1 eth0"), "no addresses\n");
    let line = "melange interface allocate acme net1 eth0 --device vm --mac 00:16:3e:0a:0b:0c";
    let given = controller.json(line);
    let of = |given: &Value, n: usize, field: &str| given[n][field].clone();
    assert_eq!(
        (of(&given, 0, "address"), of(&given, 0, "used_by_device"), of(&given, 1, "version")),
        (json!("10.1.0.0"), json!("vm"), json!(6))
    );
    let certain = "melange interface allocate acme net1 eth0 --address 10.1.0.9,10.1.0.8 --for shop";
    assert!(controller.fails(1, certain).contains("interface_id: interface eth0 is another tenant's"));
    let certain = "melange interface allocate acme net1 eth1 --address 10.1.0.9,10.1.0.8 --for shop";
    let shown = controller.ok(certain);
    assert!(shown.starts_with("ADDRESS   BLOCK") && shown.lines().count() == 3, "{shown}");
    assert!(shown.contains("10.1.0.8") && shown.contains("10.1.0.0/24") && shown.contains("shop"), "{shown}");
    assert_eq!(controller.json("melange interface list acme net1 eth1").as_array().map(Vec::len), Some(2));
    let told = controller.ok("melange interface deallocate acme net1 eth0");
    assert_eq!(told, "the addresses of interface eth0 in network net1 are deallocated\n");
    assert_eq!(controller.ok("melange interface list acme net1 eth0"), "no addresses\n");
}

#[test]
fn addresses_stand_for_each_other() {
    let controller = Controller::start();
    let inside = id(&controller.json("melange block create acme --cidr 10.1.0.0/24"));
    let public = id(&controller.json("melange block create acme --cidr 203.0.113.0/24 --type public"));
    let (globals, locals) = (format!("globals {inside} 10.1.0.2"), format!("locals {public} 203.0.113.9"));
    let line = format!("melange nat assign {globals} {public}/203.0.113.9 {public}/203.0.113.10");
    let given = controller.json(&line);
    assert_eq!((&given[0]["address"], &given[1]["address"]), (&json!("203.0.113.9"), &json!("203.0.113.10")));
    let list = |side: &str| {
        let found = controller.json(&format!("melange nat list {side}"));
        let addresses = found.as_array().expect("a list").iter().map(|item| item["address"].clone());
        addresses.collect::<Vec<_>>()
    };
    assert_eq!(list(&globals), [json!("203.0.113.9"), json!("203.0.113.10")]);
    assert_eq!(list(&locals), [json!("10.1.0.2")]);
    controller.ok(&format!("melange nat assign {locals} {inside}/10.1.0.3"));
    assert_eq!(list(&locals).len(), 2);
    let told = controller.ok(&format!("melange nat remove {globals} 203.0.113.10"));
    assert_eq!(told, "the NAT of 10.1.0.2 and 203.0.113.10 is removed\n");
    assert_eq!(list(&globals), [json!("203.0.113.9")]);
    let told = controller.ok(&format!("melange nat remove {locals} --all"));
    assert_eq!(told, "all NAT of 203.0.113.9 on this side is removed\n");
    assert_eq!(controller.ok(&format!("melange nat list {globals}")), "no addresses\n");
}

#[test]
fn a_pool_of_a_tenants_block() {
    let controller = Controller::start();
    let block = id(&controller.json("melange block create acme --cidr 10.1.0.0/24"));
    let told = controller.ok(&format!("pool create pods --from-block acme/{block}"));
    assert_eq!(told, "pool pods created: 16 ipv4 blocks (/28) in 10.1.0.0/24\n");
    assert!(controller.ok("pool list").contains("  10.1.0.0/24 of acme  "));
    let shown = controller.ok("pool show pods");
    assert!(shown.contains(&format!("From:      block acme/{block}\n")), "{shown}");
    assert!(shown.contains("Excluded:  10.1.0.1/32, 10.1.0.255/32\n"), "{shown}");
    controller.lease("node-a", "pods", "10.1.0.16", &[1, 2]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while controller.json("melange address allocated acme").as_array().map(Vec::len) != Some(2) {
        assert!(std::time::Instant::now() < deadline, "the pods are not seen");
    }
    let list = controller.ok(&format!("melange address allocated acme --device {}", "02".repeat(32)));
    assert!(list.contains("10.1.0.18") && list.contains("eth0") && list.lines().count() == 2, "{list}");
    for (code, line, reason) in [
        (1, format!("melange address allocate acme {block}"), "backs pool pods"),
        (1, format!("pool create other --from-block acme/{block}"), "from_block: block"),
        (1, "pool add-subnet pods 10.2.0.0/24".to_owned(), "has the addresses of block acme/"),
        (2, "pool create other --from-block acme".to_owned(), "it must be TENANT/BLOCK"),
        (
            2,
            format!("pool create other --subnet 10.2.0.0/24 --from-block acme/{block}"),
            "cannot be used with",
        ),
        (2, "pool create other".to_owned(), "required"),
    ] {
        let told = controller.fails(code, &line);
        assert!(told.contains(reason), "{line}: {told}");
    }
}

#[test]
fn what_is_refused() {
    let controller = Controller::start();
    for (code, line, reason) in [
        (1, "melange block show acme x", "IpBlock Not Found"),
        (1, "melange block create acme --cidr 10.0.0.0/24 --policy x", "policy_id"),
        (1, "melange policy show acme x", "Policy Not Found"),
        (2, "melange block create acme --cidr x", "invalid value"),
        (2, "melange policy allow acme p", "required"),
        (1, "melange nat list globals x 10.0.0.1", "IpBlock Not Found"),
        (2, "melange nat list outside x 10.0.0.1", "invalid value"),
        (2, "melange nat assign globals x 10.0.0.1 10.0.0.2", "it must be BLOCK/ADDRESS"),
        (2, "melange nat assign globals x 10.0.0.1 y/x", "\"x\": invalid IP address"),
        (2, "melange nat remove globals x 10.0.0.1", "required"),
        (1, "melange interface list acme nowhere eth0", "Network Not Found"),
        (2, "melange interface allocate acme net eth0 --address x", "invalid value"),
    ] {
        let told = controller.fails(code, line);
        assert!(told.contains(reason), "{line}: {told}");
    }
}
