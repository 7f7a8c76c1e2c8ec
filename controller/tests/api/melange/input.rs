//! Bad input: the document's code, a text that names the field, and nothing changed.

use super::world::World;
use super::{check_fault, embedded};
use serde_json::{Value, json};

const T: &str = "/v0.1/ipam/tenants/t";

/// Path, envelope, a body that would do, and for each field whether it must be there and values that it can't have.
type Form = (
    &'static str,
    &'static str,
    &'static str,
    Value,
    &'static [(&'static str, bool, &'static [&'static str])],
);

const WRONG_TEXT: &[&str] = &["1", "true", "[]", "{}", "\"\"", "\"a\\u0000b\""];
const WRONG_ADDRESS: &[&str] =
    &["\"x\"", "\"10.0.0\"", "\"10.0.0.256\"", "\"fd00:::1\"", "1", "[]", "{}", "true", "\"\""];
const WRONG_CIDR: &[&str] = &[
    "null",
    "\"x\"",
    "\"10.0.0.0\"",
    "\"10.0.0.0/33\"",
    "\"fd00::/129\"",
    "\"/8\"",
    "8",
    "[]",
    "{}",
    "\"\"",
];
const WRONG_MAC: &[&str] = &["\"x\"", "\"00:16:3e\"", "\"00:16:3e:0a:0b:0g\"", "1", "[]", "\"\""];
const WRONG_POLICY: &[&str] = &["\"x\"", "\"00000000-0000-0000-0000-000000000000\"", "1", "[]", "\"\""];

#[expect(clippy::too_many_lines, reason = "a table")]
fn forms() -> Vec<Form> {
    vec![
        (
            "POST",
            "ip_blocks",
            "ip_block",
            json!({"type": "private", "cidr": "10.98.0.0/24"}),
            &[
                ("type", true, &["null", "\"odd\"", "1", "[]", "\"\""]),
                ("cidr", true, WRONG_CIDR),
                ("network_id", false, WRONG_TEXT),
                ("policy_id", false, WRONG_POLICY),
                ("gateway", false, WRONG_ADDRESS),
                ("dns1", false, WRONG_ADDRESS),
                ("dns2", false, WRONG_ADDRESS),
            ],
        ),
        (
            "PUT",
            "ip_blocks/<block>",
            "ip_block",
            json!({"network_id": "new"}),
            &[("network_id", false, WRONG_TEXT), ("policy_id", false, WRONG_POLICY)],
        ),
        (
            "POST",
            "ip_blocks/<parent>/subnets",
            "subnet",
            json!({"cidr": "10.201.0.64/26"}),
            &[
                ("cidr", true, WRONG_CIDR),
                ("network_id", false, WRONG_TEXT),
                ("policy_id", false, WRONG_POLICY),
                ("tenant_id", false, WRONG_TEXT),
            ],
        ),
        (
            "POST",
            "ip_blocks/<block>/ip_addresses",
            "ip_address",
            json!({"address": "10.1.0.9"}),
            &[
                ("address", false, WRONG_ADDRESS),
                ("interface_id", false, WRONG_TEXT),
                ("tenant_id", false, WRONG_TEXT),
                ("used_by_device", false, WRONG_TEXT),
                ("mac_address", false, WRONG_MAC),
            ],
        ),
        (
            "POST",
            "networks/net/interfaces/i/ip_allocations",
            "network",
            json!({}),
            &[
                (
                    "addresses",
                    false,
                    &["\"10.1.0.9\"", "[1]", "[\"x\"]", "[null]", "{}", "[\"10.1.0.9\",\"10.1.0.9\"]"],
                ),
                ("tenant_id", false, WRONG_TEXT),
                ("used_by_device", false, WRONG_TEXT),
                ("mac_address", false, WRONG_MAC),
            ],
        ),
        (
            "POST",
            "ip_blocks/<block>/ip_routes",
            "ip_route",
            json!({"destination": "10.9.0.0", "gateway": "10.1.0.1"}),
            &[
                ("destination", true, &["null", "\"x\"", "\"10.0.0.0/33\"", "1", "[]", "\"\""]),
                ("netmask", false, &["\"x\"", "\"255.0.255.0\"", "\"ffff::\"", "1", "[]", "\"\""]),
                ("gateway", true, &["null", "\"x\"", "\"fd00::1\"", "1", "[]", "\"\""]),
            ],
        ),
        (
            "PUT",
            "ip_blocks/<block>/ip_routes/<route>",
            "ip_route",
            json!({"gateway": "10.1.0.2"}),
            &[
                ("destination", false, &["\"x\"", "1", "[]", "\"fd00::/8\""]),
                ("netmask", false, &["\"x\"", "\"255.0.255.0\"", "\"255.0.0.0\""]),
                ("gateway", false, &["\"x\"", "\"fd00::1\"", "1"]),
            ],
        ),
        (
            "POST",
            "policies",
            "policy",
            json!({"name": "n"}),
            &[
                ("name", true, &["null", "1", "[]", "{}", "\"\"", "\"a\\nb\""]),
                ("description", false, &["1", "[]", "{}", "\"a\\u0007b\""]),
            ],
        ),
        (
            "PUT",
            "policies/<policy>",
            "policy",
            json!({"name": "n"}),
            &[("name", false, &["1", "[]", "\"\""]), ("description", false, &["1", "[]"])],
        ),
        (
            "POST",
            "policies/<policy>/unusable_ip_ranges",
            "ip_range",
            json!({"offset": 1, "length": 1}),
            &[
                (
                    "offset",
                    true,
                    &["null", "\"x\"", "1.5", "1e99", "[]", "true", "\"\"", "99999999999999999999"],
                ),
                ("length", true, &["null", "\"x\"", "0", "-1", "\"-1\"", "1.5", "[]", "true"]),
            ],
        ),
        (
            "PUT",
            "policies/<policy>/unusable_ip_ranges/<range>",
            "ip_range",
            json!({"length": 4}),
            &[("offset", false, &["\"x\"", "1.5", "[]"]), ("length", false, &["\"x\"", "0", "-1"])],
        ),
        (
            "POST",
            "policies/<policy>/unusable_ip_octets",
            "ip_octet",
            json!({"octet": 9}),
            &[("octet", true, &["null", "\"x\"", "-1", "256", "1.5", "[]", "\"256\""])],
        ),
        (
            "PUT",
            "policies/<policy>/unusable_ip_octets/<octet>",
            "ip_octet",
            json!({"octet": 9}),
            &[("octet", false, &["\"x\"", "-1", "256", "[]"])],
        ),
    ]
}

