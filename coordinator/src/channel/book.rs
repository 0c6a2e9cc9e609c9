//! What is known of a run: its engine and its jobs, as a pure function of its journal.
//!
//! The branch applies each event the moment it is made; a restart applies the same events again
//! and comes to the same state. Reports of finished runs are made the same way.

use std::sync::Arc;
use std::time::Duration;

use visor_engine::{CheckIndex, Effect, Evaluation, Event, Plan, RunMachine};
use visor_protocol::api::Submission;
use visor_protocol::event::{Recorded, RunEvent};
use visor_protocol::ids::{CheckName, JobId, PoolName, RunId, WorkerId};
use visor_protocol::job::Placement;
use visor_protocol::outcome::{Captured, End, Outcome, Usage};
use visor_protocol::result::{CheckReport, CheckState, RunReport, RunState, RunSummary};
use visor_protocol::time::Timestamp;
use visor_protocol::worker::Ticket;

use super::check::Tries;
use super::words::in_words;

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No worker has it.
    Queued,
    /// A worker has it.
    Running,
    /// It is over.
    Settled,
}

/// What is known of one job.
#[derive(Debug, Clone)]
pub(crate) struct JobEntry {
    pub(crate) check: CheckIndex,
    pub(crate) pool: PoolName,
    pub(crate) tries: Tries,
    /// The next attempt waits until then.
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) phase: Phase,
    pub(crate) queued_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) worker: Option<WorkerId>,
    pub(super) end: Option<End>,
    tail: String,
    usage: Usage,
    image: Option<String>,
}

/// What is known of one run.
pub(crate) struct RunBook {
    pub(crate) submission: Arc<Submission>,
    pub(crate) plan: Arc<Plan>,
    machine: RunMachine,
    jobs: Vec<JobEntry>,
    /// The job of each check, once it has one.
    job_of: Vec<Option<u32>>,
    /// Expressions asked for and not yet evaluated.
    evaluating: Vec<Evaluation>,
    /// Events applied so far: the place of the next.
    events: u32,
    submitted_at: Timestamp,
    finished_at: Option<Timestamp>,
    state: RunState,
    note: Option<String>,
    stale: u32,
}

impl RunBook {
    /// The book of a run that was just accepted, and the engine's first effects.
    pub(crate) fn open(
        submission: Arc<Submission>,
        plan: Arc<Plan>,
        at: Timestamp,
    ) -> (Self, Vec<Effect>) {
        let mut machine = RunMachine::new(Arc::clone(&plan));
        let effects = machine.start();
        let mut book = Self {
            job_of: vec![None; plan.checks().len()],
            submission,
            plan,
            machine,
            jobs: Vec::new(),
            evaluating: Vec::new(),
            events: 1,
            submitted_at: at,
            finished_at: None,
            state: RunState::Running,
            note: None,
            stale: 0,
        };
        book.remember(&effects);
        (book, effects)
    }

    /// The book of a run from its journal; `None` when the first event is not its acceptance.
    pub(crate) fn replay(
        submission: &Arc<Submission>,
        plan: Arc<Plan>,
        history: &[Recorded],
    ) -> Option<Self> {
        let (first, rest) = history.split_first()?;
        let (mut book, _) = Self::open(Arc::clone(submission), plan, first.at);
        for recorded in rest {
            let _ = book.apply(recorded);
        }
        Some(book)
    }

