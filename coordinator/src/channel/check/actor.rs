//! The check actor: renders the job, asks for a slot, hands it over, and tells its branch what
//! came of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use visor_engine::result::Stream;
use visor_protocol::envelope::Envelope;
use visor_protocol::ids::{Attempt, WorkerId};
use visor_protocol::outcome::{Captured, End, Fault, Outcome, Usage};
use visor_protocol::result::CheckResult;
use visor_protocol::time::Timestamp;
use visor_protocol::worker::Ticket;
use visor_transport::Queue;

use super::core::{Core, Decision, Event, Limits, Tries};
use super::render::Source;
use crate::channel::branch;
use crate::dispatch::core::{JobKey, Waiting};
use crate::probe::ProbePoint;
use crate::results::Ack;
use crate::services::Services;

/// A worker that was told to stop a job and is silent for this long is not waited for.
const CANCEL_PATIENCE: Duration = Duration::from_secs(15);

/// Interpreting more output than this may take milliseconds, and is done off the actor.
const INTERPRET_INLINE: usize = 64 * 1024;

/// What others say to a check.
pub(crate) enum Msg {
    /// Ask for a slot, or say who holds the attempt since when.
    Begin { held_by: Option<(WorkerId, Timestamp)> },
    /// The dispatcher has a slot: hand the job over. Counts how often that was asked.
    Admit { attempt: Attempt, publication: u32 },
    /// A worker has taken an attempt.
    Started { attempt: Attempt, worker: WorkerId, at: Timestamp },
    /// The worker that had the attempt is gone.
    Lost { attempt: Attempt, why: String },
    /// An outcome has come.
    Outcome { outcome: Box<Outcome>, ack: Ack },
    /// What the outcome means has been worked out.
    Interpreted { outcome: Box<Outcome>, result: Box<CheckResult>, dead_letter: bool, ack: Ack },
    /// The journal has the new attempt; ask for a slot after this pause.
    Requeued { attempt: Attempt, after: Duration },
    /// The pause is over.
    Resubmit { attempt: Attempt },
    /// The run does not want the job any more.
    Cancel,
    /// The worker did not answer the order to stop.
    CancelOverdue,
}

/// What a check is started with.
pub(crate) struct Arguments {
    pub(crate) source: Source,
    pub(crate) tries: Tries,
    /// The attempt waits until then: the journal says so to a check that is rebuilt.
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) branch: ActorRef<branch::Msg>,
    /// The span of the run, of which this check's is a child.
    pub(crate) run_span: tracing::Span,
    pub(crate) services: Arc<Services>,
}

/// The actor of one job.
pub(crate) struct CheckActor;

pub(crate) struct State {
    source: Source,
    core: Core,
    not_before: Option<Timestamp>,
    branch: ActorRef<branch::Msg>,
    /// From the asking until the check is over; workers' spans are its children.
    span: tracing::Span,
    services: Arc<Services>,
}

impl Actor for CheckActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _: ActorRef<Msg>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let Arguments { source, tries, not_before, branch, run_span, services } = arguments;
        let span = tracing::debug_span!(
            parent: &run_span, "check", job.id = %source.job, check = source.name()
        );
        let fleet = &services.config.fleet;
        let limits = Limits {
            lost: fleet.lost_worker_attempts,
            faults: fleet.infrastructure_attempts,
            idempotent: source.planned().idempotent,
        };
        Ok(State { core: Core::new(tries, limits), source, not_before, branch, span, services })
    }

    async fn handle(
        &self,
        me: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Begin { held_by: None } => {
                let now = state.services.clock.now();
                match state.not_before.filter(|at| *at > now) {
                    Some(at) => {
                        let attempt = state.core.attempt();
                        me.send_after(at.since(now), move || Msg::Resubmit { attempt });
                    }
                    None => state.submit(&me),
                }
            }
            Msg::Begin { held_by: Some((worker, _)) } => {
                let attempt = state.core.attempt();
                let _ = state.core.apply(Event::Started { attempt, worker: &worker });
                state.services.fleet.restore(worker, state.ticket());
                state.services.dispatcher.adopt(state.waiting(), me);
            }
            Msg::Admit { attempt, publication } => {
                if attempt == state.core.attempt() && state.core.is_queued() {
                    state.hand_over(publication);
                }
            }
            Msg::Started { attempt, worker, at } => {
                match state.core.apply(Event::Started { attempt, worker: &worker }) {
                    Decision::Run => {
                        state.tell(branch::Msg::Started { ticket: state.ticket(), worker, at })
                    }
                    Decision::Stale => state.reject(attempt, &worker),
                    decision => state.act(&me, decision),
                }
            }
            Msg::Lost { attempt, why } => {
                let decision = state.core.apply(Event::Lost { attempt, why: &why });
                state.act(&me, decision);
            }
            Msg::Outcome { outcome, ack } => state.outcome(&me, outcome, ack),
            Msg::Interpreted { outcome, result, dead_letter, ack } => {
                state.settle(outcome, result, dead_letter, Some(ack));
            }
            Msg::Requeued { attempt, after } => {
                let decision = state.core.apply(Event::Requeued { attempt });
                if decision != Decision::Nothing {
                    state.act(&me, decision);
                } else if after.is_zero() {
                    state.submit(&me);
                } else {
                    me.send_after(after, move || Msg::Resubmit { attempt });
                }
            }
            Msg::Resubmit { attempt } => {
                if attempt == state.core.attempt() && state.core.is_queued() {
                    state.submit(&me);
                }
            }
            Msg::Cancel => {
                let decision = state.core.apply(Event::Cancel);
                state.act(&me, decision);
            }
            Msg::CancelOverdue => {
                let decision = state.core.apply(Event::CancelOverdue);
                state.act(&me, decision);
            }
        }
        Ok(())
    }
}

