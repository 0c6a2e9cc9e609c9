//! The asynchronous runtimes, made only when something waits.

use tokio::runtime::{Builder, Runtime};

use crate::exit_code::ExitCode;
use crate::failure::Failure;

/// For commands that ask a few questions.
///
/// # Errors
/// When the operating system refuses.
pub(crate) fn small() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(|error| refused(&error))
}

/// For runs on this machine: two threads are enough for what is mostly waiting for processes.
///
/// # Errors
/// When the operating system refuses.
pub(crate) fn embedded() -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("visor")
        .enable_all()
        .build()
        .map_err(|error| refused(&error))
}

/// For services: as many threads as the machine has cores.
///
/// # Errors
/// When the operating system refuses.
pub(crate) fn service() -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .thread_name("visor")
        .enable_all()
        .build()
        .map_err(|error| refused(&error))
}

fn refused(error: &std::io::Error) -> Failure {
    Failure::new(ExitCode::Unavailable, "visor::start::threads", "cannot start threads")
        .because(error)
        .help("the limit on processes may be too low: see `ulimit -u`")
}
