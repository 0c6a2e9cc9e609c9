//! Outcomes: from the results queue to the checks they settle.
//!
//! A delivery holds outcomes of many jobs. It is acknowledged when the journal has all of them:
//! until then the transport keeps it, and gives it to whoever leads next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
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

/// Outcomes for runs without a branch that wait to be looked at. Beyond that they are put back.
const LATE: usize = 4_096;

/// An outcome for a run without a branch.
type Late = (Box<Outcome>, Ack);

/// A share of a delivery. When every share is done the delivery is acknowledged. One that is
/// dropped before, by whatever fell over, has the whole delivery come again: outcomes of it that
/// are settled by then are stale and change nothing.
pub(crate) struct Ack {
    shared: Arc<Shared>,
    is_done: bool,
}

struct Shared {
    open: AtomicUsize,
    delivery: Mutex<Option<Box<dyn Delivery>>>,
    tasks: TaskTracker,
    /// Acknowledging waits for the transport; the journal's thread, which says that a share is
    /// done, knows no runtime of its own.
    runtime: Handle,
}

impl Ack {
    fn shares(delivery: Box<dyn Delivery>, shares: usize, tasks: &TaskTracker) -> Vec<Self> {
        let shared = Arc::new(Shared {
            open: AtomicUsize::new(shares),
            delivery: Mutex::new(Some(delivery)),
            tasks: tasks.clone(),
            runtime: Handle::current(),
        });
        (0..shares).map(|_| Self { shared: Arc::clone(&shared), is_done: false }).collect()
    }

    /// The journal has what this share was about.
    pub(crate) fn done(mut self) {
        self.is_done = true;
        let Shared { open, delivery, tasks, runtime } = &*self.shared;
        if open.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(delivery) = delivery.lock().take()
        {
            let acknowledge = async move {
                if let Err(error) = delivery.ack().await {
                    tracing::debug!(%error, "acknowledgement lost; the report will come again as stale");
                }
            };
            tasks.spawn_on(acknowledge, runtime);
        }
    }

    /// It cannot be taken now: have the whole delivery again later.
    fn later(self) {
        drop(self);
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        let Shared { delivery, tasks, runtime, .. } = &*self.shared;
        if !self.is_done
            && let Some(delivery) = delivery.lock().take()
        {
            let put_back = async move {
                if let Err(error) = delivery.nack(COME_AGAIN).await {
                    tracing::debug!(%error, "report not put back; it comes again by itself");
                }
            };
            tasks.spawn_on(put_back, runtime);
        }
    }
}

/// Reads the results queue until stopped.
pub(crate) async fn run(services: Arc<Services>, stop: CancellationToken) {
    let queue = Queue::Results(services.config.shard);
    let (late, waiting) = mpsc::channel(LATE);
    services.tasks.spawn(note_late(Arc::clone(&services), waiting));
    while !stop.is_cancelled() {
        match services.bus.consume(&queue).await {
            Ok(consumer) => read(&services, consumer, &late, &stop).await,
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

async fn read(
    services: &Arc<Services>,
    mut consumer: Box<dyn Consumer>,
    late: &mpsc::Sender<Late>,
    stop: &CancellationToken,
) {
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
        take(services, delivery, late);
    }
}

fn take(services: &Arc<Services>, delivery: Box<dyn Delivery>, late: &mpsc::Sender<Late>) {
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
    let over = outcomes
        .iter()
        .map(|o| (ticket_of(o), o.worker.clone(), o.finished_at.since(o.started_at)))
        .collect();
    services.fleet.finished(over);
    let acks = Ack::shares(delivery, outcomes.len(), &services.tasks);
    for (outcome, ack) in outcomes.into_iter().zip(acks) {
        route(services, Box::new(outcome), ack, late);
    }
}

fn ticket_of(outcome: &Outcome) -> Ticket {
    Ticket { job: outcome.job, attempt: outcome.attempt }
}

fn route(services: &Arc<Services>, outcome: Box<Outcome>, ack: Ack, late: &mpsc::Sender<Late>) {
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
    // Where there is no room it is dropped, and so put back.
    let _ = late.try_send((outcome, ack));
}

/// Outcomes for runs that have no branch. One after the other: two that noted something in one
/// history at the same time would take the same place in it.
async fn note_late(services: Arc<Services>, mut waiting: mpsc::Receiver<Late>) {
    while let Some((outcome, ack)) = waiting.recv().await {
        Gauges::add(&services.gauges.reports_stale);
        let looking = Arc::clone(&services);
        match tokio::task::spawn_blocking(move || look(&looking, &outcome)).await {
            Ok(Fate::Note(batch)) => {
                services.recent.forget(batch.run);
                let (sender, committed) = oneshot::channel();
                services.journal.commit(batch, move |result| {
                    let _ = sender.send(result);
                });
                match committed.await {
                    Ok(Ok(())) => ack.done(),
                    Ok(Err(_)) | Err(_) => ack.later(),
                }
            }
            Ok(Fate::Drop) => ack.done(),
            Ok(Fate::Wait) | Err(_) => ack.later(),
        }
    }
}

/// What becomes of an outcome for a run that has no branch.
enum Fate {
    /// The run is finished: it is noted there as stale.
    Note(RunWrite),
    /// The run is open and about to be taken up.
    Wait,
    /// Nobody knows the run.
    Drop,
}

fn look(services: &Services, outcome: &Outcome) -> Fate {
    let run = outcome.job.run;
    let journal = services.journal.backend();
    let history = journal.summary(run).and_then(|summary| match summary {
        Some(RunSummary { state, .. }) if state.is_finished() => Ok(Some(journal.events(run)?)),
        Some(_) => Ok(None),
        None => Ok(Some(Vec::new())),
    });
    match history {
        Ok(None) => Fate::Wait,
        Ok(Some(events)) if events.is_empty() => {
            tracing::warn!(job = %outcome.job, worker = %outcome.worker, "a report for an unknown run was dropped");
            Fate::Drop
        }
        Ok(Some(events)) => {
            let mut batch = RunWrite::new(run, u32::try_from(events.len()).unwrap_or(u32::MAX));
            let (ticket, worker) = (ticket_of(outcome), outcome.worker.clone());
            let event = RunEvent::Stale { ticket, worker };
            match batch.push(&Recorded { at: services.clock.now(), event }) {
                Ok(()) => Fate::Note(batch),
                Err(_) => Fate::Drop,
            }
        }
        Err(error) => {
            tracing::warn!(%error, "the journal cannot be read; the report waits");
            Fate::Wait
        }
    }
}
