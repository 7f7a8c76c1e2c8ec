//! Many clients at once.

use anyhow::{Result, anyhow};
use std::sync::Barrier;

/// Does something `count` times at the same moment, each in a thread of its own, and answers all results in
/// order, or the first failure.
pub fn at_once<T: Send>(count: usize, action: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let start = Barrier::new(count);
    std::thread::scope(|scope| {
        let spawn = |index| {
            let (action, start) = (&action, &start);
            scope.spawn(move || {
                start.wait();
                action(index)
            })
        };
        let threads: Vec<_> = (0..count).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a client panicked"))?).collect()
    })
}

/// A sequence of numbers that looks random and is the same in every run (xorshift).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The sequence with this number.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (sides as u64)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_failures_come_through() {
        assert_eq!(at_once(3, Ok).expect("no failure"), [0, 1, 2]);
        assert!(at_once(3, |i| if i == 1 { Err(anyhow!("one")) } else { Ok(i) }).is_err());
    }

    #[test]
    fn dice_show_every_side() {
        let mut dice = Dice::new(1);
        let mut seen = [false; 6];
        for _ in 0..100 {
            seen[dice.roll(6)] = true;
        }
        assert_eq!(seen, [true; 6]);
    }
}
