//! When runs arrive. The whole timetable follows from a shape, a rate and a seed, and nothing the
//! system under test does moves it.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// How arrivals are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "shape")]
pub enum Shape {
    /// At equal distances.
    Constant {
        /// Arrivals a second.
        rate: f64,
    },
    /// Independently of each other, with exponential distances.
    Poisson {
        /// Arrivals a second, on average.
        rate: f64,
    },
    /// Many at once.
    Burst {
        /// How many at once.
        size: u64,
        /// Milliseconds from one burst to the next.
        every_ms: u64,
    },
}

/// Why a timetable cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArrivalsError {
    /// The rate is no rate.
    #[error("a rate of arrivals is a number between 0.001 and 10 000 000 a second")]
    Rate,
    /// The burst is none.
    #[error("a burst has at least one arrival and at least a millisecond to the next")]
    Burst,
    /// It would never end.
    #[error("arrivals need an end: a number of runs, a duration, or both")]
    Endless,
}

impl Shape {
    /// Arrivals a second, on average.
    pub fn rate(self) -> f64 {
        match self {
            Self::Constant { rate } | Self::Poisson { rate } => rate,
            Self::Burst { size, every_ms } => size as f64 * 1_000.0 / every_ms as f64,
        }
    }

    /// The same shape with another average rate.
    #[must_use]
    pub fn at_rate(self, rate: f64) -> Self {
        match self {
            Self::Constant { .. } => Self::Constant { rate },
            Self::Poisson { .. } => Self::Poisson { rate },
            Self::Burst { size, .. } => {
                let every_ms = (size as f64 * 1_000.0 / rate).round().max(1.0) as u64;
                Self::Burst { size, every_ms }
            }
        }
    }

    fn validate(self) -> Result<(), ArrivalsError> {
        match self {
            Self::Constant { rate } | Self::Poisson { rate } => {
                let sound = rate.is_finite() && (0.001..=1e7).contains(&rate);
                if sound { Ok(()) } else { Err(ArrivalsError::Rate) }
            }
            Self::Burst { size, every_ms } => {
                if size > 0 && every_ms > 0 {
                    Ok(())
                } else {
                    Err(ArrivalsError::Burst)
                }
            }
        }
    }
}

/// When arrivals end: at the first of these limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Until {
    /// After this many.
    pub count: Option<u64>,
    /// After this long.
    pub duration: Option<Duration>,
}

/// The intended instants of all arrivals, as time since the beginning, in order.
#[derive(Debug)]
pub struct Timetable {
    shape: Shape,
    until: Until,
    dice: Box<StdRng>,
    given: u64,
    seconds: f64,
}

impl Timetable {
    /// The timetable of a shape.
    ///
    /// # Errors
    /// When the shape is not sound, or the timetable would never end.
    pub fn new(shape: Shape, until: Until, seed: u64) -> Result<Self, ArrivalsError> {
        shape.validate()?;
        if until.count.is_none() && until.duration.is_none() {
            return Err(ArrivalsError::Endless);
        }
        Ok(Self {
            shape,
            until,
            dice: Box::new(StdRng::seed_from_u64(seed)),
            given: 0,
            seconds: 0.0,
        })
    }
}

impl Iterator for Timetable {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.until.count.is_some_and(|count| self.given >= count) {
            return None;
        }
        let at = match self.shape {
            // From the count, not by adding up, so that rounding never accumulates.
            Shape::Constant { rate } => self.given as f64 / rate,
            Shape::Poisson { rate } => {
                // 1 - x is never 0, so the logarithm is finite.
                let distance = -(1.0 - self.dice.random::<f64>()).ln() / rate;
                self.seconds += distance;
                self.seconds
            }
            Shape::Burst { size, every_ms } => {
                (self.given / size) as f64 * every_ms as f64 / 1_000.0
            }
        };
        let at = Duration::from_secs_f64(at);
        if self.until.duration.is_some_and(|duration| at >= duration) {
            return None;
        }
        self.given += 1;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn for_seconds(shape: Shape, seconds: u64, seed: u64) -> Vec<Duration> {
        let until = Until { count: None, duration: Some(Duration::from_secs(seconds)) };
        Timetable::new(shape, until, seed).unwrap().collect()
    }

    #[test]
    fn constant_arrivals_are_exactly_as_many_as_asked_for() {
        let all = for_seconds(Shape::Constant { rate: 1_000.0 }, 60, 1);
        assert_eq!(all.len(), 60_000);
        assert_eq!(all[59_999], Duration::from_secs_f64(59.999));
    }

    #[test]
    fn one_seed_is_one_timetable_and_another_seed_another() {
        let shape = Shape::Poisson { rate: 500.0 };
        assert_eq!(for_seconds(shape, 5, 7), for_seconds(shape, 5, 7));
        assert_ne!(for_seconds(shape, 5, 7), for_seconds(shape, 5, 8));
    }

    #[test]
    fn poisson_arrivals_keep_their_mean_and_spread() {
        let all = for_seconds(Shape::Poisson { rate: 1_000.0 }, 100, 3);
        // Five standard deviations of a Poisson count of 100 000.
        assert!(all.len().abs_diff(100_000) < 1_600, "{}", all.len());
        assert!(all.is_sorted());
        let gaps: Vec<f64> = all.windows(2).map(|two| (two[1] - two[0]).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Exponential distances have a standard deviation equal to their mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "{}", variance.sqrt() / mean);
    }

    #[test]
    fn a_burst_comes_at_one_instant_and_the_count_cuts_the_last_one() {
        let until = Until { count: Some(25), duration: None };
        let shape = Shape::Burst { size: 10, every_ms: 500 };
        let all: Vec<Duration> = Timetable::new(shape, until, 0).unwrap().collect();
        assert_eq!(all.len(), 25);
        assert!(all[..10].iter().all(|at| at.is_zero()));
        assert!(all[10..20].iter().all(|at| *at == Duration::from_millis(500)));
        assert!(all[20..].iter().all(|at| *at == Duration::from_secs(1)));
    }

    #[test]
    fn what_is_no_timetable_is_refused() {
        let until = Until { count: Some(1), duration: None };
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            let shape = Shape::Poisson { rate };
            assert_eq!(Timetable::new(shape, until, 0).unwrap_err(), ArrivalsError::Rate);
        }
        let burst = Shape::Burst { size: 0, every_ms: 1 };
        assert_eq!(Timetable::new(burst, until, 0).unwrap_err(), ArrivalsError::Burst);
        let endless = Timetable::new(Shape::Constant { rate: 1.0 }, Until::default(), 0);
        assert_eq!(endless.unwrap_err(), ArrivalsError::Endless);
    }

    #[test]
    fn another_rate_keeps_the_shape() {
        let burst = Shape::Burst { size: 100, every_ms: 1_000 }.at_rate(200.0);
        assert_eq!(burst, Shape::Burst { size: 100, every_ms: 500 });
        assert!((burst.rate() - 200.0).abs() < 1e-9);
    }
}
