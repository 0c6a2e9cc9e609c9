//! Why a worker cannot start.

use std::io;
use std::path::PathBuf;

use crate::sandbox::EngineError;

/// Why a worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The data directory cannot be used.
    #[error("the worker cannot use its data directory {}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The container engine's address cannot be used.
    #[error("the worker cannot use its container engine")]
    Engine(#[source] EngineError),
}
