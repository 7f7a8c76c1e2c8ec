//! Goldens: what each command answers, in each version of the specification and both roles, from coild's reply
//! to standard output. Nothing here does I/O.

use super::*;
use crate::client::ClientError;
use crate::datapath::{DatapathError, End, Ends, netns::NetnsError};
use common::wire::node::AddressReply;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

fn config(version: SpecVersion, main: bool, extra: &Value) -> NetworkConfig {
    let mut document = json!({"cniVersion": version.as_str(), "name": "pods", "type": "coil"});
    let mut place = &mut document;
    if !main {
        place["type"] = "bridge".into();
        place["ipam"] = json!({"type": "coil"});
        place = &mut place["ipam"];
    }
    for (key, value) in extra.as_object().expect("object") {
        place[key] = value.clone();
    }
    document["dns"] = json!({"nameservers": ["10.64.0.10"], "search": ["svc.cluster.local"]});
    NetworkConfig::parse(document, "coil").expect("valid")
}

fn target(args: &str) -> Target {
    let find = |name: &str| match name {
        "CNI_COMMAND" => Some(OsString::from("DEL")),
        "CNI_CONTAINERID" => Some("c1".into()),
        "CNI_IFNAME" => Some("eth0".into()),
        "CNI_NETNS" => Some("/run/netns/a".into()),
        _ => Some(args.into()),
    };
    match Call::parse(find) {
        Ok(Call::Del(target)) => target,
        other => panic!("{other:?}"),
    }
}

fn reply(addresses: &Value) -> AddressReply {
    let mut document = addresses[0].clone();
    document["addresses"] = addresses.clone();
    document["status"] = 200.into();
    serde_json::from_value(document).expect("reply")
}

fn routed() -> AddressReply {
    reply(&json!([{"address": "10.64.0.5", "prefix": 32, "pool": "default"}]))
}

fn dual() -> AddressReply {
    reply(&json!([
        {"address": "10.64.0.5", "prefix": 32, "pool": "default"},
        {"address": "fd00:64::5", "prefix": 128, "pool": "default"}
    ]))
}

fn with_gateway() -> AddressReply {
    reply(&json!([{
        "address": "10.64.0.5", "prefix": 28, "gateway": "10.64.0.1", "pool": "bridge",
        "routes": [{"dst": "10.0.0.0/8"}, {"dst": "0.0.0.0/0", "gw": "10.64.0.2"}]
    }]))
}

fn families(both: bool) -> Value {
    if both { json!({"addressTypes": ["ipv4", "ipv6"]}) } else { json!({}) }
}

/// One answer for each version, by lines.
fn in_all_versions(answer: impl Fn(SpecVersion) -> String) -> String {
    SpecVersion::ALL.map(answer).join("\n")
}

fn ends() -> Ends {
    let end = |name: &str, mac: &str| End { name: name.to_owned(), mac: mac.to_owned(), mtu: 1500 };
    Ends { host: end("veth2d074a3fdfa", "aa:aa:aa:aa:aa:01"), container: end("eth0", "aa:aa:aa:aa:aa:02") }
}

#[test]
fn add_as_ipam() {
    for (name, reply, both) in
        [("routed", routed(), false), ("dual", dual(), true), ("gateway", with_gateway(), false)]
    {
        let answer = in_all_versions(|version| {
            let config = config(version, false, &families(both));
            add::ipam_result(&config, &reply).expect("result").to_json(version).expect("JSON")
        });
        insta::assert_snapshot!(format!("add_as_ipam_{name}"), answer);
    }
}

#[test]
fn add_as_ipam_of_ptp() {
    let config = |version: SpecVersion, extra: &Value| {
        let mut document =
            json!({"cniVersion": version.as_str(), "name": "pods", "type": "ptp", "ipam": extra});
        document["ipam"]["type"] = "coil".into();
        NetworkConfig::parse(document, "coil").expect("valid")
    };
    for (name, reply, both) in
        [("routed", routed(), false), ("dual", dual(), true), ("gateway", with_gateway(), false)]
    {
        let answer = in_all_versions(|version| {
            let config = config(version, &families(both));
            add::ipam_result(&config, &reply).expect("result").to_json(version).expect("JSON")
        });
        insta::assert_snapshot!(format!("add_as_ipam_of_ptp_{name}"), answer);
    }
    let none =
        add::ipam_result(&config(SpecVersion::V1_0_0, &json!({"routes": []})), &routed()).expect("result");
    assert_eq!(none.ips[0].address.to_string(), "10.64.0.5/32");
    assert_eq!(none.routes[0].dst.to_string(), "10.64.0.5/32");
    let some = json!({"routes": [{"dst": "10.0.0.0/8"}]});
    let error = add::ipam_result(&config(SpecVersion::V1_0_0, &some), &routed()).expect_err("ptp can't");
    assert!(error.to_string().starts_with("ptp can't add the route 10.0.0.0/8"), "{error}");
    assert_eq!(error.code(), 2);
}

