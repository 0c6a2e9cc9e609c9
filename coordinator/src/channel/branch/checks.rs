//! The check actors of a run: started, ended, and started again when they fall over.

use std::sync::Arc;

use ractor::{ActorId, ActorProcessingErr, ActorRef};
use visor_protocol::ids::{JobId, WorkerId};
use visor_protocol::outcome::{Captured, End, Fault, Outcome, Usage};
use visor_protocol::time::Timestamp;

use super::actor::{Msg, State};
use crate::channel::book::Phase;
use crate::channel::check::{self, CheckActor};

/// A check actor that falls over this often is not started again.
const CHECK_RESTARTS: u32 = 3;

impl State {
    pub(super) fn start_check(
        &mut self,
        me: &ActorRef<Msg>,
        seq: u32,
        held_by: Option<(WorkerId, Timestamp)>,
    ) {
        let Some(entry) = self.book.as_ref().and_then(|book| book.job(seq)) else { return };
        if entry.phase == Phase::Settled {
            return;
        }
        let (tries, not_before) = (entry.tries.clone(), entry.not_before);
        let job = JobId { run: self.arguments.submission.run, seq };
        let source = check::Source {
            submission: Arc::clone(&self.arguments.submission),
            plan: Arc::clone(&self.arguments.plan),
            check: entry.check,
            job,
            pool: entry.pool.clone(),
            shard: self.arguments.services.config.shard,
        };
        let services = Arc::clone(&self.arguments.services);
        let arguments = check::Arguments {
            source,
            tries,
            not_before,
            branch: me.clone(),
            run_span: self.span.clone(),
            services: Arc::clone(&services),
        };
        match ractor::ActorRuntime::spawn_linked_instant(None, CheckActor, arguments, me.get_cell())
        {
            Ok((check, _)) => {
                services.directory.add_check(job, check.clone());
                self.seq_of.insert(check.get_id(), seq);
                let _ = check.cast(check::Msg::Begin { held_by });
                self.checks.insert(seq, check);
            }
            // Only a clash of names can do this, and checks have none.
            Err(error) => tracing::error!(%error, %job, "check actor cannot be started"),
        }
    }

    pub(super) fn end_check(&mut self, seq: u32) {
        let job = JobId { run: self.arguments.submission.run, seq };
        self.arguments.services.directory.remove_check(job);
        if let Some(check) = self.checks.remove(&seq) {
            self.seq_of.remove(&check.get_id());
            check.stop(None);
        }
    }

    /// A check actor panicked: start it again from the book, or fail that check alone.
    pub(super) fn check_fell_over(
        &mut self,
        me: &ActorRef<Msg>,
        id: ActorId,
        error: &str,
    ) -> Result<(), ActorProcessingErr> {
        let Some(seq) = self.seq_of.remove(&id) else { return Ok(()) };
        self.checks.remove(&seq);
        let job = JobId { run: self.arguments.submission.run, seq };
        let services = Arc::clone(&self.arguments.services);
        services.directory.remove_check(job);
        let Some(ticket) = self.book()?.ticket(seq) else { return Ok(()) };
        // Whatever was handed out for it comes back as unknown and is stopped.
        services.dispatcher.withdraw(ticket);
        services.fleet.forget(ticket);
        let restarts = self.restarts.entry(seq).or_default();
        *restarts += 1;
        let restarts = *restarts;
        tracing::error!(%job, %error, restarts, "a check actor fell over");
        if restarts <= CHECK_RESTARTS {
            self.start_check(me, seq, None);
            return Ok(());
        }
        let Some(entry) = self.book()?.job(seq) else { return Ok(()) };
        if entry.phase == Phase::Settled {
            return Ok(());
        }
        let check = entry.check;
        let message = format!("the coordinator fell over this check {restarts} times: {error}");
        let now = self.now();
        let outcome = Outcome {
            job,
            attempt: ticket.attempt,
            worker: services.own_id.clone(),
            started_at: now,
            finished_at: now,
            end: End::Infrastructure(Fault {
                code: "visor::coordinator::check_crashed".into(),
                message,
                retry: false,
            }),
            stdout: Captured::default(),
            stderr: Captured::default(),
            usage: Usage::default(),
            image: None,
        };
        let planned = self.arguments.plan.check(check);
        let (stdout, stderr) = (&outcome.stdout, &outcome.stderr);
        let result = visor_engine::result::interpret(planned, &outcome.end, stdout, stderr);
        self.settle(Box::new(outcome), Box::new(result), None, None)
    }
}
