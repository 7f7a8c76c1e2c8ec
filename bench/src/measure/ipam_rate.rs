//! ADD of the plugin as ipam, many at once.

use super::Effort;
use crate::at_once::at_once;
use crate::contender::{Contender, HostLocal};
use crate::report::{Bound, Section, Unit};
use crate::rig;
use crate::samples::median;
use anyhow::{Result, ensure};

const ROUNDS: usize = 10;
const AT_ONCE: usize = 16;
/// ADDs of each of those who run at once, in a round.
const EACH: usize = 10;
/// How many times host-local's rate coil has to reach.
const TIMES_RIVAL: f64 = 4.0;

/// Measures.
pub(super) fn run(effort: Effort) -> Result<Section> {
    let rounds = effort.of(ROUNDS);
    let mut section = Section::new(
        "ADD of the plugin as ipam, 16 at once",
        format!(
            "{AT_ONCE} callers at once make {EACH} ADDs each, whole processes as above; coil and host-local take \
             turns, {rounds} rounds each after one of warm-up. After each round all is freed, which does not count. \
             The figures are medians of the rounds.",
        ),
    );
    let host_local = HostLocal::new()?;
    host_local.hold(0)?;
    let controller = rig::standalone()?;
    let contenders = [Contender::coil(&controller.socket())?, host_local.contender()?];
    let mut rates = [const { Vec::new() }; 2];
    for round in 0..=rounds {
        for (contender, rates) in contenders.iter().zip(&mut rates) {
            let rate = rate(contender)?;
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    ensure!(rig::held(&controller.socket())? == 0, "coild still holds addresses");
    ensure!(host_local.held()? == 0, "host-local still holds addresses");
    let [coil, rival] = rates.map(median);
    section.figure("coil ADD", coil, Unit::PerSecond);
    section.figure("host-local ADD", rival, Unit::PerSecond);
    section.goal(
        "rate of coil / of host-local, 16 at once",
        Bound::AtLeast(TIMES_RIVAL),
        coil / rival,
        Unit::Ratio,
    );
    Ok(section)
}

fn rate(contender: &Contender) -> Result<f64> {
    let numbers = |caller: usize| caller * EACH..(caller + 1) * EACH;
    let (_, elapsed) = at_once((0..AT_ONCE).collect(), |caller| {
        numbers(caller).try_for_each(|number| contender.add(number).map(|_| ()))
    })?;
    at_once((0..AT_ONCE).collect(), |caller| {
        numbers(caller).try_for_each(|number| contender.del(number).map(|_| ()))
    })?;
    Ok(f64::from(u32::try_from(AT_ONCE * EACH)?) / elapsed.as_secs_f64())
}
