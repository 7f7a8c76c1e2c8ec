//! The whole keyspace, both ways (`docs/schema.md`). Nobody else builds or reads a key.
//!
//! A unit is named by its family and its first address as fixed-width hex, `4-0a400010`: keys sort in
//! address order within a family, the families don't mix, and a unit's key stays the same when subnets come
//! and go.
//!
//! * [`lastbackend`]: the part of the platform API
//! * [`melange`]: the part of the tenants' API

pub mod lastbackend;
pub mod melange;

use super::KeyRange;
use crate::ipam::{Family, Unit, UnitRun};
use crate::name::{NodeName, PodText, PoolName};
use crate::pool_id::{AnyPool, PoolId, Scoped, decoded, encoded};
use std::net::IpAddr;

/// Version of the layout.
pub const SCHEMA: &str = "schema";
/// Written by every change of any pool's addresses, so that two of them never miss each other.
pub const PLAN: &str = "plan";

/// There while the nodes find out what a restored store has forgotten; no block is leased meanwhile.
pub const RESTORED: &str = "restored";
/// What was noted of the store's log, by which a restored store gives itself away.
pub const HISTORY: &str = "history";

/// There while a controller makes Events of what nodes refuse; nodes tell nothing without it.
pub const KUBERNETES_EVENTS: &str = "kubernetes-events";
/// There while a controller tells Kubernetes of its nodes.
pub const KUBERNETES_NODES: &str = "kubernetes-nodes";

/// `pool/<pool>`
pub fn pool(pool: &PoolName) -> String {
    format!("pool/{pool}")
}

/// All pools.
pub fn pools() -> KeyRange {
    KeyRange::prefix("pool/")
}

/// The pool that a key of [`pools`] names.
pub fn parse_pool(key: &str) -> Option<PoolName> {
    PoolName::new(key.strip_prefix("pool/")?).ok()
}

/// `lease/<pool>/<unit>`
pub fn lease(pool: &(impl AnyPool + ?Sized), unit: Unit) -> String {
    format!("lease/{pool}/{}", unit_name(unit))
}

/// All leases of a pool.
pub fn leases(pool: &(impl AnyPool + ?Sized)) -> KeyRange {
    KeyRange::prefix(format!("lease/{pool}/"))
}

/// All leases of all pools.
pub fn all_leases() -> KeyRange {
    KeyRange::prefix("lease/")
}

/// The leases of a pool whose units lie in a run, its ends included.
pub fn leases_between(pool: &(impl AnyPool + ?Sized), run: UnitRun) -> KeyRange {
    units_between(&leases(pool).from, run)
}

/// The keys of the units of a run, its ends included, that have their names behind a prefix.
pub fn units_between(prefix: &str, run: UnitRun) -> KeyRange {
    KeyRange {
        from: format!("{prefix}{}", address_name(run.family, run.first)),
        to: format!("{prefix}{}\0", address_name(run.family, run.last)),
    }
}

/// All leases of the pools of a namespace.
pub fn leases_of_namespace(namespace: &PodText) -> KeyRange {
    KeyRange::prefix(format!("lease/ns:{}:", encoded(namespace)))
}

/// Pool and unit that a lease key names; `bits` is the pool's block size for the family.
pub fn parse_lease(key: &str, bits: impl Fn(Family) -> u8) -> Option<(PoolId, Unit)> {
    let (pool, unit) = key.strip_prefix("lease/")?.split_once('/')?;
    Some((PoolId::new(pool).ok()?, parse_unit(unit, bits)?))
}

/// `nspool/<namespace>/<pool>`
pub fn namespace_pool(pool: &Scoped) -> String {
    format!("nspool/{}/{}", encoded(&pool.namespace), encoded(&pool.name))
}

/// The pools of a namespace.
pub fn pools_of_namespace(namespace: &PodText) -> KeyRange {
    KeyRange::prefix(format!("nspool/{}/", encoded(namespace)))
}

/// The pools of all namespaces.
pub fn namespace_pools() -> KeyRange {
    KeyRange::prefix("nspool/")
}

/// The pool that a key of [`namespace_pools`] names.
pub fn parse_namespace_pool(key: &str) -> Option<Scoped> {
    parse_scoped(key.strip_prefix("nspool/")?)
}

