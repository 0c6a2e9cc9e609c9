//! Who goes next: priorities, fair shares, token buckets and free slots.
//!
//! - [`core`]: the decisions, in plain values
//! - [`line`]: the waiting jobs of one pool, in the order in which they go
//! - [`buckets`]: the token buckets
//! - [`actor`]: receives, asks the core, tells checks to go
//! - [`handle`]: all that others may see
//! - [`publish`]: hands encoded jobs to the transport

mod actor;
mod buckets;
pub mod core;
mod handle;
mod line;
mod publish;

pub(crate) use actor::start;
pub use handle::Dispatcher;
pub(crate) use publish::Publisher;

#[cfg(test)]
mod fairness_tests;