    /// Takes one event into the book. The effects are those that this event adds; jobs and skips
    /// among them still have to be journaled as events of their own.
    pub(crate) fn apply(&mut self, recorded: &Recorded) -> Vec<Effect> {
        self.events += 1;
        let effects = match &recorded.event {
            RunEvent::Accepted(_) => Vec::new(),
            RunEvent::Evaluated { check, which, value } => {
                let Some(check) = self.index_of(check) else { return Vec::new() };
                self.evaluating.retain(|open| !(open.check == check && open.which == *which));
                self.machine.apply(Event::Evaluated { check, which: *which, value: value.clone() })
            }
            RunEvent::Queued { job, check, pool } => {
                let Some(check) = self.index_of(check) else { return Vec::new() };
                debug_assert_eq!(job.seq as usize, self.jobs.len(), "jobs are numbered in order");
                self.job_of[check.0 as usize] = Some(job.seq);
                self.jobs.push(JobEntry {
                    check,
                    pool: pool.clone(),
                    tries: Tries::default(),
                    not_before: None,
                    phase: Phase::Queued,
                    queued_at: recorded.at,
                    started_at: None,
                    finished_at: None,
                    worker: None,
                    end: None,
                    tail: String::new(),
                    usage: Usage::default(),
                    image: None,
                });
                Vec::new()
            }
            RunEvent::Started { ticket, worker, at } => {
                let Some(entry) = self.jobs.get_mut(ticket.job.seq as usize) else {
                    return Vec::new();
                };
                entry.phase = Phase::Running;
                entry.worker = Some(worker.clone());
                entry.started_at = Some(*at);
                let check = entry.check;
                self.machine.apply(Event::Started { check })
            }
            RunEvent::Requeued { job, attempt, why, cause, not_before } => {
                if let Some(entry) = self.jobs.get_mut(job.seq as usize) {
                    entry.tries.count(*cause);
                    entry.tries.attempt = *attempt;
                    entry.tries.history.push(why.clone());
                    entry.not_before = *not_before;
                    entry.phase = Phase::Queued;
                    entry.worker = None;
                    entry.started_at = None;
                    let check = entry.check;
                    self.machine.apply(Event::Requeued { check })
                } else {
                    Vec::new()
                }
            }
            RunEvent::Settled { outcome, result } => {
                let Some(entry) = self.jobs.get_mut(outcome.job.seq as usize) else {
                    return Vec::new();
                };
                entry.settle(outcome);
                let check = entry.check;
                let (end, result) = (outcome.end.clone(), (**result).clone());
                self.machine.apply(Event::Settled { check, end, result })
            }
            RunEvent::Stale { .. } => {
                self.stale += 1;
                Vec::new()
            }
            RunEvent::CancelRequested { reason } => {
                self.note = Some(format!("cancelled: {reason}"));
                self.machine.apply(Event::Cancel)
            }
            RunEvent::TimedOut => {
                self.note = Some("the run's time was over".into());
                self.machine.apply(Event::TimedOut)
            }
            RunEvent::Finished { state } => {
                self.state = *state;
                self.finished_at = Some(recorded.at);
                if *state == RunState::Failed && self.note.is_none() {
                    self.note = self.why_without_failure();
                }
                Vec::new()
            }
        };
        self.remember(&effects);
        effects
    }

