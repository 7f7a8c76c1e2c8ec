//! Every route × verb × documented code.

use super::world::{MAC, World};
use super::{Got, check_fault, embedded};
use crate::etcd::Etcd;
use common::store::Store;
use controller::api::{describe, routes};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A route; a path of it; a body; and the status that it must be answered with.
type Case = (&'static str, &'static str, Value, u16);

const NOBODY: &str = "00000000-0000-7000-8000-000000000000";

/// What may happen to any request, and is tested elsewhere.
const COMMON: [&str; 6] = ["401", "403", "408", "413", "500", "503"];

#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    let none = || Value::Null;
    let t = "/v0.1/ipam/tenants/<tenant>";
    // Paths that begin with `~` are the tenant's.
    let block = |more: Value| {
        let mut block = json!({"type": "private", "cidr": "10.99.0.0/24"});
        block.as_object_mut().expect("object").extend(more.as_object().expect("object").clone());
        json!({"ip_block": block})
    };
    let nat =
        |block: &str, address: &str| json!({"ip_addresses": [{"ip_block_id": block, "ip_address": address}]});
    let _ = t;
    vec![
        ("GET /", "/", none(), 200),
        ("GET /v0.1", "/v0.1", none(), 200),
        ("GET /extensions", "/extensions", none(), 200),
        ("GET /v0.1/extensions", "/v0.1/extensions", none(), 200),
        ("GET /extensions/{alias}", "/extensions/block-usage", none(), 200),
        ("GET /extensions/{alias}", "/extensions/none", none(), 404),
        ("GET /extensions/{alias}", "/extensions/%ff", none(), 400),
        ("GET /v0.1/extensions/{alias}", "/v0.1/extensions/block-usage", none(), 200),
        ("GET /v0.1/extensions/{alias}", "/v0.1/extensions/none", none(), 404),
        ("GET /v0.1/extensions/{alias}", "/v0.1/extensions/%ff", none(), 400),
        ("GET ~/ip_blocks", "~/ip_blocks?type=private", none(), 200),
        ("GET ~/ip_blocks", "~/ip_blocks?type=odd", none(), 400),
        ("POST ~/ip_blocks", "~/ip_blocks", block(json!({})), 201),
        ("POST ~/ip_blocks", "~/ip_blocks", json!({"ip_block": {"cidr": "10.99.0.0/24"}}), 400),
        ("GET ~/ip_blocks/{ip_block_id}", "~/ip_blocks/<block>", none(), 200),
        ("GET ~/ip_blocks/{ip_block_id}", "~/ip_blocks/<nobody>", none(), 404),
        ("GET ~/ip_blocks/{ip_block_id}", "~/ip_blocks/%ff", none(), 400),
        (
            "PUT ~/ip_blocks/{ip_block_id}",
            "~/ip_blocks/<block>",
            json!({"ip_block": {"network_id": "x"}}),
            200,
        ),
        ("PUT ~/ip_blocks/{ip_block_id}", "~/ip_blocks/<nobody>", json!({"ip_block": {}}), 404),
        (
            "PUT ~/ip_blocks/{ip_block_id}",
            "~/ip_blocks/<block>",
            json!({"ip_block": {"policy_id": "x"}}),
            400,
        ),
        ("DELETE ~/ip_blocks/{ip_block_id}", "~/ip_blocks/<block>", none(), 200),
        ("DELETE ~/ip_blocks/{ip_block_id}", "~/ip_blocks/<nobody>", none(), 404),
        ("DELETE ~/ip_blocks/{ip_block_id}", "~/ip_blocks/%ff", none(), 400),
        ("GET ~/ip_blocks/{ip_block_id}/subnets", "~/ip_blocks/<parent>/subnets", none(), 200),
        ("GET ~/ip_blocks/{ip_block_id}/subnets", "~/ip_blocks/<nobody>/subnets", none(), 404),
        ("GET ~/ip_blocks/{ip_block_id}/subnets", "~/ip_blocks/<parent>/subnets?limit=0", none(), 400),
        (
            "POST ~/ip_blocks/{ip_block_id}/subnets",
            "~/ip_blocks/<parent>/subnets",
            json!({"subnet": {"cidr": "10.201.0.64/26"}}),
            201,
        ),
        (
            "POST ~/ip_blocks/{ip_block_id}/subnets",
            "~/ip_blocks/<nobody>/subnets",
            json!({"subnet": {"cidr": "10.201.0.64/26"}}),
            404,
        ),
        (
            "POST ~/ip_blocks/{ip_block_id}/subnets",
            "~/ip_blocks/<parent>/subnets",
            json!({"subnet": {}}),
            400,
        ),
        ("GET ~/ip_blocks/{ip_block_id}/usage", "~/ip_blocks/<block>/usage", none(), 200),
        ("GET ~/ip_blocks/{ip_block_id}/usage", "~/ip_blocks/<nobody>/usage", none(), 404),
        ("GET ~/ip_blocks/{ip_block_id}/usage", "~/ip_blocks/%ff/usage", none(), 400),
        ("GET ~/ip_blocks/{ip_block_id}/ip_addresses", "~/ip_blocks/<block>/ip_addresses", none(), 200),
        ("GET ~/ip_blocks/{ip_block_id}/ip_addresses", "~/ip_blocks/<nobody>/ip_addresses", none(), 404),
        (
            "GET ~/ip_blocks/{ip_block_id}/ip_addresses",
            "~/ip_blocks/<block>/ip_addresses?limit=x",
            none(),
            400,
        ),
        ("POST ~/ip_blocks/{ip_block_id}/ip_addresses", "~/ip_blocks/<block>/ip_addresses", none(), 201),
        ("POST ~/ip_blocks/{ip_block_id}/ip_addresses", "~/ip_blocks/<nobody>/ip_addresses", none(), 404),
        ("POST ~/ip_blocks/{ip_block_id}/ip_addresses", "~/ip_blocks/<v6>/ip_addresses", none(), 400),
        (
            "POST ~/ip_blocks/{ip_block_id}/ip_addresses",
            "~/ip_blocks/<block>/ip_addresses",
            json!({"ip_address": {"address": "10.1.0.5"}}),
            409,
        ),
        (
            "POST ~/ip_blocks/{ip_block_id}/ip_addresses",
            "~/ip_blocks/<block>/ip_addresses",
            json!({"ip_address": {"address": "10.1.0.6"}}),
            409,
        ),
        ("POST ~/ip_blocks/{ip_block_id}/ip_addresses", "~/ip_blocks/<full>/ip_addresses", none(), 422),
        (
            "GET ~/ip_blocks/{ip_block_id}/ip_addresses/{address}",
            "~/ip_blocks/<block>/ip_addresses/10.1.0.6",
            none(),
            200,
        ),
        (
            "GET ~/ip_blocks/{ip_block_id}/ip_addresses/{address}",
            "~/ip_blocks/<block>/ip_addresses/10.1.0.7",
            none(),
            404,
        ),
        (
            "GET ~/ip_blocks/{ip_block_id}/ip_addresses/{address}",
            "~/ip_blocks/<block>/ip_addresses/%ff",
            none(),
            400,
        ),
        (
            "DELETE ~/ip_blocks/{ip_block_id}/ip_addresses/{address}",
            "~/ip_blocks/<block>/ip_addresses/10.1.0.5",
            none(),
            200,
        ),
        (
            "DELETE ~/ip_blocks/{ip_block_id}/ip_addresses/{address}",
            "~/ip_blocks/<nobody>/ip_addresses/10.1.0.5",
            none(),
            404,
        ),
        (
            "DELETE ~/ip_blocks/{ip_block_id}/ip_addresses/{address}",
            "~/ip_blocks/<block>/ip_addresses/%ff",
            none(),
            400,
        ),
        (
            "PUT ~/ip_blocks/{ip_block_id}/ip_addresses/{address}/restore",
            "~/ip_blocks/<block>/ip_addresses/10.1.0.6/restore",
            none(),
            200,
        ),
        (
            "PUT ~/ip_blocks/{ip_block_id}/ip_addresses/{address}/restore",
            "~/ip_blocks/<block>/ip_addresses/10.1.0.7/restore",
            none(),
            404,
        ),
        (
            "PUT ~/ip_blocks/{ip_block_id}/ip_addresses/{address}/restore",
            "~/ip_blocks/%ff/ip_addresses/10.1.0.7/restore",
            none(),
            400,
        ),
        ("GET ~/allocated_ip_addresses", "~/allocated_ip_addresses?used_by_device=vm", none(), 200),
        ("GET ~/allocated_ip_addresses", "~/allocated_ip_addresses?marker=x", none(), 400),
        ("GET /v0.1/ipam/allocated_ip_addresses", "/v0.1/ipam/allocated_ip_addresses", none(), 200),
        ("GET /v0.1/ipam/allocated_ip_addresses", "/v0.1/ipam/allocated_ip_addresses?limit=-1", none(), 400),
        ("GET ~/instances/{instance_id}/ip_addresses", "~/instances/vm/ip_addresses", none(), 200),
        ("GET ~/instances/{instance_id}/ip_addresses", "~/instances/%00/ip_addresses", none(), 400),
        (
            "GET /v0.1/ipam/instances/{instance_id}/ip_addresses",
            "/v0.1/ipam/instances/vm/ip_addresses",
            none(),
            200,
        ),
        (
            "GET /v0.1/ipam/instances/{instance_id}/ip_addresses",
            "/v0.1/ipam/instances/vm/ip_addresses?limit=0",
            none(),
            400,
        ),
        ("GET ~/ip_blocks/{ip_block_id}/ip_routes", "~/ip_blocks/<block>/ip_routes", none(), 200),
        ("GET ~/ip_blocks/{ip_block_id}/ip_routes", "~/ip_blocks/<nobody>/ip_routes", none(), 404),
        ("GET ~/ip_blocks/{ip_block_id}/ip_routes", "~/ip_blocks/<block>/ip_routes?limit=0", none(), 400),
        (
            "POST ~/ip_blocks/{ip_block_id}/ip_routes",
            "~/ip_blocks/<block>/ip_routes",
            json!({"ip_route": {"destination": "10.0.0.1", "gateway": "10.1.0.1"}}),
            201,
        ),
        (
            "POST ~/ip_blocks/{ip_block_id}/ip_routes",
            "~/ip_blocks/<nobody>/ip_routes",
            json!({"ip_route": {"destination": "10.0.0.1", "gateway": "10.1.0.1"}}),
            404,
        ),
        (
            "POST ~/ip_blocks/{ip_block_id}/ip_routes",
            "~/ip_blocks/<block>/ip_routes",
            json!({"ip_route": {"gateway": "10.1.0.1"}}),
            400,
        ),
        (
            "GET ~/ip_blocks/{ip_block_id}/ip_routes/{id}",
            "~/ip_blocks/<block>/ip_routes/<route>",
            none(),
            200,
        ),
        (
            "GET ~/ip_blocks/{ip_block_id}/ip_routes/{id}",
            "~/ip_blocks/<block>/ip_routes/<nobody>",
            none(),
            404,
        ),
        ("GET ~/ip_blocks/{ip_block_id}/ip_routes/{id}", "~/ip_blocks/<block>/ip_routes/%ff", none(), 400),
        (
            "PUT ~/ip_blocks/{ip_block_id}/ip_routes/{id}",
            "~/ip_blocks/<block>/ip_routes/<route>",
            json!({"ip_route": {"gateway": "10.1.0.2"}}),
            200,
        ),
        (
            "PUT ~/ip_blocks/{ip_block_id}/ip_routes/{id}",
            "~/ip_blocks/<v6>/ip_routes/<route>",
            json!({"ip_route": {}}),
            404,
        ),
        (
            "PUT ~/ip_blocks/{ip_block_id}/ip_routes/{id}",
            "~/ip_blocks/<block>/ip_routes/<route>",
            json!({"ip_route": {"gateway": "fd00::1"}}),
            400,
        ),
        (
            "DELETE ~/ip_blocks/{ip_block_id}/ip_routes/{id}",
            "~/ip_blocks/<block>/ip_routes/<route>",
            none(),
            200,
        ),
        (
            "DELETE ~/ip_blocks/{ip_block_id}/ip_routes/{id}",
            "~/ip_blocks/<block>/ip_routes/<nobody>",
            none(),
            404,
        ),
        ("DELETE ~/ip_blocks/{ip_block_id}/ip_routes/{id}", "~/ip_blocks/<block>/ip_routes/%ff", none(), 400),
        (
            "GET ~/networks/{network_id}/interfaces/{interface_id}/ip_allocations",
            "~/networks/net/interfaces/<interface>/ip_allocations",
            none(),
            200,
        ),
        (
            "GET ~/networks/{network_id}/interfaces/{interface_id}/ip_allocations",
            "~/networks/none/interfaces/<interface>/ip_allocations",
            none(),
            404,
        ),
        (
            "GET ~/networks/{network_id}/interfaces/{interface_id}/ip_allocations",
            "~/networks/net/interfaces/x/ip_allocations?limit=0",
            none(),
            400,
        ),
        (
            "POST ~/networks/{network_id}/interfaces/{interface_id}/ip_allocations",
            "~/networks/net6/interfaces/i/ip_allocations",
            json!({"network": {"mac_address": MAC}}),
            201,
        ),
        (
            "POST ~/networks/{network_id}/interfaces/{interface_id}/ip_allocations",
            "~/networks/net6/interfaces/i/ip_allocations",
            none(),
            400,
        ),
        (
            "POST ~/networks/{network_id}/interfaces/{interface_id}/ip_allocations",
            "~/networks/none/interfaces/i/ip_allocations",
            none(),
            404,
        ),
        (
            "POST ~/networks/{network_id}/interfaces/{interface_id}/ip_allocations",
            "~/networks/net/interfaces/i/ip_allocations",
            json!({"network": {"addresses": ["10.1.0.5"]}}),
            409,
        ),
        (
            "POST ~/networks/{network_id}/interfaces/{interface_id}/ip_allocations",
            "~/networks/nfull/interfaces/i/ip_allocations",
            none(),
            422,
        ),
        (
            "DELETE ~/networks/{network_id}/interfaces/{interface_id}/ip_allocations",
            "~/networks/net/interfaces/<interface>/ip_allocations",
            none(),
            200,
        ),
        (
            "DELETE ~/networks/{network_id}/interfaces/{interface_id}/ip_allocations",
            "~/networks/none/interfaces/<interface>/ip_allocations",
            none(),
            404,
        ),
        (
            "DELETE ~/networks/{network_id}/interfaces/{interface_id}/ip_allocations",
            "~/networks/net/interfaces/%00/ip_allocations",
            none(),
            400,
        ),
        ("GET $/inside_globals", "$/inside_globals", none(), 200),
        (
            "GET $/inside_globals",
            "/v0.1/ipam/ip_blocks/<block>/ip_addresses/10.1.0.7/inside_globals",
            none(),
            404,
        ),
        ("GET $/inside_globals", "$/inside_globals?limit=0", none(), 400),
        ("POST $/inside_globals", "$/inside_globals", nat("<public>", "203.0.1.10"), 200),
        (
            "POST $/inside_globals",
            "$/inside_globals",
            json!({"ip_addresses": [{"ip_block_id": "<public>"}]}),
            400,
        ),
        ("POST $/inside_globals", "$/inside_globals", nat("<nobody>", "203.0.1.10"), 404),
        ("POST $/inside_globals", "$/inside_globals", nat("<public>", "203.0.1.255"), 409),
        ("POST $/inside_globals", "$/inside_globals", nat("<public>", "10.0.0.1"), 422),
        ("DELETE $/inside_globals", "$/inside_globals", none(), 200),
        (
            "DELETE $/inside_globals",
            "/v0.1/ipam/ip_blocks/<nobody>/ip_addresses/10.1.0.5/inside_globals",
            none(),
            404,
        ),
        (
            "DELETE $/inside_globals",
            "/v0.1/ipam/ip_blocks/%ff/ip_addresses/10.1.0.5/inside_globals",
            none(),
            400,
        ),
        ("DELETE $/inside_globals/{inside_globals_address}", "$/inside_globals/203.0.1.9", none(), 200),
        ("DELETE $/inside_globals/{inside_globals_address}", "$/inside_globals/203.0.1.10", none(), 404),
        ("DELETE $/inside_globals/{inside_globals_address}", "$/inside_globals/%ff", none(), 400),
        (
            "GET $/inside_locals",
            "/v0.1/ipam/ip_blocks/<public>/ip_addresses/203.0.1.9/inside_locals",
            none(),
            200,
        ),
        (
            "GET $/inside_locals",
            "/v0.1/ipam/ip_blocks/<nobody>/ip_addresses/203.0.1.9/inside_locals",
            none(),
            404,
        ),
        ("GET $/inside_locals", "$/inside_locals?limit=0", none(), 400),
        (
            "POST $/inside_locals",
            "/v0.1/ipam/ip_blocks/<public>/ip_addresses/203.0.1.9/inside_locals",
            nat("<block>", "10.1.0.8"),
            200,
        ),
        (
            "POST $/inside_locals",
            "$/inside_locals",
            json!({"ip_addresses": [{"ip_address": "10.1.0.8"}]}),
            400,
        ),
        ("POST $/inside_locals", "$/inside_locals", nat("x", "10.1.0.8"), 404),
        ("POST $/inside_locals", "$/inside_locals", nat("<block>", "10.1.0.1"), 409),
        ("POST $/inside_locals", "$/inside_locals", nat("<block>", "10.1.0.6"), 422),
        (
            "DELETE $/inside_locals",
            "/v0.1/ipam/ip_blocks/<public>/ip_addresses/203.0.1.9/inside_locals",
            none(),
            200,
        ),
        (
            "DELETE $/inside_locals",
            "/v0.1/ipam/ip_blocks/<public>/ip_addresses/203.0.1.8/inside_locals",
            none(),
            404,
        ),
        (
            "DELETE $/inside_locals",
            "/v0.1/ipam/ip_blocks/<public>/ip_addresses/%ff/inside_locals",
            none(),
            400,
        ),
        (
            "DELETE $/inside_locals/{inside_locals_address}",
            "/v0.1/ipam/ip_blocks/<public>/ip_addresses/203.0.1.9/inside_locals/10.1.0.5",
            none(),
            200,
        ),
        (
            "DELETE $/inside_locals/{inside_locals_address}",
            "/v0.1/ipam/ip_blocks/<public>/ip_addresses/203.0.1.9/inside_locals/10.1.0.6",
            none(),
            404,
        ),
        ("DELETE $/inside_locals/{inside_locals_address}", "$/inside_locals/%ff", none(), 400),
        ("GET ~/policies", "~/policies", none(), 200),
        ("GET ~/policies", "~/policies?limit=0", none(), 400),
        ("POST ~/policies", "~/policies", json!({"policy": {"name": "n", "description": "d"}}), 201),
        ("POST ~/policies", "~/policies", json!({"policy": {"description": "d"}}), 400),
        ("GET ~/policies/{policy_id}", "~/policies/<policy>", none(), 200),
        ("GET ~/policies/{policy_id}", "~/policies/<nobody>", none(), 404),
        ("GET ~/policies/{policy_id}", "~/policies/%ff", none(), 400),
        ("PUT ~/policies/{policy_id}", "~/policies/<policy>", json!({"policy": {"name": "other"}}), 200),
        ("PUT ~/policies/{policy_id}", "~/policies/<nobody>", json!({"policy": {"name": "other"}}), 404),
        ("PUT ~/policies/{policy_id}", "~/policies/<policy>", json!({"policy": {"name": ""}}), 400),
        ("DELETE ~/policies/{policy_id}", "~/policies/<policy>", none(), 200),
        ("DELETE ~/policies/{policy_id}", "~/policies/<nobody>", none(), 404),
        ("DELETE ~/policies/{policy_id}", "~/policies/%ff", none(), 400),
        (
            "GET ~/policies/{policy_id}/unusable_ip_ranges",
            "~/policies/<policy>/unusable_ip_ranges",
            none(),
            200,
        ),
        (
            "GET ~/policies/{policy_id}/unusable_ip_ranges",
            "~/policies/<nobody>/unusable_ip_ranges",
            none(),
            404,
        ),
        (
            "GET ~/policies/{policy_id}/unusable_ip_ranges",
            "~/policies/<policy>/unusable_ip_ranges?limit=0",
            none(),
            400,
        ),
        (
            "POST ~/policies/{policy_id}/unusable_ip_ranges",
            "~/policies/<policy>/unusable_ip_ranges",
            json!({"ip_range": {"offset": "-3", "length": 2}}),
            201,
        ),
        (
            "POST ~/policies/{policy_id}/unusable_ip_ranges",
            "~/policies/<nobody>/unusable_ip_ranges",
            json!({"ip_range": {"offset": 0, "length": 2}}),
            404,
        ),
        (
            "POST ~/policies/{policy_id}/unusable_ip_ranges",
            "~/policies/<policy>/unusable_ip_ranges",
            json!({"ip_range": {"offset": 0, "length": -2}}),
            400,
        ),
        (
            "GET ~/policies/{policy_id}/unusable_ip_ranges/{id}",
            "~/policies/<policy>/unusable_ip_ranges/<range>",
            none(),
            200,
        ),
        (
            "GET ~/policies/{policy_id}/unusable_ip_ranges/{id}",
            "~/policies/<policy>/unusable_ip_ranges/<octet>",
            none(),
            404,
        ),
        (
            "GET ~/policies/{policy_id}/unusable_ip_ranges/{id}",
            "~/policies/<policy>/unusable_ip_ranges/%ff",
            none(),
            400,
        ),
        (
            "PUT ~/policies/{policy_id}/unusable_ip_ranges/{id}",
            "~/policies/<policy>/unusable_ip_ranges/<range>",
            json!({"ip_range": {"length": 5}}),
            200,
        ),
        (
            "PUT ~/policies/{policy_id}/unusable_ip_ranges/{id}",
            "~/policies/<policy>/unusable_ip_ranges/<nobody>",
            json!({"ip_range": {"length": 5}}),
            404,
        ),
        (
            "PUT ~/policies/{policy_id}/unusable_ip_ranges/{id}",
            "~/policies/<policy>/unusable_ip_ranges/<range>",
            json!({"ip_range": {"length": "x"}}),
            400,
        ),
        (
            "DELETE ~/policies/{policy_id}/unusable_ip_ranges/{id}",
            "~/policies/<policy>/unusable_ip_ranges/<range>",
            none(),
            200,
        ),
        (
            "DELETE ~/policies/{policy_id}/unusable_ip_ranges/{id}",
            "~/policies/<policy>/unusable_ip_ranges/<nobody>",
            none(),
            404,
        ),
        (
            "DELETE ~/policies/{policy_id}/unusable_ip_ranges/{id}",
            "~/policies/<policy>/unusable_ip_ranges/%ff",
            none(),
            400,
        ),
        (
            "GET ~/policies/{policy_id}/unusable_ip_octets",
            "~/policies/<policy>/unusable_ip_octets",
            none(),
            200,
        ),
        (
            "GET ~/policies/{policy_id}/unusable_ip_octets",
            "~/policies/<nobody>/unusable_ip_octets",
            none(),
            404,
        ),
        (
            "GET ~/policies/{policy_id}/unusable_ip_octets",
            "~/policies/<policy>/unusable_ip_octets?limit=0",
            none(),
            400,
        ),
        (
            "POST ~/policies/{policy_id}/unusable_ip_octets",
            "~/policies/<policy>/unusable_ip_octets",
            json!({"ip_octet": {"octet": 255}}),
            201,
        ),
        (
            "POST ~/policies/{policy_id}/unusable_ip_octets",
            "~/policies/<nobody>/unusable_ip_octets",
            json!({"ip_octet": {"octet": 255}}),
            404,
        ),
        (
            "POST ~/policies/{policy_id}/unusable_ip_octets",
            "~/policies/<policy>/unusable_ip_octets",
            json!({"ip_octet": {"octet": 256}}),
            400,
        ),
        (
            "GET ~/policies/{policy_id}/unusable_ip_octets/{id}",
            "~/policies/<policy>/unusable_ip_octets/<octet>",
            none(),
            200,
        ),
        (
            "GET ~/policies/{policy_id}/unusable_ip_octets/{id}",
            "~/policies/<policy>/unusable_ip_octets/<range>",
            none(),
            404,
        ),
        (
            "GET ~/policies/{policy_id}/unusable_ip_octets/{id}",
            "~/policies/<policy>/unusable_ip_octets/%ff",
            none(),
            400,
        ),
        (
            "PUT ~/policies/{policy_id}/unusable_ip_octets/{id}",
            "~/policies/<policy>/unusable_ip_octets/<octet>",
            json!({"ip_octet": {"octet": "0"}}),
            200,
        ),
        (
            "PUT ~/policies/{policy_id}/unusable_ip_octets/{id}",
            "~/policies/<policy>/unusable_ip_octets/<nobody>",
            json!({"ip_octet": {"octet": 0}}),
            404,
        ),
        (
            "PUT ~/policies/{policy_id}/unusable_ip_octets/{id}",
            "~/policies/<policy>/unusable_ip_octets/<octet>",
            json!({"ip_octet": {"octet": -1}}),
            400,
        ),
        (
            "DELETE ~/policies/{policy_id}/unusable_ip_octets/{id}",
            "~/policies/<policy>/unusable_ip_octets/<octet>",
            none(),
            200,
        ),
        (
            "DELETE ~/policies/{policy_id}/unusable_ip_octets/{id}",
            "~/policies/<policy>/unusable_ip_octets/<nobody>",
            none(),
            404,
        ),
        (
            "DELETE ~/policies/{policy_id}/unusable_ip_octets/{id}",
            "~/policies/<policy>/unusable_ip_octets/%ff",
            none(),
            400,
        ),
    ]
}

