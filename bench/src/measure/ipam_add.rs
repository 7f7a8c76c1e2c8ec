//! ADD of the plugin as ipam, one at a time.

use super::Effort;
use crate::contender::{Contender, HostLocal};
use crate::durable::DurableServer;
use crate::plot::{Axis, Plot, Series};
use crate::report::{Bound, Section, Unit, millis};
use crate::rig;
use crate::samples::Samples;
use anyhow::{Result, ensure};
use coil_tests::controller::Controller;

const ROUNDS: usize = 200;
const WARM_UP: usize = 10;
/// Addresses held beforehand, and in which rounds host-local takes part: each of its calls reads all of them.
const FILLS: [(u32, usize); 4] = [(0, 1), (250, 1), (4_000, 2), (16_000, 8)];
/// How many times host-local's time an ADD may take.
const TIMES_RIVAL: [(u32, f64); 2] = [(0, 0.35), (4_000, 0.05)];
/// How many times the time of `/bin/true` an ADD may take.
const TIMES_NOTHING: f64 = 2.0;
/// How many times its time without any addresses held an ADD may take with more.
const FLAT: f64 = 1.15;

/// One that takes part, and what was measured.
struct Entry {
    contender: Contender,
    /// Addresses held; `None` for one to which it makes no difference.
    held: Option<u32>,
    /// It takes part in every n-th round.
    every: usize,
    adds: Samples,
    dels: Samples,
}

/// A coild and a host-local that hold the same number of addresses.
struct Rivals {
    held: u32,
    coil: Controller,
    host_local: HostLocal,
}

/// Measures.
pub(super) fn run(effort: Effort) -> Result<Section> {
    let mut section = Section::new(
        "ADD of the plugin as ipam",
        format!(
            "The whole process as a runtime sees it: start, configuration on standard input, result on standard \
             output, exit. All take turns, one call each, {} times after {WARM_UP} rounds of warm-up (host-local \
             in every second round with 4000 addresses held, in every eighth with 16000); every ADD is followed by \
             a DEL, so that the number of addresses held stays. For each number of addresses held there is a \
             coild of its own, on the embedded store, which syncs its journal before it answers; host-local does \
             not sync. `/bin/true` is what any process costs; the bare durable round trip is a program that sends \
             256 bytes over a unix socket to a server that overwrites one page, syncs it and answers.",
            effort.of(ROUNDS),
        ),
    );
    let server = DurableServer::start()?;
    let rivals: Vec<Rivals> = FILLS.into_iter().map(|(held, _)| rivals(held)).collect::<Result<_>>()?;
    let mut entries = vec![
        Entry::new(Contender::nothing()?, None, 1),
        Entry::new(Contender::round_trip(&server)?, None, 1),
    ];
    // What a call leaves of caches and dirty pages is the next one's: those that are compared follow calls of their kind.
    for rivals in &rivals {
        entries.push(Entry::new(Contender::coil(&rivals.coil.socket())?, Some(rivals.held), 1));
    }
    for (rivals, (held, every)) in rivals.iter().zip(FILLS) {
        entries.push(Entry::new(rivals.host_local.contender()?, Some(held), every));
    }
    let before: Vec<Handled> =
        rivals.iter().map(|rivals| Handled::read(&rivals.coil)).collect::<Result<_>>()?;
    take_turns(&mut entries, effort.of(ROUNDS))?;
    let mut inside = Vec::new();
    for (rivals, before) in rivals.iter().zip(before) {
        let mean = Handled::read(&rivals.coil)?.since(&before);
        inside.push(format!("{mean:.2} ms with {}", rivals.held));
    }
    section.note(format!(
        "Of an ADD, coild itself takes on average, from the whole request to the answer and the sync of its journal \
         among it: {}. What is left is the plugin's process and the wake-ups.",
        inside.join(", "),
    ));
    for rivals in &rivals {
        let count = usize::try_from(rivals.held)?;
        ensure!(rig::held(&rivals.coil.socket())? == count, "coild does not hold {count} any more");
        ensure!(rivals.host_local.held()? == count, "host-local does not hold {count} any more");
    }
    judge(&mut section, &entries);
    section.plot(plot(&entries));
    for entry in entries {
        let with = entry.held.map_or_else(String::new, |held| format!(", {held} addresses held"));
        section.times(format!("{} ADD{with}", entry.contender.name), entry.adds);
        if entry.held.is_some() {
            section.times(format!("{} DEL{with}", entry.contender.name), entry.dels);
        }
    }
    Ok(section)
}

/// The ADDs that a coild has handled, and the seconds that they took.
struct Handled {
    count: f64,
    seconds: f64,
}

