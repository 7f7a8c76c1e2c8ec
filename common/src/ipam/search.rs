//! Finds a free unit of a space among its leases, without reading them all and without any I/O: a state
//! machine which says what to read next, and is told what was read.
//!
//! It reads a few pages from its start on and takes the first gap. If those pages are full it looks at a few
//! places far away, and then gallops: it counts windows of doubling size until one is not full, and narrows
//! that one down. Free room nearby is found in one read, however large the space. After a whole round it has
//! looked at every unit.

use super::addr::Unit;
use super::space::{Space, UnitRun};
use std::collections::VecDeque;

/// Sizes of the first pages, in units.
const PAGES: [usize; 3] = [64, 256, MAX_PAGE];
/// The largest page.
const MAX_PAGE: usize = 1_024;
const MAX_PAGE_UNITS: u128 = 1_024;
/// How many places far away are looked at before galloping.
const PROBES: u8 = 3;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read the leases between two units, and tell with [`Search::page`].
    Page {
        /// First and last unit. There may be addresses outside of the space between them.
        run: UnitRun,
        /// How many leases to read at most.
        limit: usize,
    },
    /// Count the leases between two units, and tell with [`Search::counted`].
    Count {
        /// First and last unit; all units between them are of the space.
        run: UnitRun,
    },
    /// This unit is free: try to take it, and tell with [`Search::lost`] if another holder was first.
    Found(Unit),
    /// Every unit has a holder.
    Full,
}

/// How the next read is chosen.
#[derive(Debug, Clone, Copy)]
enum Plan {
    /// Read on, in the n-th page.
    Near(usize),
    /// Look at the n-th place far away.
    Probe(u8),
    /// Count a window of so many units.
    Gallop(u128),
    /// Something is free between these two indices.
    Narrow(u128, u128),
}

/// A search for a free unit.
#[derive(Debug, Clone)]
pub struct Search {
    space: Space,
    /// The round begins here.
    start: u128,
    /// All between `start` and here has been looked at; `None` at the end of the round.
    at: Option<u128>,
    /// Whether the round has passed the end of the space.
    wrapped: bool,
    plan: Plan,
    /// Runs of free units that were read and not yet lost, as indices.
    gaps: VecDeque<(u128, u128)>,
}

impl Search {
    /// A search from a unit on, once around. An index beyond the space's last counts modulo its length.
    pub fn new(space: &Space, start_index: u128) -> Self {
        let last = space.last_index();
        let start = match last.and_then(|last| last.checked_add(1)) {
            Some(length) => start_index % length,
            None => start_index,
        };
        Self {
            space: space.clone(),
            start,
            at: last.map(|_| start),
            wrapped: false,
            plan: Plan::Near(0),
            gaps: VecDeque::new(),
        }
    }

    /// What to do next; the same until something is told.
    pub fn step(&self) -> Step {
        if let Some(unit) = self.gaps.front().and_then(|(first, _)| self.space.unit_at(*first)) {
            return Step::Found(unit);
        }
        let Some((from, to, count)) = self.window() else { return Step::Full };
        let Some(run) = self.run(from, to) else { return Step::Full };
        if count {
            return Step::Count { run };
        }
        let limit = usize::try_from(to - from + 1).unwrap_or(MAX_PAGE);
        Step::Page { run, limit }
    }

    /// The first free units that were read and not yet lost, `most` of them at most; none before
    /// [`Step::Found`].
    pub fn found(&self, most: usize) -> Vec<Unit> {
        let indices = self.gaps.iter().flat_map(|(first, last)| *first..=*last);
        indices.take(most).filter_map(|index| self.space.unit_at(index)).collect()
    }

    /// Tells the leased units of the page that was asked for, in address order; `more` says that the limit cut
    /// the page short. Units outside of the space are skipped.
    pub fn page(&mut self, leased: &[Unit], more: bool) {
        let Some((from, to, false)) = self.window() else { return };
        let covered = match leased.last() {
            Some(last) if more => self.space.index_at_or_before(last.first()).unwrap_or(from).clamp(from, to),
            None if more => from,
            _ => to,
        };
        let far_away = matches!(self.plan, Plan::Probe(_));
        if !far_away {
            self.pass(covered);
        }
        let taken = leased.iter().filter_map(|unit| self.space.index_of(*unit));
        self.gaps = gaps(from, covered, taken.filter(|index| (from..=covered).contains(index)));
        self.plan = match self.plan {
            Plan::Near(page) if page + 1 < PAGES.len() => Plan::Near(page + 1),
            Plan::Near(_) => Plan::Probe(0),
            Plan::Probe(probe) => Plan::Probe(probe + 1),
            Plan::Gallop(units) => Plan::Gallop(units),
            Plan::Narrow(..) => Plan::Gallop(2 * MAX_PAGE_UNITS),
        };
        if matches!(self.plan, Plan::Probe(probe) if probe == PROBES || self.is_small()) {
            self.plan = Plan::Gallop(2 * MAX_PAGE_UNITS);
        }
    }