    fn remember(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Evaluate(evaluation) => self.evaluating.push((**evaluation).clone()),
                Effect::Start { .. }
                | Effect::Skip { .. }
                | Effect::Fail { .. }
                | Effect::Cancel { .. }
                | Effect::Finish { .. } => {}
            }
        }
    }

    pub(crate) fn run(&self) -> RunId {
        self.submission.run
    }

    pub(super) fn engine(&self) -> &RunMachine {
        &self.machine
    }

    /// Why the run stands as it does, where that needs words.
    pub(super) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The place of the next event.
    pub(crate) fn next_event(&self) -> u32 {
        self.events
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.state.is_finished()
    }

    pub(crate) fn job(&self, seq: u32) -> Option<&JobEntry> {
        self.jobs.get(seq as usize)
    }

    /// The job of a check, once it has one.
    pub(crate) fn job_of(&self, check: CheckIndex) -> Option<(JobId, &JobEntry)> {
        let seq = (*self.job_of.get(check.0 as usize)?)?;
        Some((JobId { run: self.run(), seq }, self.jobs.get(seq as usize)?))
    }

    pub(crate) fn ticket(&self, seq: u32) -> Option<Ticket> {
        let attempt = self.jobs.get(seq as usize)?.tries.attempt;
        Some(Ticket { job: JobId { run: self.run(), seq }, attempt })
    }

    /// Jobs that are not settled: what a restart takes up again.
    pub(crate) fn open_jobs(&self) -> impl Iterator<Item = (u32, &JobEntry)> {
        (0..).zip(&self.jobs).filter(|(_, entry)| entry.phase != Phase::Settled)
    }

    /// Evaluations that are not answered: what a restart asks again.
    pub(crate) fn open_evaluations(&self) -> &[Evaluation] {
        &self.evaluating
    }

    pub(crate) fn check_name(&self, check: CheckIndex) -> &CheckName {
        &self.plan.checks()[check.0 as usize].name
    }

    pub(crate) fn check_state(&self, check: CheckIndex) -> CheckState {
        self.machine.check_state(check)
    }

    pub(crate) fn index_of(&self, name: &CheckName) -> Option<CheckIndex> {
        self.plan.find(name.as_str())
    }

    /// Issues of a check that is over.
    pub(crate) fn issue_count(&self, check: CheckIndex) -> u32 {
        u32::try_from(self.machine.result(check).issues.len()).unwrap_or(u32::MAX)
    }

    /// The line of the run in a list.
    pub(crate) fn summary(&self) -> RunSummary {
        RunSummary {
            run: self.run(),
            channel: self.submission.channel.clone(),
            config: self.submission.config.name.clone(),
            state: self.state,
            submitted_at: self.submitted_at,
            finished_at: self.finished_at,
            counts: self.machine.counts(),
            note: self.note.clone(),
        }
    }

    /// The run with all its checks.
    pub(crate) fn report(&self) -> RunReport {
        let mut checks = self.machine.reports();
        for (index, report) in (0..).zip(&mut checks) {
            if let Some(seq) = self.job_of[index as usize]
                && let Some(entry) = self.jobs.get(seq as usize)
            {
                entry.fill(JobId { run: self.run(), seq }, report);
                if let (false, None, Placement::Sandbox(wanted)) = (
                    report.state.is_settled(),
                    &report.image,
                    &self.plan.check(entry.check).placement,
                ) {
                    report.image = Some(wanted.image.clone());
                }
            }
        }
        for (index, report) in (0..).zip(&mut checks) {
            report.why = self.why(CheckIndex(index));
        }
        RunReport { summary: self.summary(), checks }
    }
}

impl JobEntry {
    fn settle(&mut self, outcome: &Outcome) {
        self.phase = Phase::Settled;
        self.started_at = Some(outcome.started_at);
        self.finished_at = Some(outcome.finished_at);
        self.worker = Some(outcome.worker.clone());
        self.usage = outcome.usage;
        self.image.clone_from(&outcome.image);
        self.end = Some(outcome.end.clone());
        self.tail = tail(&outcome.stdout, &outcome.stderr);
    }

    /// How long the last attempt ran.
    pub(crate) fn ran(&self) -> Option<Duration> {
        Some(self.finished_at?.since(self.started_at?))
    }

    fn fill(&self, job: JobId, report: &mut CheckReport) {
        report.job = Some(job);
        report.attempts = self.tries.attempt.0;
        report.history.clone_from(&self.tries.history);
        report.worker.clone_from(&self.worker);
        report.image.clone_from(&self.image);
        report.next_attempt_at = self.not_before.filter(|_| self.phase == Phase::Queued);
        report.queued_at = Some(self.queued_at);
        report.started_at = self.started_at;
        report.finished_at = self.finished_at;
        report.ended = self.end.as_ref().map(in_words);
        report.fault = match &self.end {
            Some(End::Infrastructure(fault)) => Some(fault.clone()),
            Some(_) | None => None,
        };
        report.usage = self.usage;
        if report.state == CheckState::Failed {
            report.tail.clone_from(&self.tail);
        }
    }
}

/// Lines of a failed check's output that a report shows.
const TAIL_LINES: usize = 12;
/// Bytes of them at most.
const TAIL_BYTES: usize = 2_048;

/// The last lines of what a check wrote: of its errors, when it wrote any.
fn tail(stdout: &Captured, stderr: &Captured) -> String {
    let source = if stderr.is_empty() { stdout } else { stderr };
    let bytes = &source.inline;
    let from = bytes.len().saturating_sub(TAIL_BYTES);
    let text = String::from_utf8_lossy(&bytes[from..]);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let first = lines.len().saturating_sub(TAIL_LINES);
    lines[first..].join("\n")
}
