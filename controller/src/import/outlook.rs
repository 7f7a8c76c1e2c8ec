//! What an import would do, told line by line.

use super::ImportError;
use super::plan::Plan;
use super::survey::{Step, Survey};
use std::collections::BTreeSet;
use std::io::{self, Write};

/// What an import would do.
#[derive(Debug)]
pub struct Outlook {
    pub(super) plan: Plan,
    pub(super) survey: Survey,
}

impl Outlook {
    /// What stands in the way, if anything does.
    pub fn obstacles(&self) -> Result<(), ImportError> {
        match &self.survey.obstacles[..] {
            [] => Ok(()),
            obstacles => Err(ImportError::Obstacles(obstacles.to_vec())),
        }
    }

    /// Tells all of it, a line for each pool, block and address.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { plan, survey } = self;
        let state = |is_due: bool| if is_due { "to import" } else { "there" };
        for (name, pool) in &plan.pools {
            let subnets: Vec<String> = pool.subnets.iter().map(ToString::to_string).collect();
            let is_due = survey.steps.contains(&Step::Pool(name.clone()));
            writeln!(
                out,
                "pool {name}: {} in blocks of /{}: {}",
                subnets.join(", "),
                pool.block_size,
                state(is_due)
            )?;
        }
        let due = survey.steps.iter().filter_map(|step| match step {
            Step::Block(node, place, _) => Some((node, place)),
            Step::Pool(_) | Step::Remove(..) => None,
        });
        let due: BTreeSet<_> = due.collect();
        for (node, blocks) in &plan.nodes {
            for (place, mirror) in blocks {
                let (pool, unit) = place;
                let is_due = due.contains(&(node, place));
                let unnamed = plan.unnamed(place);
                let count = mirror.held.len() + unnamed.len();
                writeln!(out, "node {node}: {unit} of pool {pool}, {count} in use: {}", state(is_due))?;
                let address =
                    |offset: u32| unit.address(offset).map(|address| address.to_string()).unwrap_or_default();
                for held in &mirror.held {
                    writeln!(
                        out,
                        "  {} {}/{} {}",
                        address(held.offset),
                        held.namespace,
                        held.pod,
                        held.container
                    )?;
                }
                for (offset, pod) in unnamed {
                    writeln!(
                        out,
                        "  {} {}/{}: the node finds its container",
                        address(*offset),
                        pod.namespace,
                        pod.name
                    )?;
                }
            }
        }
        for step in &survey.steps {
            if let Step::Remove(node, (pool, unit), ..) = step {
                writeln!(
                    out,
                    "node {node}: {unit} of pool {pool}: released since it was imported, to remove"
                )?;
            }
        }
        writeln!(out, "{}; {} steps to do", plan.size(), survey.steps.len())
    }
}
