//! Starting, draining and stopping a worker.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use visor_protocol::ids::WorkerId;
use visor_protocol::time::Clock;
use visor_protocol::worker::{Execution, Report};
use visor_providers::Registry;
use visor_transport::Bus;

use crate::config::WorkerConfig;
use crate::contact::Contact;
use crate::control::follow_orders;
use crate::error::WorkerError;
use crate::heartbeat::{send_heartbeats, send_report};
use crate::ledger::Ledger;
use crate::logs::{LogQueue, publish_logs};
use crate::place::Places;
use crate::pull::pull_jobs;
use crate::results::{self, send_results};
use crate::room;
use crate::sandbox::Sandboxes;
use crate::shared::{Readiness, Shared};

/// Between two looks at what is still to be sent when a worker ends.
const LOOK: Duration = Duration::from_millis(1);

/// Between two looks at what is known of the images.
const IMAGES: Duration = Duration::from_millis(250);

/// A worker.
#[derive(Debug)]
pub struct Worker;

impl Worker {
    /// Starts a worker with every provider of this build. It waits for its bus and its container
    /// engine by itself, and says in its heartbeats what it waits for.
    ///
    /// # Errors
    /// When its data directory cannot be used.
    pub async fn start(
        config: WorkerConfig,
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
    ) -> Result<WorkerHandle, WorkerError> {
        Self::start_with(config, Registry::standard(), bus, clock).await
    }

    /// The same with other providers.
    ///
    /// # Errors
    /// When its data directory cannot be used.
    pub async fn start_with(
        config: WorkerConfig,
        registry: Registry,
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
    ) -> Result<WorkerHandle, WorkerError> {
        if config.warden {
            visor_providers::warden::enable();
            // A run on one's own machine has one only when something takes long. Here a
            // millisecond at the start is nothing, and a kill in the first moment may come.
            if bus.info().remote {
                visor_providers::warden::spawn_lazily();
            }
        }
        let since = clock.now();
        let (results, waiting) = mpsc::channel(results::WAITING);
        let (logs, chunks) = LogQueue::new();
        let places = Places::open(&config, since.as_micros(), bus.info().remote).await?;
        let shared = Arc::new(Shared {
            boot: since.as_micros(),
            since,
            registry,
            places,
            ledger: Mutex::new(Ledger::default()),
            results,
            logs,
            readiness: Mutex::new(Readiness::default()),
            busy: AtomicU32::new(0),
            look_again: Notify::new(),
            contact: Mutex::new(Contact::new(Instant::now(), config.timings.heartbeat)),
            beat: Notify::new(),
            listening: CancellationToken::new(),
            attempts: TaskTracker::new(),
            draining: CancellationToken::new(),
            stopping: CancellationToken::new(),
            ended: CancellationToken::new(),
            config,
            bus: Arc::clone(&bus),
            clock: Arc::clone(&clock),
        });
        if shared.config.execution == Execution::Sandbox
            && let Some(sandboxes) = shared.places.opened_sandboxes()
        {
            let looking = "the container engine was not asked yet".to_owned();
            shared.change_readiness(|readiness| readiness.engine = Some(looking));
            tokio::spawn(follow_engine(Arc::clone(&shared), sandboxes));
        }
        // Before the first job is taken.
        room::look(&shared).await;
        let (closed, watch) = watch::channel(false);
        let tasks = Tasks {
            pull: tokio::spawn(pull_jobs(Arc::clone(&shared))),
            results: tokio::spawn(send_results(Arc::clone(&shared), waiting)),
            rest: vec![
                tokio::spawn(send_heartbeats(Arc::clone(&shared))),
                tokio::spawn(follow_orders(Arc::clone(&shared))),
                tokio::spawn(room::follow_room(Arc::clone(&shared))),
                tokio::spawn(publish_logs(chunks, bus, clock)),
            ],
        };
        tokio::spawn(tasks.attend(Arc::clone(&shared), closed));
        Ok(WorkerHandle { shared, closed: watch })
    }
}

/// Takes jobs only while the engine and the image are there that most of them need.
async fn follow_engine(shared: Arc<Shared>, sandboxes: Arc<Sandboxes>) {
    let follow = async {
        let mut state = sandboxes.engine.watch();
        sandboxes.first_check().await;
        let mut look = tokio::time::interval(IMAGES);
        loop {
            let (engine, image) = (state.borrow_and_update().clone(), shared.missing_image());
            shared.change_readiness(|readiness| {
                (readiness.engine, readiness.image) = (engine, image);
            });
            tokio::select! {
                changed = state.changed() => if changed.is_err() { return },
                _ = look.tick() => {}
            }
        }
    };
    tokio::select! {
        () = follow => {}
        () = shared.ended.cancelled() => {}
    }
}

/// A running worker. Dropping it does not stop the worker.
#[derive(Clone)]
pub struct WorkerHandle {
    shared: Arc<Shared>,
    closed: watch::Receiver<bool>,
}

impl WorkerHandle {
    /// Its name.
    pub fn id(&self) -> &WorkerId {
        &self.shared.config.id
    }

    /// Takes nothing new, finishes what it holds, and ends. Returns when it has ended.
    pub async fn drain(&self) {
        self.shared.draining.cancel();
        self.closed().await;
    }

    /// Ends what runs and hands it back, then ends. Returns when it has ended.
    pub async fn stop(&self) {
        self.shared.stopping.cancel();
        self.shared.draining.cancel();
        self.closed().await;
    }

    /// Waits until it has ended: after a drain or a stop, or because its bus was closed.
    pub async fn closed(&self) {
        let mut closed = self.closed.clone();
        // An error means that the task is gone, which is as closed as can be.
        let _ = closed.wait_for(|closed| *closed).await;
    }
}

struct Tasks {
    pull: JoinHandle<()>,
    results: JoinHandle<()>,
    rest: Vec<JoinHandle<()>>,
}

impl Tasks {
    /// Waits for the end and brings it about in order.
    async fn attend(mut self, shared: Arc<Shared>, closed: watch::Sender<bool>) {
        shared.draining.cancelled().await;
        shared.beat.notify_one();
        log_panic("pull", (&mut self.pull).await);
        shared.attempts.close();
        let deadline = async {
            match shared.config.timings.drain {
                Some(within) => tokio::time::sleep(within).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.attempts.wait() => {}
            () = shared.stopping.cancelled() => {}
            () = deadline => {
                tracing::warn!("the drain takes too long: stopping what still runs");
                shared.stopping.cancel();
            }
        }
        shared.ledger.lock().stop_all();
        shared.attempts.wait().await;
        let flushed = async {
            let waiting = || !shared.ledger.lock().is_idle() || !shared.logs.is_empty();
            while waiting() && !self.results.is_finished() {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(shared.config.timings.flush, flushed).await.is_err() {
            tracing::warn!("ended before every outcome was stored");
        }
        let goodbye = Report::Goodbye { worker: shared.config.id.clone(), boot: shared.boot };
        if let Err(error) = send_report(&shared, goodbye).await {
            tracing::debug!(error, "nobody heard the goodbye");
        }
        shared.ended.cancel();
        log_panic("results", self.results.await);
        for task in self.rest {
            task.abort();
        }
        shared.places.close().await;
        tracing::info!(worker = %shared.config.id, "worker ended");
        let _ = closed.send(true);
    }
}

fn log_panic(task: &str, joined: Result<(), tokio::task::JoinError>) {
    if let Err(error) = joined {
        tracing::error!(task, %error, "a task of the worker failed");
    }
}