/// `svcpool/<namespace>/<pool>`
pub fn service_pool(pool: &Scoped) -> String {
    format!("svcpool/{}/{}", encoded(&pool.namespace), encoded(&pool.name))
}

/// The services' pools of a namespace.
pub fn service_pools(namespace: &PodText) -> KeyRange {
    KeyRange::prefix(format!("svcpool/{}/", encoded(namespace)))
}

/// The services' pools of all namespaces.
pub fn all_service_pools() -> KeyRange {
    KeyRange::prefix("svcpool/")
}

/// The pool that a key of [`service_pools`] names.
pub fn parse_service_pool(key: &str) -> Option<Scoped> {
    parse_scoped(key.strip_prefix("svcpool/")?)
}

fn parse_scoped(text: &str) -> Option<Scoped> {
    let (namespace, name) = text.split_once('/')?;
    Some(Scoped { namespace: decoded(namespace)?, name: decoded(name)? })
}

/// `fixed/<namespace>/<pod>/<family>`
pub fn fixed(pod: &Scoped, family: Family) -> String {
    format!("fixed/{}/{}/{family}", encoded(&pod.namespace), encoded(&pod.name))
}

/// All fixed addresses of a namespace's pods.
pub fn fixed_of_namespace(namespace: &PodText) -> KeyRange {
    KeyRange::prefix(format!("fixed/{}/", encoded(namespace)))
}

/// All fixed addresses.
pub fn all_fixed() -> KeyRange {
    KeyRange::prefix("fixed/")
}

/// The pod that a key of [`fixed_of_namespace`] names.
pub fn parse_fixed(key: &str) -> Option<Scoped> {
    let (pod, family) = key.strip_prefix("fixed/")?.rsplit_once('/')?;
    let known = Family::BOTH.iter().any(|one| one.to_string() == family);
    parse_scoped(pod).filter(|_| known)
}

/// `nschoice/<namespace>`
pub fn namespace_choice(namespace: &PodText) -> String {
    format!("nschoice/{}", encoded(namespace))
}

/// What all namespaces choose.
pub fn namespace_choices() -> KeyRange {
    KeyRange::prefix("nschoice/")
}

/// The namespace that a key of [`namespace_choices`] names.
pub fn parse_namespace_choice(key: &str) -> Option<PodText> {
    decoded(key.strip_prefix("nschoice/")?)
}

/// `node/<node>`
pub fn node(node: &NodeName) -> String {
    format!("node/{node}")
}

/// All nodes.
pub fn nodes() -> KeyRange {
    KeyRange::prefix("node/")
}

/// The node that a key of [`nodes`] names.
pub fn parse_node(key: &str) -> Option<NodeName> {
    NodeName::new(key.strip_prefix("node/")?).ok()
}

/// `kubernetes/<node>`
pub fn kubernetes_node(node: &NodeName) -> String {
    format!("kubernetes/{node}")
}

/// The nodes that Kubernetes had.
pub fn kubernetes_nodes() -> KeyRange {
    KeyRange::prefix("kubernetes/")
}

/// The node that a key of [`kubernetes_nodes`] names.
pub fn parse_kubernetes_node(key: &str) -> Option<NodeName> {
    NodeName::new(key.strip_prefix("kubernetes/")?).ok()
}

/// `alive/<node>`
pub fn alive(node: &NodeName) -> String {
    format!("alive/{node}")
}

/// The liveness of all nodes.
pub fn all_alive() -> KeyRange {
    KeyRange::prefix("alive/")
}

/// `block/<node>/<pool>/<unit>`
pub fn block(node: &NodeName, pool: &(impl AnyPool + ?Sized), unit: Unit) -> String {
    format!("block/{node}/{pool}/{}", unit_name(unit))
}

/// All blocks of a node.
pub fn blocks(node: &NodeName) -> KeyRange {
    KeyRange::prefix(format!("block/{node}/"))
}

/// A node's blocks of one pool.
pub fn blocks_of_pool(node: &NodeName, pool: &(impl AnyPool + ?Sized)) -> KeyRange {
    KeyRange::prefix(format!("block/{node}/{pool}/"))
}

