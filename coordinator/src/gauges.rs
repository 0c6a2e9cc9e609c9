//! Counters of a coordinator, for `/metrics` and `visor status`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use visor_protocol::time::Timestamp;

/// Monotonic counters, and the rate of the last minute.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Runs accepted.
    pub runs_accepted: AtomicU64,
    /// Runs finished.
    pub runs_finished: AtomicU64,
    /// Jobs asked for.
    pub jobs_queued: AtomicU64,
    /// Jobs settled.
    pub jobs_settled: AtomicU64,
    /// Attempts given to another worker.
    pub attempts_requeued: AtomicU64,
    /// Reports that came too late and changed nothing.
    pub reports_stale: AtomicU64,
    /// Messages that could not be read.
    pub messages_rejected: AtomicU64,
    /// Notices dropped because nobody could keep up.
    pub notices_dropped: AtomicU64,
    settled: Mutex<VecDeque<(u64, u32)>>,
}

impl Gauges {
    /// Adds one.
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn settled_at(&self, now: Timestamp) {
        Self::add(&self.jobs_settled);
        let second = now.as_micros() / 1_000_000;
        let mut settled = self.settled.lock();
        match settled.back_mut() {
            Some((at, count)) if *at == second => *count += 1,
            _ => settled.push_back((second, 1)),
        }
        while settled.len() > 60 {
            settled.pop_front();
        }
    }

    /// Jobs settled in the last minute.
    pub fn settled_last_minute(&self, now: Timestamp) -> u32 {
        let from = (now - Duration::from_secs(60)).as_micros() / 1_000_000;
        self.settled.lock().iter().filter(|(at, _)| *at > from).map(|(_, count)| *count).sum()
    }
}