impl State {
    fn ticket(&self) -> Ticket {
        Ticket { job: self.source.job, attempt: self.core.attempt() }
    }

    fn tell(&self, message: branch::Msg) {
        // A branch that is gone is being rebuilt from the journal, which knows all that matters.
        let _ = self.branch.cast(message);
    }

    fn waiting(&self) -> Waiting {
        let submission = &self.source.submission;
        Waiting {
            ticket: self.ticket(),
            pool: self.source.pool.clone(),
            priority: submission.priority,
            key: JobKey {
                channel: submission.channel.clone(),
                provider: self.source.planned().work.kind(),
                credential: None,
            },
            weight: self.services.config.fleet.weight(&submission.channel).get(),
            since: self.services.clock.now(),
        }
    }

    fn submit(&self, me: &ActorRef<Msg>) {
        self.services.probe.hit(ProbePoint::CheckSubmits { check: self.source.name() });
        self.services.dispatcher.submit(self.waiting(), me.clone());
    }

    fn hand_over(&mut self, publication: u32) {
        let ticket = self.ticket();
        let job = self.source.render(ticket);
        let queue = Queue::Jobs(job.pool.clone());
        let trace = visor_telemetry::trace::of(&self.span);
        match Envelope::new(job, self.services.clock.now()).traced(trace).encode() {
            Ok(payload) => self.services.publisher.publish(queue, ticket, publication, payload),
            Err(error) => {
                let fault = Fault {
                    code: "visor::job::too_large".into(),
                    message: format!("check `{}` cannot be sent: {error}", self.source.name()),
                    retry: false,
                };
                self.end(End::Infrastructure(fault), false);
            }
        }
    }

    fn act(&mut self, me: &ActorRef<Msg>, decision: Decision) {
        match decision {
            // Stale and Settle need the report they are about, and are met where it is at hand.
            Decision::Nothing | Decision::Run | Decision::Stale | Decision::Settle { .. } => {}
            Decision::End { end, dead_letter } => self.end(end, dead_letter),
            Decision::Requeue { attempt, why, cause, after } => {
                let job = self.source.job;
                let earlier = Ticket { job, attempt: Attempt(attempt.0.saturating_sub(1)) };
                self.services.publisher.withdraw(earlier);
                self.services.dispatcher.withdraw(earlier);
                self.services.fleet.forget(earlier);
                self.tell(branch::Msg::Requeue { job, attempt, why, cause, after });
            }
            Decision::Stop { worker } => {
                self.services.fleet.cancel(worker, vec![self.ticket()], "the run was cancelled");
                me.send_after(CANCEL_PATIENCE, || Msg::CancelOverdue);
            }
        }
    }

