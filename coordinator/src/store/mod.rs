//! The journal: what a coordinator knows for certain.
//!
//! - [`batch`]: what is written at once
//! - [`journal`]: the handle, and the writer thread that commits batches in groups
//! - [`disk`]: redb on disk
//! - [`memory`]: the same in memory, for runs that nobody asks to survive the process

pub mod batch;
pub mod disk;
pub mod journal;
pub mod memory;

pub use batch::RunWrite;
pub use journal::Journal;

use std::sync::Arc;

use visor_protocol::api::DeadLetter;
use visor_protocol::event::Recorded;
use visor_protocol::ids::RunId;
use visor_protocol::result::RunSummary;

/// Why the store cannot do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The directory or file cannot be used at all.
    #[error("cannot open the journal at {path}: {why}")]
    Open {
        /// Where it is.
        path: String,
        /// What the system says, and what to do.
        why: String,
    },
    /// A write did not reach the disk. Nothing of the batch is there; writing it again may succeed.
    #[error("cannot write the journal: {why}")]
    Write {
        /// What the system says.
        why: String,
    },
    /// A read failed.
    #[error("cannot read the journal: {why}")]
    Read {
        /// What the system says.
        why: String,
    },
    /// The file was written by another build.
    #[error(
        "the journal at {path} has format {found}; this build reads {known}: use the build that wrote it or another data directory"
    )]
    Format {
        /// Where it is.
        path: String,
        /// The format found.
        found: u64,
        /// The format this build reads.
        known: u64,
    },
    /// The coordinator is stopping.
    #[error("the journal is closed")]
    Closed,
}

/// Where the journal lies. Writes come from one thread; reads may come from any.
pub trait Backend: Send + Sync + 'static {
    /// Writes all batches or none, durably.
    ///
    /// # Errors
    /// When the disk refuses; the backend then recovers by itself before the next call.
    fn commit(&self, batches: &[Arc<RunWrite>]) -> Result<(), StoreError>;

    /// Whether it can be written again after it could not: writes something large enough to need
    /// room, and takes it away.
    ///
    /// # Errors
    /// When it still cannot.
    fn probe(&self) -> Result<(), StoreError>;

    /// The history of a run, oldest first; empty when there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn events(&self, run: RunId) -> Result<Vec<Recorded>, StoreError>;

    /// One run.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn summary(&self, run: RunId) -> Result<Option<RunSummary>, StoreError>;

    /// Runs, newest first, those for which `wanted` holds, `limit` at most.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn summaries(
        &self,
        limit: usize,
        wanted: &dyn Fn(&RunSummary) -> bool,
    ) -> Result<Vec<RunSummary>, StoreError>;

    /// Runs that are not finished, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn open_runs(&self) -> Result<Vec<RunId>, StoreError>;

    /// Jobs given up on, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_letters(&self) -> Result<Vec<DeadLetter>, StoreError>;

    /// Removes the oldest finished runs beyond `keep`, a bounded number at a time. Says how many
    /// went.
    ///
    /// # Errors
    /// When the disk refuses.
    fn prune(&self, keep: usize) -> Result<usize, StoreError>;
}
