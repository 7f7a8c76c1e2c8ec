//! A model of lease, mirror, reclaim and return: every world that can be reached within so many steps keeps the
//! invariants, and with any precaution left out one of them does not (`docs/testing.md`).
//!
//! * [`journal`], [`world`]: the system as a value
//! * [`step`]: what may happen; [`node`], [`keeper`], [`mirror`], [`operator`]: what it does, by the programs' own code
//! * [`guard`]: the precautions, and how to do without one
//! * [`check`]: the invariants
//! * [`explore`]: the search
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it saw"
)]

mod check;
mod explore;
mod guard;
mod journal;
mod keeper;
mod mirror;
mod node;
mod operator;
mod step;
mod world;

use explore::explore;
use guard::Guard;
use step::{Step, Task, take};
use world::{Budget, Rules, World};

/// A set of things that may go wrong together.
#[derive(Debug, Clone, Copy)]
struct Story {
    machines: usize,
    budget: Budget,
    /// What has happened when the exploration begins.
    before: &'static [Step],
}

const NOTHING: Budget = Budget {
    adds: 0,
    crashes: 0,
    unanswered: 0,
    outages: 0,
    removals: 0,
    losses: 0,
    moves: 0,
    looks: 0,
    restores: 0,
};
const fn of(machines: usize, budget: Budget) -> Story {
    Story { machines, budget, before: &[] }
}
/// Daemons are killed, and transactions come late.
const LATE: Story = of(2, Budget { adds: 2, crashes: 1, unanswered: 1, ..NOTHING });
/// A machine loses power, its node is removed, and it comes back.
const REMOVED: Story = of(2, Budget { adds: 2, outages: 1, removals: 1, unanswered: 1, ..NOTHING });
/// A journal is lost while containers run.
const LOST: Story = of(2, Budget { adds: 2, crashes: 1, losses: 1, ..NOTHING });
/// A subnet goes to another pool.
const MOVED: Story = of(2, Budget { adds: 1, moves: 1, unanswered: 1, ..NOTHING });
/// Replies are lost, and orphans looked for.
const ORPHANED: Story = of(1, Budget { adds: 3, looks: 1, ..NOTHING });
/// A lease comes and goes between two ends of a daemon.
const UNKNOWN: Story = Story {
    before: &[
        Step::Acquire { n: 0 },
        Step::Crash { n: 0 },
        Step::Late { which: 0 },
        Step::Start { n: 0 },
        Step::Reconcile { n: 0 },
    ],
    ..of(2, Budget { adds: 1, crashes: 1, unanswered: 1, ..NOTHING })
};
const KEEPER_0: Step = Step::Answer { n: 0, task: Task::Keeper };
const KEEPER_1: Step = Step::Answer { n: 1, task: Task::Keeper };
/// A backup of the store is restored that lacks a lease.
const FORGOTTEN: Story = Story {
    before: &[
        Step::Backup,
        Step::Acquire { n: 0 },
        KEEPER_0,
        Step::Add { n: 0, answered: true },
        Step::Restore,
    ],
    ..of(2, Budget { adds: 3, restores: 1, ..NOTHING })
};
/// A backup of the store is restored in which a block has the node that held it before.
const BROUGHT_BACK: Story = Story {
    before: &[
        Step::Acquire { n: 0 },
        KEEPER_0,
        Step::Backup,
        Step::TakeIdle { n: 0 },
        KEEPER_0,
        Step::Acquire { n: 1 },
        KEEPER_1,
        Step::Add { n: 1, answered: true },
        Step::Restore,
    ],
    ..of(2, Budget { adds: 3, restores: 1, ..NOTHING })
};
/// A backup of the store is restored at any time.
const RESTORED: Story =
    Story { before: &[Step::Backup], ..of(2, Budget { adds: 2, restores: 1, ..NOTHING }) };

/// Steps that are explored: enough for every precaution to be missed.
const DEPTH: usize = 9;

impl Story {
    fn start(&self, rules: Rules) -> World {
        let start = World::new(self.machines, self.budget);
        self.before.iter().fold(start, |world, step| take(&world, *step, rules).expect("it can happen"))
    }
}

fn holds(story: Story) {
    let depth = match std::env::var("COIL_MODEL_DEPTH") {
        Ok(text) => text.parse().expect("COIL_MODEL_DEPTH is a number of steps"),
        Err(_) => DEPTH,
    };
    let outcome = explore(&story.start(Rules { without: None }), Rules { without: None }, depth);
    println!("{} worlds within {} steps, all: {}", outcome.worlds, outcome.depth, outcome.exhausted);
    if let Some((wrong, steps)) = outcome.failure {
        let steps: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
        panic!("{wrong}, after\n{}", steps.join("\n"));
    }
}

#[test]
fn late_transactions_and_crashes_do_no_harm() {
    holds(LATE);
}

#[test]
fn a_removed_node_may_come_back() {
    holds(REMOVED);
}

#[test]
fn a_lost_journal_is_rebuilt() {
    holds(LOST);
}

#[test]
fn a_subnet_changes_pools_while_blocks_are_leased() {
    holds(MOVED);
}

#[test]
fn an_orphan_is_freed_and_nothing_else() {
    holds(ORPHANED);
}

#[test]
fn a_lease_that_nobody_knows_goes() {
    holds(UNKNOWN);
}

#[test]
fn a_restored_store_may_have_forgotten_leases() {
    holds(FORGOTTEN);
}

#[test]
fn a_restored_store_may_have_leases_of_the_past() {
    holds(BROUGHT_BACK);
}

#[test]
fn a_store_may_be_restored_at_any_time() {
    holds(RESTORED);
}

#[test]
fn without_any_of_its_guards_the_protocol_breaks() {
    for (guard, story) in [
        (Guard::AcquireLease, LATE),
        (Guard::AcquirePool, MOVED),
        (Guard::MirrorToken, REMOVED),
        (Guard::ReleaseIndex, LOST),
        (Guard::ReleaseJournalFirst, LATE),
        (Guard::AdoptWrites, LOST),
        (Guard::AdoptCompares, LOST),
        (Guard::AcquireRestored, FORGOTTEN),
        (Guard::AnnounceFirst, FORGOTTEN),
        (Guard::Discard, BROUGHT_BACK),
        (Guard::DiscardCompares, UNKNOWN),
        (Guard::Fence, REMOVED),
        (Guard::Protect, FORGOTTEN),
        (Guard::CatchUp, REMOVED),
        (Guard::CommitFirst, LATE),
        (Guard::Quarantine, LOST),
        (Guard::CompleteLast, LOST),
        (Guard::ExactFree, ORPHANED),
        (Guard::ReclaimAlive, REMOVED),
        (Guard::ReclaimLives, REMOVED),
    ] {
        let rules = Rules { without: Some(guard) };
        let outcome = explore(&story.start(rules), rules, DEPTH);
        let Some((wrong, steps)) = outcome.failure else {
            panic!("{guard}: nothing goes wrong without it in {} worlds", outcome.worlds);
        };
        println!("without {guard}, after {} steps: {wrong}", steps.len());
    }
}

/// Lease and index come and go together, so that the index's revision tells as much as the token. If this fails,
/// the token has become necessary.
#[test]
fn a_release_would_do_without_the_token() {
    let rules = Rules { without: Some(Guard::ReleaseToken) };
    for story in [LATE, REMOVED] {
        let outcome = explore(&story.start(rules), rules, DEPTH);
        assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    }
}
