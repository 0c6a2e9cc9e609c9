//! From the first signal to the end: finish what is held; a second signal ends it at once.

use std::time::Duration;

use visor_coordinator::{CoordinatorHandle, Stopped};
use visor_worker::WorkerHandle;

use super::signals::Interrupts;
use crate::exit_code::ExitCode;
use crate::failure::Failure;

/// A worker that is stopped hands back what it holds within this time.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// Waits until a worker has ended: by a signal, by an order of its fleet, or with its transport.
pub(super) async fn of_worker(worker: &WorkerHandle, interrupts: &mut Interrupts) {
    tokio::select! {
        () = worker.closed() => return,
        () = interrupts.next() => {}
    }
    drain_worker(worker, interrupts).await;
}

/// Has a worker finish what it holds; a further signal ends that too.
pub(super) async fn drain_worker(worker: &WorkerHandle, interrupts: &mut Interrupts) {
    tracing::info!("draining: finishing what is held; a second signal stops at once");
    tokio::select! {
        () = worker.drain() => return,
        () = interrupts.next() => {}
    }
    tracing::warn!("stopping: what still runs is ended and handed back");
    if tokio::time::timeout(STOP_WITHIN, worker.stop()).await.is_err() {
        tracing::error!("the worker did not stop in time; its lease will run out");
    }
}

/// Waits until a coordinator is to stop.
///
/// # Errors
/// When it fell over by itself.
pub(super) async fn of_coordinator(
    coordinator: &CoordinatorHandle,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    tokio::select! {
        why = coordinator.closed() => match why {
            Stopped::Asked => Ok(()),
            Stopped::FellOver { .. } => {
                Err(Failure::new(ExitCode::Bug, "visor::coordinator::fell_over", why.to_string())
                    .help("start it again: nothing accepted is lost, the journal has it"))
            }
        },
        () = interrupts.next() => Ok(()),
    }
}

/// Writes what is pending and stops; a further signal does not wait for that.
pub(super) async fn stop_coordinator(coordinator: CoordinatorHandle, interrupts: &mut Interrupts) {
    tracing::info!("stopping: writing what is pending");
    tokio::select! {
        () = coordinator.stop() => {}
        () = interrupts.next() => tracing::warn!("stopped at once; the journal is whole"),
    }
}
