//! Block against a naive model of one.

use common::ipam::{Block, TakeError, Unit, rested};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const COOLDOWN: u64 = 30;

#[derive(Debug, Clone)]
enum Action {
    /// Take the next address, as an allocator does: what has rested first, else what has rested longest.
    Next,
    Take(u32),
    Restore(u32),
    Free(u32),
    Rest(u32, u64),
    Wake,
    Pass(u64),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let offset = 0_u32..20;
    let action = prop_oneof![
        4 => Just(Action::Next),
        2 => offset.clone().prop_map(Action::Take),
        1 => offset.clone().prop_map(Action::Restore),
        4 => offset.clone().prop_map(Action::Free),
        1 => (offset, 0_u64..60).prop_map(|(offset, ago)| Action::Rest(offset, ago)),
        1 => Just(Action::Wake),
        3 => (1_u64..20).prop_map(Action::Pass),
    ];
    prop::collection::vec(action, 0..120)
}

/// What a block must be, written down the plain way.
#[derive(Default)]
struct Model {
    usable: BTreeSet<u32>,
    held: BTreeMap<u32, u32>,
    freed: BTreeMap<u32, u64>,
    last: Option<u32>,
}

impl Model {
    fn available(&self, now: u64) -> Vec<u32> {
        let rests = |offset: &u32| self.freed.get(offset).is_some_and(|at| now - at < COOLDOWN);
        self.usable.iter().copied().filter(|o| !self.held.contains_key(o) && !rests(o)).collect()
    }

    fn spare(&self) -> usize {
        self.usable.iter().filter(|o| !self.held.contains_key(o) && !self.freed.contains_key(o)).count()
    }

    /// The first available one behind the last given, around the end.
    fn next(&self, now: u64) -> Option<u32> {
        let available = self.available(now);
        let behind = available.iter().find(|offset| self.last.is_none_or(|last| **offset > last));
        behind.or(available.first()).copied()
    }

    fn take(&mut self, offset: u32, holder: u32) {
        self.held.insert(offset, holder);
        self.freed.remove(&offset);
        self.last = Some(offset);
    }

    fn expected(&self, offset: u32, restore: bool) -> Result<(), TakeError> {
        if offset >= 16 {
            Err(TakeError::Outside)
        } else if !restore && !self.usable.contains(&offset) {
            Err(TakeError::Unusable)
        } else if self.held.contains_key(&offset) {
            Err(TakeError::Held)
        } else {
            Ok(())
        }
    }
}

/// The runs of a set's complement.
fn runs_without(usable: &BTreeSet<u32>) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for offset in (0..16).filter(|offset| !usable.contains(offset)) {
        match runs.last_mut() {
            Some(run) if run.1 + 1 == offset => run.1 = offset,
            _ => runs.push((offset, offset)),
        }
    }
    runs
}

fn apply(block: &mut Block<u32>, model: &mut Model, action: &Action, now: &mut u64, holder: u32) {
    match *action {
        Action::Next => {
            wake(block, model, *now);
            let next = block.next_free();
            assert_eq!(next, model.next(*now));
            let longest_resting = || block.resting().min_by_key(|(_, freed_at)| *freed_at);
            if let Some(offset) = next.or_else(|| longest_resting().map(|(offset, _)| offset)) {
                assert_eq!(block.take(offset, holder), Ok(()));
                model.take(offset, holder);
            }
        }
        Action::Take(offset) | Action::Restore(offset) => {
            let restore = matches!(action, Action::Restore(_));
            let outcome = if restore { block.restore(offset, holder) } else { block.take(offset, holder) };
            assert_eq!(outcome, model.expected(offset, restore));
            if outcome.is_ok() {
                model.take(offset, holder);
            }
        }
        Action::Free(offset) => {
            let freed = block.free(offset, *now);
            assert_eq!(freed, model.held.remove(&offset));
            if freed.is_some() && model.usable.contains(&offset) {
                model.freed.insert(offset, *now);
            }
        }
        Action::Rest(offset, ago) => {
            block.rest(offset, *now - ago);
            if model.usable.contains(&offset) && !model.held.contains_key(&offset) {
                model.freed.insert(offset, *now - ago);
            }
        }
        Action::Wake => wake(block, model, *now),
        Action::Pass(time) => *now += time,
    }
}

/// Ends the rest of what has rested long enough.
fn wake(block: &mut Block<u32>, model: &mut Model, now: u64) {
    let available = block.available(now, COOLDOWN);
    let over: Vec<u32> =
        block.resting().filter(|(_, at)| rested(*at, now, COOLDOWN)).map(|(offset, _)| offset).collect();
    for offset in over {
        assert!(block.wake(offset), "{offset} rests");
        let freed_at = model.freed.remove(&offset).expect("it rests");
        assert!(now - freed_at >= COOLDOWN, "{offset} woke too early");
    }
    assert_eq!((block.available(now, COOLDOWN), block.spare()), (available, available));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_block_does_what_the_model_does(
        usable in prop::collection::btree_set(0_u32..16, 0..=16),
        actions in actions(),
    ) {
        let unit = Unit::containing("10.0.0.0".parse().expect("address"), 4);
        let mut block = Block::new(unit, runs_without(&usable));
        let mut model = Model { usable, ..Model::default() };
        let mut now = 1_000;
        for (holder, action) in (0..).zip(&actions) {
            apply(&mut block, &mut model, action, &mut now, holder);
            let held: Vec<_> = model.held.iter().map(|(offset, holder)| (*offset, holder)).collect();
            prop_assert_eq!(block.held().collect::<Vec<_>>(), held);
            prop_assert_eq!(block.resting().collect::<BTreeMap<_, _>>(), model.freed.clone());
            prop_assert_eq!(block.usable() as usize, model.usable.len());
            prop_assert_eq!(block.available(now, COOLDOWN) as usize, model.available(now).len());
            prop_assert_eq!(block.spare() as usize, model.spare());
            prop_assert_eq!(block.is_empty(), model.held.is_empty());
            let resting = model.freed.values().any(|freed_at| now - freed_at < COOLDOWN);
            prop_assert_eq!(block.is_idle(now, COOLDOWN), model.held.is_empty() && !resting);
        }
    }

    /// Free inverts take: after everything is freed and rested, everything can be given again, each once.
    #[test]
    fn nothing_is_lost(usable in prop::collection::btree_set(0_u32..16, 0..=16), rounds in 1_u64..5) {
        let unit = Unit::containing("fd00::".parse().expect("address"), 4);
        let mut block = Block::new(unit, runs_without(&usable));
        for round in 0..rounds {
            let now = round * COOLDOWN;
            let mut given = BTreeSet::new();
            for offset in 0..16 {
                block.wake(offset);
            }
            while let Some(offset) = block.next_free() {
                prop_assert!(given.insert(offset));
                block.take(offset, offset).expect("free");
            }
            prop_assert_eq!(&given, &usable);
            for offset in given {
                prop_assert_eq!(block.free(offset, now), Some(offset));
                prop_assert_eq!(block.free(offset, now), None);
            }
            prop_assert_eq!(block.available(now + COOLDOWN - 1, COOLDOWN), 0, "all of them rest");
            prop_assert!(block.is_idle(now + COOLDOWN, COOLDOWN));
        }
    }
}
