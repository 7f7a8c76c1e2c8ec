//! JSON and XML, versions, extensions and links.

use super::{Got, addresses, check_fault, text};
use crate::fixture::Api;
use serde_json::{Value, json};

const T: &str = "/v0.1/ipam/tenants/t";

fn media_type(got: &Got) -> &str {
    got.headers["content-type"].to_str().expect("text")
}

#[tokio::test]
async fn versions_and_extensions() {
    let api = Api::new().await;
    let versions = json!({"versions": [
        {"status": "CURRENT", "name": "v0.1", "links": [{"href": "http://localhost:9898/v0.1", "rel": "self"}]}
    ]});
    assert_eq!(api.read("/").await, versions);
    assert_eq!(api.read("/.json").await, versions);
    assert_eq!(api.read("/v0.1").await["version"], versions["versions"][0]);
    for (path, headers) in [("/.atom", &[][..]), ("/", &[("accept", "application/atom+xml")])] {
        let feed = api.with("GET", path, headers, "").await;
        assert_eq!((feed.status, media_type(&feed)), (200, "application/atom+xml"));
        for part in [
            "<feed xmlns=\"http://www.w3.org/2005/Atom\">",
            "<entry>",
            "<updated>",
            "rel=\"self\"",
            "href=\"http://localhost:9898/v0.1\"",
        ] {
            assert!(feed.text.contains(part), "{part}: {}", feed.text);
        }
    }
    let xml = api.with("GET", "/", &[("accept", "application/xml")], "").await;
    assert!(
        xml.text.contains("<versions><version>") && xml.text.contains("<name>v0.1</name>"),
        "{}",
        xml.text
    );
    for prefix in ["", "/v0.1"] {
        let all = api.read(&format!("{prefix}/extensions")).await;
        assert_eq!(all["extensions"][0]["alias"], "block-usage");
        let one = api.read(&format!("{prefix}/extensions/block-usage.json")).await;
        assert_eq!(one["extension"], all["extensions"][0]);
    }
    let block = api.private("t", "10.0.0.0/24").await;
    api.m(201, "POST", &addresses("t", &block), &Value::Null).await;
    let usage = api.read(&format!("{T}/ip_blocks/{block}/usage")).await;
    assert_eq!(usage, json!({"usage": {"total": "254", "used": "1", "free": "253"}}));
}

#[tokio::test]
async fn the_extension_wins_over_accept() {
    let api = Api::new().await;
    for (path, accept, expected) in [
        ("", "*/*", "application/json"),
        ("", "application/xml", "application/xml"),
        ("", "text/html", "application/json"),
        (".json", "application/xml", "application/json"),
        (".xml", "application/json", "application/xml"),
        ("", "application/vnd.openstack.melange+xml", "application/xml"),
    ] {
        let path = format!("{T}/ip_blocks{path}");
        let got = api.with("GET", &path, &[("accept", accept)], "").await;
        assert_eq!((got.status, media_type(&got)), (200, expected), "{path} {accept}");
        let fault = api.with("GET", &format!("{path}?limit=0"), &[("accept", accept)], "").await;
        assert_eq!((fault.status, media_type(&fault)), (400, expected), "{path} {accept}");
    }
    for path in ["/v0.1/nothing.xml", "/v0.1/ipam/tenants/t/ip_blocks/x/y/z.xml"] {
        let fault = api.with("GET", path, &[], "").await;
        assert!(
            fault.status == 404 && fault.text.contains("<NotFound code=\"404\"><message>"),
            "{}",
            fault.text
        );
    }
    let wrong = api.with("DELETE", &format!("{T}/ip_blocks.json"), &[], "").await;
    assert_eq!(wrong.status, 405);
    check_fault(&wrong);
    assert_eq!(wrong.headers["allow"], "GET,HEAD,POST");
}

#[tokio::test]
async fn versions_by_accept() {
    let api = Api::new().await;
    let accept = |version: &str| format!("application/vnd.openstack.melange+json;version={version}");
    for (path, version, status) in [
        ("/ipam/tenants/t/ip_blocks", "0.1", 200),
        ("/ipam/tenants/t/ip_blocks.xml", "0.1", 200),
        ("/ipam/tenants/t/ip_blocks", "0.2", 406),
        ("/ipam/tenants/t/ip_blocks", "x", 406),
        ("/v0.1/ipam/tenants/t/ip_blocks", "0.2", 200),
    ] {
        let got = api.with("GET", path, &[("accept", &accept(version))], "").await;
        assert_eq!(got.status, status, "{path} {version}: {}", got.text);
        if status == 406 {
            check_fault(&got);
        }
    }
}

