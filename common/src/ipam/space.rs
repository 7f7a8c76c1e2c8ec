//! A space: ranges minus exclusions, cut in units. The mapping index ↔ unit ↔ address is arithmetic over a few
//! runs; nothing here grows with the number of addresses.
//!
//! Invariant: a unit belongs to the space exactly if at least one of its addresses may be given.

use super::addr::{Family, Range, Unit, number};
use super::octets::Octets;
use std::net::IpAddr;

/// Why ranges make no space.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpaceError {
    /// A range or exclusion is of the other family.
    #[error("{range} is not {family}")]
    OtherFamily {
        /// The range.
        range: Range,
        /// The family of the space.
        family: Family,
    },
    /// Units can't be larger than the family.
    #[error("a unit of 2^{bits} addresses is larger than all of {family}")]
    UnitTooLarge {
        /// Size asked for.
        bits: u8,
        /// The family of the space.
        family: Family,
    },
}

/// Units that follow each other without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitRun {
    /// The family of the units.
    pub family: Family,
    /// Number of the first address of the first unit.
    pub first: u128,
    /// Number of the first address of the last unit.
    pub last: u128,
    /// Each unit has 2^bits addresses.
    pub bits: u8,
}

impl UnitRun {
    /// How many units the run has, less one: so that a run of all 2^128 addresses has a count.
    pub fn count_less_one(&self) -> u128 {
        shift_right(self.last - self.first, self.bits)
    }

    /// The unit at a position in the run; the run must have it.
    pub fn unit(&self, position: u128) -> Unit {
        debug_assert!(position <= self.count_less_one());
        Unit::containing(self.family.address(self.first + shift_left(position, self.bits)), self.bits)
    }

    /// The position of a unit in the run.
    pub fn position(&self, unit: Unit) -> Option<u128> {
        (unit.family() == self.family
            && unit.bits() == self.bits
            && (self.first..=self.last).contains(&unit.first_number()))
        .then(|| shift_right(unit.first_number() - self.first, self.bits))
    }

    /// The part of the run between two positions, both included.
    #[must_use]
    pub fn part(&self, from: u128, to: u128) -> Self {
        debug_assert!(from <= to && to <= self.count_less_one());
        Self {
            first: self.first + shift_left(from, self.bits),
            last: self.first + shift_left(to, self.bits),
            ..*self
        }
    }
}

/// The units of a set of ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    family: Family,
    bits: u8,
    /// Addresses that may be given: inclusive, sorted, disjoint, not adjacent.
    usable: Vec<(u128, u128)>,
    /// The units, with the index of each run's first one.
    runs: Vec<(u128, UnitRun)>,
    /// The last octets that addresses may have, if some are forbidden. Of a run only these addresses are units.
    octets: Option<Octets>,
}

impl Space {
    /// The space of these ranges without these exclusions, in units of 2^`bits` addresses. Ranges and
    /// exclusions may overlap and come in any order.
    pub fn new(family: Family, bits: u8, ranges: &[Range], exclusions: &[Range]) -> Result<Self, SpaceError> {
        if bits > family.bits() {
            return Err(SpaceError::UnitTooLarge { bits, family });
        }
        if let Some(range) = ranges.iter().chain(exclusions).find(|range| range.family() != family) {
            return Err(SpaceError::OtherFamily { range: *range, family });
        }
        let usable = subtract(&normalise(ranges), &normalise(exclusions));
        let mut runs: Vec<(u128, UnitRun)> = Vec::new();
        for (first, last) in
            merge(usable.iter().map(|(first, last)| (shift_right(*first, bits), shift_right(*last, bits))))
        {
            let index = runs.last().map_or(0, |(index, run)| index + run.count_less_one() + 1);
            let run = UnitRun { family, first: shift_left(first, bits), last: shift_left(last, bits), bits };
            runs.push((index, run));
        }
        Ok(Self { family, bits, usable, runs, octets: None })
    }

    /// The same space without all addresses that end in one of these octets. Its units must be single addresses.
    #[must_use]
    pub fn without_octets(mut self, forbidden: &[u8]) -> Self {
        debug_assert_eq!(self.bits, 0, "an octet is of an address");
        self.octets = Octets::without(forbidden);
        let Some(octets) = &self.octets else { return self };
        let mut index = 0;
        self.runs.retain_mut(|(first, run)| {
            let count = octets.between(run.first, run.last);
            *first = index;
            index += count;
            count > 0
        });
        self
    }

    /// The family of the addresses.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Each unit has 2^bits addresses.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// The index of the last unit; `None` if the space is empty. (A count would not fit for all of IPv6.)
    pub fn last_index(&self) -> Option<u128> {
        self.runs.last().map(|(index, run)| index + self.count_less_one(run))
    }

