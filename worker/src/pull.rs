//! The loop that takes jobs: as many as there are free slots, and no more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;
use tracing::Instrument;
use visor_protocol::envelope::Envelope;
use visor_protocol::outcome::End;
use visor_protocol::worker::{Report, Ticket, WorkerState};
use visor_protocol::{Job, TraceContext};
use visor_providers::provider::{Finished, Provider};
use visor_providers::{Recorder, Stop};
use visor_transport::{BusError, Consumer, Delivery, Queue};

use crate::attempt;
use crate::heartbeat::send_report;
use crate::ledger::{Reported, Verdict};
use crate::shared::{Shared, Slot};

/// Jobs taken in one go.
const BATCH: usize = 256;

/// Between two tries to open the queue.
const RETRY: Duration = Duration::from_millis(500);

/// Takes and starts jobs until the worker drains or the bus is closed.
pub(crate) async fn pull_jobs(shared: Arc<Shared>) {
    let Some(mut consumer) = open(&shared).await else { return };
    tokio::select! {
        () = shared.listening.cancelled() => {}
        () = shared.draining.cancelled() => return,
    }
    loop {
        if shared.state() == WorkerState::Ready {
            let wanted = shared.free_slots().saturating_sub(consumer.outstanding());
            if wanted > 0 {
                consumer.request(wanted);
            }
        }
        tokio::select! {
            biased;
            () = shared.draining.cancelled() => break,
            first = consumer.next() => match first {
                Some(first) => take(&shared, gather(consumer.as_mut(), first)).await,
                None => {
                    // Nothing that still runs could be reported.
                    tracing::info!("the bus is closed");
                    shared.stopping.cancel();
                    shared.draining.cancel();
                    return;
                }
            },
            () = shared.look_again.notified() => {}
        }
    }
    // What was delivered and not yet looked at goes back at once instead of after its time-out.
    while let Some(Some(delivery)) = consumer.next().now_or_never() {
        let _ = delivery.nack(Duration::ZERO).await;
    }
}

/// Opens the pool's queue, however long it takes. `None` when the worker drains first.
async fn open(shared: &Shared) -> Option<Box<dyn Consumer>> {
    let queue = Queue::Jobs(shared.config.pool.clone());
    loop {
        let opened = async {
            shared.bus.ensure_queue(&queue).await?;
            shared.bus.consume(&queue).await
        };
        let error = match opened.await {
            Ok(consumer) => {
                shared.change_readiness(|readiness| readiness.queue = None);
                return Some(consumer);
            }
            Err(BusError::Closed) => {
                shared.stopping.cancel();
                shared.draining.cancel();
                return None;
            }
            Err(error) => error,
        };
        tracing::warn!(%error, pool = %shared.config.pool, "cannot open the pool's queue");
        let reason = format!("cannot open the queue of pool `{}`: {error}", shared.config.pool);
        shared.change_readiness(|readiness| readiness.queue = Some(reason));
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = shared.draining.cancelled() => return None,
        }
    }
}

/// What else has been delivered by now.
fn gather(consumer: &mut dyn Consumer, first: Box<dyn Delivery>) -> Vec<Box<dyn Delivery>> {
    let mut batch = vec![first];
    while batch.len() < BATCH
        && let Some(Some(delivery)) = consumer.next().now_or_never()
    {
        batch.push(delivery);
    }
    batch
}

/// A job that is going to run.
struct Taken {
    job: Job,
    trace: Option<TraceContext>,
    ticket: Ticket,
    stop: Stop,
    slot: Slot,
    /// It may have been handed to another meanwhile, and even be over.
    doubtful: bool,
}

/// Decides on each of the deliveries, says which were claimed, takes them out of the queue, and
/// starts them: in this order, so that nobody else believes them lost.
async fn take(shared: &Arc<Shared>, batch: Vec<Box<dyn Delivery>>) {
    let mut taken = Vec::with_capacity(batch.len());
    let late = shared.contact.lock().is_doubtful(Instant::now());
    let jobs: Vec<(Envelope<Job>, bool)> = batch
        .iter()
        .filter_map(|delivery| Some((read(delivery.as_ref())?, late || delivery.deliveries() > 1)))
        .collect();
    for (job, doubtful) in jobs {
        consider(shared, job, doubtful, &mut taken).await;
    }
    if !taken.is_empty() {
        let now = shared.clock.now();
        let claimed = Report::Claimed {
            worker: shared.config.id.clone(),
            boot: shared.boot,
            tickets: taken.iter().map(|taken: &Taken| (taken.ticket, now)).collect(),
        };
        if let Err(error) = send_report(shared, claimed).await {
            tracing::debug!(error, "claims not reported; the next heartbeat names them");
        }
    }
    for delivery in batch {
        // Not acknowledged, it comes again and is known then.
        if let Err(error) = delivery.ack().await {
            tracing::debug!(%error, "a job was not acknowledged");
        }
    }
    for taken in taken {
        start(shared, taken).await;
    }
}

