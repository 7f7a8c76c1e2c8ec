//! `apply`: what is made and changed, dry runs, and what is refused.

use crate::fixture::{Controller, coilctl, text};
use insta::assert_snapshot;
use serde_json::json;
use std::io::Write;
use std::process::{Output, Stdio};

const FILE: &str = "\
# All that the team has.
kind: Pool
name: default
subnets: [10.64.0.0/16, 'fd00:64::/64']
exclude: [10.64.0.0/30]
---
kind: NamespacePool
namespace: team
name: web
subnet: 192.168.1.0/24
start: 192.168.1.5
end: 192.168.1.24
gateway: 192.168.1.1
vlan: 100
---
kind: ServicePool
namespace: team
name: front
pool: web
service: shop
cidr: 192.168.1.16/29
disabled: true
";

/// The same with other ranges and subnets.
const OTHER: &str = "\
kind: Pool
name: default
subnets: ['fd00:64::/64', 10.65.0.0/16]
exclude: [10.65.0.0/30]
disabled: true
---
kind: NamespacePool
namespace: team
name: web
subnet: 192.168.1.0/24
start: 192.168.1.3
end: 192.168.1.40
gateway: 192.168.1.1
vlan: 100
---
kind: ServicePool
namespace: team
name: front
pool: web
service: shop
start: 192.168.1.16
end: 192.168.1.30
disabled: false
";