/// All blocks of all nodes.
pub fn all_blocks() -> KeyRange {
    KeyRange::prefix("block/")
}

/// Node, pool and first address that a block key names.
pub fn parse_block(key: &str) -> Option<(NodeName, PoolId, IpAddr)> {
    let mut parts = key.strip_prefix("block/")?.split('/');
    let parsed =
        (NodeName::new(parts.next()?).ok()?, PoolId::new(parts.next()?).ok()?, parse_address(parts.next()?)?);
    parts.next().is_none().then_some(parsed)
}

/// `evict/<node>/<address>`
pub fn evict(node: &NodeName, address: IpAddr) -> String {
    format!("evict/{node}/{}", address_name(Family::of(address), crate::ipam::number(address)))
}

/// All addresses that a node was told to free.
pub fn evictions(node: &NodeName) -> KeyRange {
    KeyRange::prefix(format!("evict/{node}/"))
}

/// All addresses that any node was told to free.
pub fn all_evictions() -> KeyRange {
    KeyRange::prefix("evict/")
}

/// Node and address that an evict key names.
pub fn parse_evict(key: &str) -> Option<(NodeName, IpAddr)> {
    let (node, address) = key.strip_prefix("evict/")?.split_once('/')?;
    Some((NodeName::new(node).ok()?, parse_address(address)?))
}

/// How many pods without an address a node tells of at once.
pub const REFUSALS: u8 = 64;

/// `refused/<node>/<slot>`
pub fn refused(node: &NodeName, slot: u8) -> String {
    format!("refused/{node}/{slot:02}")
}

/// All pods without an address that any node tells of.
pub fn all_refused() -> KeyRange {
    KeyRange::prefix("refused/")
}

/// The node that a key of [`all_refused`] names.
pub fn parse_refused(key: &str) -> Option<NodeName> {
    let (node, slot) = key.strip_prefix("refused/")?.split_once('/')?;
    let node = NodeName::new(node).ok()?;
    let known = slot.parse().is_ok_and(|slot| slot < REFUSALS && key == refused(&node, slot));
    known.then_some(node)
}

/// The node that a key of [`all_alive`] names.
pub fn parse_alive(key: &str) -> Option<NodeName> {
    NodeName::new(key.strip_prefix("alive/")?).ok()
}

fn unit_name(unit: Unit) -> String {
    address_name(unit.family(), unit.first_number())
}

fn address_name(family: Family, number: u128) -> String {
    match family {
        Family::V4 => format!("4-{number:08x}"),
        Family::V6 => format!("6-{number:032x}"),
    }
}

fn parse_address(text: &str) -> Option<IpAddr> {
    let (family, hex) = match text.split_at_checked(2)? {
        ("4-", hex) => (Family::V4, hex),
        ("6-", hex) => (Family::V6, hex),
        _ => return None,
    };
    let lower = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let width = usize::from(family.bits() / 4);
    (lower && hex.len() == width)
        .then_some(hex)
        .and_then(|hex| u128::from_str_radix(hex, 16).ok())
        .map(|n| family.address(n))
}