    /// Tells how many leases the counted window has.
    pub fn counted(&mut self, leases: u64) {
        let Some((from, to, true)) = self.window() else { return };
        let leases = u128::from(leases);
        let full = leases > to - from;
        match self.plan {
            // So many units and one more have a free one among them.
            Plan::Gallop(_) | Plan::Narrow(..) if !full => self.plan = Plan::Narrow(from, from + leases),
            Plan::Narrow(_, end) => self.plan = Plan::Narrow(to + 1, end),
            Plan::Gallop(units) => {
                self.pass(to);
                self.plan = Plan::Gallop(units.saturating_mul(2));
            }
            Plan::Near(_) | Plan::Probe(_) => {}
        }
    }

    /// Tells that another holder took the unit that was found.
    pub fn lost(&mut self, unit: Unit) {
        let Some((first, last)) = self.gaps.front_mut() else { return };
        if self.space.index_of(unit) != Some(*first) {
            return;
        }
        if first < last {
            *first += 1;
        } else {
            self.gaps.pop_front();
        }
    }

    /// First and last index of what is to be read next, and whether counting will do.
    fn window(&self) -> Option<(u128, u128, bool)> {
        let at = self.at?;
        let last = self.space.last_index()?;
        let end = self.end()?;
        Some(match self.plan {
            Plan::Near(page) => {
                let size = u128::try_from(PAGES[page]).unwrap_or(MAX_PAGE_UNITS);
                (at, at.saturating_add(size - 1).min(end), false)
            }
            Plan::Probe(probe) => {
                let from =
                    wrapping(self.start, (last / u128::from(PROBES + 1)) * u128::from(probe + 1), last);
                (from, from.saturating_add(MAX_PAGE_UNITS - 1).min(last), false)
            }
            Plan::Gallop(units) => {
                let run_end = self.space.run_end(at)?.min(end);
                if run_end - at < MAX_PAGE_UNITS {
                    (at, at.saturating_add(MAX_PAGE_UNITS - 1).min(end), false)
                } else {
                    (at, at.saturating_add(units - 1).min(run_end), true)
                }
            }
            Plan::Narrow(from, to) if to - from < MAX_PAGE_UNITS => (from, to, false),
            Plan::Narrow(from, to) => (from, from + (to - from) / 2, true),
        })
    }

    /// The last index of the part of the round that `at` is in.
    fn end(&self) -> Option<u128> {
        if self.wrapped { self.start.checked_sub(1) } else { self.space.last_index() }
    }

    /// Everything up to this index has been looked at.
    fn pass(&mut self, index: u128) {
        let end = self.end();
        self.at = if end.is_some_and(|end| index < end) {
            Some(index + 1)
        } else if !self.wrapped && self.start > 0 {
            self.wrapped = true;
            Some(0)
        } else {
            None
        };
    }

    /// Whether reading all of it is no more work than looking at places far away.
    fn is_small(&self) -> bool {
        self.space.last_index().is_none_or(|last| last < 4 * MAX_PAGE_UNITS)
    }

    fn run(&self, from: u128, to: u128) -> Option<UnitRun> {
        let (first, last) = (self.space.unit_at(from)?, self.space.unit_at(to)?);
        Some(UnitRun {
            family: self.space.family(),
            first: first.first_number(),
            last: last.first_number(),
            bits: self.space.bits(),
        })
    }
}

/// The runs of indices between two, both included, that are not taken. `taken` is sorted.
fn gaps(from: u128, to: u128, taken: impl Iterator<Item = u128>) -> VecDeque<(u128, u128)> {
    let mut gaps = VecDeque::new();
    let mut next = Some(from);
    for index in taken {
        if let Some(first) = next.filter(|first| *first < index) {
            gaps.push_back((first, index - 1));
        }
        next = index.checked_add(1);
    }
    gaps.extend(next.filter(|first| *first <= to).map(|first| (first, to)));
    gaps
}

/// `index + distance`, modulo a length of `last + 1`; neither is greater than `last`.
fn wrapping(index: u128, distance: u128, last: u128) -> u128 {
    let room = last - index;
    if distance <= room { index + distance } else { distance - room - 1 }
}
