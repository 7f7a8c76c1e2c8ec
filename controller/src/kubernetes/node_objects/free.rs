//! How many addresses nodes have free in the blocks that they hold, as their mirrors say: pure.
//!
//! Blocks of namespaces' pools are single addresses, which are leased when they are held: of these nothing is ever free.

use common::error::chain;
use common::ipam::{Family, Pool, Unit};
use common::name::{NodeName, PoolName};
use common::pool_id::PoolId;
use common::store::{Entry, Event, Revision, keys, record};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What the store says of pools and blocks. Changes may come more than once, and late ones after newer ones.
#[derive(Debug, Default)]
pub(super) struct Stock {
    pools: BTreeMap<PoolName, Pool>,
    blocks: BTreeMap<NodeName, BTreeMap<(PoolName, IpAddr), Block>>,
}

#[derive(Debug)]
struct Block {
    /// When its mirror was written.
    revision: Revision,
    prefix: u8,
    held: Box<[u32]>,
}

/// Of a mirror, what is counted.
#[derive(Deserialize)]
struct Mirror {
    prefix: u8,
    #[serde(default)]
    held: Vec<Offset>,
}

#[derive(Deserialize)]
struct Offset {
    #[serde(rename = "o")]
    offset: u32,
}

impl Stock {
    /// Takes note of a change of a pool or block, and answers the nodes of which the numbers may be others now.
    pub(super) fn hear(&mut self, event: &Event) -> BTreeSet<NodeName> {
        match event {
            Event::Put(entry) => self.put(entry),
            Event::Delete(key, revision) => self.remove(key, *revision),
        }
    }

    /// The same of a key that is there.
    pub(super) fn put(&mut self, entry: &Entry) -> BTreeSet<NodeName> {
        if let Some(name) = keys::parse_pool(&entry.key) {
            let Some(pool) = understood::<Pool>(entry) else { return BTreeSet::new() };
            let holders = self.holders(&name);
            self.pools.insert(name, pool);
            return holders;
        }
        let Some((node, PoolId::Coil(pool), first)) = keys::parse_block(&entry.key) else {
            return BTreeSet::new();
        };
        let Some(Mirror { prefix, held }) = understood(entry) else { return BTreeSet::new() };
        let held = held.into_iter().map(|held| held.offset).collect();
        let block = Block { revision: entry.mod_revision, prefix, held };
        let blocks = self.blocks.entry(node.clone()).or_default();
        let place = (pool, first);
        if blocks.get(&place).is_some_and(|known| known.revision > block.revision) {
            return BTreeSet::new();
        }
        blocks.insert(place, block);
        BTreeSet::from([node])
    }

    fn remove(&mut self, key: &str, revision: Revision) -> BTreeSet<NodeName> {
        if let Some(name) = keys::parse_pool(key) {
            self.pools.remove(&name);
            return self.holders(&name);
        }
        let Some((node, PoolId::Coil(pool), first)) = keys::parse_block(key) else { return BTreeSet::new() };
        let Some(blocks) = self.blocks.get_mut(&node) else { return BTreeSet::new() };
        let place = (pool, first);
        if blocks.get(&place).is_none_or(|known| known.revision > revision) {
            return BTreeSet::new();
        }
        blocks.remove(&place);
        if blocks.is_empty() {
            self.blocks.remove(&node);
        }
        BTreeSet::from([node])
    }

    /// The nodes that hold blocks of a pool.
    fn holders(&self, pool: &PoolName) -> BTreeSet<NodeName> {
        let has = |blocks: &BTreeMap<(PoolName, IpAddr), Block>| blocks.keys().any(|(of, _)| of == pool);
        self.blocks.iter().filter(|(_, blocks)| has(blocks)).map(|(node, _)| node.clone()).collect()
    }

    /// What a node has free, as JSON: by pool, by family. The same numbers are the same text.
    pub(super) fn of(&self, node: &NodeName) -> String {
        let mut free: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
        for ((name, first), block) in self.blocks.get(node).into_iter().flatten() {
            let Some(pool) = self.pools.get(name) else { continue };
            let family = Family::of(*first);
            *free.entry(name.as_str()).or_default().entry(family.to_string()).or_default() +=
                free_in(pool, *first, block);
        }
        serde_json::to_string(&free).unwrap_or_else(|error| unreachable!("texts and numbers: {error}"))
    }
}

/// The addresses of a block that can be given.
fn free_in(pool: &Pool, first: IpAddr, block: &Block) -> u64 {
    let family = Family::of(first);
    let unit = Unit::containing(first, family.bits().saturating_sub(block.prefix));
    let Ok(space) = pool.space(family) else { return 0 };
    if pool.disabled || unit.bits() > Unit::MAX_BITS {
        return 0;
    }
    let unusable = pool.unusable(unit, &space);
    let never: u64 = unusable.iter().map(|(first, last)| u64::from(last - first) + 1).sum();
    let usable = |offset: &&u32| !unusable.iter().any(|(first, last)| (first..=last).contains(offset));
    let held = block.held.iter().filter(usable).count() as u64;
    (1_u64 << unit.bits()).saturating_sub(never).saturating_sub(held)
}

