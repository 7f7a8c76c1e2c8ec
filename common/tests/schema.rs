//! `docs/schema.md` against the code: every key, every record and every field.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use common::ipam::{Family, NamespacePool, Pool, ServicePool, Unit};
use common::name::{NodeName, PodText, PoolName};
use common::pool_id::Scoped;
use common::store::record::lastbackend as platform;
use common::store::record::{self, Alive, BlockMirror, Evict, Fixed, Lease, Node, Plan, Restored, Schema};
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
/// Parts of records.
const PARTS: [&str; 5] = ["Allocation", "Claim", "Spec", "Pod", "Container"];

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
    let address = "10.64.0.21".parse().expect("address");
    let scoped = |name| {
        let text = |text| PodText::new(text).expect("text");
        Scoped { namespace: text("team"), name: text(name) }
    };
    documents::<NamespacePool>("nspool/<namespace>/<pool>", &keys::namespace_pool(&scoped("web")));
    documents::<ServicePool>("svcpool/<namespace>/<pool>", &keys::service_pool(&scoped("front")));
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
fn every_key_has_a_section_a_row_and_a_transaction() {
    let constants = KEYS.lines().filter_map(|line| line.strip_prefix("pub const "));
    let constants = constants.filter_map(|line| line.split('"').nth(1)).map(str::to_owned);
    let shapes = KEYS.lines().filter_map(|line| line.strip_prefix("/// `")?.strip_suffix('`'));
    let known: BTreeSet<String> = constants.chain(shapes.map(str::to_owned)).collect();
    assert!(known.len() >= 8, "the shapes are still found in the code: {known:?}");
    let documented: BTreeSet<String> = sections().into_keys().map(str::to_owned).collect();
    assert_eq!(documented, known);
    let transactions = &PAGE[PAGE.find("\n## Transactions").expect("the section on transactions")..];
    for shape in known {
        assert!(PAGE.contains(&format!("| [`{shape}`](#")), "{shape} has no row in the first table");
        let short = shape.split_once('/').map_or_else(|| shape.clone(), |(kind, _)| format!("{kind}/…"));
        assert!(transactions.contains(&format!("`{short}`")), "no transaction touches {short}");
    }
}

#[test]
fn every_record_is_named() {
    let records: Vec<_> = RECORDS
        .lines()
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
    assert!(PAGE.contains("at most 1.4 MB") && Txn::MAX_BYTES == 1_400_000);
    assert!(PAGE.contains(&format!("Layout {} is", record::LAYOUT)));
    assert!(PAGE.contains(&format!("which is {} in everything", record::VERSION)));
}