    /// The runs of units, in address order.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = UnitRun> + ExactSizeIterator {
        self.runs.iter().map(|(_, run)| *run)
    }

    /// The unit at an index.
    pub fn unit_at(&self, index: u128) -> Option<Unit> {
        let after = self.runs.partition_point(|(first, _)| *first <= index);
        let (first, run) = self.runs.get(after.checked_sub(1)?)?;
        let position = index - first;
        if position > self.count_less_one(run) {
            return None;
        }
        match &self.octets {
            None => Some(run.unit(position)),
            Some(octets) => octets.at(octets.below(run.first) + position).map(|number| self.single(number)),
        }
    }

    /// The index of a unit; `None` if it is not of this space.
    pub fn index_of(&self, unit: Unit) -> Option<u128> {
        let after = self.runs.partition_point(|(_, run)| run.first <= unit.first_number());
        let (first, run) = self.runs.get(after.checked_sub(1)?)?;
        let position = run.position(unit)?;
        match &self.octets {
            None => Some(first + position),
            Some(octets) => octets
                .has(unit.first_number())
                .then(|| first + octets.below(unit.first_number()) - octets.below(run.first)),
        }
    }

    /// The index of the last unit that begins at an address or before it.
    pub fn index_at_or_before(&self, address: IpAddr) -> Option<u128> {
        let number = number(address);
        let after = self.runs.partition_point(|(_, run)| run.first <= number);
        let (first, run) = self.runs.get(after.checked_sub(1)?)?;
        if Family::of(address) != self.family {
            return None;
        }
        let last = number.min(run.last);
        match &self.octets {
            None => Some(first + shift_right(last - run.first, self.bits)),
            // If none of the run is left up to here, the last one is of the run before.
            Some(octets) => (first + octets.between(run.first, last)).checked_sub(1),
        }
    }

    /// The index of the last unit of the run that a unit is in: no address between the two is of another unit, nor of
    /// none. Where octets are forbidden, a unit is a run by itself.
    pub fn run_end(&self, index: u128) -> Option<u128> {
        if self.octets.is_some() {
            return (index <= self.last_index()?).then_some(index);
        }
        let after = self.runs.partition_point(|(first, _)| *first <= index);
        let (first, run) = self.runs.get(after.checked_sub(1)?)?;
        let end = first + run.count_less_one();
        (index <= end).then_some(end)
    }

    /// The unit that an address belongs to, whether or not the address itself may be given.
    pub fn unit_of(&self, address: IpAddr) -> Option<Unit> {
        let unit = Unit::containing(address, self.bits);
        self.index_of(unit).map(|_| unit)
    }

    /// Whether the address may be given.
    pub fn contains(&self, address: IpAddr) -> bool {
        let number = number(address);
        let after = self.usable.partition_point(|(first, _)| *first <= number);
        Family::of(address) == self.family
            && after.checked_sub(1).is_some_and(|position| number <= self.usable[position].1)
            && self.octets.as_ref().is_none_or(|octets| octets.has(number))
    }

    /// The offsets in a unit that are never given, as inclusive runs in order. The unit has at most 2^32
    /// addresses.
    pub fn unusable_offsets(&self, unit: Unit) -> Vec<(u32, u32)> {
        let range = unit.range();
        let all = [(range.first(), range.last())];
        if unit.family() != self.family {
            return vec![(0, offset(range.last() - range.first()))];
        }
        let start = self.usable.partition_point(|(_, last)| *last < range.first());
        let inside: Vec<_> =
            self.usable[start..].iter().take_while(|(first, _)| *first <= range.last()).copied().collect();
        subtract(&all, &inside)
            .into_iter()
            .map(|(first, last)| (offset(first - range.first()), offset(last - range.first())))
            .collect()
    }
}

impl Space {
    fn count_less_one(&self, run: &UnitRun) -> u128 {
        match &self.octets {
            None => run.count_less_one(),
            Some(octets) => octets.between(run.first, run.last) - 1,
        }
    }

    fn single(&self, number: u128) -> Unit {
        Unit::containing(self.family.address(number), 0)
    }
}

fn offset(distance: u128) -> u32 {
    u32::try_from(distance).unwrap_or(u32::MAX)
}

/// Ranges in order, joined where they overlap or touch.
pub(super) fn normalise(ranges: &[Range]) -> Vec<(u128, u128)> {
    let mut pairs: Vec<_> = ranges.iter().map(|range| (range.first(), range.last())).collect();
    pairs.sort_unstable();
    merge(pairs.into_iter())
}

/// Joins sorted inclusive runs that overlap or touch.
fn merge(sorted: impl Iterator<Item = (u128, u128)>) -> Vec<(u128, u128)> {
    let mut merged: Vec<(u128, u128)> = Vec::new();
    for (first, last) in sorted {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// What is in `from` and not in `what`, both sorted, disjoint and inclusive.
fn subtract(from: &[(u128, u128)], what: &[(u128, u128)]) -> Vec<(u128, u128)> {
    let mut rest = Vec::new();
    for &(first, last) in from {
        let mut next = Some(first);
        let start = what.partition_point(|(_, end)| *end < first);
        for &(cut_first, cut_last) in what[start..].iter().take_while(|(begin, _)| *begin <= last) {
            if let Some(begin) = next.filter(|begin| *begin < cut_first) {
                rest.push((begin, cut_first - 1));
            }
            next = cut_last.checked_add(1).filter(|begin| *begin <= last);
        }
        rest.extend(next.map(|begin| (begin, last)));
    }
    rest
}

fn shift_right(number: u128, bits: u8) -> u128 {
    number.checked_shr(bits.into()).unwrap_or(0)
}

fn shift_left(number: u128, bits: u8) -> u128 {
    number.checked_shl(bits.into()).unwrap_or(0)
}