impl World {
    /// A request that must be refused with 400, a text that has all of these in it, and nothing changed.
    async fn refuses(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
        reasons: &[&str],
    ) {
        let before = self.api.revision().await;
        let got = self.api.with(method, path, headers, body).await;
        let shown: String = body.chars().take(120).collect();
        assert_eq!(got.status, 400, "{method} {path} {shown}: {}", got.text);
        let detail = check_fault(&got);
        for reason in reasons {
            assert!(detail.contains(reason), "{method} {path} {shown}: {detail:?} lacks {reason:?}");
        }
        assert_eq!(self.api.revision().await, before, "{method} {path} {shown}: something changed");
    }
}

#[tokio::test]
async fn every_field() {
    let world = World::new(embedded().await).await;
    for (method, path, envelope, good, fields) in forms() {
        let path = world.fill(&format!("{T}/{path}"));
        let good: Value = serde_json::from_str(&world.fill(&good.to_string())).expect("JSON");
        for (field, mandatory, wrong) in fields {
            let refused = async |body: Value| {
                let body = json!({envelope: body}).to_string();
                world.refuses(method, &path, &[("content-type", "application/json")], &body, &[field]).await;
            };
            if *mandatory {
                let mut body = good.clone();
                body.as_object_mut().expect("object").remove(*field);
                refused(body).await;
            }
            for value in *wrong {
                let mut body = good.clone();
                body[*field] = serde_json::from_str(value).unwrap_or_else(|_| panic!("{value}"));
                refused(body).await;
            }
        }
    }
}

#[tokio::test]
async fn envelopes_and_broken_bodies() {
    let world = World::new(embedded().await).await;
    let deep = format!("{{\"ip_block\":{}", "[".repeat(100_000));
    for (method, path, envelope, good, _) in forms() {
        let path = world.fill(&format!("{T}/{path}"));
        let json = [("content-type", "application/json")];
        for body in ["[]", "1", "\"x\"", "{\"odd\":{}}", "null"] {
            world.refuses(method, &path, &json, body, &[envelope]).await;
        }
        for value in ["[]", "1", "\"x\"", "null"] {
            world.refuses(method, &path, &json, &format!("{{\"{envelope}\":{value}}}"), &[envelope]).await;
        }
        if !matches!(envelope, "ip_address" | "network") {
            world.refuses(method, &path, &json, "", &[envelope, "empty"]).await;
            world.refuses(method, &path, &json, "{}", &[envelope]).await;
        }
        for body in ["{", "{\"a\":}", "x", &deep, "{} {}"] {
            world.refuses(method, &path, &json, body, &["no JSON"]).await;
        }
        let xml = [("content-type", "application/xml")];
        for (body, reason) in [
            ("<", "malformed XML"),
            ("<a>", "malformed XML"),
            ("<a></b>", "malformed XML"),
            ("{}", "malformed XML"),
            ("<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>", "document type"),
            ("<a>&lol;</a>", "entities"),
            ("<odd/>", envelope),
        ] {
            world.refuses(method, &path, &xml, body, &[reason]).await;
        }
        world.refuses(method, &path, &xml, &"<a>".repeat(50_000), &["levels"]).await;
        let body = json!({envelope: good}).to_string();
        for unknown in ["text/plain", "application/x-www-form-urlencoded", "application/atom+xml", "x", ""] {
            world.refuses(method, &path, &[("content-type", unknown)], &body, &["Content-Type"]).await;
        }
    }
}

