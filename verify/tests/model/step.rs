//! What may happen next, and what it does to the world. All decisions are the programs' own: the node's state, the
//! search for a free unit, the transactions, the changes of pools.

use crate::guard::Guard;
use crate::journal::Journal;
use crate::world::{Daemon, Keeper, Rewind, Rules, World};
use crate::{keeper, mirror, node, operator};
use coild::state::{BlockId, Standing};
use common::store::{Op, Txn, keys};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The task of a daemon that waits for the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Keeper,
    Mirror,
}

/// One thing that happens; the number is a machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A container gets an address; whether the reply arrives.
    Add { n: usize, answered: bool },
    /// A container ends.
    End { n: usize, container: u8 },
    /// What a container held is freed, after it ended.
    Free { n: usize, address: IpAddr },
    /// An allocation whose container has ended is noted as a suspect.
    Look { n: usize },
    /// The suspect was gone a second time.
    FreeSuspect { n: usize },
    /// What was answered already is committed.
    Commit { n: usize },
    /// The keeper looks for a free block and sends its transaction.
    Acquire { n: usize },
    /// The keeper takes idle blocks out of the journal, and sends the release of the first.
    TakeIdle { n: usize },
    /// The keeper holds the journal against the store.
    Reconcile { n: usize },
    /// The mirror sends what has changed.
    Flush { n: usize },
    /// A transaction happens, and its sender hears of it.
    Answer { n: usize, task: Task },
    /// The sender of a transaction does not wait any longer.
    GiveUp { n: usize, task: Task },
    /// A transaction happens of which nobody waits for the answer.
    Late { which: usize },
    /// The watcher hears of leases that were taken away.
    Hear { n: usize },
    /// The addresses in use are looked for, and quarantined blocks are opened.
    Scan { n: usize },
    /// A daemon is killed.
    Crash { n: usize },
    /// A machine loses power, and is no longer heard of.
    Off { n: usize },
    /// A daemon starts; its machine boots if it was off.
    Start { n: usize },
    /// The journal of a daemon that does not run is lost.
    Lose { n: usize },
    /// An operator decides to remove a node whose machine is off.
    Remove { n: usize },
    /// The removal happens.
    Removed,
    /// The operator's tool does not wait any longer.
    RemovalGivenUp,
    /// An operator moves a subnet that nobody leases to a pool of its own.
    MoveSubnet,
    /// A backup of the store is made.
    Backup,
    /// The backup is restored.
    Restore,
    /// Something else is written to the store.
    Pass,
    /// The announcement of a restore expires.
    Expire,
}

/// Everything that may happen next.
pub(crate) fn steps(world: &World, rules: Rules) -> Vec<Step> {
    let budget = world.budget;
    let mut steps: Vec<Step> = (0..world.late.len()).map(|which| Step::Late { which }).collect();
    for n in 0..world.machines.len() {
        let machine = &world.machines[n];
        steps.extend(machine.containers.keys().map(|container| Step::End { n, container: *container }));
        if let Some(daemon) = &machine.daemon {
            of_daemon(world, n, daemon, &mut steps);
        } else {
            steps.push(Step::Start { n });
            steps.extend((budget.losses > 0).then_some(Step::Lose { n }));
        }
        steps.extend((budget.outages > 0 && !machine.off).then_some(Step::Off { n }));
        if budget.removals > 0 && machine.off && world.removal.is_none() {
            steps.push(Step::Remove { n });
        }
    }
    if world.removal.is_some() {
        steps.push(Step::Removed);
        steps.extend((budget.unanswered > 0).then_some(Step::RemovalGivenUp));
    }
    steps.extend((budget.moves > 0).then_some(Step::MoveSubnet));
    steps.extend((budget.restores > 0).then_some(Step::Restore));
    if world.store.get(keys::RESTORED).is_some() {
        steps.extend(has_settled(world, rules).then_some(Step::Expire));
    }
    steps.extend(world.is_rewound().then_some(Step::Pass));
    steps
}

/// Whether the nodes have had the time to claim what is theirs, in which nobody leases anything. No call takes so long.
fn has_settled(world: &World, rules: Rules) -> bool {
    world.machines.iter().all(|machine| {
        let has_lease = |id: &BlockId| world.store.get(&keys::lease(&id.pool, id.unit)).is_some();
        let fenced = machine.known().blocks.iter().filter(|(_, block)| block.is(Standing::Fenced));
        let claims = |daemon: &Daemon| !matches!(daemon.rewind, Rewind::Unheard | Rewind::Heard);
        let unclaimed = || fenced.map(|(id, _)| id).any(|id| !has_lease(id));
        let asks = |daemon: &Daemon| daemon.keeper.sent.is_some();
        machine.daemon.as_ref().is_some_and(|daemon| claims(daemon) && !asks(daemon))
            && !(rules.has(Guard::Protect) && unclaimed())
    })
}