/// `~` and `$` written out, for a route and for a path.
fn whole(text: &str, is_route: bool) -> String {
    let (tenant, nat) = if is_route {
        ("/v0.1/ipam/tenants/{tenant_id}", "/v0.1/ipam/ip_blocks/{ip_block_id}/ip_addresses/{address}")
    } else {
        ("/v0.1/ipam/tenants/<tenant>", "/v0.1/ipam/ip_blocks/<block>/ip_addresses/10.1.0.5")
    };
    text.replace('~', tenant).replace('$', nat)
}

/// What the description says that may happen, but for what may happen to any request.
fn documented() -> BTreeSet<(String, String)> {
    let api = serde_json::to_value(describe(&routes())).expect("JSON");
    let ours = routes().into_iter().filter(|route| {
        route.path == "/" || route.path.starts_with("/v0.1") || route.path.starts_with("/extensions")
    });
    ours.flat_map(|route| {
        let name = format!("{} {}", route.method, route.path);
        let operation = &api["paths"][route.path][route.method.as_str().to_lowercase()];
        let statuses: Vec<String> =
            operation["responses"].as_object().expect("responses").keys().cloned().collect();
        // A list without a block or the like in its path is never 404.
        statuses
            .into_iter()
            .filter(|status| !COMMON.contains(&status.as_str()))
            .map(move |status| (name.clone(), status))
    })
    .collect()
}