/// The job of a delivery. One that cannot be read is taken out of the queue like the others:
/// delivered again it would fail again, for ever.
fn read(delivery: &dyn Delivery) -> Option<Envelope<Job>> {
    match Envelope::<Job>::decode(delivery.payload()) {
        Ok(envelope) => Some(envelope),
        Err(error) => {
            tracing::warn!(%error, deliveries = delivery.deliveries(), "a job cannot be read");
            None
        }
    }
}

async fn consider(
    shared: &Arc<Shared>,
    message: Envelope<Job>,
    doubtful: bool,
    taken: &mut Vec<Taken>,
) {
    let Envelope { trace, body: job, .. } = message;
    let ticket = Ticket { job: job.job, attempt: job.attempt };
    let verdict = shared.ledger.lock().take(ticket);
    match verdict {
        Verdict::Run(stop) => {
            taken.push(Taken { slot: shared.take_slot(), job, trace, ticket, stop, doubtful });
        }
        Verdict::Held => tracing::debug!(job = %ticket.job, "delivered twice"),
        Verdict::Done(reported) => {
            tracing::debug!(job = %ticket.job, "delivered again after its end");
            let _ = shared.results.send(reported).await;
        }
        Verdict::Superseded => {
            tracing::info!(job = %ticket.job, attempt = %ticket.attempt, "a later attempt was here");
        }
        Verdict::Cancelled => {
            let now = shared.clock.now();
            let finished = Finished::bare(End::Cancelled);
            let outcome = attempt::outcome(shared, &job, finished, (now, now)).await;
            shared.report(Reported { shard: job.shard, outcome }).await;
        }
    }
}

/// Runs what takes no time right here, and everything else as a task of its own.
async fn start(shared: &Arc<Shared>, taken: Taken) {
    let Taken { job, trace, ticket, stop, slot, doubtful } = taken;
    let span = tracing::info_span!(
        "attempt", job.id = %ticket.job, attempt = ticket.attempt.0, check = %job.check
    );
    visor_telemetry::trace::continue_from(&span, trace.as_ref());
    let Some(provider) = shared.registry.get(job.work.kind()).map(Arc::clone) else {
        let why = format!("this build has no provider for `{}` checks", job.work.kind());
        let finished = Finished::fault("visor::worker::unknown_kind", why, true);
        let now = shared.clock.now();
        let outcome = attempt::outcome(shared, &job, finished, (now, now)).await;
        shared.report(Reported { shard: job.shard, outcome }).await;
        return;
    };
    let started = shared.clock.now();
    match span.in_scope(|| at_once(shared, provider.as_ref(), &job, ticket)) {
        Some(finished) => {
            let times = (started, shared.clock.now());
            let outcome = attempt::outcome(shared, &job, finished, times).await;
            shared.report(Reported { shard: job.shard, outcome }).await;
        }
        None => {
            let shared = Arc::clone(shared);
            let attempts = shared.attempts.clone();
            let second_thought = shared.config.timings.second_thought;
            let run = async move {
                if doubtful {
                    let _ = tokio::time::timeout(second_thought, stop.stopped()).await;
                }
                attempt::run(shared, provider, job, stop, started, slot).await;
            };
            attempts.spawn(run.instrument(span));
        }
    }
}

fn at_once(
    shared: &Shared,
    provider: &dyn Provider,
    job: &Job,
    ticket: Ticket,
) -> Option<Finished> {
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let mut recorder = Recorder::new(job.output_limit, attempt::sink(shared, job, ticket));
        let end = provider.at_once(job, &mut recorder)?;
        let (stdout, stderr) = recorder.finish();
        Some(Finished { stdout, stderr, ..Finished::bare(end) })
    }));
    tried.unwrap_or_else(|panic| Some(attempt::panicked(panic.as_ref())))
}
