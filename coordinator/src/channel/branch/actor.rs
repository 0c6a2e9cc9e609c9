//! The branch actor: one open run.
//!
//! Whatever happens becomes an event in the book at once, and goes to the journal with all that
//! followed from it. Only when the journal has it does the branch act on it: start checks, answer
//! the submitter, acknowledge the outcome. While one commit is under way, further events gather
//! for the next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use visor_engine::{CheckIndex, Effect, Evaluation, Plan};
use visor_protocol::api::{ApiError, DeadLetter, Submission};
use visor_protocol::event::{Cause, Recorded, RunEvent};
use visor_protocol::ids::{Attempt, JobId, PoolName, WorkerId};
use visor_protocol::outcome::Outcome;
use visor_protocol::result::{CheckResult, RunReport, RunState};
use visor_protocol::time::Timestamp;
use visor_protocol::worker::Ticket;

use super::commit::{Action, Pending};
use super::tell;
use crate::channel::book::{Phase, RunBook};
use crate::channel::check;
use crate::gauges::Gauges;
use crate::probe::ProbePoint;
use crate::results::Ack;
use crate::services::Services;
use crate::store::{RunWrite, StoreError};

/// About what an event takes in the journal.
const EVENT_BYTES: usize = 512;

/// Answers a submitter.
pub(crate) type Accepted = RpcReplyPort<Result<(), ApiError>>;

/// What others say to a branch.
pub(crate) enum Msg {
    /// Take the run up: commit its acceptance, or rebuild it from its journal.
    Begin(Origin, Option<Accepted>),
    /// The same run was submitted again: answer as soon as it is committed.
    SubmittedAgain(Accepted),
    /// The journal has answered.
    Committed(Result<(), StoreError>),
    /// The pause after a refusal is over.
    RetryCommit,
    /// An expression was evaluated.
    Evaluated(Evaluation, Result<serde_json::Value, String>),
    /// A worker runs the job.
    Started { ticket: Ticket, worker: WorkerId, at: Timestamp },
    /// The job needs another attempt.
    Requeue { job: JobId, attempt: Attempt, why: String, cause: Cause, after: Duration },
    /// The job is over.
    Settle {
        outcome: Box<Outcome>,
        result: Box<CheckResult>,
        dead_letter: Option<Vec<String>>,
        ack: Option<Ack>,
    },
    /// Something was reported too late.
    Stale { ticket: Ticket, worker: WorkerId, ack: Option<Ack> },
    /// Somebody wants the run stopped.
    Cancel(String, RpcReplyPort<bool>),
    /// The run's time is over.
    TimedOut,
    /// How the run stands.
    Report(RpcReplyPort<Box<RunReport>>),
}

/// Where a branch comes from.
pub(crate) enum Origin {
    /// It was just submitted.
    Submission,
    /// It is in the journal: the coordinator was restarted, or the branch fell over.
    Journal(Vec<Recorded>),
}

/// What a branch is started with.
#[derive(Clone)]
pub(crate) struct Arguments {
    pub(crate) submission: Arc<Submission>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) pool: PoolName,
    pub(crate) services: Arc<Services>,
}

/// The actor of one run.
pub(crate) struct BranchActor;

pub(crate) struct State {
    pub(super) arguments: Arguments,
    /// From now until the run is over; the checks' spans are its children.
    pub(super) span: tracing::Span,
    pub(super) book: Option<RunBook>,
    /// Events in the book that the journal has not been given.
    pub(super) pending: Pending,
    /// What waits for the commit under way.
    pub(super) committing: Option<Pending>,
    /// The batch of the commit under way, for when it is refused.
    pub(super) batch: Option<Arc<RunWrite>>,
    pub(super) checks: HashMap<u32, ActorRef<check::Msg>>,
    pub(super) seq_of: HashMap<ActorId, u32>,
    pub(super) restarts: HashMap<u32, u32>,
    pub(super) accepted: Vec<Accepted>,
    pub(super) is_accepted: bool,
    /// The journal has the run's end.
    pub(super) is_over: bool,
    /// Bytes of the run in the journal.
    pub(super) written: usize,
}

