//! Times, and their percentiles.

use std::time::Duration;

/// Times of one thing that was done many times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// One more.
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// All of another's.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The least time that at least `percent` of all did not exceed (nearest rank): the shortest with 0, the
    /// longest with 100. Zero without samples.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// The percentile 50.
    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// How many times the median of `other` this one's is.
    pub(crate) fn ratio(&self, other: &Self) -> f64 {
        self.median().as_secs_f64() / other.median().as_secs_f64()
    }
}

/// The middle of some numbers, or the mean of the two in the middle; not a number without any.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match (numbers.get(middle.wrapping_sub(1)), numbers.get(middle)) {
        (Some(below), Some(above)) if numbers.len().is_multiple_of(2) => f64::midpoint(*below, *above),
        (_, Some(middle)) => *middle,
        (_, None) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(millis: impl IntoIterator<Item = u64>) -> Samples {
        Samples(millis.into_iter().map(Duration::from_millis).collect())
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let all = samples((1..=200).rev());
        assert_eq!(all.median(), Duration::from_millis(100));
        assert_eq!(all.percentile(99), Duration::from_millis(198));
        assert_eq!(all.percentile(0), Duration::from_millis(1));
        assert_eq!(all.percentile(100), Duration::from_millis(200));
        assert_eq!(samples([7]).percentile(1), Duration::from_millis(7));
        assert_eq!(samples([]).median(), Duration::ZERO);
    }

    #[test]
    fn a_ratio_is_of_medians() {
        let ratio = samples([1, 2, 90]).ratio(&samples([3, 4, 5]));
        assert!((ratio - 0.5).abs() < 1e-9, "{ratio}");
    }

    #[test]
    fn the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).total_cmp(&2.0), std::cmp::Ordering::Equal);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]).total_cmp(&2.5), std::cmp::Ordering::Equal);
        assert!(median(Vec::new()).is_nan());
    }
}
