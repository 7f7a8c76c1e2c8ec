//! Waiting for a condition: the only place where time passes.

use anyhow::{Result, anyhow};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(10);

/// Polls until the condition gives a value. An error of the condition counts as "not yet", and the last one is
/// told when the deadline passes.
pub fn wait_for<T>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        let missed = match condition() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => anyhow!("not yet"),
            Err(error) => error,
        };
        if Instant::now() >= deadline {
            return Err(missed.context(format!("waited {within:?} for {what}")));
        }
        pause();
    }
}

/// Polls until the condition holds.
pub fn wait_until(what: &str, within: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_for(what, within, || Ok(condition()?.then_some(())))
}

#[expect(clippy::disallowed_methods, reason = "between two looks at the condition")]
fn pause() {
    std::thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_ends_the_wait() {
        let mut looks = 0;
        let third = wait_for("the third look", Duration::from_secs(5), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(third.expect("in time"), 3);
    }

    #[test]
    fn a_deadline_tells_what_was_missing() {
        let error =
            wait_until("rain", Duration::from_millis(1), || Err(anyhow!("blue sky"))).expect_err("late");
        let text = format!("{error:#}");
        assert!(text.contains("rain") && text.contains("blue sky"), "{text}");
    }
}
