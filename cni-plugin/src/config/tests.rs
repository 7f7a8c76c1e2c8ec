use super::*;
use proptest::prelude::*;
use serde_json::json;

fn parse(document: Value) -> Result<NetworkConfig, String> {
    NetworkConfig::parse(document, "coil").map_err(|error| error.to_string())
}

/// A configuration of the main plugin, with some keys besides.
fn main_with(extra: &Value) -> Value {
    merged(json!({"cniVersion": "1.0.0", "name": "net", "type": "coil"}), extra)
}

/// A configuration of ptp that delegates, with some keys besides in `ipam`.
fn ptp_with(extra: &Value) -> Value {
    let ipam = merged(json!({"type": "coil"}), extra);
    json!({"cniVersion": "1.0.0", "name": "net", "type": "ptp", "mtu": 1400, "ipam": ipam})
}

fn merged(mut base: Value, extra: &Value) -> Value {
    for (key, value) in extra.as_object().expect("object") {
        base[key] = value.clone();
    }
    base
}

#[test]
fn defaults() {
    let config = parse(main_with(&json!({}))).expect("valid");
    assert_eq!((config.mode, config.version), (Mode::Main, SpecVersion::V1_0_0));
    assert_eq!(config.socket, PathBuf::from(DEFAULT_SOCKET));
    assert_eq!(config.families, [Family::V4]);
    assert_eq!((config.timeout, config.mtu, config.pool, config.routes), (DEFAULT_TIMEOUT, None, None, None));
}

#[test]
fn all_keys_in_both_places() {
    let keys = json!({
        "socket": "/tmp/c.sock", "pool": "p", "addressTypes": ["ipv6", "ipv4"], "timeout": 1.5,
        "routes": [{"dst": "10.1.2.3/8"}, {"dst": "::/0"}]
    });
    let nested = main_with(&json!({"ipam": merged(json!({"type": "coil"}), &keys)}));
    for (document, mode) in
        [(main_with(&keys), Mode::Main), (nested, Mode::Main), (ptp_with(&keys), Mode::Ipam)]
    {
        let config = parse(document).expect("valid");
        assert_eq!((config.mode, config.mtu), (mode, None));
        assert_eq!(config.socket, PathBuf::from("/tmp/c.sock"));
        assert_eq!(config.families, Family::BOTH);
        assert_eq!(config.timeout, Duration::from_millis(1500));
        assert_eq!(config.routes.expect("given")[0].dst.to_string(), "10.0.0.0/8");
    }
    assert_eq!(parse(main_with(&json!({"mtu": 1400}))).expect("valid").mtu, Some(1400));
}

#[test]
fn datapaths() {
    let datapath = |extra: &Value| parse(main_with(extra)).map(|config| config.datapath);
    assert_eq!(datapath(&json!({})), Ok(Datapath::Routed));
    assert_eq!(datapath(&json!({"datapath": "routed"})), Ok(Datapath::Routed));
    let name = |text: &str| IfName::new(text).expect("valid");
    let default = Bridge {
        name: name("coil0"),
        uplink: None,
        vlan_driver: VlanDriver::Filtering,
        detect_conflicts: true,
    };
    assert_eq!(datapath(&json!({"datapath": "bridge"})), Ok(Datapath::Bridge(default)));
    let keys = json!({"datapath": "bridge", "bridge": "br0", "uplink": "eth1", "detectConflicts": false,
                      "vlanDriver": "subinterface"});
    let vlan_driver = VlanDriver::Subinterface;
    let bridge =
        Bridge { name: name("br0"), uplink: Some(name("eth1")), vlan_driver, detect_conflicts: false };
    let bridge = Datapath::Bridge(bridge);
    assert_eq!(datapath(&keys), Ok(bridge.clone()));
    assert_eq!(datapath(&json!({"ipam": merged(json!({"type": "coil"}), &keys)})), Ok(bridge));
    let route = json!({"datapath": "bridge", "routes": [{"dst": "10.0.0.0/8", "gw": "192.0.2.1"}]});
    assert!(parse(main_with(&route)).expect("valid").routes.is_some());
    // Under another main plugin the top is that plugin's.
    let mut of_bridge = ptp_with(&json!({}));
    (of_bridge["bridge"], of_bridge["datapath"]) = (json!("cni0"), json!(1));
    assert_eq!(parse(of_bridge).expect("valid").datapath, Datapath::Routed);
}

