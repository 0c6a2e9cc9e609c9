//! Questions and orders, whoever brings them: HTTP, the bus, or this process.
//!
//! - [`service`]: the trait, and the one thing that has it
//! - [`submit`]: accepting runs
//! - [`read`]: runs, logs, workers, status
//! - [`why`]: what a check waits for, or why it ended
//! - [`waits`]: what a queued check waits for
//! - [`serve`]: answers on the bus

mod read;
mod serve;
mod service;
mod submit;
mod waits;
mod why;

pub(crate) use serve::{run as serve_bus, subject};
pub use service::ApiService;
pub(crate) use service::Service;
