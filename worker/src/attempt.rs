//! One attempt at one job, from its workspace to its outcome.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tokio::time::Instant;
use visor_protocol::outcome::{Captured, End, Fault, INLINE_OUTPUT_BYTES};
use visor_protocol::worker::Ticket;
use visor_protocol::{Job, Outcome, Timestamp};
use visor_providers::provider::{Finished, Provider};
use visor_providers::{LogSink, Output, Recorder, Stop};
use visor_transport::BusError;

use crate::ledger::Reported;
use crate::place::Ready;
use crate::shared::{Shared, Slot};

/// Bytes of an output that stay in the outcome when the output travels as a blob.
const INLINE_END: usize = INLINE_OUTPUT_BYTES / 4;

/// How long a large output is tried to be stored before its end alone has to do. While the bus is
/// away the outcome could not be stored either.
const BLOB_PATIENCE: Duration = Duration::from_secs(120);

/// Bytes of a fault's message. It is written by programs and shown to people.
const MESSAGE_BYTES: usize = 4096;

/// Runs an attempt and hands over its outcome. The slot is free when everything it used is gone.
pub(crate) async fn run(
    shared: Arc<Shared>,
    provider: Arc<dyn Provider>,
    job: Job,
    stop: Stop,
    started: Timestamp,
    slot: Slot,
) {
    let ticket = Ticket { job: job.job, attempt: job.attempt };
    // A panic ends this attempt alone; what it had running is killed as it unwinds.
    let tried = AssertUnwindSafe(execute(&shared, provider.as_ref(), &job, &stop)).catch_unwind();
    let (mut finished, place) =
        tried.await.unwrap_or_else(|panic| (panicked(panic.as_ref()), None));
    if finished.end == End::Cancelled
        && shared.stopping.is_cancelled()
        && !shared.ledger.lock().is_cancelled(ticket)
    {
        // Nobody wanted it to end: another worker takes it up.
        let why = format!("worker {} was stopped while it ran", shared.config.id);
        finished.end = fault("visor::worker::stopped", why, true);
    }
    let times = (started, shared.clock.now());
    let outcome = outcome(&shared, &job, finished, times).await;
    shared.report(Reported { shard: job.shard, outcome }).await;
    // After the report, which nobody should have to wait for, and before the slot is free.
    if let Some(place) = place {
        place.close().await;
    }
    drop(slot);
}

async fn execute(
    shared: &Shared,
    provider: &dyn Provider,
    job: &Job,
    stop: &Stop,
) -> (Finished, Option<Ready>) {
    let ticket = Ticket { job: job.job, attempt: job.attempt };
    let prepared = tokio::select! {
        biased;
        () = stop.stopped() => return (Finished::bare(End::Cancelled), None),
        prepared = shared.places.prepare(job, shared.bus.as_ref()) => prepared,
    };
    match prepared {
        Ok(place) => {
            let recorder = Recorder::new(job.output_limit, sink(shared, job, ticket));
            let finished = provider.run(job, &place, recorder, stop).await;
            (finished, Some(place))
        }
        Err(fault) => (Finished::bare(End::Infrastructure(fault)), None),
    }
}

/// Where live output of a job goes, when somebody follows it.
pub(crate) fn sink(shared: &Shared, job: &Job, ticket: Ticket) -> Option<Box<dyn LogSink>> {
    job.watched.then(|| shared.logs.sink(ticket))
}

/// The report of what came of an attempt.
pub(crate) async fn outcome(
    shared: &Shared,
    job: &Job,
    finished: Finished,
    (started_at, finished_at): (Timestamp, Timestamp),
) -> Outcome {
    let mut end = finished.end;
    if let End::Infrastructure(fault) = &mut end {
        shorten(&mut fault.message);
    }
    Outcome {
        job: job.job,
        attempt: job.attempt,
        worker: shared.config.id.clone(),
        started_at,
        finished_at,
        end,
        stdout: captured(shared, finished.stdout).await,
        stderr: captured(shared, finished.stderr).await,
        usage: finished.usage,
        image: finished.image,
    }
}

async fn captured(shared: &Shared, output: Output) -> Captured {
    let Output { bytes, total, kept } = output;
    if bytes.len() <= INLINE_OUTPUT_BYTES {
        return Captured { inline: bytes, blob: None, total, kept };
    }
    let end = bytes.slice(bytes.len() - INLINE_END..);
    match put_blob(shared, bytes).await {
        Some(blob) => Captured { inline: end, blob: Some(blob), total, kept },
        None => Captured { kept: end.len() as u64, inline: end, blob: None, total },
    }
}

async fn put_blob(shared: &Shared, bytes: Bytes) -> Option<visor_protocol::ContentHash> {
    let until = Instant::now() + BLOB_PATIENCE;
    let mut pause = Duration::from_millis(100);
    loop {
        let error = match shared.bus.put_blob(bytes.clone()).await {
            Ok(hash) => return Some(hash),
            Err(error) => error,
        };
        let hopeless = matches!(error, BusError::Closed | BusError::TooLarge { .. });
        tracing::warn!(%error, bytes = bytes.len(), "an output was not stored");
        if hopeless || Instant::now() >= until {
            return None;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.stopping.cancelled() => return None,
        }
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// The end of an attempt whose code panicked.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Finished {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(said, "an attempt panicked");
    let why = format!("the worker's own code failed: {said}");
    Finished::bare(fault("visor::worker::panic", why, true))
}

fn fault(code: &str, message: String, retry: bool) -> End {
    End::Infrastructure(Fault { code: code.into(), message, retry })
}

fn shorten(message: &mut String) {
    if message.len() > MESSAGE_BYTES {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
        message.push('…');
    }
}
