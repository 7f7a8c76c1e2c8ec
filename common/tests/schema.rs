//! `docs/schema.md` against the code: every key, every record and every field.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use common::ipam::{Family, NamespacePool, Pool, ServicePool, Unit};
use common::name::{NodeName, PodText, PoolName};
use common::pool_id::Scoped;
use common::store::record::lastbackend as platform;
use common::store::record::{
    self, Alive, BlockMirror, Evict, Fixed, KubernetesNode, Lease, NamespaceChoice, Node, Plan, Refused,
    Restored, Schema,
};
use common::store::{Txn, keys};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = include_str!("../../docs/schema.md");
const KEYS: &str =
    concat!(include_str!("../src/store/keys.rs"), include_str!("../src/store/keys/lastbackend.rs"));
const RECORDS: &str =
    concat!(include_str!("../src/store/record.rs"), include_str!("../src/store/record/lastbackend.rs"));
const TENANTS_KEYS: &str = include_str!("../src/store/keys/melange.rs");
const TENANTS_RECORDS: &str = include_str!("../src/store/record/melange.rs");
/// Parts of records.
const PARTS: [&str; 6] = ["Allocation", "Claim", "Spec", "Pod", "Container", "Owned"];

/// The section of a key: its shape, and its text.
fn sections() -> BTreeMap<&'static str, &'static str> {
    let start = PAGE.find("\n## Keys").expect("the section on keys");
    let end = start + PAGE[start..].find("\n## Transactions").expect("the section behind it");
    PAGE[start..end]
        .split("\n### `")
        .skip(1)
        .map(|section| section.split_once("`\n").expect("a heading is one key"))
        .collect()
}

/// The example in a section: a key, and a value.
fn example(shape: &str) -> (&'static str, &'static str) {
    let section = sections().remove(shape).unwrap_or_else(|| panic!("{shape} is not documented"));
    let block = section.split("```").nth(1).expect("an example");
    block.trim().split_once('\n').expect("a key and a value")
}

/// The example has this key, and a record of this kind which comes out as it is written there.
fn documents<T: Serialize + DeserializeOwned>(shape: &str, expected_key: &str) {
    let (key, value) = example(shape);
    assert_eq!(key, expected_key, "{shape}");
    let record: T = record::decode(key, value.as_bytes()).expect(shape);
    let json = |text: &[u8]| serde_json::from_slice::<Value>(text).expect("JSON");
    assert_eq!(json(&record::encode(&record)), json(value.as_bytes()), "{shape}");
    let mut fields = BTreeSet::new();
    collect(&json(value.as_bytes()), &mut fields);
    fields.remove("v");
    for field in fields {
        let row = format!("`{field}`");
        let mut rows = sections()[shape].lines().filter(|line| line.starts_with('|'));
        assert!(rows.any(|line| line.contains(&row)), "{shape} does not explain {field}");
    }
}

fn collect(value: &Value, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| {
            fields.insert(name.clone());
            collect(value, fields);
        }),
        Value::Array(items) => items.iter().for_each(|item| collect(item, fields)),
        _ => {}
    }
}

