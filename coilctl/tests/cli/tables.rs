//! What is printed.

use crate::fixture::{Controller, coilctl, text};
use insta::assert_snapshot;
use serde_json::json;

fn populated() -> Controller {
    let controller = Controller::start();
    controller.ok("pool create default --subnet 10.64.0.0/16 --subnet fd00:64::/64 --exclude 10.64.0.0/30");
    controller.ok("pool create bridged --subnet 10.66.0.0/24,10.67.0.0/24 --block-size 27 --block-gateway first --disabled");
    controller.register("node-a", true);
    controller.register("node-b", false);
    controller.lease("node-a", "default", "10.64.0.16", &[1, 10]);
    controller.lease("node-a", "default", "fd00:64::20", &[3]);
    controller.lease("node-b", "default", "10.64.1.0", &[]);
    controller
}

#[test]
fn pools() {
    let controller = Controller::start();
    assert_snapshot!(controller.transcript(&[
        "pool list",
        "pool create default --subnet 10.64.0.0/16 --subnet fd00:64::/64",
        "pool create tiny --subnet 10.99.0.0/28",
        "pool add-subnet tiny 10.98.0.0/24 --exclude 10.98.0.0/28",
        "pool remove-subnet tiny 10.99.0.0/28",
        "pool disable tiny",
        "pool list",
        "pool enable tiny",
        "pool delete tiny",
        "pool list",
    ]));
}

#[test]
fn pools_in_use() {
    assert_snapshot!(populated().transcript(&["pool list", "pool show default", "pool show bridged"]));
}

#[test]
fn nodes_and_blocks() {
    assert_snapshot!(populated().transcript(&[
        "node list",
        "node show node-a",
        "block list",
        "block list --pool default --node node-b",
        "block list --pool bridged",
        "node remove node-b",
        "node remove node-a --force",
        "node list",
    ]));
}

#[test]
fn addresses() {
    let controller = populated();
    controller.follow_next_order("node-a");
    assert_snapshot!(controller.transcript(&[
        "address list",
        "address list --node node-b",
        "address show 10.64.0.26",
        "address show 10.64.0.27",
        "address show 10.64.0.1",
        "address show 10.64.2.0",
        "address free fd00:64::23",
    ]));
}

#[test]
fn json_and_yaml() {
    let controller = populated();
    let pools = controller.json("pool list");
    assert_eq!((&pools[0]["name"], &pools[1]["usage"][0]["leased"]), (&json!("bridged"), &json!(2)));
    assert_eq!(controller.json("pool show default")["usage"][0]["allocated"], 2);
    assert_eq!(controller.json("node list")[1]["alive"], false);
    assert_eq!(controller.json("block list --pool bridged"), json!([]));
    assert_eq!(controller.json("address list")[0]["pod-name"], "web-1");
    assert_eq!(controller.json("address show 10.64.0.27")["state"], "free");
    assert_eq!(controller.json("node remove node-b")["released"], json!(["10.64.1.0/28"]));
    let yaml = controller.ok("block list --node node-a -o yaml");
    let expected = "- block: 10.64.0.16/28\n  pool: default\n  node: node-a\n  allocated: 2\n- block: fd00:64::20/124\n  pool: default\n  node: node-a\n  allocated: 1\n";
    assert_eq!(yaml, expected);
}

#[test]
fn lists_of_several_pages() {
    let controller = Controller::start();
    controller.ok("pool create default --subnet 10.0.0.0/8");
    controller.register("node-a", true);
    for block in 0..350_u32 {
        let first = std::net::Ipv4Addr::from_bits(0x0a00_0000 + block * 16).to_string();
        controller.lease("node-a", "default", &first, &(0..16).collect::<Vec<_>>());
    }
    assert_eq!(controller.json("address list").as_array().map(Vec::len), Some(350 * 16));
    assert_eq!(controller.ok("address list --pool default").lines().count(), 350 * 16 + 1);
}

#[test]
fn completions_and_help() {
    for (shell, sign) in
        [("bash", "complete -F"), ("zsh", "#compdef coilctl"), ("fish", "complete -c coilctl")]
    {
        let output = coilctl().args(["completions", shell]).output().expect("started");
        let script = text(&output.stdout);
        assert!(output.status.success() && script.contains(sign) && script.contains("add-subnet"), "{shell}");
    }
    for line in ["--help", "pool create --help", "node remove --help", "completions --help"] {
        let output = coilctl().args(line.split_whitespace()).output().expect("started");
        assert!(output.status.success() && text(&output.stdout).contains("Example"), "{line}");
    }
}