#[tokio::test]
async fn links_lead_somewhere() {
    let world = super::world::World::new(super::embedded().await).await;
    for path in [
        "ip_blocks/<block>",
        "ip_blocks/<block>/ip_addresses/10.1.0.5",
        "ip_blocks/<block>/ip_routes/<route>",
        "policies/<policy>",
        "policies/<policy>/unusable_ip_ranges/<range>",
        "policies/<policy>/unusable_ip_octets/<octet>",
    ] {
        let shown = world.api.read(&world.fill(&format!("{T}/{path}"))).await;
        let (_, resource) = shown.as_object().expect("object").iter().next().expect("a resource");
        let links = resource["links"].as_array().expect("links");
        let rels: Vec<&str> = links.iter().filter_map(|link| link["rel"].as_str()).collect();
        assert_eq!(rels, ["self", "bookmark"], "{shown}");
        for link in links {
            let href = text(&link["href"]);
            let path = href.strip_prefix("http://localhost:9898").expect("absolute");
            let there = world.api.read(path).await;
            assert_eq!(there, shown, "{path}");
        }
    }
}

/// What is made by XML is what is made by JSON.
#[tokio::test]
async fn both_forms_say_the_same() {
    let api = Api::new().await;
    let xml = |name: &str, fields: &[(&str, &str)]| {
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("<{name}>{value}</{name}>")).collect();
        let fields = fields.concat();
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{name}>{fields}</{name}>")
    };
    let of_xml = [("content-type", "application/xml; charset=utf-8")];
    let post = async |path: &str, name: &str, fields: &[(&str, &str)]| {
        let got = api.with("POST", path, &of_xml, &xml(name, fields)).await;
        assert_eq!(got.status, 201, "{path}: {}", got.text);
        got.json()[name].clone()
    };
    let policy =
        post(&format!("{T}/policies"), "policy", &[("name", "a &amp; b"), ("description", "")]).await;
    assert_eq!((&policy["name"], &policy["description"]), (&json!("a & b"), &Value::Null));
    let id = text(&policy["id"]);
    let range = post(
        &format!("{T}/policies/{id}/unusable_ip_ranges"),
        "ip_range",
        &[("offset", "-1"), ("length", "1")],
    )
    .await;
    assert_eq!((&range["offset"], &range["length"]), (&json!(-1), &json!(1)));
    let octet = post(&format!("{T}/policies/{id}/unusable_ip_octets"), "ip_octet", &[("octet", "7")]).await;
    assert_eq!(octet["octet"], 7);
    let fields =
        [("type", "private"), ("cidr", "10.0.0.0/24"), ("network_id", "net"), ("policy_id", id.as_str())];
    let block = post(&format!("{T}/ip_blocks"), "ip_block", &fields).await;
    let block = text(&block["id"]);
    let fields = [("destination", "10.9.0.0/16"), ("gateway", "10.0.0.1")];
    post(&format!("{T}/ip_blocks/{block}/ip_routes"), "ip_route", &fields).await;
    let body = "<network><addresses><address>10.0.0.9</address></addresses></network>";
    let path = format!("{T}/networks/net/interfaces/i/ip_allocations.xml");
    let got = api.with("POST", &path, &of_xml, body).await;
    assert_eq!((got.status, media_type(&got)), (201, "application/xml"), "{}", got.text);
    for part in [
        "<ip_addresses><ip_address><address>10.0.0.9</address>",
        "<ip_block>",
        "<ip_routes><ip_route>",
        "<interface_id>i</interface_id>",
    ] {
        assert!(got.text.contains(part), "{part}: {}", got.text);
    }
    let public = api.block("t", json!({"type": "public", "cidr": "203.0.113.0/24"})).await;
    let body = format!(
        "<ip_addresses><ip_address><ip_block_id>{public}</ip_block_id><ip_address>203.0.113.9</ip_address></ip_address></ip_addresses>"
    );
    let path = format!("/v0.1/ipam/ip_blocks/{block}/ip_addresses/10.0.0.9/inside_globals");
    let got = api.with("POST", &path, &of_xml, &body).await;
    assert_eq!(got.status, 200, "{}", got.text);
    let globals = api.read(&path).await;
    assert_eq!(globals["ip_addresses"][0]["address"], "203.0.113.9");
    let locals = format!("/v0.1/ipam/ip_blocks/{public}/ip_addresses/203.0.113.9/inside_locals");
    assert_eq!(api.read(&locals).await["ip_addresses"][0]["address"], "10.0.0.9");
    let xml = api.with("GET", &format!("{T}/ip_blocks/{block}.xml"), &[], "").await;
    assert!(xml.text.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?><ip_block>"), "{}", xml.text);
    // An extension says in which form a body is, if nothing else does.
    let got = api.with("POST", &format!("{T}/policies.xml"), &[], "<policy><name>x</name></policy>").await;
    assert_eq!((got.status, media_type(&got)), (201, "application/xml"), "{}", got.text);
}
