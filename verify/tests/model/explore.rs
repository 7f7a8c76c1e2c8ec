//! Visits every world that can be reached, the nearest first.

use crate::check::{check, drains};
use crate::step::{Step, steps, take};
use crate::world::{Rules, World};
use std::collections::HashMap;

/// How an exploration ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Different worlds seen.
    pub(crate) worlds: usize,
    /// Steps from the start to the farthest of them.
    pub(crate) depth: usize,
    /// Whether there is nothing beyond.
    pub(crate) exhausted: bool,
    /// What went wrong, and how it came to that.
    pub(crate) failure: Option<(String, Vec<Step>)>,
}

/// Of so many worlds, one is drained to see whether anything leaks.
const DRAINED: u64 = 64;

/// Explores up to a depth, or until something is wrong.
pub(crate) fn explore(start: &World, rules: Rules, depth: usize) -> Outcome {
    let mut outcome = Outcome::default();
    // How each world was first reached.
    let mut seen: HashMap<u64, Option<(u64, Step)>> = HashMap::from([(start.fingerprint(), None)]);
    let mut layer = vec![start.clone()];
    while !layer.is_empty() && outcome.depth < depth {
        let mut next_layer = Vec::new();
        for world in layer {
            let from = world.fingerprint();
            for step in steps(&world, rules) {
                let Some(next) = take(&world, step, rules) else { continue };
                let print = next.fingerprint();
                if seen.contains_key(&print) {
                    continue;
                }
                seen.insert(print, Some((from, step)));
                let verdict = check(&next)
                    .and_then(|()| if print.is_multiple_of(DRAINED) { drains(&next, rules) } else { Ok(()) });
                if let Err(wrong) = verdict {
                    outcome.worlds = seen.len();
                    outcome.failure = Some((wrong, path(&seen, print)));
                    return outcome;
                }
                next_layer.push(next);
            }
        }
        layer = next_layer;
        outcome.depth += 1;
    }
    outcome.worlds = seen.len();
    outcome.exhausted = layer.is_empty();
    outcome
}

fn path(seen: &HashMap<u64, Option<(u64, Step)>>, to: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = to;
    while let Some(Some((from, step))) = seen.get(&at) {
        steps.push(*step);
        at = *from;
    }
    steps.reverse();
    steps
}
