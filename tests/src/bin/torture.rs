//! `make torture`: the fault stories again and again, each time with another seed, for as long as it is told.

use anyhow::{Context, Result, ensure};
use coil_tests::faults::leaks::Inventory;
use coil_tests::faults::{Budget, STORIES, Story};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const USAGE: &str = "usage: torture [--minutes N] [--seed N] [--story NAME]";
/// How long one story goes on.
const STORY: Duration = Duration::from_mins(1);

struct Arguments {
    minutes: f64,
    seed: u64,
    story: Option<String>,
}

fn arguments() -> Result<Arguments> {
    let mut arguments = Arguments { minutes: 10.0, seed: now(), story: None };
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let value = words.next().context(USAGE)?;
        match flag.as_str() {
            "--minutes" => arguments.minutes = value.parse().context(USAGE)?,
            "--seed" => arguments.seed = value.parse().context(USAGE)?,
            "--story" => arguments.story = Some(value),
            _ => anyhow::bail!(USAGE),
        }
    }
    Ok(arguments)
}

#[expect(clippy::disallowed_methods, reason = "a seed that nobody has chosen")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[expect(clippy::print_stdout, reason = "this is a program that people look at")]
fn main() -> Result<()> {
    let Arguments { minutes, seed, story } = arguments()?;
    let stories: Vec<Story> = STORIES
        .iter()
        .copied()
        .filter(|known| story.as_deref().is_none_or(|name| name == known.name))
        .collect();
    ensure!(!stories.is_empty(), "there is no such story");
    let until = Instant::now() + Duration::try_from_secs_f64(60.0 * minutes).context(USAGE)?;
    println!("{minutes} minutes of {} stories, from seed {seed}", stories.len());
    let before = Inventory::take()?;
    for (seed, story) in (seed..).zip(stories.iter().cycle()) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let start = Instant::now();
        story.tell(Budget { seed, time: STORY.min(left) })?;
        println!("{:<24} seed {seed:<12} held for {:>3} s", story.name, start.elapsed().as_secs());
    }
    before.is_restored()?;
    println!("The invariants held, and nothing was left behind.");
    Ok(())
}
