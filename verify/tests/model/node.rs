//! A machine's own steps: containers come and go, and the daemon starts.

use crate::guard::Guard;
use crate::world::{Daemon, Rules, World};
use coild::reconcile::quarantine::hold_found;
use coild::state::{Ask, Exact, Holder, Origin, State};
use common::ipam::Family;
use common::name::{ContainerId, IfName, PodText, PoolName};
use common::store::record::Allocation;
use common::wire::node::AttachmentId;
use std::net::IpAddr;
use std::path::PathBuf;

/// Containers of a machine.
const CONTAINERS: u8 = 2;

/// Runs a job on what a daemon knows, and commits its changes before anyone hears of the result.
pub(crate) fn run<R>(world: &mut World, n: usize, rules: Rules, job: impl FnOnce(&mut State) -> R) -> R {
    let pools = world.pools();
    let machine = &mut world.machines[n];
    let mut known = machine.known().clone();
    let mut state = known.state(&pools);
    let outcome = job(&mut state);
    let touched = known.commit(&mut state);
    let daemon = machine.daemon.as_mut().expect("it runs");
    daemon.behind.extend(touched);
    daemon.behind.retain(|id| known.blocks.contains_key(id));
    if rules.has(Guard::CommitFirst) {
        machine.journal = known;
    } else {
        daemon.memory = (known != machine.journal).then_some(known);
    }
    outcome
}

pub(crate) fn ask(container: u8) -> Ask {
    Ask {
        attachment: attachment(container),
        namespace: pod(),
        pod: pod(),
        families: vec![Family::V4],
        choice: None,
        origin: Origin::Pool(PoolName::default_pool()),
        adopt: false,
        addresses: Vec::new(),
        network: None,
        netns: None,
    }
}

fn attachment(container: u8) -> AttachmentId {
    AttachmentId {
        container_id: ContainerId::new(format!("c{container}")).expect("valid"),
        interface: IfName::eth0(),
    }
}

fn pod() -> PodText {
    PodText::new("p").expect("valid")
}

/// A container that is new gets an address, and hears of it or not.
pub(crate) fn add(world: &mut World, n: usize, answered: bool, rules: Rules) -> Option<()> {
    let machine = &world.machines[n];
    let held = |container: &u8| {
        let container_id = attachment(*container).container_id;
        machine.known().allocations().any(|(_, held)| held.container == container_id)
    };
    let is_new = |container: &u8| !machine.containers.contains_key(container) && !held(container);
    let container = (0..CONTAINERS).find(is_new)?;
    let given = run(world, n, rules, |state| state.allocate(&ask(container), true, 0)).ok()?;
    world.budget.adds -= 1;
    if answered {
        world.machines[n].containers.insert(container, given[0].address);
    }
    Some(())
}

/// The runtime's DEL, or the end of an orphan.
pub(crate) fn free(world: &mut World, n: usize, address: IpAddr, rules: Rules) -> Option<()> {
    let (_, held) = world.machines[n].known().allocations().find(|(held, _)| *held == address)?;
    let exact = exact(held);
    let freed = run(world, n, rules, |state| {
        let by_runtime = state.release(&exact.attachment, &pod(), &pod(), 0);
        // One that was recovered has no pod's name: it goes as an orphan.
        if by_runtime.is_empty() { state.release_exactly(&[exact], 0) } else { by_runtime }
    });
    (!freed.is_empty()).then_some(())
}

fn exact(held: &Allocation) -> Exact {
    let holder = Holder::of_record(held.clone());
    Exact { attachment: holder.attachment, sequence: holder.sequence }
}

/// Notes one allocation whose container has ended.
pub(crate) fn look(world: &mut World, n: usize) -> Option<()> {
    world.budget.looks -= 1;
    let machine = &mut world.machines[n];
    let gone = |address: &IpAddr| !machine.containers.values().any(|used| used == address);
    let suspect =
        machine.known().allocations().find(|(address, _)| gone(address)).map(|(_, held)| exact(held));
    machine.daemon.as_mut()?.suspect = Some(suspect?);
    Some(())
}

/// Frees what was noted, if it is still that allocation.
pub(crate) fn free_suspect(world: &mut World, n: usize, rules: Rules) -> Option<()> {
    let suspect = world.machines[n].daemon.as_mut()?.suspect.take()?;
    run(world, n, rules, |state| {
        if rules.has(Guard::ExactFree) {
            state.release_exactly(&[suspect], 0)
        } else {
            state.release(&suspect.attachment, &pod(), &pod(), 0)
        }
    });
    Some(())
}

/// What was answered is committed.
pub(crate) fn commit_memory(world: &mut World, n: usize) -> Option<()> {
    let machine = &mut world.machines[n];
    machine.journal = machine.daemon.as_mut()?.memory.take()?;
    Some(())
}

/// Gives a holder to each address in use in a quarantined block, and opens these blocks.
pub(crate) fn scan(world: &mut World, n: usize, rules: Rules) {
    let in_use = world.machines[n].containers.values().map(|address| (*address, PathBuf::new())).collect();
    run(world, n, rules, |state| {
        hold_found(state, &[], &in_use, 0);
        state.end_quarantine()
    });
}

/// A daemon starts, after a boot if its machine was off.
pub(crate) fn start(world: &mut World, n: usize, rules: Rules) {
    let machine = &mut world.machines[n];
    let was_off = std::mem::take(&mut machine.off);
    // A daemon that was only killed may start without the store; of a machine that was off, and may have been
    // removed, the operator sees to it that it starts with the store in reach.
    let serves = !machine.outdated || !rules.has(Guard::CatchUp);
    let behind = machine.journal.blocks.keys().cloned().collect();
    machine.daemon = Some(Daemon { serves, behind, ..Daemon::default() });
    if was_off {
        run(world, n, rules, |state| state.free_stale(|_| false, 0));
        commit_memory(world, n);
        world.set_alive(n, true);
    }
}
