//! What is left when everything was freed and reconciled, and whether that is nothing (I3).

use common::ipam::Family;
use common::pool_id::PoolId;
use common::wire::admin::PoolView;
use common::wire::node::StatusReply;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Pool and first address of a block.
pub type BlockName = (PoolId, IpAddr);

/// What nodes, store and controller say at the end.
#[derive(Debug, Clone, Default)]
pub struct Remains {
    /// Of each node.
    pub statuses: BTreeMap<String, StatusReply>,
    /// The leases in the store, and the node that each one names.
    pub leases: BTreeMap<BlockName, String>,
    /// The nodes' indexes of their leases, with how many addresses the mirror says are held.
    pub indexes: BTreeMap<(String, BlockName), usize>,
    /// The pools and their use.
    pub pools: Vec<PoolView>,
}

impl Remains {
    /// Everything that was left behind, one line each; empty if I3 holds.
    pub fn leaks(&self) -> Vec<String> {
        let mut leaks = self.of_nodes();
        leaks.extend(self.of_store());
        leaks.extend(self.of_pools());
        leaks
    }

    /// Journals are empty, and of each pool and family a node keeps one block at most.
    fn of_nodes(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        for (node, status) in &self.statuses {
            for held in &status.attachments {
                leaks.push(format!("{} still holds {} on {node}", held.container_id, held.address));
            }
            for (pool, blocks) in &status.address_blocks {
                for family in Family::BOTH {
                    let count = blocks.iter().filter(|net| Family::of(net.addr()) == family).count();
                    if count > 1 {
                        leaks.push(format!("{node} keeps {count} idle {family} blocks of pool {pool}"));
                    }
                }
            }
        }
        leaks
    }

    /// Lease, index and the node's own block are there together or not at all, and no mirror shows a holder.
    fn of_store(&self) -> Vec<String> {
        let leased = self.leases.iter().map(|(block, node)| (node.clone(), block.clone()));
        let leased: BTreeSet<(String, BlockName)> = leased.collect();
        let indexed: BTreeSet<(String, BlockName)> = self.indexes.keys().cloned().collect();
        let mut held = BTreeSet::new();
        for (node, status) in &self.statuses {
            for (pool, blocks) in &status.address_blocks {
                held.extend(blocks.iter().map(|net| (node.clone(), (pool.clone(), net.network()))));
            }
        }
        let mut leaks = Vec::new();
        let pairs = [
            ("a lease without an index", &leased, &indexed),
            ("an index without a lease", &indexed, &leased),
            ("a lease that its node does not know", &leased, &held),
            ("a block without a lease", &held, &leased),
        ];
        for (what, these, those) in pairs {
            for (node, (pool, first)) in these.difference(those) {
                leaks.push(format!("{what}: {first} of pool {pool}, {node}"));
            }
        }
        for ((node, (pool, first)), count) in self.indexes.iter().filter(|(_, count)| **count > 0) {
            leaks.push(format!("the mirror of {node} shows {count} holders in {first} of pool {pool}"));
        }
        leaks
    }

    /// The controller counts as many leased blocks as there are leases: the others are free.
    fn of_pools(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        for view in &self.pools {
            for usage in &view.usage {
                let of_usage =
                    |(pool, first): &&BlockName| *pool == view.name && Family::of(*first) == usage.family;
                let leases = self.leases.keys().filter(of_usage).count() as u64;
                if usage.leased != leases || usage.leased > usage.blocks {
                    let (name, family, blocks) = (&view.name, usage.family, usage.blocks);
                    let counted = usage.leased;
                    leaks.push(format!(
                        "pool {name} counts {counted} leased of {blocks} {family} blocks; the leases are {leases}"
                    ));
                }
            }
        }
        leaks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::name::PoolName;
    use serde_json::json;

    /// One node with one idle block.
    fn clean() -> Remains {
        let status = json!({"address-blocks": {"default": ["10.0.0.0/28"]}, "pods": {}, "status": 200});
        let view = json!({
            "name": "default", "subnets": ["10.0.0.0/24"],
            "usage": [{"family": "ipv4", "blocks": 16, "leased": 1}],
        });
        let block = (PoolId::from(PoolName::default_pool()), IpAddr::from([10, 0, 0, 0]));
        Remains {
            statuses: BTreeMap::from([("a".to_owned(), serde_json::from_value(status).expect("a status"))]),
            leases: BTreeMap::from([(block.clone(), "a".to_owned())]),
            indexes: BTreeMap::from([(("a".to_owned(), block), 0)]),
            pools: vec![serde_json::from_value(view).expect("a pool")],
        }
    }

    fn leaks(change: impl FnOnce(&mut Remains)) -> Vec<String> {
        let mut remains = clean();
        change(&mut remains);
        remains.leaks()
    }

    #[test]
    fn one_warm_block_is_no_leak() {
        assert_eq!(clean().leaks(), [""; 0]);
    }

    #[test]
    fn whatever_is_left_is_told() {
        let other = || (PoolId::from(PoolName::default_pool()), IpAddr::from([10, 0, 0, 16]));
        assert_eq!(leaks(|it| it.leases.extend([(other(), "a".to_owned())])).len(), 3);
        assert_eq!(leaks(|it| it.indexes.extend([(("a".to_owned(), other()), 0)])).len(), 1);
        assert_eq!(leaks(|it| it.indexes.values_mut().for_each(|held| *held = 2)).len(), 1);
        assert_eq!(leaks(|it| it.pools[0].usage[0].leased = 2).len(), 1);
        let second = leaks(|it| {
            let blocks = it.statuses.values_mut().flat_map(|status| status.address_blocks.values_mut());
            blocks.for_each(|blocks| blocks.push("10.0.0.16/28".parse().expect("a block")));
        });
        assert_eq!(second.len(), 2, "{second:?}");
        let held = json!({"address": "10.0.0.1", "pool": "default", "pod-namespace": "n", "pod-name": "p",
            "container-id": "c", "interface": "eth0", "since": 0});
        let held = leaks(|it| {
            let held: common::wire::node::Attachment = serde_json::from_value(held).expect("an attachment");
            it.statuses.values_mut().for_each(|status| status.attachments = vec![held.clone()]);
        });
        assert_eq!(held.len(), 1, "{held:?}");
    }
}
