//! Space against sets of addresses.

use common::ipam::{Family, Range, Space, Unit};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Small universes at the ends of both families, and across their middle.
const UNIVERSES: [(Family, u128); 6] = [
    (Family::V4, 0),
    (Family::V4, 0x0a40_0000),
    (Family::V4, 0xffff_ff00),
    (Family::V6, 0),
    (Family::V6, (1 << 64) - 128),
    (Family::V6, u128::MAX - 255),
];
const SIZE: u128 = 256;

type Pairs = Vec<(u8, u8)>;

fn range(family: Family, first: u128, last: u128) -> Range {
    Range::new(family.address(first), family.address(last)).expect("in order")
}

fn ranges((family, base): (Family, u128), pairs: &Pairs) -> Vec<Range> {
    let in_order = pairs.iter().map(|(a, b)| (a.min(b), a.max(b)));
    in_order.map(|(a, b)| range(family, base + u128::from(*a), base + u128::from(*b))).collect()
}

/// The numbers of the addresses that may be given.
fn usable(base: u128, wanted: &Pairs, excluded: &Pairs) -> BTreeSet<u128> {
    let within = |n: u8, pairs: &Pairs| pairs.iter().any(|(a, b)| (*a.min(b)..=*a.max(b)).contains(&n));
    (0..=u8::MAX)
        .filter(|n| within(*n, wanted) && !within(*n, excluded))
        .map(|n| base + u128::from(n))
        .collect()
}