    fn outcome(&mut self, me: &ActorRef<Msg>, outcome: Box<Outcome>, ack: Ack) {
        let (attempt, end, worker) = (outcome.attempt, &outcome.end, &outcome.worker);
        let holder = self.core.holder().filter(|holder| *holder != worker).cloned();
        match self.core.apply(Event::Outcome { attempt, worker, end }) {
            Decision::Settle { dead_letter } => {
                self.leave();
                if let Some(holder) = holder {
                    // Two workers had the attempt, and the second was the first to end.
                    let ticket = self.ticket();
                    self.services.dispatcher.withdraw(ticket);
                    self.services.fleet.forget(ticket);
                    self.services.fleet.cancel(holder, vec![ticket], "another worker was first");
                }
                self.interpret(me, outcome, dead_letter, ack);
            }
            Decision::Stale => self.tell(branch::Msg::Stale {
                ticket: Ticket { job: outcome.job, attempt },
                worker: outcome.worker.clone(),
                ack: Some(ack),
            }),
            decision => {
                self.act(me, decision);
                // Nothing of this outcome is needed again: the next attempt is in the journal
                // before it runs, and until then the lease machinery would find it lost.
                ack.done();
            }
        }
    }

    /// Works out what an outcome means; large outputs are fetched and read off the actor.
    fn interpret(
        &mut self,
        me: &ActorRef<Msg>,
        outcome: Box<Outcome>,
        dead_letter: bool,
        ack: Ack,
    ) {
        let elsewhere = outcome.stdout.blob.is_some() || outcome.stderr.blob.is_some();
        let size = outcome.stdout.inline.len() + outcome.stderr.inline.len();
        if !elsewhere && size <= INTERPRET_INLINE {
            let result = visor_engine::result::interpret(
                self.source.planned(),
                &outcome.end,
                &outcome.stdout,
                &outcome.stderr,
            );
            return self.settle(outcome, Box::new(result), dead_letter, Some(ack));
        }
        let (me, services, source) = (me.clone(), Arc::clone(&self.services), self.source.clone());
        self.services.tasks.spawn(async move {
            let stdout = fetch(&services, &outcome.stdout).await;
            let stderr = fetch(&services, &outcome.stderr).await;
            let work = move || {
                let stdout = Stream { bytes: &stdout, total: outcome.stdout.total };
                let stderr = Stream { bytes: &stderr, total: outcome.stderr.total };
                let result =
                    visor_engine::result::interpret(source.planned(), &outcome.end, stdout, stderr);
                (outcome, Box::new(result))
            };
            if let Ok((outcome, result)) = tokio::task::spawn_blocking(work).await {
                let _ = me.cast(Msg::Interpreted { outcome, result, dead_letter, ack });
            }
        });
    }

    fn settle(
        &mut self,
        outcome: Box<Outcome>,
        result: Box<CheckResult>,
        dead_letter: bool,
        ack: Option<Ack>,
    ) {
        let dead_letter = dead_letter.then(|| self.core.history().to_vec());
        self.tell(branch::Msg::Settle { outcome, result, dead_letter, ack });
    }

    /// Gives back the slot and the lease. An outcome has done so already, unless it came before
    /// this check asked for them: one that was rebuilt from the journal asks again, while the
    /// report of the attempt may be on its way.
    fn leave(&self) {
        let ticket = self.ticket();
        self.services.publisher.withdraw(ticket);
        self.services.dispatcher.withdraw(ticket);
        self.services.fleet.forget(ticket);
    }

    /// Ends the job with an outcome of our own.
    fn end(&mut self, end: End, dead_letter: bool) {
        let ticket = self.ticket();
        self.leave();
        let now = self.services.clock.now();
        let outcome = Outcome {
            job: ticket.job,
            attempt: ticket.attempt,
            worker: self.services.own_id.clone(),
            started_at: now,
            finished_at: now,
            end,
            stdout: Captured::default(),
            stderr: Captured::default(),
            usage: Usage::default(),
            image: None,
        };
        let result = visor_engine::result::interpret(
            self.source.planned(),
            &outcome.end,
            &outcome.stdout,
            &outcome.stderr,
        );
        self.settle(Box::new(outcome), Box::new(result), dead_letter, None);
    }

    /// Somebody reports an attempt that is not theirs.
    fn reject(&self, attempt: Attempt, worker: &WorkerId) {
        let ticket = Ticket { job: self.source.job, attempt };
        if attempt != self.core.attempt() {
            self.services.fleet.forget(ticket);
        }
        self.services.fleet.cancel(worker.clone(), vec![ticket], "the attempt was superseded");
        self.tell(branch::Msg::Stale { ticket, worker: worker.clone(), ack: None });
    }
}

/// The kept bytes of a stream: those that travelled inline, or the blob's.
async fn fetch(services: &Services, captured: &Captured) -> Bytes {
    let Some(hash) = captured.blob else { return captured.inline.clone() };
    match services.bus.get_blob(hash, captured.blob_limit()).await {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::warn!(%error, "large output cannot be read; its end is used");
            captured.inline.clone()
        }
    }
}