#[tokio::test]
async fn nat_bodies() {
    let world = World::new(embedded().await).await;
    let path = world.fill("/v0.1/ipam/ip_blocks/<block>/ip_addresses/10.1.0.5/inside_globals");
    for (item, field) in [
        (json!({"ip_block_id": "<public>"}), "ip_address"),
        (json!({"ip_address": "203.0.1.7"}), "ip_block_id"),
        (json!({"ip_block_id": 1, "ip_address": "203.0.1.7"}), "ip_block_id"),
        (json!({"ip_block_id": "<public>", "ip_address": "x"}), "ip_address"),
        (json!({"ip_block_id": "<public>", "ip_address": null}), "ip_address"),
        (json!("x"), "ip_addresses"),
    ] {
        let body = world.fill(&json!({"ip_addresses": [item]}).to_string());
        world.refuses("POST", &path, &[], &body, &[field]).await;
    }
    for body in ["{\"ip_addresses\":[]}", "{\"ip_addresses\":{}}", "{}", "", "{\"ip_address\":{}}"] {
        world.refuses("POST", &path, &[], body, &["ip_addresses"]).await;
    }
}

#[tokio::test]
async fn what_is_ignored() {
    let world = World::new(embedded().await).await;
    let body = json!({"ip_block": {
        "type": "private", "cidr": "10.98.0.0/24", "tenant_id": "u", "parent_id": "x", "network_id": null,
        "policy_id": null, "gateway": null, "dns1": null, "later": [1],
    }, "more": 1});
    let made = world.api.m(201, "POST", &format!("{T}/ip_blocks"), &body).await["ip_block"].clone();
    assert_eq!(
        (&made["tenant_id"], &made["parent_id"], &made["gateway"]),
        (&json!("t"), &Value::Null, &json!("10.98.0.1"))
    );
    let headers = [("x-auth-token", "abc"), ("content-type", "APPLICATION/JSON;charset=UTF-8")];
    let got = world
        .api
        .with("POST", &format!("{T}/policies.json?x=1"), &headers, "{\"policy\":{\"name\":\"n\"}}")
        .await;
    assert_eq!(got.status, 201, "{}", got.text);
}

#[tokio::test]
async fn odd_paths() {
    let world = World::new(embedded().await).await;
    for (path, status) in [
        ("/v0.1/ipam/tenants/a%2Fb/ip_blocks", 200),
        ("/v0.1/ipam/tenants/%E3%83%9D%E3%83%83%E3%83%89/ip_blocks", 200),
        ("/v0.1/ipam/tenants/50%25/ip_blocks", 200),
        ("/v0.1/ipam/tenants/a.json/ip_blocks", 200),
        ("/v0.1/ipam/tenants/%00/ip_blocks", 400),
        ("/v0.1/ipam/tenants/%ff/ip_blocks", 400),
        ("/v0.1/ipam/tenants//ip_blocks", 400),
        ("/v0.1/ipam/tenants/t/ip_blocks/", 404),
        ("/v0.1/ipam/tenants/t/ip_blocks/../ip_blocks", 404),
        ("/v0.1/", 404),
        ("/v0.2/ipam/tenants/t/ip_blocks", 404),
        ("/ipam", 404),
    ] {
        let got = world.api.with("GET", path, &[], "").await;
        assert_eq!(got.status, status, "{path}: {}", got.text);
    }
    let long = format!("/v0.1/ipam/tenants/{}/ip_blocks", "x".repeat(256));
    world.refuses("GET", &long, &[], "", &["tenant id"]).await;
    let huge = world.api.with("POST", &format!("{T}/policies"), &[], &" ".repeat(3 << 20)).await;
    assert_eq!(huge.status, 413, "{}", huge.text);
    check_fault(&huge);
}