/// The unit that has a name; `bits` is the size of units of its family.
pub fn parse_unit(text: &str, bits: impl Fn(Family) -> u8) -> Option<Unit> {
    let address = parse_address(text)?;
    let unit = Unit::containing(address, bits(Family::of(address)));
    (unit.first() == address).then_some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(address: &str, bits: u8) -> Unit {
        Unit::containing(address.parse().expect("address"), bits)
    }

    #[test]
    fn keys_go_both_ways() {
        let (pool, node) = (PoolName::default_pool(), NodeName::new("n1").expect("name"));
        let block4 = unit("10.64.0.16", 4);
        assert_eq!(lease(&pool, block4), "lease/default/4-0a400010");
        assert_eq!(parse_lease("lease/default/4-0a400010", |_| 4), Some((pool.clone().into(), block4)));
        assert_eq!(parse_lease("lease/default/4-0a400011", |_| 4), None, "not aligned");
        let block6 = unit("fd00::20", 4);
        let key = block(&node, &pool, block6);
        assert_eq!(key, "block/n1/default/6-fd000000000000000000000000000020");
        assert_eq!(parse_block(&key), Some((node.clone(), pool.clone().into(), block6.first())));
        let address = "10.0.0.1".parse().expect("address");
        assert_eq!(parse_evict(&evict(&node, address)), Some((node.clone(), address)));
        assert_eq!(parse_pool(&super::pool(&pool)), Some(pool));
        assert_eq!(parse_node(&super::node(&node)), Some(node.clone()));
        assert_eq!(parse_alive(&alive(&node)), Some(node.clone()));
        assert_eq!(refused(&node, 7), "refused/n1/07");
        assert_eq!(parse_refused("refused/n1/63"), Some(node));
    }

    #[test]
    fn keys_of_namespaces_go_both_ways() {
        let scoped = |namespace: &str, name: &str| Scoped {
            namespace: PodText::new(namespace).expect("text"),
            name: PodText::new(name).expect("text"),
        };
        let web = scoped("team", "web");
        assert_eq!(namespace_pool(&web), "nspool/team/web");
        assert_eq!(fixed(&web, Family::V4), "fixed/team/web/ipv4");
        for scoped in [web, scoped("a/b", "50% ü"), scoped("x", "..")] {
            assert_eq!(parse_namespace_pool(&namespace_pool(&scoped)), Some(scoped.clone()));
            assert_eq!(parse_service_pool(&service_pool(&scoped)), Some(scoped.clone()));
            assert_eq!(parse_fixed(&fixed(&scoped, Family::V6)), Some(scoped.clone()));
            let id = PoolId::Namespace(scoped.clone());
            let key = lease(&id, unit("10.0.0.9", 0));
            assert!(leases_of_namespace(&scoped.namespace).contains(&key) && leases(&id).contains(&key));
            assert_eq!(parse_lease(&key, |_| 0), Some((id, unit("10.0.0.9", 0))));
        }
        for name in ["team", "a/b", "50% ü", ".."] {
            let namespace = PodText::new(name).expect("text");
            assert_eq!(parse_namespace_choice(&namespace_choice(&namespace)), Some(namespace), "{name}");
        }
        for key in ["nschoice/", "nschoice/a/b", "nschoice/%62", "nspool/a"] {
            assert_eq!(parse_namespace_choice(key), None, "{key}");
        }
        let other = PodText::new("tea").expect("text");
        assert!(!leases_of_namespace(&other).contains("lease/ns:team:web/4-0a000009"), "not by a prefix");
        for key in [
            "nspool/a",
            "nspool/a/",
            "nspool/a/b/c",
            "nspool/a/%62",
            "svcpool/a/b",
            "fixed/a/ipv4",
            "fixed/a/b/v4",
        ] {
            assert_eq!(parse_namespace_pool(key), None, "{key}");
            assert_eq!(parse_fixed(key), None, "{key}");
        }
    }

    #[test]
    fn malformed_keys_are_nobody() {
        for key in [
            "",
            "lease/",
            "lease/default/",
            "lease/default/4-0a4",
            "lease/default/4-0A400010",
            "lease/default/6-0a400010",
            "lease/Default/4-0a400010",
            "lease/default/4-+a400010",
            "lease/default/é",
        ] {
            assert_eq!(parse_lease(key, |_| 4), None, "{key}");
        }
        for key in ["refused/n1", "refused/n1/7", "refused/n1/64", "refused//07", "refused/n1/07/1"] {
            assert_eq!(parse_refused(key), None, "{key}");
        }
        for key in ["block/n1/default/4-0a400010/x", "block/n1/4-0a400010", "block//default/4-0a400010"] {
            assert_eq!(parse_block(key), None, "{key}");
        }
    }

    #[test]
    fn a_run_covers_its_ends_and_nothing_else() {
        let pool = PoolName::default_pool();
        let run = UnitRun { family: Family::V4, first: 0x0a40_0010, last: 0x0a40_0030, bits: 4 };
        let range = leases_between(&pool, run);
        for (address, inside) in [
            ("10.64.0.0", false),
            ("10.64.0.16", true),
            ("10.64.0.48", true),
            ("10.64.0.64", false),
            ("a40::", false),
        ] {
            assert_eq!(range.contains(&lease(&pool, unit(address, 4))), inside, "{address}");
        }
    }
}