fn of_daemon(world: &World, n: usize, daemon: &Daemon, steps: &mut Vec<Step>) {
    let budget = world.budget;
    let machine = &world.machines[n];
    for (task, waits) in
        [(Task::Keeper, daemon.keeper.sent.is_some()), (Task::Mirror, daemon.flush.is_some())]
    {
        if waits {
            steps.push(Step::Answer { n, task });
            steps.extend((budget.unanswered > 0).then_some(Step::GiveUp { n, task }));
        }
    }
    if daemon.serves && budget.adds > 0 {
        steps.extend([true, false].map(|answered| Step::Add { n, answered }));
    }
    for (address, _) in machine.known().allocations() {
        if !machine.containers.values().any(|used| *used == address) {
            steps.push(Step::Free { n, address });
        }
    }
    if daemon.keeper == Keeper::default() {
        steps.push(Step::Reconcile { n });
        if daemon.serves {
            steps.push(Step::TakeIdle { n });
            steps.extend((budget.adds > 0).then_some(Step::Acquire { n }));
        }
    }
    if daemon.serves && daemon.flush.is_none() && !daemon.behind.is_empty() {
        steps.push(Step::Flush { n });
    }
    if machine.known().blocks.keys().any(|id| machine.is_lost(&world.store, n, id)) {
        steps.push(Step::Hear { n });
    }
    steps.extend(machine.known().is_quarantined().then_some(Step::Scan { n }));
    steps.extend((budget.looks > 0 && daemon.suspect.is_none()).then_some(Step::Look { n }));
    steps.extend(daemon.suspect.is_some().then_some(Step::FreeSuspect { n }));
    steps.extend(daemon.memory.is_some().then_some(Step::Commit { n }));
    steps.extend((budget.crashes > 0).then_some(Step::Crash { n }));
}

/// The world after a step; `None` if the step changes nothing.
pub(crate) fn take(world: &World, step: Step, rules: Rules) -> Option<World> {
    let mut next = world.clone();
    match step {
        Step::Add { n, answered } => node::add(&mut next, n, answered, rules)?,
        Step::End { n, container } => drop(next.machines[n].containers.remove(&container)),
        Step::Free { n, address } => node::free(&mut next, n, address, rules)?,
        Step::Look { n } => node::look(&mut next, n)?,
        Step::FreeSuspect { n } => node::free_suspect(&mut next, n, rules)?,
        Step::Commit { n } => node::commit_memory(&mut next, n)?,
        Step::Acquire { n } => keeper::acquire(&mut next, n, rules)?,
        Step::TakeIdle { n } => keeper::take_idle(&mut next, n, rules)?,
        Step::Reconcile { n } => keeper::reconcile(&mut next, n, rules)?,
        Step::Flush { n } => mirror::flush(&mut next, n, rules)?,
        Step::Answer { n, task: Task::Keeper } => keeper::answer(&mut next, n, rules)?,
        Step::Answer { n, task: Task::Mirror } => mirror::flushed(&mut next, n, rules)?,
        Step::GiveUp { n, task } => give_up(&mut next, n, task)?,
        Step::Late { which } => {
            let txn = next.late.remove(which);
            next.store.txn(&txn)?;
        }
        Step::Hear { n } => mirror::hear(&mut next, n, rules),
        Step::Scan { n } => node::scan(&mut next, n, rules),
        Step::Crash { n } => {
            next.budget.crashes -= 1;
            next.kill(n);
        }
        Step::Off { n } => {
            next.budget.outages -= 1;
            next.kill(n);
            next.machines[n].containers.clear();
            (next.machines[n].off, next.machines[n].outdated) = (true, true);
            next.set_alive(n, false);
        }
        Step::Start { n } => node::start(&mut next, n, rules),
        Step::Lose { n } => {
            next.budget.losses -= 1;
            next.machines[n].journal = Journal::default();
        }
        Step::Remove { n } => operator::remove(&mut next, n, rules),
        Step::Removed => {
            let txn = next.removal.take()?;
            next.store.txn(&txn);
        }
        Step::RemovalGivenUp => {
            next.budget.unanswered -= 1;
            let txn = next.removal.take();
            next.leave(txn);
        }
        Step::MoveSubnet => operator::move_subnet(&mut next)?,
        Step::Backup => next.backup = Some(next.store.clone()),
        Step::Restore => next.restore()?,
        Step::Pass => next.store.set_revision(next.store.revision() + 1),
        Step::Expire => {
            let expired = Txn::new().then(Op::Delete(keys::RESTORED.to_owned()));
            next.store.txn(&expired)?;
        }
    }
    next.settle();
    (next != *world).then_some(next)
}

fn give_up(world: &mut World, n: usize, task: Task) -> Option<()> {
    world.budget.unanswered -= 1;
    let machine = &mut world.machines[n];
    let blocks: BTreeSet<_> = machine.known().blocks.keys().cloned().collect();
    let daemon = machine.daemon.as_mut()?;
    let txn = match task {
        Task::Keeper => std::mem::take(&mut daemon.keeper).sent?.1,
        Task::Mirror => {
            let (txn, sent) = daemon.flush.take()?;
            daemon.behind.extend(sent.into_iter().filter(|id| blocks.contains(id)));
            txn
        }
    };
    world.leave(Some(txn));
    Some(())
}
