//! Processor time of processes (proc(5)).

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};
use std::time::Duration;

/// Processor time that a process has taken so far, with all of its threads, in the kernel and outside.
fn time(process: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let ticks = ticks(&stat).with_context(|| format!("not the state of a process: {stat}"))?;
    let a_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|count| u32::try_from(count).ok());
    Ok(Duration::from_secs(ticks) / a_second.context("the kernel does not tell its ticks")?)
}

/// What some processes take of the processors from now on.
#[derive(Debug)]
pub(crate) struct Spending<const N: usize>([(u32, Duration); N]);

impl<const N: usize> Spending<N> {
    /// Begins to count.
    pub(crate) fn of(processes: [u32; N]) -> Result<Self> {
        let mut begun = processes.map(|process| (process, Duration::ZERO));
        for (process, before) in &mut begun {
            *before = time(*process)?;
        }
        Ok(Self(begun))
    }

    /// Seconds of each so far.
    pub(crate) fn seconds(&self) -> Result<[f64; N]> {
        let mut spent = [0.0; N];
        for (spent, (process, before)) in spent.iter_mut().zip(self.0) {
            *spent = time(process)?.saturating_sub(before).as_secs_f64();
        }
        Ok(spent)
    }
}

/// Fields 14 and 15. The second field is a name in brackets that may have anything in it.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_times_are_added_whatever_the_name() {
        let stat =
            "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 1 0 5 100 10 18446744073709551615";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (cut) S 1 7"), None);
    }

    #[test]
    fn this_process_has_taken_some() -> Result<()> {
        while time(std::process::id())? == Duration::ZERO {}
        Ok(())
    }
}