fn understood<T: serde::de::DeserializeOwned>(entry: &Entry) -> Option<T> {
    record::decode(&entry.key, &entry.value)
        .inspect_err(|error| tracing::warn!(error = chain(error), "a record is left out of what is free"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::ipam::BlockGateway;
    use common::store::record::BlockMirror;

    fn node(name: &str) -> NodeName {
        NodeName::new(name).expect("name")
    }

    fn entry(key: String, value: bytes::Bytes, revision: Revision) -> Entry {
        Entry { key, value, create_revision: 1, mod_revision: revision }
    }

    fn pool(name: &str, change: impl FnOnce(&mut Pool)) -> Entry {
        let mut pool = Pool::of_subnets(vec![
            "10.0.0.0/24".parse().expect("subnet"),
            "fd00::/64".parse().expect("subnet"),
        ]);
        change(&mut pool);
        entry(keys::pool(&name.parse().expect("name")), record::encode(&pool), 1)
    }

    fn block(of: &str, first: &str, held: &[u32], revision: Revision) -> Entry {
        let first: IpAddr = first.parse().expect("address");
        let unit = Unit::containing(first, 4);
        let held: Vec<_> = held.iter().map(|offset| serde_json::json!({"o": offset})).collect();
        let value = serde_json::json!({"v": 1, "prefix": unit.net().prefix_len(), "held": held});
        let name: PoolName = "default".parse().expect("name");
        entry(keys::block(&node(of), &name, unit), value.to_string().into(), revision)
    }

    #[test]
    fn free_is_what_is_neither_held_nor_never_given() {
        let mut stock = Stock::default();
        assert_eq!(stock.of(&node("n1")), "{}");
        assert!(stock.put(&pool("default", |_| ())).is_empty());
        assert_eq!(stock.put(&block("n1", "10.0.0.16", &[3, 4], 5)), BTreeSet::from([node("n1")]));
        stock.put(&block("n1", "10.0.0.32", &[], 5));
        stock.put(&block("n1", "fd00::10", &[0], 5));
        stock.put(&block("n2", "10.0.0.48", &[], 5));
        assert_eq!(stock.of(&node("n1")), r#"{"default":{"ipv4":30,"ipv6":15}}"#);
        assert_eq!(stock.of(&node("n2")), r#"{"default":{"ipv4":16}}"#);
        // Some of it is never given, and one of these is held from before.
        let gateways = |pool: &mut Pool| {
            pool.block_gateway = BlockGateway::First;
            pool.exclude = vec!["10.0.0.18/31".parse().expect("net")];
        };
        let both = BTreeSet::from([node("n1"), node("n2")]);
        assert_eq!(stock.put(&pool("default", gateways)), both);
        assert_eq!(stock.of(&node("n1")), r#"{"default":{"ipv4":25,"ipv6":15}}"#);
        stock.put(&pool("default", |pool| pool.disabled = true));
        assert_eq!(stock.of(&node("n1")), r#"{"default":{"ipv4":0,"ipv6":0}}"#);
        assert!(stock.put(&pool("other", |_| ())).is_empty());
    }

    #[test]
    fn late_changes_do_no_harm() {
        let mut stock = Stock::default();
        stock.put(&pool("default", |_| ()));
        let now = block("n1", "10.0.0.16", &[1], 7);
        stock.put(&now);
        for late in [
            Event::Put(block("n1", "10.0.0.16", &[1, 2, 3], 6)),
            Event::Delete(now.key.clone(), 6),
            Event::Delete("block/n1/default/4-0a000040".to_owned(), 9),
            Event::Delete("block/n1/ns:a:b/4-0a000010".to_owned(), 9),
            Event::Delete("other".to_owned(), 9),
        ] {
            assert!(stock.hear(&late).is_empty(), "{late:?}");
        }
        assert_eq!(stock.of(&node("n1")), r#"{"default":{"ipv4":15}}"#);
        assert_eq!(stock.hear(&Event::Delete(now.key.clone(), 8)).len(), 1);
        assert_eq!(stock.of(&node("n1")), "{}");
        stock.put(&now);
        assert_eq!(stock.hear(&Event::Delete("pool/default".to_owned(), 9)).len(), 1);
        assert_eq!(stock.of(&node("n1")), "{}", "nothing is known of its pool");
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let mut stock = Stock::default();
        stock.put(&pool("default", |_| ()));
        let good = block("n1", "10.0.0.16", &[1], 7);
        for value in ["", "{}", r#"{"v":2}"#, r#"{"v":1,"prefix":28,"held":[{"o":-1}]}"#] {
            let bad = Entry { value: value.as_bytes().to_vec().into(), ..good.clone() };
            assert!(stock.put(&bad).is_empty(), "{value}");
        }
        let huge = r#"{"v":1,"prefix":0,"held":[{"o":4294967295}]}"#;
        stock.put(&Entry { value: huge.as_bytes().to_vec().into(), ..good });
        assert_eq!(stock.of(&node("n1")), r#"{"default":{"ipv4":0}}"#);
        let mirror = BlockMirror { prefix: 32, ..BlockMirror::default() };
        let single = entry("block/n1/ns:a:b/4-0a000010".to_owned(), record::encode(&mirror), 1);
        assert!(stock.put(&single).is_empty(), "a namespace's pool");
    }
}
