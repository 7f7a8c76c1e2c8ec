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

/// The processes that this one has started, directly or not. (`/proc/*/children` misses some while others end.)
fn descendants() -> Vec<String> {
    let processes: Vec<Status> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Status::parse(&fs::read_to_string(entry.path().join("stat")).ok()?))
        .collect();
    let (mut found, mut parents) = (Vec::new(), vec![std::process::id()]);
    while let Some(parent) = parents.pop() {
        // All but the one that looks.
        for process in processes.iter().filter(|process| process.parent == parent && process.name != "ip") {
            found.push(format!("{} {}", process.name, process.id));
            parents.push(process.id);
        }
    }
    found
}

/// What the kernel says of a process (proc(5), `stat`).
struct Status {
    id: u32,
    name: String,
    parent: u32,
}

impl Status {
    fn parse(line: &str) -> Option<Self> {
        let (id, rest) = line.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let parent = rest.split(' ').nth(1)?.parse().ok()?;
        Some(Self { id: id.parse().ok()?, name: name.to_owned(), parent })
    }
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