impl Actor for BranchActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _: ActorRef<Msg>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let submission = &arguments.submission;
        let span = tracing::debug_span!(
            "run", run.id = %submission.run, channel.id = %submission.channel
        );
        Ok(State {
            arguments,
            span,
            book: None,
            pending: Pending::default(),
            committing: None,
            batch: None,
            checks: HashMap::new(),
            seq_of: HashMap::new(),
            restarts: HashMap::new(),
            accepted: Vec::new(),
            is_accepted: false,
            is_over: false,
            written: 0,
        })
    }

    async fn handle(
        &self,
        me: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Begin(origin, reply) => {
                state.accepted.extend(reply);
                state.begin(&me, origin)?;
            }
            Msg::SubmittedAgain(reply) => {
                if state.is_accepted {
                    let _ = reply.send(Ok(()));
                } else {
                    state.accepted.push(reply);
                }
            }
            Msg::Committed(result) => state.committed(&me, result)?,
            Msg::RetryCommit => state.write(&me),
            Msg::Evaluated(evaluation, value) => {
                let name = state.book()?.check_name(evaluation.check).clone();
                let which = evaluation.which;
                state.record(RunEvent::Evaluated { check: name, which, value })?;
            }
            Msg::Started { ticket, worker, at } => {
                // Not worth a commit of its own: a restart learns it from the worker's heartbeat.
                // It goes to the journal with whatever comes next.
                let before = state.pending.notices.len();
                state.record(RunEvent::Started { ticket, worker, at })?;
                let notices = state.pending.notices.split_off(before);
                let Arguments { services, submission, .. } = &state.arguments;
                services.notices.send(notices, submission.watched);
                return Ok(());
            }
            Msg::Requeue { job, attempt, why, cause, after } => {
                Gauges::add(&state.arguments.services.gauges.attempts_requeued);
                let not_before = (!after.is_zero()).then(|| state.now() + after);
                state.record(RunEvent::Requeued { job, attempt, why, cause, not_before })?;
                state.pending.actions.push(Action::Requeued { seq: job.seq, attempt, after });
            }
            Msg::Settle { outcome, result, dead_letter, ack } => {
                state.settle(outcome, result, dead_letter, ack)?;
            }
            Msg::Stale { ticket, worker, ack } => {
                Gauges::add(&state.arguments.services.gauges.reports_stale);
                state.record(RunEvent::Stale { ticket, worker })?;
                state.pending.actions.extend(ack.map(Action::Ack));
            }
            Msg::Cancel(reason, reply) => {
                let running = !state.book()?.is_finished();
                if running {
                    state.record(RunEvent::CancelRequested { reason })?;
                }
                let _ = reply.send(running);
            }
            Msg::TimedOut => {
                if !state.book()?.is_finished() {
                    state.record(RunEvent::TimedOut)?;
                }
            }
            // Nobody is told of an end that the journal does not have yet.
            Msg::Report(reply) if state.book()?.is_finished() && !state.is_over => {
                state.pending.actions.push(Action::Report(reply));
            }
            Msg::Report(reply) => {
                let _ = reply.send(Box::new(state.book()?.report()));
            }
        }
        state.flush(&me)
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                state.check_fell_over(&me, cell.get_id(), &error.to_string())?;
                state.flush(&me)
            }
            SupervisionEvent::ActorTerminated(..)
            | SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ProcessGroupChanged(_) => Ok(()),
        }
    }

    async fn post_stop(
        &self,
        me: ActorRef<Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let services = &state.arguments.services;
        let run = state.arguments.submission.run;
        // First: whoever finds no branch any more finds it there.
        if let Some(book) = state.book.take().filter(|_| state.is_over) {
            services.recent.keep(book, state.written);
        }
        services.directory.remove_branch(run, me.get_id());
        for seq in state.checks.keys() {
            services.directory.remove_check(JobId { run, seq: *seq });
        }
        Ok(())
    }
}

impl State {
    pub(super) fn book(&self) -> Result<&RunBook, ActorProcessingErr> {
        self.book.as_ref().ok_or_else(|| "the branch was told something before it began".into())
    }

    pub(super) fn now(&self) -> Timestamp {
        self.arguments.services.clock.now()
    }

    fn begin(&mut self, me: &ActorRef<Msg>, origin: Origin) -> Result<(), ActorProcessingErr> {
        let Arguments { submission, plan, .. } = &self.arguments;
        match origin {
            Origin::Submission => {
                let now = self.now();
                let (book, effects) = RunBook::open(Arc::clone(submission), Arc::clone(plan), now);
                let accepted = Recorded {
                    at: now,
                    event: RunEvent::Accepted(Box::new((**submission).clone())),
                };
                self.pending.notices.extend(tell::of_event(&book, &accepted));
                self.pending.events.push(accepted);
                self.book = Some(book);
                self.take(effects)?;
                self.start_timer(me, Duration::ZERO);
            }
            Origin::Journal(history) => {
                let book = RunBook::replay(submission, Arc::clone(plan), &history)
                    .ok_or("the journal of the run does not begin with its acceptance")?;
                let since = self.now().since(book.summary().submitted_at);
                for evaluation in book.open_evaluations() {
                    self.pending.actions.push(Action::Evaluate(evaluation.clone()));
                }
                for (seq, entry) in book.open_jobs() {
                    let held_by = match entry.phase {
                        Phase::Running => entry.worker.clone().zip(entry.started_at),
                        Phase::Queued | Phase::Settled => None,
                    };
                    self.pending.actions.push(Action::Start { seq, held_by });
                }
                self.is_accepted = true;
                // Not worth encoding it again to know.
                self.written = history.len() * EVENT_BYTES;
                self.book = Some(book);
                self.start_timer(me, since);
            }
        }
        Ok(())
    }

