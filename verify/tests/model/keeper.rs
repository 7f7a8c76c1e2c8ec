//! The lease keeper's steps. Between two of them anything else may happen.

use crate::guard::{Guard, Kind};
use crate::node::{ask, run};
use crate::world::{Index, Job, Reconciling, Rewind, Rules, World, node};
use coild::state::{AllocateError, BlockId, Standing, State};
use common::ipam::Family;
use common::name::PoolName;
use common::store::leases::{self, FreeUnits};
use common::store::record::{Allocation, BlockMirror, Restored};
use common::store::{Entry, Op, Revision, Txn, keys, record};

/// If nothing is free: finds a unit without a lease, and sends the transaction.
pub(crate) fn acquire(world: &mut World, n: usize, rules: Rules) -> Option<()> {
    let full = run(&mut world.clone(), n, rules, |state| state.allocate(&ask(u8::MAX), true, 0));
    matches!(full, Err(AllocateError::NothingFree { .. })).then_some(())?;
    if world.hears_of_rewind(n) {
        return Some(());
    }
    if !may_lease(world, n, rules) {
        return None;
    }
    let pool = PoolName::default_pool();
    let revision = world.store.get(&keys::pool(&pool))?.mod_revision;
    let space = world.pools()[&pool].space(Family::V4).ok()?;
    let known = world.machines[n].known().blocks.clone();
    let unit = world.at_once(async |store| {
        // Both nodes start to look at the same place, so that they meet.
        let mut free = FreeUnits::new(store, &pool, &space, 0);
        while let Some(unit) = free.next().await.expect("a map does not fail") {
            if !known.contains_key(&BlockId { pool: pool.clone().into(), unit }) {
                return Some(unit);
            }
            free.lost(unit);
        }
        None
    })?;
    let txn = leases::acquire(&node(n), &pool, revision, &[unit]);
    send(world, n, rules, Job::Acquire(BlockId { pool: pool.into(), unit }), txn);
    Some(())
}

/// Whether the node has announced what it has heard of a restore.
fn may_lease(world: &World, n: usize, rules: Rules) -> bool {
    let heard = world.machines[n].daemon.as_ref().is_some_and(|daemon| daemon.rewind == Rewind::Heard);
    !(heard && rules.has(Guard::AnnounceFirst))
}

/// Gives back what is idle. The node sees the pool as disabled for a moment, so that it keeps no block warm.
pub(crate) fn take_idle(world: &mut World, n: usize, rules: Rules) -> Option<()> {
    let mut pools = world.pools();
    for pool in pools.values_mut() {
        pool.disabled = true;
    }
    let mut trial = world.clone();
    let idle =
        run(if rules.has(Guard::ReleaseJournalFirst) { world } else { &mut trial }, n, rules, |state| {
            state.set_pools(pools);
            state.take_idle(0)
        });
    let keeper = &mut world.machines[n].daemon.as_mut()?.keeper;
    keeper.todo = idle.into_iter().map(|(id, token)| Job::Release(id, token)).collect();
    go_on(world, n, rules)
}

/// Reads both sides. If the store went back, that is announced first.
pub(crate) fn reconcile(world: &mut World, n: usize, rules: Rules) -> Option<()> {
    if world.hears_of_rewind(n) {
        return Some(());
    }
    let index = world.index(n);
    let open = world.machines[n].known().blocks.values().filter(|block| !block.is(Standing::Fenced));
    let newest = open.map(|block| block.token).max().unwrap_or(0);
    let daemon = world.machines[n].daemon.as_mut()?;
    if daemon.rewind == Rewind::Heard || world.store.revision() < newest {
        let restored = record::encode(&Restored { node: node(n).to_string() });
        let txn = Txn::new().then(Op::Put(keys::RESTORED.to_owned(), restored));
        send(world, n, rules, Job::Announce(index), txn);
        return Some(());
    }
    compare(world, n, &index, rules)
}

