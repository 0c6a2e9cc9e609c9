//! Which attempts the worker has: running, being reported, reported, or cancelled before they came.
//!
//! Pure: what to do with a ticket follows from what came before and from the time that is passed
//! in. A queue may deliver a job twice and orders may overtake jobs; this is where that ends.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use visor_protocol::Outcome;
use visor_protocol::ids::{Attempt, JobId, Shard};
use visor_protocol::worker::Ticket;
use visor_providers::Stop;

/// Stored outcomes that are kept in case the report is asked for again.
const KEPT_OUTCOMES: usize = 4096;

/// Bytes of them.
const KEPT_BYTES: usize = 64 * 1024 * 1024;

/// How long they are kept.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// Cancelled tickets that are remembered in case their job comes after the order.
const REMEMBERED_CANCELS: usize = 8192;

/// An outcome with its way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reported {
    pub(crate) shard: Shard,
    pub(crate) outcome: Outcome,
}

impl Reported {
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket { job: self.outcome.job, attempt: self.outcome.attempt }
    }

    /// About how many bytes it is.
    pub(crate) fn size(&self) -> usize {
        256 + self.outcome.stdout.inline.len() + self.outcome.stderr.inline.len()
    }
}

/// What to do with a job that came.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Run it.
    Run(Stop),
    /// It is held already; the queue delivered it twice.
    Held,
    /// It has run here; this is what came of it.
    Done(Arc<Reported>),
    /// A later attempt of the same job is or was here.
    Superseded,
    /// It was cancelled before it came.
    Cancelled,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Taken, and the outcome not yet stored.
    held: HashMap<Ticket, Stop>,
    /// The newest attempt of every job that is held or kept.
    newest: HashMap<JobId, Attempt>,
    kept: VecDeque<(Instant, Arc<Reported>)>,
    kept_by: HashMap<Ticket, Arc<Reported>>,
    kept_bytes: usize,
    cancelled: HashSet<Ticket>,
    cancelled_order: VecDeque<Ticket>,
}

impl Ledger {
    /// A job came. Older attempts of it that still run are told to stop: whatever they would
    /// report is stale.
    pub(crate) fn take(&mut self, ticket: Ticket) -> Verdict {
        if self.held.contains_key(&ticket) {
            return Verdict::Held;
        }
        if let Some(kept) = self.kept_by.get(&ticket) {
            return Verdict::Done(Arc::clone(kept));
        }
        if let Some(&newest) = self.newest.get(&ticket.job) {
            if newest > ticket.attempt {
                return Verdict::Superseded;
            }
            self.held
                .iter()
                .filter(|(held, _)| held.job == ticket.job)
                .for_each(|(_, stop)| stop.stop());
        }
        self.newest.insert(ticket.job, ticket.attempt);
        let stop = Stop::new();
        self.held.insert(ticket, stop.clone());
        if self.cancelled.contains(&ticket) { Verdict::Cancelled } else { Verdict::Run(stop) }
    }

    /// An outcome is stored: its attempt is held no more.
    pub(crate) fn stored(&mut self, now: Instant, reported: Arc<Reported>) {
        let ticket = reported.ticket();
        self.held.remove(&ticket);
        if self.kept_by.contains_key(&ticket) {
            return;
        }
        self.kept_bytes += reported.size();
        self.kept_by.insert(ticket, Arc::clone(&reported));
        self.kept.push_back((now, reported));
        while self.kept.len() > KEPT_OUTCOMES
            || self.kept_bytes > KEPT_BYTES
            || self.kept.front().is_some_and(|(at, _)| now >= *at + KEPT_FOR)
        {
            let Some((_, oldest)) = self.kept.pop_front() else { break };
            let ticket = oldest.ticket();
            self.kept_bytes -= oldest.size();
            self.kept_by.remove(&ticket);
            // A newer attempt that is held keeps the job known.
            if self.newest.get(&ticket.job) == Some(&ticket.attempt) {
                self.newest.remove(&ticket.job);
            }
        }
    }

    /// An outcome can never be stored: its attempt is held no more.
    pub(crate) fn abandon(&mut self, ticket: Ticket) {
        self.held.remove(&ticket);
        if self.newest.get(&ticket.job) == Some(&ticket.attempt) {
            self.newest.remove(&ticket.job);
        }
    }

