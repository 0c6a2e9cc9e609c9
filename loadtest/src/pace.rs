//! Keeping to the timetable: a thread of its own that sleeps until each intended moment, because
//! the timers of an async runtime are only good to a millisecond.

use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::arrivals::Timetable;

/// One run that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Its number, from 0.
    pub run: u32,
    /// When it was to be sent, since the beginning.
    pub intended: Duration,
}

/// Runs that are due and not yet sent. A system that stalls fills it; then further runs are late,
/// and their latency counts from when they were intended all the same.
const BACKLOG: usize = 1 << 16;

/// Hands out each run when it is due, from `begin` on. Ends with the timetable, or when the
/// receiver is dropped.
pub fn start(timetable: Timetable, begin: Instant) -> mpsc::Receiver<Due> {
    let (due, receiver) = mpsc::channel(BACKLOG);
    thread::Builder::new()
        .name("pace".into())
        .spawn(move || keep(timetable, begin, &due))
        .expect("one more thread can be started");
    receiver
}

fn keep(timetable: Timetable, begin: Instant, due: &mpsc::Sender<Due>) {
    for (run, intended) in (0_u32..).zip(timetable) {
        sleep_until(begin + intended);
        if due.blocking_send(Due { run, intended }).is_err() {
            return;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this thread's whole work is to sleep precisely")]
fn sleep_until(instant: Instant) {
    let left = instant.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        thread::sleep(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrivals::{Shape, Until};

    #[tokio::test]
    async fn every_run_comes_once_in_order_and_never_early() {
        let until = Until { count: Some(200), duration: None };
        let timetable = Timetable::new(Shape::Poisson { rate: 2_000.0 }, until, 5).unwrap();
        let begin = Instant::now();
        let mut due = start(timetable, begin);
        let mut next = 0;
        while let Some(Due { run, intended }) = due.recv().await {
            assert_eq!(run, next);
            assert!(Instant::now() >= begin + intended);
            next += 1;
        }
        assert_eq!(next, 200);
    }

    #[test]
    fn a_stall_of_the_sender_shows_as_lag_from_the_intended_moment() {
        // The receiver stalls; what is due meanwhile keeps its intended moment, so that the
        // latency of every run behind the stall is counted in full.
        let until = Until { count: Some(1_000), duration: None };
        let timetable = Timetable::new(Shape::Constant { rate: 1_000.0 }, until, 0).unwrap();
        let stall = 500..=699;
        let mut latencies = crate::measure::Latencies::default();
        let mut free_at = Duration::ZERO;
        for (run, intended) in (0_u32..).zip(timetable) {
            // A system that answers at once, except that it stands still for 200 ms.
            let start = free_at.max(intended);
            let done =
                if run == *stall.start() { start + Duration::from_millis(200) } else { start };
            free_at = done;
            latencies.add(done - intended);
        }
        let summary = latencies.summary();
        // One run in five met the stall: a closed loop would have shown one in a thousand.
        assert!(summary.p99_ms > 180.0, "{summary:?}");
        assert!((summary.max_ms / 200.0 - 1.0).abs() < 0.02, "{summary:?}");
        assert!(summary.p50_ms < 1.0, "{summary:?}");
    }
}
