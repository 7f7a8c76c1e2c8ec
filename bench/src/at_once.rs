//! Many threads that begin at the same moment.

use anyhow::{Result, anyhow};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

const STACK: usize = 128 << 10;

/// Runs the job on every item, each in a thread of its own, all at once. Answers the results in order, and the
/// time from the common beginning until all were done.
pub(crate) fn at_once<I: Send, T: Send>(
    items: Vec<I>,
    job: impl Fn(I) -> Result<T> + Sync,
) -> Result<(Vec<T>, Duration)> {
    // The threads begin when nobody holds it to write any more: even if one of them can't be started.
    let gate = RwLock::new(());
    let (job, gate) = (&job, &gate);
    std::thread::scope(|scope| {
        let closed = gate.write().unwrap_or_else(PoisonError::into_inner);
        let handles: Vec<_> = items
            .into_iter()
            .map(|item| {
                std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || {
                    drop(gate.read().unwrap_or_else(PoisonError::into_inner));
                    job(item)
                })
            })
            .collect::<Result<_, _>>()?;
        let start = Instant::now();
        drop(closed);
        let joined: Vec<_> = handles.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        let elapsed = start.elapsed();
        let results = joined.into_iter().map(|result| result.map_err(|_| anyhow!("a thread panicked"))?);
        Ok((results.collect::<Result<_>>()?, elapsed))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn all_run_at_once_and_answer_in_order() -> Result<()> {
        let barrier = Barrier::new(8);
        let (results, elapsed) = at_once((0..8).collect(), |number| {
            barrier.wait();
            Ok(number * 2)
        })?;
        assert_eq!(results, [0, 2, 4, 6, 8, 10, 12, 14]);
        assert!(elapsed > Duration::ZERO);
        Ok(())
    }

    #[test]
    fn one_failure_is_the_outcome() {
        let outcome = at_once(vec![1, 2, 3], |number| {
            anyhow::ensure!(number != 2, "two");
            Ok(number)
        });
        assert_eq!(outcome.expect_err("a failure").to_string(), "two");
    }
}
