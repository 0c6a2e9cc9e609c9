//! Counters of a coordinator, for `/metrics` and `visor status`.

mod histogram;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use visor_protocol::Severity;
use visor_protocol::outcome::{End, Outcome};
use visor_protocol::result::{CheckResult, RunSummary};
use visor_protocol::time::Timestamp;

pub use histogram::{Histogram, Snapshot};

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
    /// Channels that have a run, or had one a moment ago.
    pub channels: AtomicU64,
    /// How long checks ran.
    pub check_duration: Histogram,
    /// How long runs took, from acceptance to end.
    pub run_duration: Histogram,
    issues: [AtomicU64; Severity::ALL.len()],
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

    /// A job is over: what it took and what it found, if it ran at all.
    pub(crate) fn executed(&self, outcome: &Outcome, result: &CheckResult) {
        if !matches!(outcome.end, End::Infrastructure(_)) {
            self.check_duration.record(outcome.finished_at.since(outcome.started_at));
        }
        for issue in &result.issues {
            Self::add(&self.issues[issue.severity as usize]);
        }
    }

    /// A run is over.
    pub(crate) fn run_over(&self, run: &RunSummary) {
        if let Some(finished_at) = run.finished_at {
            self.run_duration.record(finished_at.since(run.submitted_at));
        }
    }

    /// Issues found, by severity.
    pub fn issues(&self) -> impl Iterator<Item = (Severity, u64)> {
        let counts = self.issues.iter().map(|count| count.load(Ordering::Relaxed));
        Severity::ALL.into_iter().zip(counts)
    }

    /// Jobs settled in the last minute.
    pub fn settled_last_minute(&self, now: Timestamp) -> u32 {
        let from = (now - Duration::from_secs(60)).as_micros() / 1_000_000;
        self.settled.lock().iter().filter(|(at, _)| *at > from).map(|(_, count)| *count).sum()
    }
}
