//! ADD of the plugin as ipam, one at a time.

use super::Effort;
use crate::contender::{Contender, HostLocal};
use crate::durable::DurableServer;
use crate::report::{Bound, Section, Unit};
use crate::rig;
use crate::samples::Samples;
use anyhow::{Result, ensure};

const ROUNDS: usize = 200;
const WARM_UP: usize = 10;
/// Addresses held beforehand, and how many times host-local's time an ADD may take then.
const FILLS: [(u32, f64); 2] = [(0, 0.4), (4_000, 0.05)];
/// How many times the time of `/bin/true` an ADD may take.
const TIMES_NOTHING: f64 = 2.0;

/// Measures.
pub(super) fn run(effort: Effort) -> Result<Section> {
    let mut section = Section::new(
        "ADD of the plugin as ipam",
        format!(
            "The whole process as a runtime sees it: start, configuration on standard input, result on standard \
             output, exit. The programs take turns, one call each, {} times after {WARM_UP} rounds of warm-up; \
             every ADD is followed by a DEL, so that the number of addresses held stays. coil asks a coild on \
             the embedded store, which syncs its journal before it answers; host-local does not sync. \
             `/bin/true` is what any process costs; the bare durable round trip is a program that sends 256 \
             bytes over a unix socket to a server that overwrites one page, syncs it and answers.",
            effort.of(ROUNDS),
        ),
    );
    for (held, limit) in FILLS {
        eprintln!("    {held} addresses held");
        measure(&mut section, effort, held, limit)?;
    }
    Ok(section)
}

fn measure(section: &mut Section, effort: Effort, held: u32, limit: f64) -> Result<()> {
    let server = DurableServer::start()?;
    let host_local = HostLocal::new()?;
    host_local.hold(held)?;
    let controller = rig::standalone()?;
    let count = usize::try_from(held)?;
    rig::hold(&controller.socket(), count)?;
    let contenders = [
        Contender::coil(&controller.socket())?,
        host_local.contender()?,
        Contender::nothing()?,
        Contender::round_trip(&server)?,
    ];
    let [adds, dels] = take_turns(&contenders, effort.of(ROUNDS))?;
    ensure!(rig::held(&controller.socket())? == count, "coild does not hold {held} any more");
    ensure!(host_local.held()? == count, "host-local does not hold {held} any more");
    let [coil, rival, nothing, floor] = &adds;
    let with = format!("{held} addresses held");
    section.goal(
        format!("ADD of coil / of host-local, {with}"),
        Bound::AtMost(limit),
        coil.ratio(rival),
        Unit::Ratio,
    );
    section.goal(
        format!("ADD of coil / `/bin/true`, {with}"),
        Bound::AtMost(TIMES_NOTHING),
        coil.ratio(nothing),
        Unit::Ratio,
    );
    let floor = coil.ratio(floor);
    section.figure(format!("ADD of coil / bare durable round trip, {with}"), floor, Unit::Ratio);
    for (contender, samples) in contenders.iter().zip(adds) {
        section.times(format!("{} ADD, {with}", contender.name), samples);
    }
    for (contender, samples) in contenders.iter().zip(dels).take(2) {
        section.times(format!("{} DEL, {with}", contender.name), samples);
    }
    Ok(())
}

/// Times of ADD and of DEL. Who begins changes with every round.
fn take_turns<const N: usize>(contenders: &[Contender; N], rounds: usize) -> Result<[[Samples; N]; 2]> {
    let (mut adds, mut dels) = ([const { Samples::new() }; N], [const { Samples::new() }; N]);
    for round in 0..WARM_UP + rounds {
        for turn in 0..N {
            let index = (round + turn) % N;
            let (add, del) = (contenders[index].add(round)?, contenders[index].del(round)?);
            if round >= WARM_UP {
                adds[index].push(add);
                dels[index].push(del);
            }
        }
    }
    Ok([adds, dels])
}
