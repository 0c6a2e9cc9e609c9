//! The worker: takes jobs from its pool's queue as it has slots for them, runs them, and reports
//! what came of them until the report is stored.
//!
//! - [`config`], [`error`]: what it is told, and why it may not start
//! - [`handle`]: starting, draining and stopping it
//! - `shared`: what its tasks have in common
//! - `pull`: the loop that takes jobs; `attempt`: running one; `place`: where
//! - `ledger`: which attempts are held, finished, cancelled: the decisions, without I/O
//! - `results`, `logs`, `heartbeat`, `control`: what goes out and what comes in
//! - `contact`: whether the jobs that lie here may have been given to others
//! - [`sandbox`]: containers; [`workspace`]: the files that jobs see
//! - `host_usage`, `room`: load of the machine, and the room on its disk

mod attempt;
pub mod config;
mod contact;
mod control;
pub mod error;
pub mod handle;
mod heartbeat;
mod host_usage;
mod ledger;
mod logs;
mod place;
mod pull;
mod results;
mod room;
pub mod sandbox;
mod shared;
pub mod workspace;

pub use config::{DockerOptions, Timings, WorkerConfig};
pub use error::WorkerError;
pub use handle::{Worker, WorkerHandle};