#[test]
fn the_mode_follows_the_types() {
    let mode = |kind: &str, ipam: &str, own: &str| {
        let ipam = if ipam.is_empty() { json!({}) } else { json!({"type": ipam}) };
        let document = json!({"cniVersion": "1.0.0", "name": "n", "type": kind, "ipam": ipam});
        NetworkConfig::parse(document, own).map(|config| config.mode).map_err(|error| error.to_string())
    };
    for (kind, ipam, own, expected) in [
        ("coil", "", "coil", Mode::Main),
        ("coil", "coil", "coil", Mode::Main),
        ("ptp", "coil", "coil", Mode::Ipam),
        ("coil-2", "", "coil-2", Mode::Main),
        ("coil-2", "coil-2", "coil-2", Mode::Main),
        ("coil-2", "coil", "coil-2", Mode::Main),
        ("coil-2", "", "renamed", Mode::Main),
        ("ptp", "coil-ipam", "coil-ipam", Mode::Ipam),
        ("ptp", "linked", "coil", Mode::Ipam),
        ("coil", "coil-ipam", "coil-ipam", Mode::Ipam),
    ] {
        assert_eq!(mode(kind, ipam, own), Ok(expected), "{kind} {ipam} {own}");
    }
    let error = mode("coil", "host-local", "coil").expect_err("another ipam");
    assert!(error.starts_with("ipam.type: \"host-local\" is not supported"), "{error}");
}

#[test]
fn what_is_wrong_is_named() {
    let top = |extra: Value| (main_with(&extra), "");
    let ipam = |extra: Value| (ptp_with(&extra), "ipam.");
    for place in [top, ipam] {
        for (extra, message) in [
            (json!({"socket": 5}), "socket: 5 is not a text"),
            (json!({"socket": "run/c.sock"}), "socket: \"run/c.sock\" is not an absolute path"),
            (json!({"pool": "A"}), "pool: \"A\": pool name \"A\" is malformed"),
            (json!({"pool": ""}), "pool: \"\": pool name is empty"),
            (json!({"addressTypes": "ipv4"}), "addressTypes: \"ipv4\" is not a list"),
            (json!({"addressTypes": []}), "addressTypes: is empty"),
            (
                json!({"addressTypes": ["ipv4", "ipv5"]}),
                "addressTypes[1]: \"ipv5\" is neither \"ipv4\" nor \"ipv6\"",
            ),
            (json!({"addressTypes": ["ipv4", "ipv4"]}), "addressTypes[1]: \"ipv4\" is given twice"),
            (json!({"addressTypes": [4]}), "addressTypes[0]: 4 is not a text"),
            (json!({"timeout": "5"}), "timeout: \"5\" is not a number of seconds"),
            (json!({"timeout": 0}), "timeout: 0 is not within"),
            (json!({"timeout": -1e300}), "timeout: -1"),
            (json!({"routes": [{}]}), "routes[0].dst: missing"),
            (json!({"routes": [{"dst": "10.0.0.0"}]}), "routes[0].dst: \"10.0.0.0\": invalid IP"),
            (json!({"routes": [{"dst": "::/0"}]}), "routes[0].dst: \"::/0\" is ipv6, which addressTypes"),
        ] {
            let (document, prefix) = place(extra);
            let error = parse(document).expect_err(message);
            assert!(error.starts_with(&format!("{prefix}{message}")), "{error}");
        }
    }
}

