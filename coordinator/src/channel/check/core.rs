//! What an event means for a job. The one rule that matters most: only the current attempt may
//! settle it, and only once.

use std::time::Duration;

use visor_protocol::event::Cause;
use visor_protocol::ids::{Attempt, WorkerId};
use visor_protocol::outcome::{End, Fault};

/// What happens to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// A worker has taken an attempt.
    Started { attempt: Attempt, worker: &'a WorkerId },
    /// The worker that had the attempt is gone.
    Lost { attempt: Attempt, why: &'a str },
    /// An outcome has come.
    Outcome { attempt: Attempt, worker: &'a WorkerId, end: &'a End },
    /// The journal has the new attempt.
    Requeued { attempt: Attempt },
    /// The run does not want the job any more.
    Cancel,
    /// The worker did not answer the order to stop.
    CancelOverdue,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing: it is known already.
    Nothing,
    /// Tell the branch that it runs.
    Run,
    /// The reporter has no right to it: it stops, and the branch notes it.
    Stale,
    /// The outcome settles the job.
    Settle { dead_letter: bool },
    /// The job ends without an outcome of a worker.
    End { end: End, dead_letter: bool },
    /// Another attempt, after this pause.
    Requeue { attempt: Attempt, why: String, cause: Cause, after: Duration },
    /// Tell the worker to stop.
    Stop { worker: WorkerId },
}

/// How often a job may be tried for reasons that are not its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Attempts lost with their workers.
    pub(super) lost: u32,
    /// Attempts that could not be run.
    pub(super) faults: u32,
    /// It may be run twice.
    pub(super) idempotent: bool,
}

/// What became of a job's attempts so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tries {
    /// The present one.
    pub(crate) attempt: Attempt,
    /// Earlier ones that were lost with their workers.
    pub(crate) lost: u32,
    /// Earlier ones that could not be run.
    pub(crate) faults: u32,
    /// Why each earlier one came to nothing.
    pub(crate) history: Vec<String>,
}

impl Default for Tries {
    fn default() -> Self {
        Self { attempt: Attempt::FIRST, lost: 0, faults: 0, history: Vec::new() }
    }
}

