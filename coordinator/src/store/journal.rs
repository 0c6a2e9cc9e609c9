//! The handle to the journal, and the one thread that writes it.
//!
//! A commit waits for the disk, so writes are gathered: while one commit is under way, whatever
//! arrives waits together and goes into the next. One waiting writer pays the disk's latency, a
//! thousand pay it once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::batch::RunWrite;
use super::{Backend, StoreError};

/// Writes that one transaction takes at most.
const GROUP: usize = 4_096;

/// Old runs are pruned when this many further ones have finished: often enough that a busy
/// journal stays level, seldom enough that a quiet one is left alone.
const PRUNE_EVERY: usize = 256;

/// A journal that could not be written is tried again after this pause, when nobody else does.
const PROBE_AFTER: Duration = Duration::from_secs(1);

type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

enum Command {
    Commit(Arc<RunWrite>, Done),
    Stop,
}

/// The journal. Cheap to clone.
///
/// Its queue needs no bound of its own: each branch has at most one commit under way, and the
/// number of open branches is bounded where runs are accepted.
#[derive(Clone)]
pub struct Journal {
    backend: Arc<dyn Backend>,
    /// The way to the writer; none when commits cost nothing and are done where they are asked.
    queue: Option<mpsc::Sender<Command>>,
    shared: Arc<Shared>,
}

struct Shared {
    healthy: AtomicBool,
    last_error: Mutex<Option<String>>,
    commits: AtomicU64,
    batches: AtomicU64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Starts the writer. `keep` finished runs stay when older ones are pruned.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(backend: Arc<dyn Backend>, keep: usize) -> Result<Self, StoreError> {
        let (queue, commands) = mpsc::channel();
        let journal = Self { backend, queue: Some(queue), shared: Shared::new() };
        let writer = Writer {
            backend: Arc::clone(&journal.backend),
            shared: Arc::clone(&journal.shared),
            keep,
        };
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run(&commands))
            .map_err(|error| StoreError::Write { why: error.to_string() })?;
        *journal.shared.writer.lock() = Some(thread);
        Ok(journal)
    }

    /// A journal without a writer: each commit is done where it is asked for. For a backend that
    /// never waits.
    pub fn direct(backend: Arc<dyn Backend>) -> Self {
        Self { backend, queue: None, shared: Shared::new() }
    }

    /// Commits a batch and calls `done` from the writer's thread, which must not wait.
    pub fn commit(
        &self,
        batch: impl Into<Arc<RunWrite>>,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        let batch = batch.into();
        let Some(queue) = &self.queue else {
            let result = self.backend.commit(&[batch]);
            self.shared.note(&result, 1);
            return done(result);
        };
        if let Err(mpsc::SendError(Command::Commit(_, done))) =
            queue.send(Command::Commit(batch, Box::new(done)))
        {
            done(Err(StoreError::Closed));
        }
    }

    /// For reading. Reads wait for the disk: not from an actor.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Why the last commit failed, while no later one has succeeded.
    pub fn trouble(&self) -> Option<String> {
        if self.shared.healthy.load(Ordering::Relaxed) {
            return None;
        }
        self.shared.last_error.lock().clone()
    }

    /// Transactions committed, and the batches that were in them.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.commits.load(Ordering::Relaxed), self.shared.batches.load(Ordering::Relaxed))
    }

    /// Writes what is queued and ends the thread. Blocks; call it off the runtime.
    pub fn stop(&self) {
        if let Some(queue) = &self.queue {
            let _ = queue.send(Command::Stop);
        }
        let writer = self.shared.writer.lock().take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            healthy: AtomicBool::new(true),
            last_error: Mutex::new(None),
            commits: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            writer: Mutex::new(None),
        })
    }

    fn note(&self, result: &Result<(), StoreError>, batches: usize) {
        let was_healthy = self.healthy.swap(result.is_ok(), Ordering::Relaxed);
        match result {
            Ok(()) => {
                self.commits.fetch_add(1, Ordering::Relaxed);
                self.batches.fetch_add(batches as u64, Ordering::Relaxed);
                if !was_healthy {
                    tracing::info!("the journal can be written again");
                }
            }
            Err(error) => {
                *self.last_error.lock() = Some(error.to_string());
                if was_healthy {
                    tracing::error!(%error, "the journal cannot be written; runs wait, submits are refused");
                }
            }
        }
    }
}

struct Writer {
    backend: Arc<dyn Backend>,
    shared: Arc<Shared>,
    keep: usize,
}

impl Writer {
    fn run(&self, commands: &mpsc::Receiver<Command>) {
        let mut finished = 0;
        let mut stopping = false;
        while !stopping {
            let first = match self.wait(commands) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.shared.note(&self.backend.probe(), 0);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut batches = Vec::new();
            let mut waiting = Vec::new();
            let mut next = Some(first);
            while let Some(command) = next {
                match command {
                    Command::Commit(batch, done) => {
                        batches.push(batch);
                        waiting.push(done);
                    }
                    Command::Stop => stopping = true,
                }
                next = if batches.len() < GROUP && !stopping {
                    commands.try_recv().ok()
                } else {
                    None
                };
            }
            if batches.is_empty() {
                continue;
            }
            let result = self.backend.commit(&batches);
            self.shared.note(&result, batches.len());
            if result.is_err() {
                // Whoever waits tries again soon; without a pause a full disk would be hammered.
                pause(Duration::from_millis(100));
            }
            finished += batches.iter().filter(|batch| batch.is_end()).count();
            for done in waiting {
                let tell = AssertUnwindSafe(|| done(result.clone()));
                // Without this thread nothing would ever be written again: no fault of somebody
                // who waits may end it.
                if catch_unwind(tell).is_err() {
                    tracing::error!("whoever waited for the journal fell over its answer");
                }
            }
            if finished >= PRUNE_EVERY {
                finished = 0;
                self.prune();
            }
        }
    }

    /// The next command. While the journal cannot be written nobody is let in who would try it,
    /// so it is tried from time to time.
    fn wait(&self, commands: &mpsc::Receiver<Command>) -> Result<Command, RecvTimeoutError> {
        if self.shared.healthy.load(Ordering::Relaxed) {
            return commands.recv().map_err(RecvTimeoutError::from);
        }
        commands.recv_timeout(PROBE_AFTER)
    }

    fn prune(&self) {
        match self.backend.prune(self.keep) {
            Ok(0) => {}
            Ok(runs) => tracing::debug!(runs, "old runs pruned"),
            Err(error) => tracing::warn!(%error, "old runs cannot be pruned"),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this thread is the writer's own and has nothing to wait on but the disk"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