#[test]
fn add_as_main() {
    for (name, reply, both) in
        [("routed", routed(), false), ("dual", dual(), true), ("gateway", with_gateway(), false)]
    {
        let answer = in_all_versions(|version| {
            let config = config(version, true, &families(both));
            let addresses: Vec<_> = reply.addresses.iter().map(|assigned| assigned.address).collect();
            let to = add::routed::destinations(&config, &reply);
            let result = add::routed::main_result(&config, &addresses, &to, ends(), "/run/netns/a");
            result.to_json(version).expect("JSON")
        });
        insta::assert_snapshot!(format!("add_as_main_{name}"), answer);
    }
}

#[test]
fn routes_of_the_configuration_win() {
    let routes = json!({"routes": [{"dst": "172.16.0.0/12"}, {"dst": "0.0.0.0/0", "gw": "10.64.0.3"}]});
    let ipam = config(SpecVersion::V1_0_0, false, &routes);
    let result = add::ipam_result(&ipam, &with_gateway()).expect("result");
    let shown: Vec<String> =
        result.routes.iter().map(|route| format!("{} {}", route.dst, route.gw.expect("gateway"))).collect();
    assert_eq!(shown, ["172.16.0.0/12 10.64.0.1", "0.0.0.0/0 10.64.0.3"]);
    let main = config(SpecVersion::V1_0_0, true, &json!({"routes": [{"dst": "172.16.0.0/12"}]}));
    assert_eq!(add::routed::destinations(&main, &with_gateway())[0].to_string(), "172.16.0.0/12");
    let none = config(SpecVersion::V1_0_0, true, &json!({"routes": []}));
    assert!(add::routed::destinations(&none, &routed()).is_empty());
}

#[test]
fn requests() {
    let request = |main: bool, extra: &Value, args: &str| {
        let (config, target) = (config(SpecVersion::V1_0_0, main, extra), target(args));
        let path = path_of(&config, &target).expect("path");
        let request = add::request(&config, &target, &path).map_err(|error| error.to_string())?;
        Ok::<_, String>(serde_json::to_string(&request).expect("JSON"))
    };
    let pod = "IgnoreUnknown=1;K8S_POD_NAMESPACE=team;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c1";
    let both = families(true);
    let all = [
        request(true, &json!({}), "").expect("podman"),
        request(false, &json!({"pool": "p", "addressTypes": ["ipv6"]}), pod).expect("kubernetes"),
        request(false, &both, &format!("{pod};IP=10.64.0.9")).expect("one address asked for"),
        request(true, &both, &format!("{pod};IP=fd00:64::9,10.64.0.9")).expect("two addresses asked for"),
    ];
    insta::assert_snapshot!("requests", all.join("\n"));
    let error = request(true, &json!({}), "IP=fd00::1").expect_err("family");
    assert_eq!(error, "CNI_ARGS: IP: fd00::1 is ipv6, which addressTypes does not have");
    let static_too = json!({"runtimeConfig": {"ips": ["10.64.0.8/24"]}});
    assert!(request(true, &static_too, "IP=10.64.0.8").is_ok(), "the same one twice");
    let error = request(true, &static_too, "IP=10.64.0.9").expect_err("two of a family");
    assert_eq!(error, "runtimeConfig.ips: 10.64.0.8 and 10.64.0.9 are asked for, one of a family can be had");
    let error = request(true, &json!({}), "IP=10.64.0.8,10.64.0.9").expect_err("two of a family");
    assert_eq!(error, "CNI_ARGS: IP: 10.64.0.8 and 10.64.0.9 are asked for, one of a family can be had");
}

#[test]
fn answers_that_were_not_asked_for() {
    for (both, reply, given) in [
        (true, routed(), "ipv4 and ipv6, and gave [10.64.0.5/32]"),
        (false, dual(), "ipv4, and gave [10.64.0.5/32, fd00:64::5/128]"),
        (
            false,
            reply(&json!([{"address": "10.64.0.5", "prefix": 33, "pool": "default"}])),
            "ipv4, and gave [10.64.0.5/33]",
        ),
    ] {
        let config = config(SpecVersion::V1_0_0, false, &families(both));
        let error = add::ipam_result(&config, &reply).expect_err(given);
        assert_eq!((error.to_string(), error.code()), (format!("coild was asked for {given}"), 100));
    }
}

