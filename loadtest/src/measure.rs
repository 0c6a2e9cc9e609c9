//! Latencies, in microseconds, in histograms that keep three digits.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The largest latency told apart from larger ones.
const LARGEST: Duration = Duration::from_secs(3_600);

/// Latencies of one kind.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let largest = LARGEST.as_micros() as u64;
        let histogram = Histogram::new_with_bounds(1, largest, 3);
        Self(histogram.expect("an hour in microseconds with three digits is a sound range"))
    }
}

impl Latencies {
    /// Counts one.
    pub fn add(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many were counted.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// None was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The figures that are reported.
    pub fn summary(&self) -> Summary {
        let millis = |micros: u64| micros as f64 / 1_000.0;
        Summary {
            count: self.0.len(),
            mean_ms: self.0.mean() / 1_000.0,
            p50_ms: millis(self.0.value_at_quantile(0.50)),
            p95_ms: millis(self.0.value_at_quantile(0.95)),
            p99_ms: millis(self.0.value_at_quantile(0.99)),
            p999_ms: millis(self.0.value_at_quantile(0.999)),
            max_ms: millis(self.0.max()),
        }
    }
}

/// What a histogram comes to.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Summary {
    pub count: u64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_added() {
        let mut latencies = Latencies::default();
        for millis in 1..=1_000 {
            latencies.add(Duration::from_millis(millis));
        }
        let summary = latencies.summary();
        let near = |got: f64, wanted: f64| (got / wanted - 1.0).abs() < 0.002;
        assert_eq!(summary.count, 1_000);
        assert!(near(summary.p50_ms, 500.0), "{summary:?}");
        assert!(near(summary.p95_ms, 950.0), "{summary:?}");
        assert!(near(summary.p99_ms, 990.0), "{summary:?}");
        assert!(near(summary.max_ms, 1_000.0), "{summary:?}");
    }

    #[test]
    fn nothing_is_too_short_or_too_long_to_count() {
        let mut latencies = Latencies::default();
        latencies.add(Duration::ZERO);
        latencies.add(Duration::MAX);
        assert_eq!(latencies.len(), 2);
        assert!(!latencies.is_empty());
    }
}