impl Handled {
    fn read(coil: &Controller) -> Result<Self> {
        let value =
            |name| rig::metric(&coil.coild(), &format!("coild_add_duration_seconds_{name}{{result=\"ok\"}}"));
        Ok(Self { count: value("count")?, seconds: value("sum")? })
    }

    /// Milliseconds of each since an earlier reading.
    fn since(&self, before: &Self) -> f64 {
        (self.seconds - before.seconds) / (self.count - before.count) * 1e3
    }
}

fn rivals(held: u32) -> Result<Rivals> {
    eprintln!("    {held} addresses held");
    let host_local = HostLocal::new()?;
    host_local.hold(held)?;
    let coil = rig::standalone()?;
    rig::hold(&coil.socket(), usize::try_from(held)?)?;
    Ok(Rivals { held, coil, host_local })
}

impl Entry {
    fn new(contender: Contender, held: Option<u32>, every: usize) -> Self {
        Self { contender, held, every, adds: Samples::new(), dels: Samples::new() }
    }
}

/// Who begins changes with every round.
fn take_turns(entries: &mut [Entry], rounds: usize) -> Result<()> {
    let count = entries.len();
    for round in 0..WARM_UP + rounds {
        for turn in 0..count {
            let entry = &mut entries[(round + turn) % count];
            if !round.is_multiple_of(entry.every) {
                continue;
            }
            let (add, del) = (entry.contender.add(round)?, entry.contender.del(round)?);
            if round >= WARM_UP {
                entry.adds.push(add);
                entry.dels.push(del);
            }
        }
    }
    Ok(())
}

fn judge(section: &mut Section, entries: &[Entry]) {
    let of = |name: &str, held: Option<u32>| {
        let found = entries.iter().find(|entry| entry.contender.name == name && entry.held == held);
        found.map(|entry| &entry.adds)
    };
    let (Some(nothing), Some(floor)) = (of(Contender::NOTHING, None), of(Contender::ROUND_TRIP, None)) else {
        return;
    };
    let Some(empty) = of(Contender::COIL, Some(0)) else { return };
    for (held, _) in FILLS {
        let with = format!("{held} addresses held");
        let both = of(Contender::COIL, Some(held)).zip(of(Contender::HOST_LOCAL, Some(held)));
        let Some((coil, rival)) = both else { continue };
        let what = format!("ADD of coil / of host-local, {with}");
        match TIMES_RIVAL.iter().find(|(fill, _)| *fill == held) {
            Some((_, limit)) => section.goal(what, Bound::AtMost(*limit), coil.ratio(rival), Unit::Ratio),
            None => section.figure(what, coil.ratio(rival), Unit::Ratio),
        }
        let bound = Bound::AtMost(TIMES_NOTHING);
        section.goal(format!("ADD of coil / `/bin/true`, {with}"), bound, coil.ratio(nothing), Unit::Ratio);
        if held > 0 {
            let what = format!("ADD of coil, {with} / none held");
            section.goal(what, Bound::AtMost(FLAT), coil.ratio(empty), Unit::Ratio);
        }
        let what = format!("ADD of coil / bare durable round trip, {with}");
        section.figure(what, coil.ratio(floor), Unit::Ratio);
        let what = format!("bare durable round trip / ADD of host-local, {with}");
        section.figure(what, floor.ratio(rival), Unit::Ratio);
    }
    let [whole, process, durable] = [empty, nothing, floor].map(|samples| millis(samples.median()));
    section.note(format!(
        "Where the time of an ADD goes, with none held: {process:.2} ms for a process that does nothing, {:.2} ms \
         for a socket, the wake-ups of a server and the sync of a page, {:.2} ms for all else: a larger program, \
         JSON and HTTP on both sides, the allocator, and what the journal's commit takes beyond one page.",
        durable - process,
        whole - durable,
    ));
}

fn plot(entries: &[Entry]) -> Plot {
    let mut series: Vec<Series> = Vec::new();
    let ends = [FILLS[0].0, FILLS[FILLS.len() - 1].0];
    for entry in entries {
        let median = millis(entry.adds.median());
        let points = match entry.held {
            Some(held) => vec![(f64::from(held), median)],
            None => ends.map(|end| (f64::from(end), median)).to_vec(),
        };
        match series.iter_mut().find(|series| series.name == entry.contender.name) {
            Some(series) => series.points.extend(points),
            None => series.push(Series { name: entry.contender.name.to_owned(), points }),
        }
    }
    Plot {
        file: "latency-fill",
        title: "ADD as ipam, whole process, p50",
        x: Axis { label: "addresses held", logarithmic: false },
        y: Axis { label: "ms", logarithmic: true },
        series,
    }
}