#[test]
fn check_compares_addresses() {
    let prev = |ips: Value| {
        let document = json!({ "prevResult": { "ips": ips } });
        let field = crate::field::Field::root(&document).require("prevResult").expect("there");
        crate::prev_result::PrevResult::parse(&field).expect("valid")
    };
    let given = prev(json!([{"address": "10.64.0.5/32"}]));
    let compare = |held: &[&str]| {
        let held: Vec<_> = held.iter().map(|ip| ip.parse().expect("address")).collect();
        check::compare(&given, "eth0", &held).map_err(|error| error.to_string())
    };
    assert_eq!(compare(&["10.64.0.5"]), Ok(()));
    assert!(compare(&[]).expect_err("none").starts_with("coild holds no address for eth0"));
    assert!(compare(&["10.64.0.6"]).expect_err("other").starts_with("coild does not hold 10.64.0.5"));
    let error = compare(&["10.64.0.5", "fd00::1"]).expect_err("more");
    assert!(error.starts_with("prevResult.ips does not have fd00::1"), "{error}");
}

#[test]
fn gc_request() {
    let mut document = json!({"cniVersion": "1.1.0", "name": "pods", "type": "coil"});
    document["cni.dev/valid-attachments"] = json!([{"containerID": "c1", "ifname": "eth0"}]);
    let config = NetworkConfig::parse(document, "coil").expect("valid");
    let request = gc::request(&config).expect("request");
    insta::assert_snapshot!("gc_request", serde_json::to_string(&request).expect("JSON"));
    let held = |container: &str, interface: &str, network: &str, address: &str| {
        json!({"address": address, "pool": "p", "pod-namespace": "n", "pod-name": "p", "container-id": container,
               "interface": interface, "network": network, "since": 0})
    };
    let status = json!({"address-blocks": {}, "pods": {}, "status": 200, "attachments": [
        held("c1", "eth0", "pods", "10.64.0.1"), held("c1", "net1", "pods", "10.64.0.2"),
        held("c2", "eth0", "pods", "10.64.0.3"), held("c2", "eth0", "other", "10.64.0.4"),
    ]});
    let stale = gc::stale(&serde_json::from_value(status).expect("status"), &request);
    let stale: Vec<std::net::IpAddr> = stale.into_iter().map(|(_, address)| address).collect();
    assert_eq!(
        stale,
        ["10.64.0.2".parse::<std::net::IpAddr>().expect("address"), "10.64.0.3".parse().expect("address")]
    );
}

#[test]
fn add_to_a_bridge() {
    let extra = json!({"datapath": "bridge", "addressTypes": ["ipv4", "ipv6"]});
    let of_pools = reply(&json!([
        {"address": "10.9.0.5", "prefix": 24, "gateway": "10.9.0.1", "vlan": 0, "pool": "ns:team:web",
         "routes": [{"dst": "0.0.0.0/0", "gw": "10.9.0.1"}]},
        {"address": "fd00:9::5", "prefix": 64, "gateway": "fd00:9::1", "vlan": 0, "pool": "ns:team:web6"}
    ]));
    let answer = in_all_versions(|version| {
        let config = config(version, true, &extra);
        let plan = add::bridge::plan(&config, &of_pools).expect("plan");
        add::bridge::result(&config, plan, ends(), "/run/netns/a").to_json(version).expect("JSON")
    });
    insta::assert_snapshot!("add_to_a_bridge", answer);
    let config = config(SpecVersion::V1_0_0, true, &json!({"datapath": "bridge"}));
    let error = add::bridge::plan(&config, &routed()).expect_err("no network");
    assert!(error.to_string().starts_with("the pool default of 10.64.0.5 has no gateway"), "{error}");
    assert_eq!(error.code(), 2);
}

/// Every command, called as the runtime does, up to where it would reach for coild.
fn answer(command: &str, input: &str) -> String {
    answer_in("/run/netns/coil-test-none", command, input.as_bytes())
}

fn answer_in(netns: &str, command: &str, input: &[u8]) -> String {
    let find = |name: &str| {
        let value = match name {
            "CNI_COMMAND" => command,
            "CNI_CONTAINERID" => "c1",
            "CNI_IFNAME" => "eth0",
            "CNI_NETNS" => netns,
            _ => return None,
        };
        Some(OsString::from(value))
    };
    match run(Call::parse(find), input, "coil") {
        Ok(output) => output,
        Err(failure) => failure.error.to_json(failure.version),
    }
}