impl Controller {
    /// Applies a text, given on standard input.
    fn apply(&self, file: &str, flags: &str) -> Output {
        let mut child = coilctl()
            .env("COIL_SERVER", self.server())
            .args(["apply", "-f", "-"])
            .args(flags.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        child.stdin.take().expect("piped").write_all(file.as_bytes()).expect("written");
        child.wait_with_output().expect("ended")
    }

    /// What applying a text prints; nothing may be said besides.
    fn applied(&self, file: &str) -> String {
        let output = self.apply(file, "");
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
        text(&output.stdout)
    }

    fn dry_run(&self, file: &str) -> (Option<i32>, String) {
        let output = self.apply(file, "--dry-run");
        (output.status.code(), text(&output.stdout))
    }

    fn all(&self) -> String {
        ["pool list", "nspool list", "svcpool list"].map(|line| self.ok(&format!("-o json {line}"))).concat()
    }
}

#[test]
fn what_a_file_describes_is_made_and_changed_to_match() {
    let controller = Controller::start();
    let before = controller.all();
    let (code, would) = controller.dry_run(FILE);
    assert_eq!((code, controller.all()), (Some(6), before), "a dry run changes nothing");
    let made = controller.applied(FILE);
    assert_eq!(would.replace("would be created", "created"), made);
    assert_eq!(controller.dry_run(FILE), (
        Some(0),
        "pool default: unchanged\nnamespace pool team/web: unchanged\nservice pool team/front: unchanged\n".to_owned()
    ));
    assert_eq!(controller.json("svcpool show team front")["disabled"], true);
    let (code, would) = controller.dry_run(OTHER);
    assert_eq!(code, Some(6));
    let changed = controller.applied(OTHER);
    assert_eq!(would.replace("would be changed", "changed"), changed);
    assert_eq!(controller.dry_run(OTHER).0, Some(0));
    let pool = controller.json("pool show default");
    assert_eq!(
        (&pool["subnets"], &pool["exclude"], &pool["disabled"]),
        (&json!(["fd00:64::/64", "10.65.0.0/16"]), &json!(["10.65.0.0/30"]), &json!(true))
    );
    assert_eq!(controller.json("nspool show team web")["end"], "192.168.1.40");
    assert_eq!(controller.json("svcpool show team front")["end"], "192.168.1.30");
    assert_snapshot!(format!("{made}\n{changed}"));
}

#[test]
fn what_a_file_does_not_mention_stays() {
    let controller = Controller::start();
    controller
        .ok("pool create default --subnet 10.64.0.0/16 --block-size 26 --exclude 10.64.0.0/30 --disabled");
    controller.ok("pool create other --subnet 10.65.0.0/16");
    let file = "kind: Pool\nname: default\nsubnets: [10.64.0.0/16]\n";
    assert_eq!(controller.applied(file), "pool default: unchanged\n");
    let pool = controller.json("pool show default");
    assert_eq!((&pool["disabled"], &pool["exclude"]), (&json!(true), &json!(["10.64.0.0/30"])));
    assert_eq!(controller.json("pool list").as_array().map(Vec::len), Some(2));
}

#[test]
fn malformed_files_change_nothing() {
    let controller = Controller::start();
    let before = controller.all();
    let long = format!("{FILE}---\nkind: Pool\nname: x\nsubnet: [10.9.0.0/16]\n");
    for (file, reason) in [
        (long.as_str(), "-: document 4: subnet: unknown field `subnet`"),
        ("", "- has no document"),
        ("---\n# nothing\n", "- has no document"),
        ("{", "document 1: "),
        ("kind: Pod\n", "document 1: kind must be Pool, NamespacePool, ServicePool, Namespace or Service"),
    ] {
        let output = controller.apply(file, "");
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{file}: {error}");
        assert!(error.contains(reason) && text(&output.stdout).is_empty(), "{file}: {error}");
    }
    let error = controller.fails(2, "apply -f /nowhere/pools.yaml");
    assert!(error.contains("/nowhere/pools.yaml: No such file"), "{error}");
    controller.fails(2, "apply");
    assert_eq!(controller.all(), before);
}

#[test]
fn what_never_changes_is_refused_before_anything_is_done_with_it() {
    let controller = Controller::start();
    controller.applied(FILE);
    let before = controller.all();
    for (old, new, reason) in [
        (
            "exclude: [10.64.0.0/30]",
            "exclude: []",
            "pool default: exclude is 10.64.0.0/30, and can't be changed to none",
        ),
        ("name: default\n", "name: default\nblock_size: 26\n", "pool default: block_size is 28, and can't"),
        ("name: default\n", "name: default\nblock_gateway: first\n", "block_gateway is none"),
        (
            "vlan: 100",
            "vlan: 101",
            "namespace pool team/web: vlan is 100, and can't be changed to 101: delete the pool",
        ),
        ("gateway: 192.168.1.1", "gateway: 192.168.1.2", "gateway is 192.168.1.1"),
        ("subnet: 192.168.1.0/24", "subnet: 192.168.0.0/16", "subnet is 192.168.1.0/24"),
        ("service: shop", "service: other", "service pool team/front: service is shop"),
        (
            "end: 192.168.1.24\n",
            "end: 192.168.2.24\n",
            "namespace pool team/web: end 192.168.2.24 is not in subnet",
        ),
    ] {
        let file = FILE.replace(old, new);
        assert_ne!(file, FILE, "{old}");
        let output = controller.apply(&file, "");
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{new}: {error}");
        assert!(error.contains(reason), "{new}: {error}");
        assert_eq!(controller.all(), before, "{new}");
    }
}

#[test]
fn what_stands_in_the_way_is_told_with_what_was_done_before() {
    let controller = Controller::start();
    controller.applied(FILE);
    controller.lease_address(("team", "web"), "192.168.1.5", "web-7f9c", "node-a", false);
    let file = FILE
        .replace("[10.64.0.0/16, ", "[10.64.0.0/16, 10.70.0.0/16, ")
        .replace("start: 192.168.1.5", "start: 192.168.1.6");
    let output = controller.apply(&file, "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).starts_with("pool default: changed\n"), "{}", text(&output.stdout));
    let error = text(&output.stderr);
    assert!(
        error.starts_with("coilctl: namespace pool team/web: 1 address of 192.168.1.5-192.168.1.5"),
        "{error}"
    );
    assert_eq!(controller.json("nspool show team web")["start"], "192.168.1.5");
    let none = "kind: ServicePool\nnamespace: a\nname: b\npool: c\nservice: d\ncidr: 10.0.0.0/28\n";
    let error = text(&controller.apply(none, "").stderr);
    assert!(error.contains("service pool a/b: there is no namespace pool a/c"), "{error}");
}

#[test]
fn for_programs() {
    let controller = Controller::start();
    let done: serde_json::Value =
        serde_json::from_slice(&controller.apply(FILE, "-o json").stdout).expect("JSON");
    assert_eq!((&done[0]["object"], &done[0]["action"]), (&json!("pool default"), &json!("created")));
    let done: serde_json::Value =
        serde_json::from_slice(&controller.apply(OTHER, "-o json --dry-run").stdout).expect("JSON");
    let range = json!({
        "field": "range", "before": "192.168.1.5-192.168.1.24", "after": "192.168.1.3-192.168.1.40"
    });
    assert_eq!((&done[1]["action"], &done[1]["differences"]), (&json!("changed"), &json!([range])));
}