#[test]
fn examples_are_what_the_code_reads_and_writes() {
    let (pool, node) = (PoolName::default_pool(), NodeName::new("worker-1").expect("name"));
    let unit = Unit::containing("10.64.0.16".parse().expect("address"), 4);
    documents::<Schema>("schema", keys::SCHEMA);
    documents::<Plan>("plan", keys::PLAN);
    documents::<Restored>("restored", keys::RESTORED);
    documents::<Pool>("pool/<pool>", &keys::pool(&pool));
    documents::<Lease>("lease/<pool>/<unit>", &keys::lease(&pool, unit));
    documents::<BlockMirror>("block/<node>/<pool>/<unit>", &keys::block(&node, &pool, unit));
    documents::<Node>("node/<node>", &keys::node(&node));
    documents::<Alive>("alive/<node>", &keys::alive(&node));
    documents::<KubernetesNode>("kubernetes/<node>", &keys::kubernetes_node(&node));
    documents::<record::melange::Mark>("kubernetes-events", keys::KUBERNETES_EVENTS);
    documents::<record::melange::Mark>("kubernetes-nodes", keys::KUBERNETES_NODES);
    documents::<Refused>("refused/<node>/<slot>", &keys::refused(&node, 7));
    let address = "10.64.0.21".parse().expect("address");
    let scoped = |name| {
        let text = |text| PodText::new(text).expect("text");
        Scoped { namespace: text("team"), name: text(name) }
    };
    documents::<NamespacePool>("nspool/<namespace>/<pool>", &keys::namespace_pool(&scoped("web")));
    documents::<ServicePool>("svcpool/<namespace>/<pool>", &keys::service_pool(&scoped("front")));
    let team = PodText::new("team").expect("text");
    documents::<NamespaceChoice>("nschoice/<namespace>", &keys::namespace_choice(&team));
    documents::<Fixed>("fixed/<namespace>/<pod>/<family>", &keys::fixed(&scoped("db-0"), Family::V4));
    documents::<Evict>("evict/<node>/<address>", &keys::evict(&node, address));
    let name = |text| common::lastbackend::Name::new(text).expect("name");
    let id = common::lastbackend::ServiceId { namespace: name("demo"), name: name("web") };
    documents::<platform::Namespace>("namespace/<namespace>", &keys::lastbackend::namespace(&id.namespace));
    documents::<platform::Service>("service/<namespace>/<service>", &keys::lastbackend::service(&id));
    documents::<platform::Run>("run/<namespace>/<service>", &keys::lastbackend::run(&id));
    let time = 1_700_000_000_000_000_000;
    let activity = keys::lastbackend::activity(&id.namespace, Some(&id.name), time);
    documents::<platform::Activity>("activity/<namespace>/<service>/<time>", &activity);
    documents::<platform::Engine>("engine", keys::lastbackend::ENGINE);
    documents::<platform::EngineAlive>("engine-alive", keys::lastbackend::ENGINE_ALIVE);
    let (_, pool) = example("pool/<pool>");
    let pool: Pool = record::decode("pool/default", pool.as_bytes()).expect("a pool");
    pool.validate().expect("and a valid one");
}

#[test]
fn examples_of_the_tenants_keys() {
    use common::name::{OpaqueId, TenantId};
    use common::store::keys::melange as keys;
    use common::store::record::melange as record;
    let id = |text: &str| text.parse().expect("id");
    let tenant = TenantId::new("acme").expect("tenant");
    let shop = TenantId::new("shop").expect("tenant");
    let opaque = |text: &str| OpaqueId::new(text).expect("id");
    let (network, interface) = (opaque("net1"), opaque("vm1-eth0"));
    let [block, parent, address] = [
        "01a1ff4f-de69-75d7-b160-dd3f860eadbd",
        "01a1ff50-0b4e-7f11-9a2c-6d0f3c2b1a00",
        "5d0c9b62-8e3f-4a17-b6c4-0a1b2c3d4e5f",
    ]
    .map(id);
    let [policy, other, global] = [
        "01a1ff4e-9d00-7c21-bd11-5a6b7c8d9e0f",
        "01a1ff51-1234-7aaa-9bbb-c0c1c2c3c4c5",
        "c41f07aa-4321-4ddd-8eee-f0f1f2f3f4f5",
    ]
    .map(id);
    let ip = "10.1.0.5".parse().expect("address");
    documents::<record::Block>("melange/block/<tenant>/<block>", &keys::block(&tenant, block));
    documents::<record::Mark>(
        "melange/typed/<tenant>/<type>/<block>",
        &keys::typed(&tenant, "private", block),
    );
    documents::<record::Owner>("melange/owner/<block>", &keys::owner(block));
    let public = "203.0.113.0".parse().expect("address");
    documents::<record::PublicBlock>("melange/public/<unit>", &keys::public(public));
    documents::<record::Mark>("melange/network/<tenant>/<network>", &keys::network(&tenant, &network));
    documents::<record::Mark>(
        "melange/member/<tenant>/<network>/<block>",
        &keys::member(&tenant, &network, block),
    );
    documents::<record::Subnet>("melange/subnet/<block>/<subnet>", &keys::subnet(parent, block));
    documents::<record::Address>("melange/address/<block>/<unit>", &keys::address(block, ip));
    let list = keys::listed(keys::List::Tenant(&shop), address);
    documents::<record::Listed>("melange/list/<list>/<address>", &list);
    documents::<record::Due>("melange/due/<time>/<block>/<unit>", &keys::due(1_700_000_000_000, block, ip));
    documents::<record::Interface>("melange/interface/<interface>", &keys::interface(&interface));
    documents::<record::Mac>("melange/mac/<mac>", &keys::mac("00:16:3e:0a:0b:0c"));
    let nat = keys::nat(keys::Side::Global, block, ip, global);
    documents::<record::Nat>("melange/nat/<side>/<block>/<unit>/<address>", &nat);
    documents::<record::Route>("melange/route/<block>/<route>", &keys::route(block, other));
    documents::<record::Policy>("melange/policy/<tenant>/<policy>", &keys::policy(&tenant, policy));
    documents::<record::IpRange>("melange/range/<policy>/<range>", &keys::range(policy, other));
    documents::<record::IpOctet>("melange/octet/<policy>/<octet>", &keys::octet(policy, other));
    documents::<record::Governed>("melange/governed/<policy>/<block>", &keys::governed(policy, block));
    documents::<record::Gone>("melange/gone/<block>", &keys::gone(block));
    documents::<record::Mark>("melange/purge", keys::PURGE);
}

