//! The workers: who is there, what each holds, and who has fallen silent.
//!
//! - [`core`]: leases and workers, in plain values
//! - [`actor`]: receives reports, asks the core, tells branches and workers
//! - [`handle`]: all that others may see

mod actor;
pub mod core;
mod handle;

pub(crate) use actor::start;
pub use handle::Fleet;