impl Tries {
    /// Counts an attempt that came to nothing.
    pub(crate) fn count(&mut self, cause: Cause) {
        match cause {
            Cause::Lost => self.lost += 1,
            Cause::Fault => self.faults += 1,
            Cause::Stopped => {}
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// No worker has the current attempt.
    Queued,
    /// A worker has it.
    Running(WorkerId),
    /// The journal is told of the next attempt.
    Requeueing,
    /// It is over.
    Over,
}

/// A job.
#[derive(Debug)]
pub(super) struct Core {
    tries: Tries,
    phase: Phase,
    limits: Limits,
    cancelled: bool,
    settled_by: Option<WorkerId>,
}

impl Core {
    pub(super) fn new(tries: Tries, limits: Limits) -> Self {
        Self { tries, phase: Phase::Queued, limits, cancelled: false, settled_by: None }
    }

    pub(super) fn attempt(&self) -> Attempt {
        self.tries.attempt
    }

    pub(super) fn history(&self) -> &[String] {
        &self.tries.history
    }

    /// Who runs the current attempt.
    pub(super) fn holder(&self) -> Option<&WorkerId> {
        match &self.phase {
            Phase::Running(worker) => Some(worker),
            Phase::Queued | Phase::Requeueing | Phase::Over => None,
        }
    }

    pub(super) fn is_queued(&self) -> bool {
        self.phase == Phase::Queued
    }

    pub(super) fn apply(&mut self, event: Event<'_>) -> Decision {
        match event {
            Event::Started { attempt, worker } => self.started(attempt, worker),
            Event::Lost { attempt, why } => self.lost(attempt, why),
            Event::Outcome { attempt, worker, end } => self.outcome(attempt, worker, end),
            Event::Requeued { attempt } => {
                if self.phase == Phase::Requeueing && attempt == self.tries.attempt {
                    self.phase = Phase::Queued;
                    if self.cancelled {
                        return self.end(End::Cancelled, false);
                    }
                }
                Decision::Nothing
            }
            Event::Cancel => self.cancel(),
            Event::CancelOverdue => match self.phase {
                Phase::Running(_) | Phase::Queued | Phase::Requeueing if self.cancelled => {
                    self.end(End::Cancelled, false)
                }
                Phase::Running(_) | Phase::Queued | Phase::Requeueing | Phase::Over => {
                    Decision::Nothing
                }
            },
        }
    }

    fn started(&mut self, attempt: Attempt, worker: &WorkerId) -> Decision {
        if attempt != self.tries.attempt {
            return Decision::Stale;
        }
        match &self.phase {
            Phase::Queued => {
                self.phase = Phase::Running(worker.clone());
                if self.cancelled {
                    Decision::Stop { worker: worker.clone() }
                } else {
                    Decision::Run
                }
            }
            Phase::Running(holder) if holder == worker => Decision::Nothing,
            // Its claim was overtaken by its outcome.
            Phase::Over if self.settled_by.as_ref() == Some(worker) => Decision::Nothing,
            Phase::Running(_) | Phase::Requeueing | Phase::Over => Decision::Stale,
        }
    }

    fn lost(&mut self, attempt: Attempt, why: &str) -> Decision {
        let running = matches!(self.phase, Phase::Running(_) | Phase::Queued);
        if attempt != self.tries.attempt || !running {
            return Decision::Nothing;
        }
        if self.cancelled {
            return self.end(End::Cancelled, false);
        }
        self.tries.count(Cause::Lost);
        if !self.limits.idempotent {
            self.tries.history.push(why.to_owned());
            let fault = Fault {
                code: "visor::worker::lost".into(),
                message: format!(
                    "{why}; the check is marked `idempotent: false`, so it is not run again"
                ),
                retry: false,
            };
            return self.end(End::Infrastructure(fault), true);
        }
        if self.tries.lost >= self.limits.lost {
            self.tries.history.push(why.to_owned());
            let fault = Fault {
                code: "visor::job::poison".into(),
                message: format!(
                    "{} workers were lost while running it, so it is not tried again: {}",
                    self.tries.lost,
                    self.tries.history.join("; ")
                ),
                retry: false,
            };
            return self.end(End::Infrastructure(fault), true);
        }
        self.again(why, Cause::Lost, Duration::ZERO)
    }

    fn outcome(&mut self, attempt: Attempt, worker: &WorkerId, end: &End) -> Decision {
        if attempt != self.tries.attempt || matches!(self.phase, Phase::Over | Phase::Requeueing) {
            return Decision::Stale;
        }
        if *end == End::Cancelled && !self.cancelled {
            // Nobody cancelled the job: a worker was told that the attempt is another's. If it is
            // not the holder, the holder goes on; if it is, nobody has the attempt any more.
            return match &self.phase {
                Phase::Running(holder) if holder != worker => Decision::Stale,
                Phase::Running(_) | Phase::Queued | Phase::Requeueing | Phase::Over => {
                    self.again(&format!("{worker} stopped it"), Cause::Stopped, Duration::ZERO)
                }
            };
        }
        match end {
            End::Infrastructure(fault) if self.may_try_again(fault) => {
                self.tries.count(Cause::Fault);
                if self.tries.faults < self.limits.faults {
                    // 0.5 s, 1 s, 2 s … 30 s: an engine that restarts is back within seconds.
                    let pause = Duration::from_millis(500) * (1 << (self.tries.faults - 1).min(6));
                    let pause = pause.min(Duration::from_secs(30));
                    return self.again(&fault.message, Cause::Fault, pause);
                }
                self.tries.history.push(fault.message.clone());
                self.settle(worker, true)
            }
            // It may have run in part and must not run twice: given up after its first attempt.
            End::Infrastructure(fault)
                if fault.retry && !self.cancelled && !self.limits.idempotent =>
            {
                self.tries.history.push(fault.message.clone());
                self.settle(worker, true)
            }
            End::Infrastructure(_)
            | End::Exited { .. }
            | End::Signaled { .. }
            | End::TimedOut
            | End::Cancelled
            | End::OutOfMemory
            | End::OutOfDisk { .. } => self.settle(worker, false),
        }
    }

    fn settle(&mut self, worker: &WorkerId, dead_letter: bool) -> Decision {
        self.phase = Phase::Over;
        self.settled_by = Some(worker.clone());
        Decision::Settle { dead_letter }
    }

    /// A fault that another attempt may not meet. A check that must not run twice is tried again
    /// only when it is certain that nothing of it has run.
    fn may_try_again(&self, fault: &Fault) -> bool {
        let certain = fault.code == "visor::sandbox::image_missing";
        fault.retry && !self.cancelled && (self.limits.idempotent || certain)
    }

    fn cancel(&mut self) -> Decision {
        if self.cancelled {
            return Decision::Nothing;
        }
        self.cancelled = true;
        match &self.phase {
            Phase::Queued => self.end(End::Cancelled, false),
            Phase::Running(worker) => Decision::Stop { worker: worker.clone() },
            Phase::Requeueing | Phase::Over => Decision::Nothing,
        }
    }

    fn again(&mut self, why: &str, cause: Cause, after: Duration) -> Decision {
        self.tries.history.push(why.to_owned());
        self.tries.attempt = self.tries.attempt.next();
        self.phase = Phase::Requeueing;
        Decision::Requeue { attempt: self.tries.attempt, why: why.to_owned(), cause, after }
    }

    fn end(&mut self, end: End, dead_letter: bool) -> Decision {
        self.phase = Phase::Over;
        Decision::End { end, dead_letter }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(name: &str) -> WorkerId {
        WorkerId::new(name).unwrap()
    }

    fn core() -> Core {
        Core::new(Tries::default(), Limits { lost: 3, faults: 3, idempotent: true })
    }

    const PASSED: End = End::Exited { code: 0 };

    #[test]
    fn the_first_outcome_of_the_current_attempt_settles() {
        let mut job = core();
        let one = worker("one");
        assert_eq!(job.apply(Event::Started { attempt: Attempt(1), worker: &one }), Decision::Run);
        let outcome = Event::Outcome { attempt: Attempt(1), worker: &one, end: &PASSED };
        assert_eq!(job.apply(outcome.clone()), Decision::Settle { dead_letter: false });
        assert_eq!(job.apply(outcome), Decision::Stale);
    }

    #[test]
    fn an_outcome_of_a_superseded_attempt_is_stale() {
        let mut job = core();
        let one = worker("one");
        job.apply(Event::Started { attempt: Attempt(1), worker: &one });
        let lost = job.apply(Event::Lost { attempt: Attempt(1), why: "one was lost" });
        assert!(matches!(lost, Decision::Requeue { attempt: Attempt(2), .. }), "{lost:?}");
        assert_eq!(
            job.apply(Event::Outcome { attempt: Attempt(1), worker: &one, end: &PASSED }),
            Decision::Stale
        );
        job.apply(Event::Requeued { attempt: Attempt(2) });
        assert_eq!(
            job.apply(Event::Outcome { attempt: Attempt(1), worker: &one, end: &PASSED }),
            Decision::Stale
        );
        let settled = job.apply(Event::Outcome { attempt: Attempt(2), worker: &one, end: &PASSED });
        assert_eq!(settled, Decision::Settle { dead_letter: false });
    }

    #[test]
    fn a_second_worker_with_the_same_attempt_is_told_to_stop() {
        let mut job = core();
        let (one, two) = (worker("one"), worker("two"));
        job.apply(Event::Started { attempt: Attempt(1), worker: &one });
        assert_eq!(
            job.apply(Event::Started { attempt: Attempt(1), worker: &two }),
            Decision::Stale
        );
        assert_eq!(
            job.apply(Event::Started { attempt: Attempt(1), worker: &one }),
            Decision::Nothing
        );
    }

    #[test]
    fn a_claim_that_its_outcome_overtook_is_not_stale() {
        let mut job = core();
        let (one, two) = (worker("one"), worker("two"));
        let settled = job.apply(Event::Outcome { attempt: Attempt(1), worker: &one, end: &PASSED });
        assert_eq!(settled, Decision::Settle { dead_letter: false });
        let late = Event::Started { attempt: Attempt(1), worker: &one };
        assert_eq!(job.apply(late), Decision::Nothing);
        let second = Event::Started { attempt: Attempt(1), worker: &two };
        assert_eq!(job.apply(second), Decision::Stale);
    }

    #[test]
    fn a_job_that_kills_its_workers_is_given_up() {
        let mut job = core();
        for attempt in 1..=2 {
            job.apply(Event::Started { attempt: Attempt(attempt), worker: &worker("w") });
            let decision = job.apply(Event::Lost { attempt: Attempt(attempt), why: "w was lost" });
            assert!(matches!(decision, Decision::Requeue { .. }), "{decision:?}");
            job.apply(Event::Requeued { attempt: Attempt(attempt + 1) });
        }
        job.apply(Event::Started { attempt: Attempt(3), worker: &worker("w") });
        let decision = job.apply(Event::Lost { attempt: Attempt(3), why: "w was lost" });
        let Decision::End { end: End::Infrastructure(fault), dead_letter: true } = decision else {
            panic!("{decision:?}");
        };
        assert_eq!(fault.code, "visor::job::poison");
    }

    #[test]
    fn a_rebuilt_job_has_lost_no_more_workers_than_it_had_before() {
        let history = vec!["no engine".to_owned(), "no engine".to_owned()];
        let tries = Tries { attempt: Attempt(3), lost: 0, faults: 2, history };
        let mut job = Core::new(tries, Limits { lost: 2, faults: 3, idempotent: true });
        let decision = job.apply(Event::Lost { attempt: Attempt(3), why: "w was lost" });
        assert!(matches!(decision, Decision::Requeue { cause: Cause::Lost, .. }), "{decision:?}");
        job.apply(Event::Requeued { attempt: Attempt(4) });
        let fault = Fault { code: "c".into(), message: "no engine".into(), retry: true };
        let (end, one) = (End::Infrastructure(fault), worker("one"));
        let decision = job.apply(Event::Outcome { attempt: Attempt(4), worker: &one, end: &end });
        assert_eq!(decision, Decision::Settle { dead_letter: true });
    }

    #[test]
    fn a_check_that_must_not_run_twice_fails_when_its_worker_is_lost() {
        let limits = Limits { lost: 3, faults: 3, idempotent: false };
        let mut job = Core::new(Tries::default(), limits);
        job.apply(Event::Started { attempt: Attempt(1), worker: &worker("w") });
        let decision = job.apply(Event::Lost { attempt: Attempt(1), why: "w was lost" });
        let Decision::End { end: End::Infrastructure(fault), dead_letter: true } = decision else {
            panic!("{decision:?}");
        };
        assert_eq!(fault.code, "visor::worker::lost");
        assert_eq!(job.tries.history, ["w was lost"]);
    }

    #[test]
    fn a_broken_worker_is_tried_again_with_growing_pauses_and_then_given_up() {
        let mut job = core();
        let end = End::Infrastructure(Fault {
            code: "visor::sandbox::engine_down".into(),
            message: "no engine".into(),
            retry: true,
        });
        let mut pauses = Vec::new();
        loop {
            let attempt = job.attempt();
            job.apply(Event::Started { attempt, worker: &worker("w") });
            match job.apply(Event::Outcome { attempt, worker: &worker("w"), end: &end }) {
                Decision::Requeue { attempt, after, .. } => {
                    pauses.push(after);
                    job.apply(Event::Requeued { attempt });
                }
                last => {
                    assert_eq!(last, Decision::Settle { dead_letter: true });
                    break;
                }
            }
        }
        assert_eq!(pauses, [Duration::from_millis(500), Duration::from_secs(1)]);
    }

    #[test]
    fn cancelling_stops_the_worker_and_does_not_wait_for_it_for_ever() {
        let mut job = core();
        job.apply(Event::Started { attempt: Attempt(1), worker: &worker("w") });
        assert_eq!(job.apply(Event::Cancel), Decision::Stop { worker: worker("w") });
        assert_eq!(job.apply(Event::Cancel), Decision::Nothing);
        let overdue = job.apply(Event::CancelOverdue);
        assert_eq!(overdue, Decision::End { end: End::Cancelled, dead_letter: false });
        assert_eq!(job.apply(Event::CancelOverdue), Decision::Nothing);
    }

    #[test]
    fn a_check_that_must_not_run_twice_is_not_tried_again_when_it_may_have_run() {
        let limits = Limits { lost: 3, faults: 3, idempotent: false };
        let fault = |code: &str| {
            End::Infrastructure(Fault { code: code.into(), message: "m".into(), retry: true })
        };
        for (code, again) in
            [("visor::worker::stopped", false), ("visor::sandbox::image_missing", true)]
        {
            let mut job = Core::new(Tries::default(), limits);
            let one = worker("one");
            job.apply(Event::Started { attempt: Attempt(1), worker: &one });
            let end = fault(code);
            let decision =
                job.apply(Event::Outcome { attempt: Attempt(1), worker: &one, end: &end });
            assert_eq!(matches!(decision, Decision::Requeue { .. }), again, "{code}: {decision:?}");
            // What is not tried again is given up, and somebody should know.
            assert_eq!(decision == Decision::Settle { dead_letter: true }, !again, "{decision:?}");
        }
    }

    #[test]
    fn a_worker_that_was_told_to_stop_cancels_nothing() {
        let mut job = core();
        let (one, two) = (worker("one"), worker("two"));
        job.apply(Event::Started { attempt: Attempt(1), worker: &one });
        let stopped = |worker| Event::Outcome { attempt: Attempt(1), worker, end: &End::Cancelled };
        assert_eq!(job.apply(stopped(&two)), Decision::Stale);
        let decision = job.apply(stopped(&one));
        assert!(matches!(decision, Decision::Requeue { attempt: Attempt(2), .. }), "{decision:?}");
    }

    #[test]
    fn cancelling_a_waiting_job_ends_it_at_once() {
        let decision = core().apply(Event::Cancel);
        assert_eq!(decision, Decision::End { end: End::Cancelled, dead_letter: false });
    }
}
