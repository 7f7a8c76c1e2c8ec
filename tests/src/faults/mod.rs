//! The faults that the programs must survive, as stories that try to break the invariants.
//!
//! Each story takes a [`Budget`]: a seed, which decides everything that is left to chance, and how long it may
//! go on. `make test` runs all of them with small budgets, `make torture` for as long as it is told, with
//! another seed each time.
//!
//! * [`world`]: a cluster with its nodes, and the history of what their clients were told
//! * [`etcd`]: what befalls the store
//! * [`leaks`]: what is left on the machine
//! * [`load`]: clients of all kinds, at the same time
//! * [`node`]: what befalls a node
//! * [`points`]: programs that end at named points

pub mod etcd;
pub mod leaks;
pub mod load;
pub mod node;
pub mod points;
pub mod world;

use anyhow::{Context, Result};
use std::time::Duration;

/// The variable that sets the seed of the stories in `make test`.
pub const SEED: &str = "COIL_TEST_SEED";

/// How much a story may do.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// What decides all that is left to chance. The threads of a story still run as the kernel likes.
    pub seed: u64,
    /// About how long it goes on, besides what it takes to start and to check.
    pub time: Duration,
}

impl Budget {
    /// A few seconds, with a seed from the environment if there is one, as a test has it.
    pub fn small() -> Self {
        let seed = std::env::var(SEED).ok().and_then(|text| text.parse().ok());
        Self { seed: seed.unwrap_or(1), time: Duration::from_secs(4) }
    }
}

/// A fault and the story that shows what comes of it.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    /// Its name, as `docs/reliability.md` has it.
    pub name: &'static str,
    /// Tells it.
    pub run: fn(Budget) -> Result<()>,
}

impl Story {
    /// Tells it; a failure says how to tell it again.
    pub fn tell(self, budget: Budget) -> Result<()> {
        let Budget { seed, .. } = budget;
        (self.run)(budget).with_context(|| format!("{} failed; repeat it with {SEED}={seed}", self.name))
    }
}

/// All stories.
pub const STORIES: &[Story] = &[
    Story { name: "random_load", run: load::random_load },
    Story { name: "coild_points", run: points::coild_points },
    Story { name: "controller_points", run: points::controller_points },
    Story { name: "plugin_points", run: points::plugin_points },
    Story { name: "route_points", run: points::route_points },
    Story { name: "store_killed", run: etcd::store_killed },
    Story { name: "store_hangs", run: etcd::store_hangs },
    Story { name: "members_lost", run: etcd::members_lost },
    Story { name: "slow_store", run: etcd::slow_store },
    Story { name: "partition", run: etcd::partition },
    Story { name: "removed_while_cut_off", run: etcd::removed_while_cut_off },
    Story { name: "compaction", run: etcd::compaction },
    Story { name: "backup_restored", run: etcd::backup_restored },
    Story { name: "journal_damaged", run: node::journal_damaged },
    Story { name: "clock_jumps", run: node::clock_jumps },
    Story { name: "reboots", run: node::reboots },
    Story { name: "two_daemons", run: node::two_daemons },
    Story { name: "hostile_clients", run: node::hostile_clients },
];

/// Tells the story of this name with a small budget.
pub fn tell(name: &str) -> Result<()> {
    let story = STORIES.iter().find(|story| story.name == name);
    story.with_context(|| format!("there is no story {name}"))?.tell(Budget::small())
}
