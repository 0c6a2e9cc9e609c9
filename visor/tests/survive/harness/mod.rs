//! A fleet to break.
//!
//! - [`service`]: a process of ours, killed by its id when the test ends
//! - [`fleet`]: NATS, a coordinator and workers, each of which can be stopped and started
//! - [`client`]: asking the coordinator as any client would
//! - [`checks`]: configurations whose checks leave marks, and the marks
//! - [`journal`]: what the coordinator wrote down
//! - [`leftovers`]: processes and files that should be gone

pub(crate) mod checks;
pub(crate) mod client;
pub(crate) mod fleet;
pub(crate) mod journal;
pub(crate) mod leftovers;
pub(crate) mod service;
pub(crate) mod wait;

pub(crate) use checks::Checks;
pub(crate) use fleet::Fleet;
pub(crate) use wait::{until, until_some};
