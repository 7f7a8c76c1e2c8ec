//! The mirror's steps, and what the watcher does.

use crate::guard::{Guard, Kind};
use crate::node::run;
use crate::world::{Rules, World, node};
use common::store::{Revision, Txn, keys, leases, record};
use std::collections::BTreeSet;

/// Sends what is behind.
pub(crate) fn flush(world: &mut World, n: usize, rules: Rules) -> Option<()> {
    let behind = std::mem::take(&mut world.machines[n].daemon.as_mut()?.behind);
    let items = run(world, n, rules, |state| {
        state.touch_all(0);
        state.behind(usize::MAX)
    });
    let (mut txn, mut sent) = (Txn::new(), BTreeSet::new());
    for item in items.into_iter().filter(|item| behind.contains(&item.id)) {
        let value = record::encode(&item.record);
        txn = leases::mirror(txn, &node(n), &item.id.pool, item.id.unit, item.token, value);
        sent.insert(item.id);
    }
    let txn = rules.txn(Kind::Mirror, txn);
    world.machines[n].daemon.as_mut()?.flush = (!sent.is_empty()).then_some((txn, sent));
    Some(())
}

/// The transaction happens, or an index is gone: then that block is fenced.
pub(crate) fn flushed(world: &mut World, n: usize, rules: Rules) -> Option<()> {
    let (txn, sent) = world.machines[n].daemon.as_mut()?.flush.take()?;
    let done = world.store.txn(&txn).is_some();
    let rewound = world.hears_of_rewind(n);
    if done && !rewound {
        return Some(());
    }
    for id in sent {
        let index = keys::block(&node(n), &id.pool, id.unit);
        let index = world.store.get(&index).map(|index| index.create_revision);
        let token = world.machines[n].known().blocks.get(&id).map(|block| block.token);
        let gone = |token: &Revision| !rewound && index != Some(*token) && rules.has(Guard::Fence);
        if let Some(token) = token.filter(gone) {
            run(world, n, rules, |state| state.fence(&id, token));
        }
        let machine = &mut world.machines[n];
        if machine.known().blocks.contains_key(&id) {
            machine.daemon.as_mut()?.behind.insert(id);
        }
    }
    Some(())
}

/// Fences the blocks that were taken away.
pub(crate) fn hear(world: &mut World, n: usize, rules: Rules) {
    let machine = &world.machines[n];
    let lost = |id: &&_| machine.is_lost(&world.store, n, id);
    let blocks = &machine.known().blocks;
    let lost: Vec<_> = blocks.keys().filter(lost).map(|id| (id.clone(), blocks[id].token)).collect();
    if rules.has(Guard::Fence) {
        for (id, token) in lost {
            run(world, n, rules, |state| state.fence(&id, token));
        }
    }
}