/// Fences what is gone and protects it, and begins with what is not known.
fn compare(world: &mut World, n: usize, index: &[Index], rules: Rules) -> Option<()> {
    let known = world.machines[n].known().clone();
    for (id, block) in &known.blocks {
        let leased =
            index.iter().any(|(other, entry, _)| other == id && entry.create_revision == block.token);
        if !leased && rules.has(Guard::Fence) {
            run(world, n, rules, |state| state.fence(id, block.token));
        }
    }
    if !rules.has(Guard::CompleteLast) {
        run(world, n, rules, State::set_complete);
    }
    let machine = &world.machines[n];
    let fenced = machine.known().blocks.iter().filter(|(_, block)| block.is(Standing::Fenced));
    let protect = fenced.filter(|_| rules.has(Guard::Protect)).map(|(id, block)| Job::Protect {
        id: id.clone(),
        index: index
            .iter()
            .find(|(other, ..)| other == id)
            .map(|(_, entry, mirror)| (entry.clone(), mirror.clone())),
        held: block.held.values().cloned().collect(),
    });
    let complete = machine.known().complete;
    let unknown = index.iter().filter(|(id, ..)| !known.blocks.contains_key(id)).cloned();
    let unknown = unknown.map(|(id, index, mirror)| match complete {
        true if rules.has(Guard::Discard) => Job::Discard(id, index),
        true => Job::Adopt { id, index, quarantined: false, holders: Vec::new() },
        false => Job::Adopt { id, index, quarantined: rules.has(Guard::Quarantine), holders: mirror.held },
    });
    let todo = protect.chain(unknown).collect();
    let keeper = &mut world.machines[n].daemon.as_mut()?.keeper;
    keeper.todo = todo;
    keeper.reconciling = Some(Reconciling { settled: true, protected: true });
    go_on(world, n, rules)
}

/// A transaction of the keeper happens, or does not.
pub(crate) fn answer(world: &mut World, n: usize, rules: Rules) -> Option<()> {
    let (job, txn) = world.machines[n].daemon.as_mut()?.keeper.sent.take()?;
    let done = world.store.txn(&txn).is_some();
    if world.hears_of_rewind(n) {
        fail(world, n, &job);
        return go_on(world, n, rules);
    }
    let revision = world.store.revision();
    match job {
        Job::Acquire(id) => {
            if done && may_lease(world, n, rules) {
                add_block(world, n, rules, &id, revision, Standing::Open, Vec::new());
            }
        }
        Job::Release(id, _) if done && !rules.has(Guard::ReleaseJournalFirst) => {
            world.machines[n].journal.blocks.remove(&id);
        }
        // Something was written to the index: once more.
        Job::Release(..) if !done => world.machines[n].daemon.as_mut()?.keeper.todo.insert(0, job),
        Job::Release(..) => {}
        Job::Announce(index) => {
            let known = world.machines[n].known().blocks.keys().cloned().collect();
            let daemon = world.machines[n].daemon.as_mut()?;
            (daemon.rewind, daemon.behind) = (Rewind::Claiming, known);
            return compare(world, n, &index, rules);
        }
        Job::Protect { .. } | Job::Discard(..) if done => {}
        Job::Protect { .. } => reconciling(world, n)?.protected = false,
        Job::Adopt { id, index, quarantined, holders } if done => {
            let standing = if quarantined { Standing::Quarantined } else { Standing::Open };
            add_block(world, n, rules, &id, index.create_revision, standing, holders);
        }
        Job::Discard(..) | Job::Adopt { .. } => reconciling(world, n)?.settled = false,
    }
    go_on(world, n, rules)
}

fn reconciling(world: &mut World, n: usize) -> Option<&mut Reconciling> {
    world.machines[n].daemon.as_mut()?.keeper.reconciling.as_mut()
}

/// The store failed in the middle of a job: a reconciliation ends with it.
fn fail(world: &mut World, n: usize, job: &Job) {
    if let (Some(daemon), false) = (&mut world.machines[n].daemon, matches!(job, Job::Release(..))) {
        daemon.keeper.todo.clear();
        daemon.keeper.reconciling = None;
    }
}

