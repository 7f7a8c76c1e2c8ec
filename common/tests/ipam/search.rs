//! Search finds a free unit exactly if there is one, from any start, and reads little.

use common::ipam::{Family, Range, Search, Space, Step, Unit};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// The leases of a pool, by first address, and how much was read of them.
#[derive(Default)]
struct Leases {
    taken: BTreeSet<u128>,
    reads: usize,
    keys: usize,
}

impl Leases {
    /// Drives a search as a store's client does.
    fn drive(&mut self, search: &mut Search) -> Option<Unit> {
        loop {
            match search.step() {
                Step::Found(unit) => {
                    let found = search.found(5);
                    assert_eq!(found.first(), Some(&unit));
                    assert!(found.iter().all(|unit| !self.taken.contains(&unit.first_number())));
                    assert!(found.len() <= 5 && found.is_sorted());
                    return Some(unit);
                }
                Step::Full => return None,
                Step::Count { run } => {
                    self.reads += 1;
                    search.counted(self.taken.range(run.first..=run.last).count() as u64);
                }
                Step::Page { run, limit } => {
                    self.reads += 1;
                    let mut found: Vec<Unit> = self
                        .taken
                        .range(run.first..=run.last)
                        .take(limit + 1)
                        .map(|first| Unit::containing(run.family.address(*first), run.bits))
                        .collect();
                    let more = found.len() > limit;
                    found.truncate(limit);
                    self.keys += found.len();
                    search.page(&found, more);
                }
            }
        }
    }
}

fn range(first: u32, last: u32) -> Range {
    let ip = |n: u32| IpAddr::from(Ipv4Addr::from_bits(n));
    Range::new(ip(first), ip(last)).expect("in order")
}

fn units(space: &Space) -> impl Iterator<Item = Unit> {
    (0..=space.last_index().map_or(0, |last| last)).map_while(|index| space.unit_at(index))
}

/// Several runs of units, of which some are single ones, near the end of the family.
fn spaces(size: u32) -> impl Strategy<Value = Space> {
    let ranges = prop::collection::vec((0..size, 0..size / 4), 0..8);
    let exclusions = prop::collection::vec((0..size, 0_u32..40), 0..8);
    let octets = prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 1..200)];
    (ranges, exclusions, 0_u8..3, octets).prop_map(|(ranges, exclusions, bits, octets)| {
        let base = u32::MAX - 25_999;
        let place = |pairs: Vec<(u32, u32)>| -> Vec<Range> {
            pairs.iter().map(|(first, len)| range(base + first, base + first + len)).collect()
        };
        let space = Space::new(Family::V4, bits, &place(ranges), &place(exclusions)).expect("valid");
        if bits == 0 { space.without_octets(&octets) } else { space }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_free_unit_is_found_if_there_is_one(
        space in spaces(20_000),
        start in any::<u128>(),
        holes in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        strangers in prop::collection::vec(0_u32..26_000, 0..50),
    ) {
        let all: Vec<u128> = units(&space).map(|unit| unit.first_number()).collect();
        let free: BTreeSet<u128> =
            if all.is_empty() { BTreeSet::new() } else { holes.iter().map(|hole| *hole.get(&all)).collect() };
        let mut leases = Leases::default();
        leases.taken.extend(all.iter().filter(|first| !free.contains(first)));
        // Leases of subnets that were removed.
        for number in strangers {
            let address = Family::V4.address(u128::from(u32::MAX - 25_999 + number));
            let unit = Unit::containing(address, space.bits());
            if space.index_of(unit).is_none() {
                leases.taken.insert(unit.first_number());
            }
        }
        // Every free unit is found, each once, if all are lost.
        let mut search = Search::new(&space, start);
        let mut left = free;
        while let Some(unit) = leases.drive(&mut search) {
            prop_assert!(left.remove(&unit.first_number()), "{unit} is not free or was found twice");
            leases.taken.insert(unit.first_number());
            search.lost(unit);
        }
        prop_assert!(left.is_empty(), "not found: {left:?}");
        prop_assert_eq!(search.step(), Step::Full);
    }

    /// As units fill up in any order of starts, all of them are given and none twice.
    #[test]
    fn a_space_fills_up_completely(space in spaces(3_000), starts in prop::collection::vec(any::<u128>(), 1..8)) {
        let mut leases = Leases::default();
        let all = units(&space).count();
        for n in 0..all {
            let found = leases.drive(&mut Search::new(&space, starts[n % starts.len()]));
            let unit = found.expect("room is left");
            prop_assert!(space.index_of(unit).is_some() && leases.taken.insert(unit.first_number()));
        }
        prop_assert_eq!(leases.drive(&mut Search::new(&space, starts[0])), None);
    }
}

/// A space of 2^20 units with so many of 1,000 taken, scattered.
fn scattered(per_mille: u64, seed: u64) -> (Space, Leases) {
    let space = Space::new(Family::V4, 0, &[range(0x0a00_0000, 0x0a0f_ffff)], &[]).expect("valid");
    let mut leases = Leases::default();
    leases.taken.extend(
        (0x0a00_0000..=0x0a0f_ffff_u128)
            .filter(|n| mix(u64::try_from(*n).unwrap_or(0) ^ seed) % 1_000 < per_mille),
    );
    (space, leases)
}

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
    let n = (n ^ (n >> 27)).wrapping_mul(0x81da_def4_bc2d_d44d);
    n ^ (n >> 33)
}

