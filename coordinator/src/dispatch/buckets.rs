//! Token buckets of the whole fleet. They are held where jobs are handed out, so more workers
//! never make a higher rate.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use visor_protocol::time::Timestamp;

use super::core::JobKey;
use crate::config::LimitRule;
use crate::config::fleet::{Key, MAX_LIMITS, matches_pattern};

/// The time that governor sees: set before each question, so that a decision depends on nothing
/// but its inputs.
#[derive(Debug, Clone, Default)]
struct GivenTime(Arc<AtomicU64>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Instant(u64);

impl std::ops::Add<Nanos> for Instant {
    type Output = Self;

    fn add(self, rhs: Nanos) -> Self {
        Self(self.0.saturating_add(rhs.as_u64()))
    }
}

impl Reference for Instant {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.saturating_sub(duration.as_u64()))
    }
}

impl Clock for GivenTime {
    type Instant = Instant;

    fn now(&self) -> Instant {
        Instant(self.0.load(Ordering::Relaxed))
    }
}

type Limiter = RateLimiter<
    String,
    DashMapStateStore<String>,
    GivenTime,
    governor::middleware::NoOpMiddleware<Instant>,
>;

struct Bucket {
    rule: LimitRule,
    limiter: Limiter,
}

/// All token buckets.
pub(super) struct Buckets {
    time: GivenTime,
    buckets: Vec<Bucket>,
}

/// A bucket that has no token, and when it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blocked {
    /// The rule and what it is counted by, for people.
    pub(super) limit: String,
    /// When the next token comes.
    pub(super) until: Timestamp,
}

/// The tokens a job holds already while it waits for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Held(u64);

impl Buckets {
    pub(super) fn new(rules: &[LimitRule]) -> Self {
        let time = GivenTime::default();
        debug_assert!(rules.len() <= MAX_LIMITS, "the file's loader refuses more");
        let buckets = rules
            .iter()
            .filter_map(|rule| {
                let quota = Quota::with_period(rule.every)?.allow_burst(rule.burst);
                let limiter = RateLimiter::dashmap_with_clock(quota, time.clone());
                Some(Bucket { rule: rule.clone(), limiter })
            })
            .collect();
        Self { time, buckets }
    }

    /// Which buckets a job needs; jobs with the same answer wait in one line.
    pub(super) fn line_of(&self, key: &JobKey) -> u64 {
        let mut line = 0;
        for (place, bucket) in self.buckets.iter().enumerate() {
            if applies(&bucket.rule, key) {
                line |= 1 << place;
            }
        }
        line
    }

    /// Takes a token of each bucket the job needs. When one has none, the job keeps what it got,
    /// so that two buckets that are rarely free at once cannot starve it.
    pub(super) fn take(
        &self,
        key: &JobKey,
        held: &mut Held,
        now: Timestamp,
    ) -> Result<(), Blocked> {
        for (place, bucket) in self.buckets.iter().enumerate() {
            let bit = 1_u64 << place;
            if held.0 & bit != 0 || !applies(&bucket.rule, key) {
                continue;
            }
            self.time.0.store(now.as_micros().saturating_mul(1_000), Ordering::Relaxed);
            let counted_by = counted_by(&bucket.rule, key);
            match bucket.limiter.check_key(&counted_by) {
                Ok(()) => held.0 |= bit,
                Err(until) => {
                    let wait = until.wait_time_from(self.time.now());
                    let limit = if counted_by.is_empty() {
                        bucket.rule.name.clone()
                    } else {
                        format!("{}/{counted_by}", bucket.rule.name)
                    };
                    // Rounded up: asking a microsecond early would only ask again.
                    let until = now + wait + Duration::from_micros(1);
                    return Err(Blocked { limit, until });
                }
            }
        }
        Ok(())
    }

    /// Forgets keys that are full again, so that many short-lived channels do not pile up.
    pub(super) fn forget_idle(&self, now: Timestamp) {
        self.time.0.store(now.as_micros().saturating_mul(1_000), Ordering::Relaxed);
        for bucket in &self.buckets {
            bucket.limiter.retain_recent();
        }
    }
}

fn applies(rule: &LimitRule, key: &JobKey) -> bool {
    let provider = rule.provider.as_deref().is_none_or(|provider| provider == key.provider);
    let credential =
        rule.credential.as_deref().is_none_or(|wanted| key.credential.as_deref() == Some(wanted));
    let channel = rule
        .channel
        .as_deref()
        .is_none_or(|pattern| matches_pattern(pattern, key.channel.as_str()));
    provider && credential && channel
}

fn counted_by(rule: &LimitRule, key: &JobKey) -> String {
    let mut parts = Vec::with_capacity(rule.each.len());
    for each in &rule.each {
        parts.push(match each {
            Key::Provider => key.provider,
            Key::Credential => key.credential.as_deref().unwrap_or("none"),
            Key::Channel => key.channel.as_str(),
        });
    }
    parts.join("/")
}

/// How many wait for which limit.
pub(super) type Waiters = HashMap<String, u32>;
