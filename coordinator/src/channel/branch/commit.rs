//! What happened goes to the journal first, and is acted on when it is there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::{ActorProcessingErr, ActorRef, RpcReplyPort};
use visor_engine::Evaluation;
use visor_protocol::api::{ApiError, DeadLetter};
use visor_protocol::event::{Notice, Recorded};
use visor_protocol::ids::{Attempt, WorkerId};
use visor_protocol::result::RunReport;
use visor_protocol::time::Timestamp;

use super::actor::{Msg, State};
use crate::channel::check;
use crate::gauges::Gauges;
use crate::results::Ack;
use crate::store::{RunWrite, StoreError};

/// A journal that refuses is asked again after this pause; what happens meanwhile gathers.
const COMMIT_RETRY: Duration = Duration::from_millis(500);

/// An expression that takes longer than this is given up.
const EVALUATION_PATIENCE: Duration = Duration::from_secs(5);

/// Events, and what may be done when they are committed.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) events: Vec<Recorded>,
    pub(super) dead_letters: Vec<DeadLetter>,
    pub(super) actions: Vec<Action>,
    pub(super) notices: Vec<Notice>,
    pub(super) finished: bool,
}

/// What is done when the journal has it.
pub(super) enum Action {
    Start { seq: u32, held_by: Option<(WorkerId, Timestamp)> },
    Requeued { seq: u32, attempt: Attempt, after: Duration },
    Stop { seq: u32 },
    CheckOver { seq: u32 },
    Evaluate(Evaluation),
    Ack(Ack),
    Report(RpcReplyPort<Box<RunReport>>),
}

impl State {
    /// Hands what is pending to the journal, unless a commit is under way.
    pub(super) fn flush(&mut self, me: &ActorRef<Msg>) -> Result<(), ActorProcessingErr> {
        if self.committing.is_some() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        if pending.events.is_empty() {
            self.act(me, pending);
            // Not before: a late report that came while the end was being written is written, too.
            if self.is_over {
                me.stop(None);
            }
            return Ok(());
        }
        let book = self.book()?;
        let count = u32::try_from(pending.events.len()).unwrap_or(u32::MAX);
        let first = book.next_event() - count;
        let mut batch = RunWrite::new(book.run(), first);
        for event in &pending.events {
            batch.push(event)?;
        }
        for letter in &pending.dead_letters {
            batch.push_dead_letter(letter)?;
        }
        // The line in the list is written when the run begins and ends; in between the branch
        // itself is asked.
        if first == 0 || pending.finished {
            batch.set_summary(&book.summary())?;
        }
        self.written += batch.events.len();
        self.batch = Some(Arc::new(batch));
        self.committing = Some(pending);
        self.write(me);
        Ok(())
    }

    pub(super) fn write(&mut self, me: &ActorRef<Msg>) {
        let Some(batch) = self.batch.clone() else { return };
        let me = me.clone();
        self.arguments.services.journal.commit(batch, move |result| {
            let _ = me.cast(Msg::Committed(result));
        });
    }

    pub(super) fn committed(
        &mut self,
        me: &ActorRef<Msg>,
        result: Result<(), StoreError>,
    ) -> Result<(), ActorProcessingErr> {
        if let Err(error) = result {
            if !self.is_accepted {
                // Nothing was promised yet: say so, and leave nothing behind.
                let refusal = ApiError::new("visor::journal::unwritable", error.to_string())
                    .retry_after(1_000);
                for reply in self.accepted.drain(..) {
                    let _ = reply.send(Err(refusal.clone()));
                }
                me.stop(Some("the journal refused the run".into()));
                return Ok(());
            }
            me.send_after(COMMIT_RETRY, || Msg::RetryCommit);
            return Ok(());
        }
        self.batch = None;
        if !self.is_accepted {
            self.is_accepted = true;
            Gauges::add(&self.arguments.services.gauges.runs_accepted);
            for reply in self.accepted.drain(..) {
                let _ = reply.send(Ok(()));
            }
        }
        if let Some(done) = self.committing.take() {
            self.act(me, done);
        }
        Ok(())
    }

    /// The journal has it: now it may be done.
    fn act(&mut self, me: &ActorRef<Msg>, done: Pending) {
        let services = Arc::clone(&self.arguments.services);
        services.notices.send(done.notices, self.arguments.submission.watched);
        for action in done.actions {
            match action {
                Action::Start { seq, held_by } => self.start_check(me, seq, held_by),
                Action::Requeued { seq, attempt, after } => {
                    if let Some(check) = self.checks.get(&seq) {
                        let _ = check.cast(check::Msg::Requeued { attempt, after });
                    }
                }
                Action::Stop { seq } => {
                    if let Some(check) = self.checks.get(&seq) {
                        let _ = check.cast(check::Msg::Cancel);
                    }
                }
                Action::CheckOver { seq } => self.end_check(seq),
                Action::Evaluate(evaluation) => {
                    services.tasks.spawn(evaluate(me.clone(), evaluation));
                }
                Action::Ack(ack) => ack.done(),
                Action::Report(reply) => {
                    if let Ok(book) = self.book() {
                        let _ = reply.send(Box::new(book.report()));
                    }
                }
            }
        }
        if done.finished {
            services.gauges.runs_finished.fetch_add(1, Ordering::Relaxed);
            if let Ok(book) = self.book() {
                services.gauges.run_over(&book.summary());
            }
            self.is_over = true;
        }
    }
}

/// Evaluates off the actor and off the runtime's threads. The interpreter has a limit of its own, a
/// tenth of a second; this one is for the single operations on huge values that it does not see.
async fn evaluate(me: ActorRef<Msg>, evaluation: Evaluation) {
    let task = evaluation.clone();
    let work = tokio::task::spawn_blocking(move || visor_engine::expression::evaluate(&task));
    let value = match tokio::time::timeout(EVALUATION_PATIENCE, work).await {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => Err(format!("it could not be evaluated: {error}")),
        Err(_) => Err(format!("it took longer than {EVALUATION_PATIENCE:?}")),
    };
    let _ = me.cast(Msg::Evaluated(evaluation, value));
}