#[test]
fn few_reads_suffice_in_a_space_that_is_nearly_full() {
    for (per_mille, on_average, most_reads, most_keys) in
        [(0, 1, 1, 0), (500, 1, 1, 64), (900, 2, 2, 320), (999, 4, 16, 6_144)]
    {
        let (space, mut leases) = scattered(per_mille, 7);
        let (mut worst, mut sum) = ((0, 0), 0);
        for n in 0..200 {
            (leases.reads, leases.keys) = (0, 0);
            let mut search = Search::new(&space, u128::from(mix(n)));
            leases.drive(&mut search).expect("something is free");
            worst = (worst.0.max(leases.reads), worst.1.max(leases.keys));
            sum += leases.reads;
        }
        assert!(sum <= 200 * on_average, "{per_mille} of 1,000 taken: {sum} reads in 200 searches");
        assert!(worst.0 <= most_reads && worst.1 <= most_keys, "{per_mille} of 1,000 taken: {worst:?}");
    }
}

#[test]
fn one_free_unit_of_a_million_is_found_by_counting() {
    let (space, mut leases) = scattered(1_000, 0);
    for (start, free) in [(0, 0x0a0f_ffff), (1, 0x0a00_0000), (500_000, 0x0a07_0000), (77, 0x0a08_1234)] {
        leases.taken.remove(&free);
        (leases.reads, leases.keys) = (0, 0);
        let found = leases.drive(&mut Search::new(&space, start));
        assert_eq!(found.map(|unit| unit.first_number()), Some(free));
        assert!(leases.reads <= 50 && leases.keys <= 8_192, "{} reads, {} keys", leases.reads, leases.keys);
        leases.taken.insert(free);
    }
    (leases.reads, leases.keys) = (0, 0);
    assert_eq!(leases.drive(&mut Search::new(&space, 12_345)), None);
    assert!(leases.reads <= 50 && leases.keys <= 8_192, "{} reads, {} keys", leases.reads, leases.keys);
}

/// Wherever the only free unit is, no border between two reads hides it.
#[test]
fn one_free_unit_is_found_in_every_place() {
    let space = Space::new(Family::V4, 0, &[range(0x0a00_0000, 0x0a00_2400)], &[]).expect("valid");
    let all: Vec<Unit> = units(&space).collect();
    let place = |number: u128| usize::try_from(number - 0x0a00_0000).unwrap_or(usize::MAX);
    for hole in 0..all.len() {
        let mut search = Search::new(&space, 0);
        let found = loop {
            match search.step() {
                Step::Found(unit) => break unit,
                Step::Full => panic!("{} is free and was not found", all[hole]),
                Step::Count { run } => {
                    let (first, last) = (place(run.first), place(run.last));
                    let taken = last - first + usize::from(!(first..=last).contains(&hole));
                    search.counted(taken as u64);
                }
                Step::Page { run, .. } => {
                    let (first, last) = (place(run.first), place(run.last));
                    let mut leased = all[first..=last].to_vec();
                    if (first..=last).contains(&hole) {
                        leased.remove(hole - first);
                    }
                    search.page(&leased, false);
                }
            }
        };
        assert_eq!(found, all[hole]);
    }
}

#[test]
fn a_lost_unit_is_followed_by_the_next_one() {
    let (space, mut leases) = scattered(0, 0);
    let mut search = Search::new(&space, 10);
    let mut found = Vec::new();
    for _ in 0..100 {
        let unit = leases.drive(&mut search).expect("free");
        assert_eq!(search.step(), Step::Found(unit), "the same until it is lost");
        found.push(unit.first_number() - 0x0a00_0000);
        search.lost(unit);
        search.lost(unit);
    }
    assert_eq!(found, (10..110).collect::<Vec<_>>());
    assert!(leases.reads <= 3, "what a page told is used up first: {} reads", leases.reads);
}

#[test]
fn the_largest_spaces_cost_no_more() {
    let all = |text: &str| Range::of_net(text.parse().expect("net"));
    for (net, bits, start) in [
        ("::/0", 0, u128::MAX),
        ("::/0", 0, 5),
        ("::/0", 128, 99),
        ("fd00::/64", 4, u128::MAX),
        ("0.0.0.0/0", 0, u128::from(u32::MAX)),
        ("255.255.255.255/32", 0, 3),
    ] {
        let range = all(net);
        let space = Space::new(range.family(), bits, &[range], &[]).expect("valid");
        let mut leases = Leases::default();
        let mut search = Search::new(&space, start);
        // The first ten thousand from the start on are taken.
        let length = space.last_index().expect("units");
        for n in 0..=length.min(9_999) {
            let start = length.checked_add(1).map_or(start, |length| start % length);
            let room = length - start;
            let index = if n <= room { start + n } else { n - room - 1 };
            leases.taken.insert(space.unit_at(index).expect("unit").first_number());
        }
        let found = leases.drive(&mut search);
        assert_eq!(found.is_some(), length > 9_999, "{net}");
        assert!(found.is_none_or(|unit| !leases.taken.contains(&unit.first_number())), "{net}");
        assert!(leases.reads <= 10 && leases.keys <= 5_120, "{net}: {} reads", leases.reads);
    }
}

#[test]
fn an_empty_space_is_full() {
    let space = Space::new(Family::V6, 4, &[], &[]).expect("valid");
    assert_eq!(Search::new(&space, 3).step(), Step::Full);
}