fn add_block(
    world: &mut World,
    n: usize,
    rules: Rules,
    id: &BlockId,
    token: Revision,
    standing: Standing,
    holders: Vec<Allocation>,
) {
    let pool = id.pool.coil().and_then(|pool| world.pools().remove(pool)).expect("it was read");
    run(world, n, rules, |state| state.add_block(id, token, standing, &pool, holders, 0));
}

/// Sends the next transaction; with nothing left to do, ends the reconciliation.
fn go_on(world: &mut World, n: usize, rules: Rules) -> Option<()> {
    loop {
        let daemon = world.machines[n].daemon.as_mut()?;
        if daemon.keeper.todo.is_empty() {
            if let Some(Reconciling { settled: true, protected }) = daemon.keeper.reconciling.take() {
                daemon.serves = true;
                if protected && daemon.rewind == Rewind::Claiming {
                    daemon.rewind = Rewind::None;
                }
                world.machines[n].outdated = false;
                run(world, n, rules, State::set_complete);
            }
            return Some(());
        }
        let job = daemon.keeper.todo.remove(0);
        if world.hears_of_rewind(n) {
            fail(world, n, &job);
            continue;
        }
        if let Some(txn) = transaction(world, n, &job, rules) {
            send(world, n, rules, job, txn);
            return Some(());
        }
    }
}

/// What a job sends, from what it reads of the store; nothing if there is nothing to be done.
fn transaction(world: &mut World, n: usize, job: &Job, rules: Rules) -> Option<Txn> {
    let lease = |id: &BlockId| world.store.get(&keys::lease(&id.pool, id.unit));
    let mirror = |id: &BlockId, held: &[Allocation]| BlockMirror {
        prefix: id.unit.net().prefix_len(),
        held: held.to_vec(),
        ..BlockMirror::default()
    };
    match job {
        Job::Acquire(_) | Job::Announce(_) => None,
        Job::Release(id, token) => {
            let index = world.store.get(&keys::block(&node(n), &id.pool, id.unit))?;
            Some(leases::release(&node(n), &id.pool, id.unit, *token, index.mod_revision, None))
        }
        Job::Discard(id, index) => Some(leases::discard(index, lease(id))),
        Job::Adopt { id, index, quarantined, holders } if !rules.has(Guard::AdoptWrites) => {
            let standing = if *quarantined { Standing::Quarantined } else { Standing::Open };
            add_block(world, n, rules, id, index.create_revision, standing, holders.clone());
            None
        }
        Job::Adopt { id, index, holders, .. } => {
            Some(leases::adopt(&id.pool, id.unit, index, &mirror(id, holders)))
        }
        Job::Protect { id, index, held } => {
            let same = |lease: &&Entry, index: &Entry| lease.mod_revision == index.create_revision;
            match (lease(id), index) {
                (Some(lease), Some((index, known))) if same(&lease, index) => {
                    let mirror = mirror(id, held);
                    (*known != mirror).then(|| leases::adopt(&id.pool, id.unit, index, &mirror))
                }
                (lease @ Some(_), Some((index, _))) => {
                    let discard = leases::discard(index, lease);
                    reconciling(world, n)?.protected = false;
                    Some(discard)
                }
                (Some(_), None) => {
                    reconciling(world, n)?.protected = false;
                    None
                }
                (None, index) => {
                    let pool = world.store.get(&keys::pool(id.pool.coil()?))?;
                    let index = index.as_ref().map(|(index, _)| index);
                    let mirror = mirror(id, held);
                    Some(leases::protect(&node(n), (&id.pool, pool), id.unit, index, None, &mirror))
                }
            }
        }
    }
}

fn send(world: &mut World, n: usize, rules: Rules, job: Job, txn: Txn) {
    let kind: Kind = job.kind();
    if let Some(daemon) = &mut world.machines[n].daemon {
        daemon.keeper.sent = Some((job, rules.txn(kind, txn)));
    }
}
