//! Retries, decided in one place: bounded, with growing pauses and jitter.

use super::StoreError;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often a change is tried anew that lost against another one.
const ATTEMPTS: u32 = 16;

/// Tries until the change is made, the store says something else than [`StoreError::Conflict`], or the
/// attempts are used up. `seed` spreads the pauses of callers that collide.
pub async fn on_conflict<T, E, F>(seed: u64, mut attempt: F) -> Result<T, E>
where
    F: AsyncFnMut() -> Result<T, E>,
    E: IsConflict,
{
    let mut attempts = Attempts::new(seed);
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => attempts.after(error).await?,
        }
    }
}

/// The attempts at one change, for callers whose future must be `Send` and can't pass a closure that borrows.
#[derive(Debug)]
pub struct Attempts {
    seed: u64,
    tried: u32,
}

impl Attempts {
    /// No attempt was made yet.
    pub fn new(seed: u64) -> Self {
        Self { seed, tried: 0 }
    }

    /// After an attempt failed: pauses if it lost against another change and may be tried anew, and answers the
    /// error if not.
    pub async fn after<E: IsConflict>(&mut self, error: E) -> Result<(), E> {
        if !error.is_conflict() || self.tried >= ATTEMPTS {
            return Err(error);
        }
        tokio::time::sleep(pause(self.seed, self.tried)).await;
        self.tried += 1;
        Ok(())
    }
}

/// An error that may be a lost race.
pub trait IsConflict {
    /// Whether the change lost against another one and may be tried anew.
    fn is_conflict(&self) -> bool;
}

impl IsConflict for StoreError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict)
    }
}

/// A seed for [`on_conflict`]: every call gives another one.
pub fn seed(of: impl Hash) -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let mut hasher = DefaultHasher::new();
    (of, std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed)).hash(&mut hasher);
    hasher.finish()
}

/// The pause after a failed attempt: doubles from 1 ms to 64 ms, of which half is jitter. The same seed and
/// count give the same pause.
pub fn pause(seed: u64, tried: u32) -> Duration {
    let full = 1_000_u64 << tried.min(6);
    let mixed =
        (seed ^ u64::from(tried).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    Duration::from_micros(full / 2 + (mixed >> 32) % (full / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for seed in 0..100 {
            assert!(pause(seed, 0) < Duration::from_millis(1));
            assert!(
                pause(seed, 40) >= Duration::from_millis(32) && pause(seed, 40) < Duration::from_millis(64)
            );
        }
        assert_ne!(pause(1, 3), pause(2, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn conflicts_are_tried_anew_but_not_for_ever() {
        let mut calls = 0;
        let result: Result<u32, StoreError> = on_conflict(1, async || {
            calls += 1;
            if calls < 3 { Err(StoreError::Conflict) } else { Ok(calls) }
        })
        .await;
        assert_eq!(result.expect("third attempt"), 3);
        let mut calls = 0;
        let result: Result<(), StoreError> = on_conflict(1, async || {
            calls += 1;
            Err(StoreError::Conflict)
        })
        .await;
        assert!(matches!(result, Err(StoreError::Conflict)));
        assert_eq!(calls, ATTEMPTS + 1);
    }
}
