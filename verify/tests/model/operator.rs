//! What an operator does, through the controller.

use crate::guard::Kind;
use crate::world::{Rules, World, node};
use common::ipam::Pool;
use common::name::PoolName;
use common::store::{Entry, keys, leases};
use controller::pools::{Change, apply};

/// Reads what a node has, and decides to take all of it.
pub(crate) fn remove(world: &mut World, n: usize, rules: Rules) {
    world.budget.removals -= 1;
    let mut txn = leases::unless_alive(&node(n), false);
    for (id, index, _) in world.index(n) {
        let lease: Option<&Entry> = world.store.get(&keys::lease(&id.pool, id.unit));
        txn = leases::reclaim(txn, &node(n), &index, lease, None);
    }
    world.removal = Some(rules.txn(Kind::Reclaim, txn));
}

/// Moves a subnet that nobody leases to a pool of its own.
pub(crate) fn move_subnet(world: &mut World) -> Option<()> {
    world.budget.moves -= 1;
    let subnet = "10.0.0.0/32".parse().expect("net");
    let other = PoolName::new("other").expect("name");
    let pool = Pool { block_size: 32, ..Pool::of_subnets(vec![subnet]) };
    let caller = coil_verify::operator();
    let removed = Change::RemoveSubnet(subnet);
    world.at_once(async |store| {
        apply(store, &caller, &PoolName::default_pool(), &removed).await.ok()?;
        apply(store, &caller, &other, &Change::Create(pool)).await.ok().map(drop)
    })
}
