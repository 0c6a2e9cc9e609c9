//! Whether the coordinator may have taken this worker for lost, and given to others what lies here.

use std::time::Duration;

use tokio::time::Instant;

/// Heartbeats that may fail before contact counts as lost; the coordinator waits for one more.
const MISSED: u32 = 3;

/// How long after it was found again everything that is taken up is looked at twice: what came
/// before lies in buffers still.
const AFTERWARDS: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Contact {
    within: Duration,
    last: Instant,
    lost_until: Option<Instant>,
}

impl Contact {
    /// A worker that has just started, and sends a heartbeat this often.
    pub(crate) fn new(now: Instant, heartbeat: Duration) -> Self {
        Self { within: heartbeat * MISSED, last: now, lost_until: None }
    }

    /// A heartbeat got through.
    pub(crate) fn beat(&mut self, now: Instant) {
        if now.duration_since(self.last) > self.within {
            self.lost_until = Some(now + AFTERWARDS);
        }
        self.last = now;
    }

    /// A job that is taken up now may be another's.
    pub(crate) fn is_doubtful(&self, now: Instant) -> bool {
        now.duration_since(self.last) > self.within
            || self.lost_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_stood_still_doubts_what_lies_there_whichever_task_wakes_first() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut contact = Contact::new(start, Duration::from_millis(500));
        contact.beat(at(1));
        assert!(!contact.is_doubtful(at(2)));
        assert!(contact.is_doubtful(at(20)), "before the first heartbeat");
        contact.beat(at(20));
        assert!(contact.is_doubtful(at(20)) && contact.is_doubtful(at(21)), "and after it");
        contact.beat(at(21));
        contact.beat(at(22));
        assert!(!contact.is_doubtful(at(23)));
    }
}
