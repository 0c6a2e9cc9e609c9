//! Outcomes: from the results queue to the checks they settle.
//!
//! A delivery holds outcomes of many jobs. It is acknowledged when the journal has all of them:
//! until then the transport keeps it, and gives it to whoever leads next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use visor_protocol::envelope::Envelope;
use visor_protocol::event::{Recorded, RunEvent};
use visor_protocol::outcome::Outcome;
use visor_protocol::result::RunSummary;
use visor_protocol::worker::Ticket;
use visor_transport::{BusError, Consumer, Delivery, Queue};

use crate::channel::{branch, check};
use crate::gauges::Gauges;
use crate::services::Services;
use crate::store::RunWrite;

/// Deliveries asked for ahead. Each holds up to a few hundred outcomes.
const WINDOW: u32 = 64;

/// A delivery for a run that is being rebuilt comes again after this pause.
const COME_AGAIN: Duration = Duration::from_millis(250);

/// A share of a delivery. When every share is done the delivery is acknowledged.
pub(crate) struct Ack(Arc<Shared>);

struct Shared {
    open: AtomicUsize,
    delivery: Mutex<Option<Box<dyn Delivery>>>,
    tasks: TaskTracker,
}

impl Ack {
    fn shares(delivery: Box<dyn Delivery>, shares: usize, tasks: &TaskTracker) -> Vec<Self> {
        let shared = Arc::new(Shared {
            open: AtomicUsize::new(shares),
            delivery: Mutex::new(Some(delivery)),
            tasks: tasks.clone(),
        });
        (0..shares).map(|_| Self(Arc::clone(&shared))).collect()
    }

    /// The journal has what this share was about.
    pub(crate) fn done(self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(delivery) = self.0.delivery.lock().take()
        {
            self.0.tasks.spawn(async move {
                if let Err(error) = delivery.ack().await {
                    tracing::debug!(%error, "acknowledgement lost; the report will come again as stale");
                }
            });
        }
    }

    /// It cannot be taken now: have the whole delivery again later. Outcomes of it that are
    /// settled by then are stale and change nothing.
    fn later(self) {
        if let Some(delivery) = self.0.delivery.lock().take() {
            self.0.tasks.spawn(async move {
                if let Err(error) = delivery.nack(COME_AGAIN).await {
                    tracing::debug!(%error, "report not put back; it comes again by itself");
                }
            });
        }
    }
}

/// Reads the results queue until stopped.
pub(crate) async fn run(services: Arc<Services>, stop: CancellationToken) {
    let queue = Queue::Results(services.config.shard);
    while !stop.is_cancelled() {
        match services.bus.consume(&queue).await {
            Ok(consumer) => read(&services, consumer, &stop).await,
            Err(BusError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "results cannot be read; trying again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_millis(500)) => {}
                }
            }
        }
    }
}

async fn read(services: &Arc<Services>, mut consumer: Box<dyn Consumer>, stop: &CancellationToken) {
    consumer.request(WINDOW);
    loop {
        let delivery = tokio::select! {
            () = stop.cancelled() => return,
            next = consumer.next() => match next {
                Some(delivery) => delivery,
                None => return,
            },
        };
        // Asked for in halves: one request for many deliveries instead of one for each.
        if consumer.outstanding() <= WINDOW / 2 {
            consumer.request(WINDOW - consumer.outstanding());
        }
        take(services, delivery);
    }
}

fn take(services: &Arc<Services>, delivery: Box<dyn Delivery>) {
    let outcomes = match Envelope::<Vec<Outcome>>::decode(delivery.payload()) {
        Ok(envelope) => envelope.body,
        Err(error) => {
            Gauges::add(&services.gauges.messages_rejected);
            tracing::warn!(%error, "a message that is no report was rejected");
            for ack in Ack::shares(delivery, 1, &services.tasks) {
                ack.done();
            }
            return;
        }
    };
    if outcomes.is_empty() {
        for ack in Ack::shares(delivery, 1, &services.tasks) {
            ack.done();
        }
        return;
    }
    let tickets = outcomes.iter().map(ticket_of).collect();
    let released =
        outcomes.iter().map(|o| (ticket_of(o), Some(o.finished_at.since(o.started_at)))).collect();
    services.fleet.finished(tickets);
    services.dispatcher.released(released);
    let acks = Ack::shares(delivery, outcomes.len(), &services.tasks);
    for (outcome, ack) in outcomes.into_iter().zip(acks) {
        route(services, Box::new(outcome), ack);
    }
}

fn ticket_of(outcome: &Outcome) -> Ticket {
    Ticket { job: outcome.job, attempt: outcome.attempt }
}

fn route(services: &Arc<Services>, outcome: Box<Outcome>, ack: Ack) {
    let (job, run) = (outcome.job, outcome.job.run);
    if let Some(check) = services.directory.check(job) {
        let _ = check.cast(check::Msg::Outcome { outcome, ack });
        return;
    }
    if services.directory.is_settling() {
        return ack.later();
    }
    if let Some(branch) = services.directory.branch(run) {
        let ticket = ticket_of(&outcome);
        let worker = outcome.worker.clone();
        let _ = branch.cast(branch::Msg::Stale { ticket, worker, ack: Some(ack) });
        return;
    }
    let services = Arc::clone(services);
    let tasks = services.tasks.clone();
    tasks.spawn_blocking(move || late(&services, &outcome, ack));
}

/// An outcome for a run that has no branch: of a finished run it is noted as stale, of an open one
/// it waits until the run is taken up, of an unknown one it is dropped.
fn late(services: &Services, outcome: &Outcome, ack: Ack) {
    let run = outcome.job.run;
    Gauges::add(&services.gauges.reports_stale);
    match services.journal.backend().summary(run) {
        Ok(Some(RunSummary { state, .. })) if state.is_finished() => {
            note_stale(services, outcome, ack);
        }
        Ok(Some(_)) => ack.later(),
        Ok(None) => {
            tracing::warn!(job = %outcome.job, worker = %outcome.worker, "a report for an unknown run was dropped");
            ack.done();
        }
        Err(error) => {
            tracing::warn!(%error, "the journal cannot be read; the report waits");
            ack.later();
        }
    }
}

fn note_stale(services: &Services, outcome: &Outcome, ack: Ack) {
    let run = outcome.job.run;
    let place = match services.journal.backend().events(run) {
        Ok(events) => u32::try_from(events.len()).unwrap_or(u32::MAX),
        Err(_) => return ack.later(),
    };
    let event = RunEvent::Stale { ticket: ticket_of(outcome), worker: outcome.worker.clone() };
    let mut batch = RunWrite::new(run, place);
    if batch.push(&Recorded { at: services.clock.now(), event }).is_err() {
        return ack.done();
    }
    services.journal.commit(batch, move |result| match result {
        Ok(()) => ack.done(),
        Err(_) => ack.later(),
    });
}
