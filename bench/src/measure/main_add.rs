//! ADD and DEL of the main plugin, with interfaces in real network namespaces.

use super::Effort;
use crate::contender::{Contender, HostLocal};
use crate::kernel::Kernel;
use crate::netns::{Netns, in_new};
use crate::report::{Bound, Section, Unit, millis};
use crate::rig;
use crate::samples::Samples;
use anyhow::{Result, ensure};

const ROUNDS: usize = 100;
const WARM_UP: usize = 5;
/// How many times the rival's time an ADD, and a DEL, may take.
const ADD: f64 = 0.4;
const DEL: f64 = 1.0;

/// Times of one that takes part.
#[derive(Default)]
struct Times {
    adds: Samples,
    dels: Samples,
}

/// Measures.
pub(super) fn run(effort: Effort) -> Result<Section> {
    let mut section = Section::new(
        "ADD and DEL with network namespaces",
        format!(
            "The whole path of a pod: the plugin's process, its interfaces in a network namespace, addresses and \
             routes. coil as main plugin, ptp with host-local, and the kernel alone take turns, {} times after \
             {WARM_UP} rounds of warm-up, each with a namespace of its own beside one that stands for the host. \
             The kernel alone is one netlink request that makes a veth pair with an end in the namespace, and one \
             that removes it. Both plugins hold no other addresses.",
            effort.of(ROUNDS),
        ),
    );
    let controller = rig::standalone()?;
    let host_local = HostLocal::new()?;
    host_local.hold(0)?;
    let pods = [Netns::new()?, Netns::new()?, Netns::new()?];
    let plugins =
        [Contender::coil_main(&controller.socket(), &pods[0])?, host_local.with_ptp()?.in_netns(&pods[1])];
    let [coil, rival, kernel] = in_new(|| take_turns(&plugins, &pods[2], effort.of(ROUNDS)))?;
    ensure!(rig::held(&controller.socket())? == 0, "coild still holds addresses");
    ensure!(host_local.held()? == 0, "host-local still holds addresses");
    let ratio = coil.adds.ratio(&rival.adds);
    section.goal("ADD of coil / of ptp with host-local", Bound::AtMost(ADD), ratio, Unit::Ratio);
    let ratio = coil.dels.ratio(&rival.dels);
    section.goal("DEL of coil / of ptp with host-local", Bound::AtMost(DEL), ratio, Unit::Ratio);
    for (verb, mine, floor) in [("ADD", &coil.adds, &kernel.adds), ("DEL", &coil.dels, &kernel.dels)] {
        let share = floor.ratio(mine);
        section.figure(format!("{verb}: the kernel alone / coil"), share, Unit::Ratio);
        section.note(format!(
            "Of {:.2} ms of coil's {verb} the kernel alone takes {:.2} ms, {:.0} %.",
            millis(mine.median()),
            millis(floor.median()),
            share * 100.0,
        ));
    }
    for (name, times) in [("coil", coil), ("ptp with host-local", rival), ("the kernel alone", kernel)] {
        section.times(format!("{name}, ADD"), times.adds);
        section.times(format!("{name}, DEL"), times.dels);
    }
    Ok(section)
}

/// Who begins changes with every round.
fn take_turns(plugins: &[Contender; 2], floor: &Netns, rounds: usize) -> Result<[Times; 3]> {
    let kernel = Kernel::connect()?;
    let mut times: [Times; 3] = Default::default();
    for round in 0..WARM_UP + rounds {
        for turn in 0..times.len() {
            let index = (round + turn) % times.len();
            let [add, del] = match plugins.get(index) {
                Some(plugin) => [plugin.add(round)?, plugin.del(round)?],
                None => kernel.veth(floor)?,
            };
            if round >= WARM_UP {
                times[index].adds.push(add);
                times[index].dels.push(del);
            }
        }
    }
    Ok(times)
}
