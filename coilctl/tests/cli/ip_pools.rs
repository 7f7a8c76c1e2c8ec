//! `nspool` and `svcpool`: tables, maps, changes, and what is watched.

use crate::fixture::{Controller, coilctl, text};
use insta::assert_snapshot;
use serde_json::json;

const WEB: &str = "nspool create team web --subnet 192.168.1.0/24 --start 192.168.1.5 --end 192.168.1.24 --gateway \
                   192.168.1.1 --vlan 100";
const FRONT: &str =
    "svcpool create team front --pool web --service shop --start 192.168.1.10 --end 192.168.1.19";

fn populated() -> Controller {
    let controller = Controller::start();
    controller.ok(WEB);
    controller.ok(FRONT);
    let web = ("team", "web");
    controller.lease_address(web, "192.168.1.5", "web-7f9c", "node-a", false);
    controller.lease_address(web, "192.168.1.10", "shop-1", "node-b", false);
    controller.lease_address(web, "192.168.1.23", "db-1", "", true);
    controller.lease_address(web, "192.168.1.24", "db-0", "node-a", true);
    controller
}

#[test]
fn from_create_to_delete() {
    let controller = Controller::start();
    assert_snapshot!(controller.transcript(&[
        "nspool list",
        WEB,
        "nspool create team six --subnet fd00:1::/64 --cidr fd00:1::1:0/112 --gateway fd00:1::1",
        "svcpool list",
        FRONT,
        "svcpool extend team front --start 192.168.1.8 --end 192.168.1.20",
        "nspool extend team web --start 192.168.1.2 --end 192.168.1.60",
        "nspool shrink team web --start 192.168.1.8 --end 192.168.1.40",
        "nspool disable team web",
        "svcpool disable team front",
        "nspool list",
        "nspool list --namespace none",
        "svcpool list --namespace team",
        "nspool enable team web",
        "svcpool enable team front",
        "svcpool shrink team front --cidr 192.168.1.8/30",
        "svcpool delete team front",
        "nspool delete team web",
        "nspool list",
    ]));
}

#[test]
fn maps() {
    assert_snapshot!(populated().transcript(&[
        "nspool list",
        "nspool show team web",
        "svcpool show team front"
    ]));
}

#[test]
fn large_pools_have_small_maps() {
    let controller = Controller::start();
    controller.ok("nspool create team large --subnet 10.8.0.0/16 --start 10.8.0.2 --end 10.8.255.254 --gateway 10.8.0.1");
    controller.lease_address(("team", "large"), "10.8.128.2", "p-1", "node-a", false);
    assert_snapshot!(controller.ok("nspool show team large"));
}

#[test]
fn json_and_yaml() {
    let controller = populated();
    let pools = controller.json("nspool list");
    assert_eq!((&pools[0]["leased"], &pools[0]["reserved"]), (&json!(4), &json!(10)));
    assert_eq!(controller.json("nspool show team web")["map"][0]["pod"]["name"], "web-7f9c");
    assert_eq!(controller.json("svcpool show team front")["map"][1]["state"], "free");
    assert_eq!(controller.json("nspool disable team web")["disabled"], true);
    let yaml = controller.ok("-o yaml svcpool list");
    assert!(yaml.starts_with("- namespace: team\n  name: front\n  pool: web\n"), "{yaml}");
}

#[test]
fn what_is_refused() {
    let controller = populated();
    for (code, line, reason) in [
        (1, WEB, "namespace pool team/web exists already; `coilctl nspool show team web` shows it"),
        (1, FRONT, "service pool team/front exists already; `coilctl svcpool show team front` shows it"),
        (1, "nspool show team none", "there is no namespace pool team/none; `coilctl nspool list`"),
        (1, "svcpool delete team none", "there is no service pool team/none; `coilctl svcpool list`"),
        (1, "nspool delete team web", "has service pools, which must be deleted first: front"),
        (1, "svcpool delete team front", "192.168.1.10 of pod team/shop-1; delete these pods first"),
        (
            1,
            "nspool shrink team web --start 192.168.1.6 --end 192.168.1.24",
            "1 address of 192.168.1.5-192.168.1.5 is in use: 192.168.1.5 of pod team/web-7f9c",
        ),
        (
            2,
            "nspool shrink team web --start 192.168.1.6 --end 192.168.1.25",
            "192.168.1.6-192.168.1.25 is not a part of 192.168.1.5-192.168.1.24",
        ),
        (
            2,
            "nspool extend team web --start 192.168.1.6 --end 192.168.1.25",
            "192.168.1.6-192.168.1.25 does not have all of 192.168.1.5-192.168.1.24",
        ),
        (2, "nspool create team x --subnet 10.0.0.0/24 --gateway 10.0.0.1", "--start"),
        (2, "nspool create team x --subnet 10.0.0.0/24 --gateway 10.0.0.1 --start 10.0.0.2", "--end"),
        (
            2,
            "nspool create team x --subnet 10.0.0.0/24 --gateway 10.0.0.1 --cidr 10.0.0.8/29 --vlan 4095",
            "4095 is not in 0..=4094",
        ),
        (
            1,
            "nspool create team x --subnet 10.0.0.0/24 --gateway 10.0.0.9 --cidr 10.0.0.8/29",
            "lies in the range",
        ),
    ] {
        let error = controller.fails(code, line);
        assert!(error.contains(reason), "{line}: {error}");
    }
}