#[test]
fn what_is_wrong_at_the_top_is_named() {
    for (extra, message) in [
        (json!({"mtu": 67}), "mtu: 67 is not within 68 to 65535"),
        (json!({"mtu": 1279, "addressTypes": ["ipv6"]}), "mtu: 1279 is not within 1280 to 65535"),
        (json!({"mtu": "big"}), "mtu: \"big\" is not a number"),
        (json!({"datapath": "vxlan"}), "datapath: \"vxlan\" is neither \"routed\" nor \"bridge\""),
        (json!({"datapath": true}), "datapath: true is not a text"),
        (json!({"bridge": "br0"}), "bridge: goes with \"datapath\": \"bridge\" only"),
        (json!({"datapath": "routed", "uplink": "eth1"}), "uplink: goes with \"datapath\": \"bridge\" only"),
        (json!({"datapath": "bridge", "bridge": "a/b"}), "bridge: \"a/b\": "),
        (
            json!({"datapath": "bridge", "detectConflicts": "no"}),
            "detectConflicts: \"no\" is not true or false",
        ),
        (json!({"detectConflicts": true}), "detectConflicts: goes with \"datapath\": \"bridge\" only"),
        (
            json!({"datapath": "bridge", "vlanDriver": "qinq"}),
            "vlanDriver: \"qinq\" is neither \"filtering\"",
        ),
        (
            json!({"datapath": "bridge", "vlanDriver": "subinterface", "uplink": "enp130s0f1n"}),
            "uplink: enp130s0f1n is too long to be followed by a VLAN",
        ),
        (json!({"datapath": "bridge", "bridge": 5}), "bridge: 5 is not a text"),
        (json!({"datapath": "bridge", "uplink": "much-too-long-name"}), "uplink: \"much-too-long-name\": "),
        (json!({"datapath": "bridge", "bridge": "b", "uplink": "b"}), "uplink: b is the bridge itself"),
        (json!({"address-types": []}), "address-types: [] is not supported; it is spelt addressTypes"),
        (json!({"routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}]}), "routes[0].gw: as main plugin"),
        (json!({"runtimeConfig": {"ips": ["10.0.0"]}}), "runtimeConfig.ips[0]: \"10.0.0\" is not an IP"),
        (json!({"runtimeConfig": {"ips": ["fd00::1"]}}), "runtimeConfig.ips[0]: \"fd00::1\" is ipv6, which"),
        (json!({"args": {"cni": {"ips": 1}}}), "args.cni.ips: 1 is not a list"),
        (json!({"dns": {"nameservers": [1]}}), "dns.nameservers[0]: 1 is not a text"),
        (json!({"pool": "a", "ipam": {"pool": "b"}}), "ipam.pool: differs from pool, give it once"),
        (json!({"cniVersion": "0.2.0"}), "cniVersion \"0.2.0\"; supported are 0.3.0, 0.3.1"),
        (json!({"cniVersion": null}), "cniVersion is missing, which means 0.1.0"),
        (json!({"cniVersion": 1}), "cniVersion: 1 is not a text"),
        (json!({"name": ""}), "name: \"\": "),
        (json!({"name": "a/b"}), "name: \"a/b\": network name \"a/b\" is malformed"),
        (json!({"name": null}), "name: missing"),
        (json!({"type": null}), "type: missing"),
        (json!({"ipam": "coil"}), "ipam: \"coil\" is not an object"),
        (json!({"ipam": {"type": 7}}), "ipam.type: 7 is not a text"),
    ] {
        let error = parse(main_with(&extra)).expect_err(message);
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn what_is_wrong_in_ipam_is_named() {
    for (extra, message) in [
        (json!({"subnet": "10.0.0.0/8"}), "ipam.subnet: \"10.0.0.0/8\" is not supported; known keys are"),
        (json!({"mtu": 1400}), "ipam.mtu: 1400 is not supported"),
        (json!({"uplink": "eth1"}), "ipam.uplink: \"eth1\" is not supported"),
        (
            json!({"routes": [{"dst": "10.0.0.0/8", "gw": "::1"}]}),
            "ipam.routes[0].gw: ::1 is of another family",
        ),
    ] {
        let error = parse(ptp_with(&extra)).expect_err(message);
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn requested_addresses_come_with_or_without_a_prefix() {
    let extra = json!({
        "addressTypes": ["ipv4", "ipv6"],
        "runtimeConfig": {"ips": ["10.0.0.5/24"]}, "args": {"cni": {"ips": ["fd00::5"]}}
    });
    let ips = parse(main_with(&extra)).expect("valid").ips;
    assert_eq!(ips, ["10.0.0.5".parse::<IpAddr>().unwrap(), "fd00::5".parse().unwrap()]);
}

#[test]
fn annotations_that_choose_pools() {
    let extra =
        |annotations: Value| json!({"runtimeConfig": {"io.kubernetes.cri.pod-annotations": annotations}});
    let given = json!({
        "hcipam_ns_ippool": "a,b", "hcipm_ip_fixed": "true", "coil.io/pool": "red, blue", "coil.io/fixed": "false",
        "coil.io/other": "x", "other": {"of": "no matter"}
    });
    let annotations = parse(main_with(&extra(given))).expect("valid").annotations;
    let pairs: Vec<(&str, &str)> =
        annotations.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("coil.io/fixed", "false"),
        ("coil.io/pool", "red, blue"),
        ("hcipam_ns_ippool", "a,b"),
        ("hcipm_ip_fixed", "true"),
    ];
    assert_eq!(pairs, expected);
    for none in [json!(null), json!({})] {
        assert!(parse(main_with(&extra(none))).expect("valid").annotations.is_empty());
    }
    let key = "runtimeConfig.io.kubernetes.cri.pod-annotations";
    for (wrong, message) in [
        (json!(["a"]), format!("{key}: [\"a\"] is not an object")),
        (json!({"hcipm_ip_fixed": true}), format!("{key}.hcipm_ip_fixed: true is not a text")),
    ] {
        let error = parse(main_with(&extra(wrong))).expect_err(&message);
        assert!(error.starts_with(&message), "{error}");
    }
}

#[test]
fn valid_attachments() {
    let list = json!([{"containerID": "a", "ifname": "eth0"}, {"containerID": "b", "ifname": "net1"}]);
    let config = parse(main_with(&json!({ "cni.dev/valid-attachments": list }))).expect("valid");
    assert_eq!(config.valid_attachments().expect("list").len(), 2);
    let config = parse(main_with(&json!({"cni.dev/valid-attachments": null}))).expect("valid");
    assert!(config.valid_attachments().expect("an empty list").is_empty());
    let error = parse(main_with(&json!({}))).expect("valid").valid_attachments().expect_err("missing");
    assert_eq!(error.to_string(), "cni.dev/valid-attachments: missing");
    for (list, message) in [
        (json!({}), "cni.dev/valid-attachments: {} is not a list"),
        (json!([{"containerID": "a"}]), "cni.dev/valid-attachments[0].ifname: missing"),
        (json!([{"containerID": "a", "ifname": "a/b"}]), "cni.dev/valid-attachments[0].ifname: \"a/b\": "),
    ] {
        let config = parse(main_with(&json!({ "cni.dev/valid-attachments": list }))).expect("valid");
        let error = config.valid_attachments().expect_err(message).to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop_oneof!["coil", "ptp", "1\\.0\\.0", "ipv[456]", "10\\.0\\.0\\.[0-9]/[0-9]{1,2}", "/[a-z]{1,5}"]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..6).prop_map(Value::from_iter),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    let keys = [
        "cniVersion",
        "name",
        "type",
        "ipam",
        "socket",
        "pool",
        "addressTypes",
        "mtu",
        "timeout",
        "routes",
        "datapath",
        "bridge",
        "uplink",
        "detectConflicts",
        "vlanDriver",
        "dst",
        "gw",
        "runtimeConfig",
        "ips",
        "args",
        "cni",
        "dns",
        "search",
        "prevResult",
        "address",
        "interfaces",
    ];
    prop::sample::select(keys.map(str::to_owned).to_vec())
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(extra in prop::collection::btree_map(key(), json_value(), 0..8)) {
        let document = Value::from_iter(extra);
        if let Ok(config) = NetworkConfig::parse(main_with(&document), "coil") {
            prop_assert!(!config.families.is_empty());
            let _ = config.prev_result();
        }
        let _ = NetworkConfig::parse(document, "coil");
    }
}