fn pairs() -> impl Strategy<Value = Pairs> {
    prop::collection::vec(prop_oneof![any::<(u8, u8)>(), any::<u8>().prop_map(|n| (n, n))], 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_space_is_its_set_of_addresses(
        universe in prop::sample::select(&UNIVERSES[..]),
        bits in 0_u8..7,
        wanted in pairs(),
        excluded in pairs(),
    ) {
        let (family, base) = universe;
        let space = Space::new(family, bits, &ranges(universe, &wanted), &ranges(universe, &excluded))
            .expect("valid");
        let usable = usable(base, &wanted, &excluded);
        let firsts: BTreeSet<u128> = usable.iter().map(|number| number >> bits << bits).collect();

        // Index and unit are a bijection, in address order, and there is nothing else.
        prop_assert_eq!(space.last_index().map_or(0, |last| last + 1), firsts.len() as u128);
        for (index, first) in (0..).zip(&firsts) {
            let unit = Unit::containing(family.address(*first), bits);
            prop_assert_eq!(space.unit_at(index), Some(unit));
            prop_assert_eq!(space.index_of(unit), Some(index));
            let smaller = bits.checked_sub(1).map(|bits| Unit::containing(family.address(*first), bits));
            prop_assert_eq!(smaller.and_then(|unit| space.index_of(unit)), None, "a unit of another size");
        }
        prop_assert_eq!(space.unit_at(firsts.len() as u128), None);
        prop_assert_eq!(space.unit_at(u128::MAX), None);

        for number in base..=base + (SIZE - 1) {
            let address = family.address(number);
            let unit = Unit::containing(address, bits);
            let known = firsts.contains(&unit.first_number());
            prop_assert_eq!(space.contains(address), usable.contains(&number), "{}", address);
            prop_assert_eq!(space.unit_of(address), known.then_some(unit), "{}", address);
            let before = firsts.range(..=number).count().checked_sub(1).map(|n| n as u128);
            prop_assert_eq!(space.index_at_or_before(address), before, "{}", address);
        }
        for first in firsts {
            let unit = Unit::containing(family.address(first), bits);
            let unusable = space.unusable_offsets(unit);
            prop_assert!(unusable.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", unusable);
            for offset in 0..1_u32 << bits {
                let given = usable.contains(&(first + u128::from(offset)));
                let listed = unusable.iter().any(|(from, to)| (*from..=*to).contains(&offset));
                prop_assert_eq!(listed, !given, "{} + {}", unit, offset);
            }
        }
    }

    #[test]
    fn runs_are_the_units_without_gaps(
        universe in prop::sample::select(&UNIVERSES[..]),
        bits in 0_u8..7,
        wanted in pairs(),
        excluded in pairs(),
    ) {
        let (family, _) = universe;
        let space = Space::new(family, bits, &ranges(universe, &wanted), &ranges(universe, &excluded))
            .expect("valid");
        let mut index = 0;
        let mut end: Option<u128> = None;
        for run in space.runs() {
            prop_assert!(end.is_none_or(|end| end + 1 < run.first), "runs that touch are one");
            let last = run.count_less_one();
            for position in 0..=last {
                let unit = run.unit(position);
                prop_assert_eq!(space.unit_at(index), Some(unit));
                prop_assert_eq!(run.position(unit), Some(position));
                prop_assert_eq!(space.run_end(index), Some(index + last - position));
                index += 1;
            }
            let part = run.part(last / 2, last);
            prop_assert_eq!((part.unit(0), part.count_less_one()), (run.unit(last / 2), last - last / 2));
            end = Some(run.unit(last).last_number());
        }
        prop_assert_eq!(space.last_index().map_or(0, |last| last + 1), index);
        prop_assert_eq!(space.run_end(index), None);
    }
}

fn net_space(net: &str, bits: u8) -> Space {
    let range = Range::of_net(net.parse().expect("net"));
    Space::new(range.family(), bits, &[range], &[]).expect("valid")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

#[test]
fn extremes() {
    let top = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    for (net, bits, last_index, first, last) in [
        ("10.0.0.1/32", 0, 0, "10.0.0.1/32", "10.0.0.1/32"),
        ("10.0.0.0/31", 0, 1, "10.0.0.0/32", "10.0.0.1/32"),
        ("10.0.0.0/31", 4, 0, "10.0.0.0/28", "10.0.0.0/28"),
        ("0.0.0.0/0", 0, u128::from(u32::MAX), "0.0.0.0/32", "255.255.255.255/32"),
        ("0.0.0.0/0", 4, (1 << 28) - 1, "0.0.0.0/28", "255.255.255.240/28"),
        ("0.0.0.0/0", 32, 0, "0.0.0.0/0", "0.0.0.0/0"),
        ("255.255.255.255/32", 0, 0, "255.255.255.255/32", "255.255.255.255/32"),
        ("255.255.255.254/31", 4, 0, "255.255.255.240/28", "255.255.255.240/28"),
        ("::1/128", 0, 0, "::1/128", "::1/128"),
        ("fd00::/64", 0, u128::from(u64::MAX), "fd00::/128", "fd00::ffff:ffff:ffff:ffff/128"),
        ("fd00::/64", 4, (1 << 60) - 1, "fd00::/124", "fd00::ffff:ffff:ffff:fff0/124"),
        ("::/0", 0, u128::MAX, "::/128", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"),
        ("::/0", 128, 0, "::/0", "::/0"),
        ("ffff::/16", 4, (1 << 108) - 1, "ffff::/124", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0/124"),
    ] {
        let space = net_space(net, bits);
        assert_eq!(space.last_index(), Some(last_index), "{net} by 2^{bits}");
        let units = [0, last_index].map(|index| space.unit_at(index).expect("unit"));
        assert_eq!(units.map(|unit| unit.net().to_string()), [first, last], "{net} by 2^{bits}");
        assert_eq!(units.map(|unit| space.index_of(unit)), [Some(0), Some(last_index)]);
        assert_eq!(last_index.checked_add(1).and_then(|index| space.unit_at(index)), None);
        assert_eq!(space.run_end(0), Some(last_index));
    }
    assert!(net_space("::/0", 0).contains(ip(top)) && !net_space("::/0", 0).contains(ip("0.0.0.0")));
}

#[test]
fn exclusions_at_the_ends_of_a_family() {
    let (all, v4) = (range(Family::V4, 0, u128::from(u32::MAX)), Family::V4);
    let cut = [range(v4, 0, 0), range(v4, 0xffff_ffff, 0xffff_ffff)];
    let space = Space::new(v4, 0, &[all], &cut).expect("valid");
    assert_eq!(space.last_index(), Some(u128::from(u32::MAX) - 2));
    assert_eq!(space.unit_at(0).map(|unit| unit.first()), Some(ip("0.0.0.1")));
    assert_eq!(space.unit_at(u128::from(u32::MAX) - 2).map(|unit| unit.first()), Some(ip("255.255.255.254")));
    let nothing = Space::new(v4, 4, &[all], &[all]).expect("valid");
    assert_eq!((nothing.last_index(), nothing.unit_at(0), nothing.runs().len()), (None, None, 0));
    let all6 = range(Family::V6, 0, u128::MAX);
    let space = Space::new(Family::V6, 0, &[all6, all6], &[range(Family::V6, 5, u128::MAX)]).expect("valid");
    assert_eq!(space.last_index(), Some(4));
}

#[test]
fn what_makes_no_space_is_refused() {
    let (four, six) = (range(Family::V4, 1, 2), range(Family::V6, 1, 2));
    let error = Space::new(Family::V4, 33, &[four], &[]).expect_err("too large").to_string();
    assert_eq!(error, "a unit of 2^33 addresses is larger than all of ipv4");
    for (ranges, exclusions) in [([six], vec![]), ([four], vec![six])] {
        let error = Space::new(Family::V4, 0, &ranges, &exclusions).expect_err("mixed").to_string();
        assert_eq!(error, "::1-::2 is not ipv4");
    }
}

/// Ranges of some hundreds of addresses at the ends of both families.
const WIDE: [(Family, u128); 4] =
    [(Family::V4, 0), (Family::V4, 0xffff_fc00), (Family::V6, 0), (Family::V6, u128::MAX - 1_023)];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn octets_are_exclusions(
        universe in prop::sample::select(&WIDE[..]),
        wanted in prop::collection::vec((0_u16..1_024, 0_u16..300), 1..4),
        excluded in prop::collection::vec((0_u16..1_024, 0_u16..40), 0..4),
        forbidden in prop::collection::btree_set(any::<u8>(), 0..256),
    ) {
        let (family, base) = universe;
        let last = |first: u16, more: u16| (first + more).min(1_023);
        let ranges = |pairs: &[(u16, u16)]| -> Vec<Range> {
            let ends = pairs.iter().map(|(first, more)| (*first, last(*first, *more)));
            ends.map(|(first, last)| range(family, base + u128::from(first), base + u128::from(last))).collect()
        };
        let forbidden: Vec<u8> = forbidden.into_iter().collect();
        let space = Space::new(family, 0, &ranges(&wanted), &ranges(&excluded)).expect("valid");
        let space = space.without_octets(&forbidden);
        let within = |n: u16, pairs: &[(u16, u16)]| pairs.iter().any(|(a, more)| (*a..=last(*a, *more)).contains(&n));
        let expected: Vec<u128> = (0..1_024_u16)
            .filter(|n| within(*n, &wanted) && !within(*n, &excluded))
            .map(|n| base + u128::from(n))
            .filter(|number| !forbidden.contains(&number.to_le_bytes()[0]))
            .collect();
        prop_assert_eq!(space.last_index().map_or(0, |last| last + 1), expected.len() as u128);
        for (index, number) in expected.iter().enumerate() {
            let unit = space.unit_at(index as u128).expect("a unit");
            prop_assert_eq!(unit.first_number(), *number);
            prop_assert_eq!(space.index_of(unit), Some(index as u128));
        }
        prop_assert_eq!(space.unit_at(expected.len() as u128), None);
        for n in 0..1_024_u16 {
            let number = base + u128::from(n);
            let address: IpAddr = family.address(number);
            prop_assert_eq!(space.contains(address), expected.contains(&number));
            let before = expected.partition_point(|one| *one <= number).checked_sub(1).map(|index| index as u128);
            prop_assert_eq!(space.index_at_or_before(address), before);
            prop_assert_eq!(space.index_of(Unit::containing(address, 0)).is_some(), expected.contains(&number));
        }
    }
}

#[test]
fn octets_of_whole_families_cost_nothing() {
    for (family, count) in [(Family::V4, 255_u128 << 24), (Family::V6, 255 << 120)] {
        let all = range(family, 0, family.last());
        let space = Space::new(family, 0, &[all], &[]).expect("valid").without_octets(&[7]);
        assert_eq!(space.last_index(), Some(count - 1));
        let last = space.unit_at(count - 1).expect("a unit");
        assert_eq!(last.first_number(), family.last());
        assert_eq!(space.index_of(Unit::containing(family.address(7), 0)), None);
    }
    let none: Vec<u8> = (0..=u8::MAX).collect();
    let all = range(Family::V4, 0, Family::V4.last());
    assert_eq!(
        Space::new(Family::V4, 0, &[all], &[]).expect("valid").without_octets(&none).last_index(),
        None
    );
}
