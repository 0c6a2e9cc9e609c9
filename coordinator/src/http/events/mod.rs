//! A run as it goes, as server-sent events.
//!
//! - [`progress`]: what a follower has been told, and what is news to it
//! - [`handler`]: the route
//! - [`follower`]: the task that tells one follower

mod follower;
mod handler;
mod progress;

pub(super) use handler::*;
