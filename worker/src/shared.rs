//! What the tasks of a worker have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use visor_protocol::Timestamp;
use visor_protocol::time::Clock;
use visor_protocol::worker::WorkerState;
use visor_providers::Registry;
use visor_transport::Bus;

use crate::config::WorkerConfig;
use crate::contact::Contact;
use crate::ledger::{Ledger, Reported};
use crate::logs::LogQueue;
use crate::place::Places;

/// What the tasks of a worker have in common.
pub(crate) struct Shared {
    pub(crate) config: WorkerConfig,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Which life of the worker this is: later ones have larger numbers.
    pub(crate) boot: u64,
    pub(crate) since: Timestamp,
    pub(crate) registry: Registry,
    pub(crate) places: Places,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) results: mpsc::Sender<Arc<Reported>>,
    pub(crate) logs: LogQueue,
    pub(crate) readiness: Mutex<Readiness>,
    /// Slots in use.
    pub(crate) busy: AtomicU32,
    /// Slots or readiness changed: the pull loop looks again.
    pub(crate) look_again: Notify,
    pub(crate) contact: Mutex<Contact>,
    /// A heartbeat is due at once.
    pub(crate) beat: Notify,
    /// Orders are listened to; before that no job is taken that one might be about.
    pub(crate) listening: CancellationToken,
    /// Running attempts.
    pub(crate) attempts: TaskTracker,
    /// Take nothing new.
    pub(crate) draining: CancellationToken,
    /// End what runs.
    pub(crate) stopping: CancellationToken,
    /// The worker is gone; its tasks end.
    pub(crate) ended: CancellationToken,
}

/// What keeps a worker from taking jobs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// The queue cannot be reached.
    pub(crate) queue: Option<String>,
    /// The container engine cannot be reached, and jobs need it.
    pub(crate) engine: Option<String>,
    /// The image that most jobs run in is not there. A worker that fails at once would otherwise
    /// take a pool's jobs faster than those that could run them.
    pub(crate) image: Option<String>,
    /// There is no room on the disk.
    pub(crate) room: Option<String>,
}

impl Shared {
    /// Whether the worker takes work.
    pub(crate) fn state(&self) -> WorkerState {
        if self.draining.is_cancelled() {
            return WorkerState::Draining;
        }
        let readiness = self.readiness.lock();
        let Readiness { queue, engine, image, room } = &*readiness;
        match queue.as_ref().or(engine.as_ref()).or(image.as_ref()).or(room.as_ref()) {
            Some(reason) => WorkerState::NotReady { reason: reason.clone() },
            None => WorkerState::Ready,
        }
    }

    /// Changes what keeps the worker from taking jobs, and says so at once when it differs.
    pub(crate) fn change_readiness(&self, change: impl FnOnce(&mut Readiness)) {
        let mut readiness = self.readiness.lock();
        let before = readiness.clone();
        change(&mut readiness);
        if *readiness != before {
            drop(readiness);
            self.look_again.notify_one();
            self.beat.notify_one();
        }
    }

    /// Why jobs that name no sandbox cannot run here, when their image is missing.
    pub(crate) fn missing_image(&self) -> Option<String> {
        let default = self.config.default_sandbox.as_ref()?;
        let status = self.places.images().into_iter().find(|known| known.image == default.image)?;
        (!status.ready).then_some(status.detail)
    }

    /// Takes a slot; it is free again when the returned value is dropped.
    pub(crate) fn take_slot(self: &Arc<Self>) -> Slot {
        self.busy.fetch_add(1, Ordering::AcqRel);
        Slot(Arc::clone(self))
    }

    /// Slots that are free.
    pub(crate) fn free_slots(&self) -> u32 {
        self.config.slots.get().saturating_sub(self.busy.load(Ordering::Acquire))
    }

    /// Hands over an outcome to be stored. Waits while too many are waiting already.
    pub(crate) async fn report(&self, reported: Reported) {
        // The receiver lives until the worker has ended.
        let _ = self.results.send(Arc::new(reported)).await;
    }
}

/// A slot in use.
pub(crate) struct Slot(Arc<Shared>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
        self.0.look_again.notify_one();
    }
}
