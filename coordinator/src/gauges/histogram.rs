//! How long things took, in buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets in seconds: from a `noop` to a check of an hour.
const BOUNDS: [f64; 17] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
    3600.0,
];

/// Durations, counted by bucket.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Those in each bucket and in none below it; the last is beyond every bound.
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// A [`Histogram`] at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Upper bounds in seconds, each with how many took no longer.
    pub buckets: Vec<(f64, u64)>,
    /// How many there were in all.
    pub count: u64,
    /// How long they took together.
    pub sum_seconds: f64,
}

impl Histogram {
    pub(crate) fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// The present state. The buckets and the count are of one reading, so they always agree.
    pub fn snapshot(&self) -> Snapshot {
        let mut count = 0;
        let mut cumulated = self.counts.iter().map(|bucket| {
            count += bucket.load(Ordering::Relaxed);
            count
        });
        let buckets = BOUNDS.into_iter().zip(&mut cumulated).collect();
        cumulated.for_each(drop);
        let sum_seconds = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        Snapshot { buckets, count, sum_seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_include_their_bound() {
        let histogram = Histogram::default();
        for millis in [0, 1, 2, 1_000, 4_000_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count, 5);
        assert_eq!(snapshot.buckets[0], (0.001, 2));
        assert_eq!(snapshot.buckets[1], (0.005, 3));
        assert_eq!(snapshot.buckets[8], (1.0, 4));
        assert_eq!(snapshot.buckets[16], (3600.0, 4));
        assert!((snapshot.sum_seconds - 4_001.003).abs() < 1e-6);
    }
}
