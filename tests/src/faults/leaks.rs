//! What a test may leave on the machine: file descriptors, processes, network namespaces, links, routes, mounts.

use crate::tools::run;
use crate::wait::wait_until;
use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// What there is at a moment, as far as it is this process's doing.
#[derive(Debug)]
pub struct Inventory {
    things: BTreeSet<String>,
    descriptors: usize,
}

impl Inventory {
    /// Looks around.
    pub fn take() -> Result<Self> {
        let mut things = BTreeSet::new();
        for (what, words) in [
            ("link", &["-o", "link"][..]),
            ("route", &["route", "show", "table", "all"]),
            ("route", &["-6", "route", "show", "table", "all"]),
            ("namespace", &["netns", "list"]),
        ] {
            let output = run(Command::new("ip").args(words))?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            things.extend(text.lines().map(|line| format!("{what}: {}", name_of(what, line))));
        }
        for mount in fs::read_to_string("/proc/self/mounts")?.lines() {
            things.insert(format!("mount: {}", mount.split(' ').nth(1).unwrap_or_default()));
        }
        things.extend(descendants().into_iter().map(|process| format!("process: {process}")));
        Ok(Self { things, descriptors: fs::read_dir("/proc/self/fd")?.count() })
    }

    /// Waits until nothing is there that was not there before.
    pub fn is_restored(&self) -> Result<()> {
        wait_until("everything to be gone", Duration::from_secs(20), || {
            let now = Self::take()?;
            let left: Vec<&String> = now.things.difference(&self.things).collect();
            ensure!(left.is_empty(), "left behind: {left:#?}");
            let (before, after) = (self.descriptors, now.descriptors);
            ensure!(after <= before, "{after} file descriptors are open, {before} were before");
            Ok(true)
        })
    }
}

/// A link without its counters and flags, a route as it is.
fn name_of<'a>(what: &str, line: &'a str) -> &'a str {
    if what == "link" { line.split(": ").nth(1).unwrap_or(line) } else { line }
}

/// The processes that this one has started, directly or not.
fn descendants() -> Vec<String> {
    let (mut found, mut parents) = (Vec::new(), vec![std::process::id().to_string()]);
    while let Some(parent) = parents.pop() {
        let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace() {
                let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
                // The one that looks.
                if name.trim() != "ip" {
                    found.push(format!("{} {child}", name.trim()));
                    parents.push(child.to_owned());
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_runs_on_is_seen() -> Result<()> {
        let mut child = Command::new("sleep").arg("60").spawn()?;
        let seen = descendants().contains(&format!("sleep {}", child.id()));
        child.kill()?;
        child.wait()?;
        assert!(seen);
        Ok(())
    }
}