    fn start_timer(&self, me: &ActorRef<Msg>, elapsed: Duration) {
        if let Some(millis) = self.arguments.submission.timeout_ms {
            let left = Duration::from_millis(millis).saturating_sub(elapsed);
            me.send_after(left, || Msg::TimedOut);
        }
    }

    /// Takes an event into the book, with everything that follows from it.
    fn record(&mut self, event: RunEvent) -> Result<(), ActorProcessingErr> {
        let recorded = Recorded { at: self.now(), event };
        let book = self.book.as_mut().ok_or("the branch has not begun")?;
        let effects = book.apply(&recorded);
        self.pending.notices.extend(tell::of_event(book, &recorded));
        self.pending.events.push(recorded);
        self.take(effects)
    }

    fn take(&mut self, effects: Vec<Effect>) -> Result<(), ActorProcessingErr> {
        for effect in effects {
            match effect {
                Effect::Start { seq, check } => self.queue(seq, check)?,
                Effect::Evaluate(evaluation) => {
                    self.pending.actions.push(Action::Evaluate(*evaluation));
                }
                Effect::Fail { check, fault } => {
                    let at = self.now();
                    let notice = tell::of_fault(self.book()?, at, check, &fault);
                    self.pending.notices.push(notice);
                }
                Effect::Skip { check, reason } => {
                    let at = self.now();
                    let notice = tell::of_skip(self.book()?, at, check, &reason);
                    self.pending.notices.push(notice);
                }
                Effect::Cancel { seq, .. } => self.pending.actions.push(Action::Stop { seq }),
                Effect::Finish { state } => {
                    self.record(RunEvent::Finished { state })?;
                    self.pending.finished = true;
                }
            }
        }
        Ok(())
    }

    fn queue(&mut self, seq: u32, check: CheckIndex) -> Result<(), ActorProcessingErr> {
        let run = self.arguments.submission.run;
        let name = self.book()?.check_name(check).clone();
        let pool = self.arguments.pool.clone();
        self.record(RunEvent::Queued { job: JobId { run, seq }, check: name, pool })?;
        Gauges::add(&self.arguments.services.gauges.jobs_queued);
        self.pending.actions.push(Action::Start { seq, held_by: None });
        Ok(())
    }

    pub(super) fn settle(
        &mut self,
        outcome: Box<Outcome>,
        result: Box<CheckResult>,
        dead_letter: Option<Vec<String>>,
        ack: Option<Ack>,
    ) -> Result<(), ActorProcessingErr> {
        let seq = outcome.job.seq;
        let book = self.book()?;
        let Some(entry) = book.job(seq) else {
            return Err(
                format!("an outcome for job {} that was never asked for", outcome.job).into()
            );
        };
        // A check that was rebuilt while its predecessor's report was under way may report twice.
        if entry.phase == Phase::Settled {
            let ticket = Ticket { job: outcome.job, attempt: outcome.attempt };
            self.record(RunEvent::Stale { ticket, worker: outcome.worker.clone() })?;
            self.pending.actions.extend(ack.map(Action::Ack));
            return Ok(());
        }
        let name = book.check_name(entry.check).clone();
        let services = Arc::clone(&self.arguments.services);
        services.probe.hit(ProbePoint::BranchSettles { check: name.as_str() });
        let at = self.now();
        services.gauges.settled_at(at);
        services.gauges.executed(&outcome, &result);
        if let Some(history) = dead_letter {
            let run = outcome.job.run;
            let letter = DeadLetter { run, check: name.to_string(), at, history };
            self.pending.dead_letters.push(letter);
        }
        self.record(RunEvent::Settled { outcome, result })?;
        self.pending.actions.push(Action::CheckOver { seq });
        self.pending.actions.extend(ack.map(Action::Ack));
        Ok(())
    }
}

/// The state in which a run ends that cannot be taken up again.
pub(crate) const UNRECOVERABLE: RunState = RunState::Failed;