#[test]
fn what_is_watched_is_shown_again_when_it_has_changed() {
    let controller = populated();
    let mut list = controller.spawn("nspool list --watch");
    let mut show = controller.spawn("-o json nspool show team web -w");
    list.until(" 20       4  20%");
    show.until("\"leased\": 4");
    controller.give_back(("team", "web"), "192.168.1.5");
    let again = list.until(" 20       3  15%");
    assert!(again.starts_with("\nNAMESPACE"), "{again:?}");
    show.until("\"leased\": 3");
}

#[test]
fn a_drain_tells_how_far_it_is() {
    let controller = populated();
    let error = {
        let output = controller.run("nspool drain team web --wait 1ms");
        assert_eq!(output.status.code(), Some(5));
        let told = text(&output.stdout);
        let expected = "namespace pool team/web: 4 leased, 3 held, 1 kept for pods that are away (`coilctl address free`); \
                        by team/web-7f9c, team/shop-1, team/db-1, team/db-0\n";
        assert_eq!(told, expected);
        text(&output.stderr)
    };
    assert!(error.contains("namespace pool team/web is disabled, but not empty yet"), "{error}");
    assert_eq!(controller.json("nspool show team web")["disabled"], true);
    assert_eq!(controller.json("svcpool show team front")["disabled"], true, "with its service pools");
    let mut drain = controller.spawn("nspool drain team web");
    drain.until("4 leased");
    let web = ("team", "web");
    controller.give_back(web, "192.168.1.5");
    drain.until("3 leased");
    assert_eq!(controller.json("address free 192.168.1.23")["state"], "unleased");
    let told = drain.until("2 leased, 2 held; by team/shop-1, team/db-0");
    assert!(!told.contains("is empty"), "{told}");
    let mut service = controller.spawn("svcpool drain team front");
    service.until("service pool team/front: 1 leased");
    controller.give_back(web, "192.168.1.10");
    service.until("service pool team/front is empty");
    assert_eq!(service.ended(), (Some(0), String::new()));
    controller.give_back(web, "192.168.1.24");
    drain.until("namespace pool team/web is empty");
    assert_eq!(drain.ended(), (Some(0), String::new()));
}

#[test]
fn a_drain_of_blocks() {
    let controller = Controller::start();
    controller.ok("pool create default --subnet 10.64.0.0/16");
    controller.lease("node-a", "default", "10.64.0.0", &[1, 2]);
    let mut drain = controller.spawn("pool drain default");
    drain.until("pool default: 1 leased, 2 held");
    controller.lease("node-a", "default", "10.64.0.0", &[]);
    drain.until("pool default: 1 leased, 0 held");
    let output = controller.run("pool drain default --wait 1ms");
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{error}");
    assert!(error.contains("pool default is disabled, but not empty yet"), "{error}");
    controller.ok("node remove node-a --force");
    drain.until("pool default is empty");
    assert_eq!(drain.ended(), (Some(0), String::new()));
    assert_eq!(controller.json("pool show default")["disabled"], true);
}

#[test]
fn what_is_abnormal_is_listed_before_it_is_mended() {
    let controller = Controller::start();
    controller.ok(WEB);
    assert_eq!(controller.ok("address check"), "no abnormality in 0 leases\n");
    controller.ok("pool create default --subnet 10.64.0.0/16");
    controller.register("node-a", true);
    controller.register("node-b", false);
    controller.lease("node-a", "default", "10.64.0.0", &[1]);
    controller.lease("node-b", "default", "10.64.0.16", &[1]);
    controller.lease("node-c", "default", "10.64.0.32", &[1]);
    let web = ("team", "web");
    controller.lease_address(web, "192.168.1.23", "db-1", "", true);
    controller.delete("fixed/team/db-1/ipv4".to_owned());
    let run = |line: &str| {
        let output = controller.run(line);
        (output.status.code(), format!("$ coilctl {line}\n{}{}", text(&output.stdout), text(&output.stderr)))
    };
    let lines = ["address check", "address check --mend", "address check --mend --unused 0"].map(run);
    assert_eq!(lines.each_ref().map(|(code, _)| *code), [Some(6); 3]);
    assert_snapshot!(lines.map(|(_, text)| text).join("\n"));
    controller.ok("node remove node-b");
    assert_eq!(controller.json("address check")["found"], 0);
    controller.fails(2, "address check --unused x");
}

#[test]
fn completions_have_them() {
    let output = coilctl().args(["completions", "bash"]).output().expect("started");
    let script = text(&output.stdout);
    for word in ["nspool", "svcpool", "drain", "shrink", "--gateway"] {
        assert!(script.contains(word), "{word}");
    }
}
