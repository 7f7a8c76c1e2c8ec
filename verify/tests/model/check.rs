//! What must be true in every world that can be reached.

use crate::step::{Step, steps, take};
use crate::world::{Budget, Machine, Rewind, Rules, World, node};
use coild::state::Standing;
use common::store::record::{self, Lease};
use common::store::{KeyRange, keys};
use std::collections::BTreeMap;

/// What is wrong with a world, if anything.
pub(crate) fn check(world: &World) -> Result<(), String> {
    one_container_each(world)?;
    what_is_given_from_is_leased(world)?;
    nothing_is_given_from_under_others(world)?;
    nothing_acknowledged_is_lost(world)?;
    lease_and_index_go_together(world)?;
    leases_are_of_their_pool(world)
}

/// I1
fn one_container_each(world: &World) -> Result<(), String> {
    let mut users = BTreeMap::new();
    for (n, machine) in world.machines.iter().enumerate() {
        for (container, address) in &machine.containers {
            if let Some(other) = users.insert(address, (n, container)) {
                return Err(format!("I1: {address} is used by {other:?} and {:?}", (n, container)));
            }
        }
    }
    Ok(())
}

/// Whether a machine gives addresses, or will when its daemon starts, from blocks that the store says it has. One that has
/// not heard of a restored backup goes on; nobody leases anything before it has.
fn is_sure(machine: &Machine) -> bool {
    match &machine.daemon {
        Some(daemon) => daemon.serves && !matches!(daemon.rewind, Rewind::Unheard | Rewind::Heard),
        None => !machine.outdated,
    }
}

/// I1, one step earlier: a node that may give from a block has its lease.
fn what_is_given_from_is_leased(world: &World) -> Result<(), String> {
    for (n, machine) in world.machines.iter().enumerate() {
        let serves = is_sure(machine);
        for (id, block) in
            machine.known().blocks.iter().filter(|(_, block)| serves && !block.is(Standing::Fenced))
        {
            let lease = world.store.get(&keys::lease(&id.pool, id.unit));
            if lease.map(|lease| lease.mod_revision) != Some(block.token) {
                return Err(format!("I1: n{n} may give from {}, whose lease is {lease:?}", id.unit));
            }
        }
    }
    Ok(())
}

/// I1, one step earlier: no node may give from a block in which another one's container has an address.
fn nothing_is_given_from_under_others(world: &World) -> Result<(), String> {
    for (n, machine) in world.machines.iter().enumerate().filter(|(_, machine)| is_sure(machine)) {
        let open = machine.known().blocks.iter().filter(|(_, block)| block.is(Standing::Open));
        for (id, _) in open {
            let others = world.machines.iter().enumerate().filter(|(other, _)| *other != n);
            for (other, address) in others
                .flat_map(|(other, machine)| machine.containers.values().map(move |address| (other, address)))
            {
                if id.unit.offset_of(*address).is_some() {
                    return Err(format!("I1: n{n} may give {address}, which a container of n{other} has"));
                }
            }
        }
    }
    Ok(())
}

/// I2, as far as the journal is there: what runs, the journal knows.
fn nothing_acknowledged_is_lost(world: &World) -> Result<(), String> {
    for (n, machine) in world.machines.iter().enumerate() {
        let journal = machine.known();
        if !journal.complete || journal.is_quarantined() {
            continue;
        }
        for (container, address) in &machine.containers {
            let name = [format!("c{container}"), format!("recovered-{address}")];
            let knows = journal
                .allocations()
                .any(|(held, by)| held == *address && name.iter().any(|name| name == by.container.as_str()));
            if !knows {
                return Err(format!("I2: the journal of n{n} has lost {address} of c{container}"));
            }
        }
    }
    Ok(())
}

/// I3: a lease without an index would never be found again.
fn lease_and_index_go_together(world: &World) -> Result<(), String> {
    let all = |prefix: &str| -> Vec<_> { world.store.range(&KeyRange::prefix(prefix)).cloned().collect() };
    let mut leased = BTreeMap::new();
    for entry in all("lease/") {
        let lease: Lease = record::decode(&entry.key, &entry.value).map_err(|error| error.to_string())?;
        let unit = entry.key.trim_start_matches("lease/").to_owned();
        leased.insert(format!("block/{}/{unit}", lease.node), entry.mod_revision);
    }
    let index: BTreeMap<_, _> =
        all("block/").into_iter().map(|entry| (entry.key, entry.create_revision)).collect();
    if leased == index { Ok(()) } else { Err(format!("I3: leases {leased:?}, index {index:?}")) }
}

/// I4
fn leases_are_of_their_pool(world: &World) -> Result<(), String> {
    for (name, pool) in world.pools() {
        for entry in world.store.range(&keys::leases(&name)) {
            let (_, unit) = keys::parse_lease(&entry.key, |family| pool.block_bits(family)).ok_or("key")?;
            if !pool.subnets.iter().any(|subnet| subnet.contains(&unit.first())) {
                return Err(format!("I4: {unit} is leased from pool {name}, which does not have it"));
            }
        }
    }
    Ok(())
}

/// I3: when every container has ended and the daemons have done their work, nothing is leased and nothing held.
pub(crate) fn drains(world: &World, rules: Rules) -> Result<(), String> {
    let mut world = world.clone();
    world.budget = Budget { removals: u8::MAX, ..Budget::default() };
    for n in 0..world.machines.len() {
        world.machines[n].containers.clear();
    }
    // What is on its way arrives, and what is left to do is done, whatever comes first.
    for _ in 0..100 {
        let mut next = steps(&world, rules).into_iter().filter(|step| leads_to_the_end(&world, *step));
        let Some(next) = next.find_map(|step| take(&world, step, rules)) else { break };
        world = next;
        check(&world)?;
    }
    for (n, machine) in world.machines.iter().enumerate() {
        let left = world.store.range(&keys::blocks(&node(n))).count();
        let known = if machine.off { 0 } else { machine.journal.blocks.len() };
        if left + known > 0 || world.store.range(&KeyRange::prefix("lease/")).next().is_some() {
            return Err(format!("I3: n{n} still holds {:?}, {left} in the store", machine.journal.blocks));
        }
    }
    Ok(())
}

/// Machines that are off stay off, and their nodes are removed.
fn leads_to_the_end(world: &World, step: Step) -> bool {
    match step {
        Step::Start { n } => !world.machines[n].off,
        Step::Remove { n } => !world.index(n).is_empty(),
        _ => true,
    }
}