#[test]
fn del_gets_by_without_a_namespace() {
    let config =
        r#"{"cniVersion": "1.0.0", "name": "n", "type": "coil", "socket": "/run/coil-test-none.sock"}"#;
    for netns in ["", "/run/netns/coil-test-none", "/proc/self/status", "/proc/thread-self/ns/net"] {
        let answer = answer_in(netns, "DEL", config.as_bytes());
        assert!(answer.contains("\"code\":11"), "{netns}: {answer}");
    }
    // ADD is not content with these.
    for (netns, code) in [("/proc/thread-self/ns/net", 4), ("/run/netns/coil-test-none", 3)] {
        let answer = answer_in(netns, "ADD", config.as_bytes());
        assert!(answer.contains(&format!("\"code\":{code}")), "{netns}: {answer}");
    }
}

#[test]
fn input_that_is_not_text() {
    let answer = answer_in("/run/netns/a", "ADD", b"{\"name\": \"\xff\"}");
    assert!(answer.contains("\"code\":6"), "{answer}");
    let endless = || io::repeat(b' ');
    let failure = run(Ok(Call::Status), endless(), "coil").expect_err("too long");
    assert_eq!(failure.error.code(), 5);
}

#[test]
fn version() {
    let asked =
        |version: SpecVersion| answer("VERSION", &json!({"cniVersion": version.as_str()}).to_string());
    let others = ["", "{}", r#"{"cniVersion": "9.9.9"}"#, "{", "[]"].map(|input| answer("VERSION", input));
    insta::assert_snapshot!("version", format!("{}\n{}", in_all_versions(asked), others.join("\n")));
}

#[test]
fn every_command_with_coild_away() {
    for (name, main) in [("main", true), ("ipam", false)] {
        let answers = SpecVersion::ALL.map(|version| {
            let mut document = json!({"cniVersion": version.as_str(), "name": "pods", "type": "coil"});
            let mut place = &mut document;
            if !main {
                place["type"] = "ptp".into();
                place["ipam"] = json!({"type": "coil"});
                place = &mut place["ipam"];
            }
            place["socket"] = "/run/coil-test-none.sock".into();
            document["prevResult"] = json!({"ips": []});
            document["cni.dev/valid-attachments"] = json!([]);
            let text = document.to_string();
            ["ADD", "DEL", "CHECK", "GC", "STATUS"]
                .map(|verb| format!("{verb} {}", answer(verb, &text)))
                .join("\n")
        });
        insta::assert_snapshot!(format!("coild_away_{name}"), answers.join("\n"));
    }
}

#[test]
fn errors_in_all_codes() {
    let socket = PathBuf::from("/run/coild.sock");
    let refused = |status, error: &str| ClientError::Refused { status, error: error.to_owned() };
    let missing = || Error::from(DatapathError::Netns(NetnsError::Missing("/run/netns/a".into())));
    let broken = || io::Error::from_raw_os_error(2);
    let errors = [
        missing(),
        DatapathError::Netns(NetnsError::Host("/proc/1/ns/net".into())).into(),
        DatapathError::InterfaceExists("eth0".to_owned()).into(),
        DatapathError::HostNamesTaken("veth1 and veth2".to_owned()).into(),
        DatapathError::Differs("eth0 is missing".to_owned()).into(),
        ClientError::Unreachable { socket: socket.clone(), source: broken() }.into(),
        ClientError::TimedOut { socket, timeout: Duration::from_secs(30) }.into(),
        refused(400, "pod-name is empty").into(),
        refused(409, "the attachment holds 10.64.0.5").into(),
        refused(500, "disk full").into(),
        refused(503, "pool default has no free address").into(),
        Error::NotReady(refused(503, "pool default has no free address")),
        Error::Io("read the network configuration on stdin", broken()),
        Error::Undo {
            first: Box::new(missing()),
            undo: vec![ClientError::Unreachable { socket: "/run/c.sock".into(), source: broken() }.into()],
        },
    ];
    let shown = errors.map(|error| error.to_json(SpecVersion::V1_0_0));
    let read =
        ["", "{", "[]", r#"{"cniVersion": "1.0.0", "type": "coil"}"#].map(|input| answer("ADD", input));
    insta::assert_snapshot!("errors", format!("{}\n{}", shown.join("\n"), read.join("\n")));
}