#[test]
fn every_key_has_a_section_a_row_and_a_transaction() {
    let keys = || KEYS.lines().chain(TENANTS_KEYS.lines());
    let constants = keys().filter_map(|line| line.strip_prefix("pub const "));
    let constants = constants.filter_map(|line| line.split('"').nth(1)).map(str::to_owned);
    let shapes = keys().filter_map(|line| line.strip_prefix("/// `")?.strip_suffix('`'));
    let known: BTreeSet<String> = constants.chain(shapes.map(str::to_owned)).collect();
    assert!(known.len() >= 8, "the shapes are still found in the code: {known:?}");
    let documented: BTreeSet<String> = sections().into_keys().map(str::to_owned).collect();
    assert_eq!(documented, known);
    let transactions = &PAGE[PAGE.find("\n## Transactions").expect("the section on transactions")..];
    for shape in known {
        assert!(PAGE.contains(&format!("| [`{shape}`](#")), "{shape} has no row in the first table");
        // Up to the first part that stands for something.
        let short = shape.split_once('<').map_or_else(|| shape.clone(), |(kind, _)| format!("{kind}…"));
        assert!(transactions.contains(&format!("`{short}`")), "no transaction touches {short}");
    }
}

#[test]
fn every_record_is_named() {
    let records: Vec<_> = RECORDS
        .lines()
        .chain(TENANTS_RECORDS.lines())
        .filter_map(|line| line.strip_prefix("pub struct "))
        .filter_map(|rest| rest.split([' ', '{', '<']).next())
        .filter(|name| !PARTS.contains(name))
        .collect();
    assert!(records.len() >= 7, "the records are still found in the code: {records:?}");
    for name in records {
        assert!(PAGE.contains(&format!("| `{name}` |")), "{name} is not in the first table");
    }
}

#[test]
fn numbers_are_right() {
    let node = NodeName::new("n").expect("name");
    for (address, name) in
        [("10.64.0.16", "4-0a400010"), ("fd00:64::20", "6-fd000064000000000000000000000020")]
    {
        assert!(PAGE.contains(&format!("| `{address}` | `{name}` |")));
        assert_eq!(keys::evict(&node, address.parse().expect("address")), format!("evict/n/{name}"));
    }
    assert!(PAGE.contains(&format!("{} compares and {} operations", Txn::MAX, Txn::MAX)));
    assert!(PAGE.contains(&format!("`00` to `{}`", keys::REFUSALS - 1)));
    assert!(PAGE.contains("at most 1.4 MB") && Txn::MAX_BYTES == 1_400_000);
    assert!(PAGE.contains(&format!("Layout {} is", record::LAYOUT)));
    assert!(PAGE.contains(&format!("which is {} in everything", record::VERSION)));
}
