//! The addresses of a range as a picture, and who has them as a table.

use crate::table::{Table, plain};
use common::ipam::{Family, number};
use common::name::NodeName;
use common::wire::namespaces::{Part, PartState};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Cells of a line.
const WIDTH: u128 = 64;
/// Cells at most: in a larger range, one stands for several addresses.
const CELLS: u128 = 16 * WIDTH;

/// Writes how many addresses are in each state, the picture, and the table.
pub(crate) fn write(out: &mut dyn Write, map: &[Part]) -> io::Result<()> {
    writeln!(out, "Addresses:  {}", counts(map))?;
    writeln!(out)?;
    picture(out, map)?;
    let mut table = Table::new(&["ADDRESS", "STATE", "NAMESPACE", "POD", "NODE", "SERVICE POOL"]);
    for part in map.iter().filter(|part| is_leased(part.state)) {
        let pod = part.pod.as_ref();
        let text = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), plain);
        table.row(vec![
            part.start.to_string(),
            word(part.state).to_owned(),
            text(pod.map(|pod| pod.namespace.as_str())),
            text(pod.map(|pod| pod.name.as_str())),
            text(part.node.as_ref().map(NodeName::as_str)),
            text(part.service_pool.as_ref().map(common::name::PodText::as_str)),
        ]);
    }
    writeln!(out)?;
    table.write(out, "address is leased")
}

fn is_leased(state: PartState) -> bool {
    match state {
        PartState::Free | PartState::Reserved => false,
        PartState::Used | PartState::Fixed | PartState::Kept | PartState::Quarantined => true,
    }
}

fn word(state: PartState) -> &'static str {
    match state {
        PartState::Free => "free",
        PartState::Reserved => "reserved",
        PartState::Used => "used",
        PartState::Fixed => "fixed",
        PartState::Kept => "kept",
        PartState::Quarantined => "quarantined",
    }
}

fn sign(state: PartState) -> char {
    match state {
        PartState::Free => '.',
        PartState::Reserved => '-',
        PartState::Used => '#',
        PartState::Fixed => 'F',
        PartState::Kept => 'k',
        PartState::Quarantined => 'x',
    }
}

const STATES: [PartState; 6] = [
    PartState::Used,
    PartState::Fixed,
    PartState::Kept,
    PartState::Quarantined,
    PartState::Reserved,
    PartState::Free,
];

/// The first and the last address of a part, as numbers.
fn ends(part: &Part) -> (u128, u128) {
    (number(part.start), number(part.end))
}

fn counts(map: &[Part]) -> String {
    let mut counts: BTreeMap<&str, u128> = BTreeMap::new();
    for part in map {
        let (first, last) = ends(part);
        *counts.entry(word(part.state)).or_default() += last - first + 1;
    }
    let all: u128 = counts.values().sum();
    let states = STATES.into_iter().map(word);
    let words: Vec<String> =
        states.filter_map(|word| Some(format!("{} {word}", counts.get(word)?))).collect();
    format!("{all}: {}", words.join(", "))
}

/// A line for each 64 cells, behind the first address in it.
fn picture(out: &mut dyn Write, map: &[Part]) -> io::Result<()> {
    let (Some(first), Some(last)) = (map.first(), map.last()) else { return Ok(()) };
    let (family, start, end) = (Family::of(first.start), number(first.start), number(last.end));
    let mut size = 1;
    while (end - start) / size >= CELLS {
        size *= 2;
    }
    let cells = (end - start) / size + 1;
    let width = first.start.to_string().len().max(last.end.to_string().len());
    let mut parts = map.iter().peekable();
    for line in 0..cells.div_ceil(WIDTH) {
        let cells = (line * WIDTH)..((line + 1) * WIDTH).min(cells);
        let address = family.address(start + cells.start * size);
        let signs: String = cells
            .map(|cell| {
                let from = start + cell * size;
                let to = end.min(from.saturating_add(size - 1));
                while parts.next_if(|part| number(part.end) < from).is_some() {}
                sign_of_cell(parts.clone().take_while(|part| number(part.start) <= to), from, to)
            })
            .collect();
        writeln!(out, "{:<width$}  {signs}", address.to_string())?;
    }
    if size == 1 {
        return writeln!(out, "{}", legend());
    }
    writeln!(out, "each stands for {size} addresses: . free  - reserved or free  + some leased  # all leased")
}

fn legend() -> String {
    STATES
        .into_iter()
        .rev()
        .map(|state| format!("{} {}", sign(state), word(state)))
        .collect::<Vec<_>>()
        .join("  ")
}

/// What stands for the addresses from one to another; `parts` are those that have any of them.
fn sign_of_cell<'a>(parts: impl Iterator<Item = &'a Part>, from: u128, to: u128) -> char {
    let (mut leased, mut only) = (0, None);
    let mut reserved = false;
    for part in parts {
        let (first, last) = ends(part);
        let count = last.min(to) - first.max(from) + 1;
        if is_leased(part.state) {
            leased += count;
        }
        reserved |= part.state == PartState::Reserved;
        only = Some(part.state);
    }
    match only {
        Some(state) if from == to => sign(state),
        _ if leased == to - from + 1 => '#',
        _ if leased > 0 => '+',
        _ if reserved => '-',
        _ => '.',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn part(start: &str, end: &str, state: PartState) -> Part {
        let address = |text: &str| text.parse::<IpAddr>().expect("address");
        let (start, end) = (address(start), address(end));
        Part { start, end, state, service_pool: None, pod: None, node: None }
    }

    fn drawn(map: &[Part]) -> String {
        let mut out = Vec::new();
        picture(&mut out, map).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_sign_for_each_address() {
        let map = [
            part("10.0.0.5", "10.0.0.5", PartState::Used),
            part("10.0.0.6", "10.0.0.67", PartState::Free),
            part("10.0.0.68", "10.0.0.68", PartState::Fixed),
            part("10.0.0.69", "10.0.0.69", PartState::Kept),
            part("10.0.0.70", "10.0.0.72", PartState::Reserved),
        ];
        let dots = ".".repeat(62);
        assert_eq!(
            drawn(&map),
            format!(
                "10.0.0.5   #{dots}F\n10.0.0.69  k---\n. free  - reserved  x quarantined  k kept  F fixed  # used\n"
            )
        );
        assert_eq!(counts(&map), "68: 1 used, 1 fixed, 1 kept, 3 reserved, 62 free");
    }

    #[test]
    fn a_sign_for_several_addresses() {
        let map = [
            part("10.0.0.0", "10.0.0.0", PartState::Used),
            part("10.0.0.1", "10.0.0.1", PartState::Kept),
            part("10.0.0.2", "10.0.0.2", PartState::Used),
            part("10.0.0.3", "10.0.0.4", PartState::Free),
            part("10.0.0.5", "10.0.0.6", PartState::Reserved),
            part("10.0.0.7", "10.0.7.255", PartState::Free),
        ];
        let text = drawn(&map);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 17, "{text}");
        assert_eq!(lines[0], format!("10.0.0.0    #+--{}", ".".repeat(60)));
        assert_eq!(lines[1], format!("10.0.0.128  {}", ".".repeat(64)));
        assert!(lines[16].starts_with("each stands for 2 addresses"), "{text}");
    }

    #[test]
    fn the_largest_ranges_are_drawn() {
        let map = [
            part("fd00::1", "fd00::1", PartState::Used),
            part("fd00::2", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", PartState::Free),
        ];
        let text = drawn(&map);
        assert!(text.lines().next().is_some_and(|line| line.contains("  +....")), "{text}");
        assert!(text.lines().count() <= 17, "{text}");
    }
}