/// 404 that only another tenant's path can give: `tenants.rs` has these.
const NEVER_404: [&str; 7] = [
    "GET ~/ip_blocks",
    "POST ~/ip_blocks",
    "GET ~/allocated_ip_addresses",
    "GET /v0.1/ipam/allocated_ip_addresses",
    "GET ~/instances/{instance_id}/ip_addresses",
    "GET /v0.1/ipam/instances/{instance_id}/ip_addresses",
    "GET ~/policies",
];

#[test]
fn every_documented_code_has_a_case() {
    let mut covered: BTreeSet<(String, String)> =
        cases().into_iter().map(|(route, _, _, status)| (whole(route, true), status.to_string())).collect();
    covered.extend(NEVER_404.iter().map(|route| (whole(route, true), "404".to_owned())));
    covered.insert((whole("POST ~/policies", true), "404".to_owned()));
    let documented = documented();
    assert!(documented.len() > 150, "the routes are still found: {}", documented.len());
    let missing: Vec<_> = documented.difference(&covered).collect();
    assert!(missing.is_empty(), "without a case: {missing:?}");
    let unknown: Vec<_> = covered.difference(&documented).collect();
    assert!(unknown.is_empty(), "not documented: {unknown:?}");
}

async fn walk(store: impl AsyncFn() -> Arc<dyn Store>) {
    for (route, path, body, status) in cases() {
        let world = World::new(store().await).await;
        let (method, _) = route.split_once(' ').expect("method");
        let path = world.fill(&whole(path, false)).replace("<nobody>", NOBODY);
        let body = if body.is_null() {
            String::new()
        } else {
            world.fill(&body.to_string()).replace("<nobody>", NOBODY)
        };
        let before = world.api.revision().await;
        let headers = [("content-type", "application/json")];
        let got: Got = world.api.with(method, &path, &headers, &body).await;
        assert_eq!(got.status, status, "{method} {path} {body}: {}", got.text);
        if status >= 400 {
            check_fault(&got);
            assert_eq!(world.api.revision().await, before, "{method} {path}: something changed");
        } else if method != "GET" {
            assert_ne!(world.api.revision().await, before, "{method} {path}: nothing changed");
        }
    }
}

#[tokio::test]
async fn every_route_verb_and_code() {
    walk(embedded).await;
}

#[tokio::test]
async fn every_route_verb_and_code_on_etcd() {
    let etcd = Etcd::start().await;
    walk(async || etcd.store().await).await;
}