    /// A ticket is cancelled, whether its job is here or still on its way. True when it is here.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> bool {
        let held = self.held.get(&ticket).inspect(|stop| stop.stop()).is_some();
        if !self.kept_by.contains_key(&ticket) && self.cancelled.insert(ticket) {
            self.cancelled_order.push_back(ticket);
            if self.cancelled_order.len() > REMEMBERED_CANCELS
                && let Some(oldest) = self.cancelled_order.pop_front()
            {
                self.cancelled.remove(&oldest);
            }
        }
        held
    }

    /// Somebody ordered this ticket's end, as opposed to the worker stopping on its own.
    pub(crate) fn is_cancelled(&self, ticket: Ticket) -> bool {
        self.cancelled.contains(&ticket)
    }

    /// Tells everything that runs to stop.
    pub(crate) fn stop_all(&self) {
        self.held.values().for_each(Stop::stop);
    }

    /// Every outcome is stored.
    pub(crate) fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    /// The attempts whose outcome is not yet stored.
    pub(crate) fn held(&self) -> Vec<Ticket> {
        self.held.keys().copied().collect()
    }

    /// The stored outcome of an attempt, while it is kept.
    pub(crate) fn kept(&self, ticket: Ticket) -> Option<Arc<Reported>> {
        self.kept_by.get(&ticket).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use visor_protocol::Timestamp;
    use visor_protocol::ids::{RunId, WorkerId};
    use visor_protocol::outcome::{Captured, End, Usage};

    use super::*;

    fn ticket(seq: u32, attempt: u32) -> Ticket {
        let run = RunId::new(Timestamp::from_micros(1), 1);
        Ticket { job: JobId { run, seq }, attempt: Attempt(attempt) }
    }

    fn reported(ticket: Ticket) -> Arc<Reported> {
        let outcome = Outcome {
            job: ticket.job,
            attempt: ticket.attempt,
            worker: WorkerId::new("w").unwrap(),
            started_at: Timestamp::from_micros(1),
            finished_at: Timestamp::from_micros(2),
            end: End::Exited { code: 0 },
            stdout: Captured::default(),
            stderr: Captured::default(),
            usage: Usage::default(),
            image: None,
        };
        Arc::new(Reported { shard: Shard(0), outcome })
    }

    #[test]
    fn a_job_that_comes_twice_runs_once() {
        let mut ledger = Ledger::default();
        assert!(matches!(ledger.take(ticket(1, 1)), Verdict::Run(_)));
        assert!(matches!(ledger.take(ticket(1, 1)), Verdict::Held));
        ledger.stored(Instant::now(), reported(ticket(1, 1)));
        assert!(ledger.held().is_empty());
        assert!(matches!(ledger.take(ticket(1, 1)), Verdict::Done(_)));
    }

    #[test]
    fn a_newer_attempt_stops_the_older_and_an_older_one_is_dropped() {
        let mut ledger = Ledger::default();
        let Verdict::Run(first) = ledger.take(ticket(1, 1)) else { panic!("not run") };
        assert!(matches!(ledger.take(ticket(1, 3)), Verdict::Run(_)));
        assert!(first.is_stopped());
        assert!(matches!(ledger.take(ticket(1, 2)), Verdict::Superseded));
        ledger.stored(Instant::now(), reported(ticket(1, 1)));
        assert!(matches!(ledger.take(ticket(1, 2)), Verdict::Superseded));
    }

    #[test]
    fn a_cancel_that_overtakes_its_job_is_not_lost() {
        let mut ledger = Ledger::default();
        assert!(!ledger.cancel(ticket(1, 1)));
        assert!(matches!(ledger.take(ticket(1, 1)), Verdict::Cancelled));
        assert_eq!(ledger.held(), [ticket(1, 1)], "its outcome is still to be stored");
        assert!(matches!(ledger.take(ticket(1, 2)), Verdict::Run(_)));
    }

    #[test]
    fn a_cancel_stops_what_runs() {
        let mut ledger = Ledger::default();
        let Verdict::Run(stop) = ledger.take(ticket(1, 1)) else { panic!("not run") };
        assert!(ledger.cancel(ticket(1, 1)));
        assert!(stop.is_stopped() && ledger.is_cancelled(ticket(1, 1)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut ledger = Ledger::default();
        let now = Instant::now();
        let many = u32::try_from(KEPT_OUTCOMES + 100).unwrap();
        for seq in 0..many {
            ledger.take(ticket(seq, 1));
            ledger.stored(now, reported(ticket(seq, 1)));
        }
        assert_eq!(ledger.kept.len(), KEPT_OUTCOMES);
        assert_eq!(ledger.newest.len(), KEPT_OUTCOMES);
        assert!(ledger.kept(ticket(0, 1)).is_none());
        ledger.take(ticket(many, 1));
        ledger.stored(now + KEPT_FOR, reported(ticket(many, 1)));
        assert_eq!((ledger.kept.len(), ledger.kept_by.len(), ledger.newest.len()), (1, 1, 1));
        for seq in 0..20_000 {
            ledger.cancel(ticket(seq, 9));
        }
        assert_eq!(ledger.cancelled.len(), REMEMBERED_CANCELS);
    }
}
