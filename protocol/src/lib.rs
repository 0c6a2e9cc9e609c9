//! What crosses a process boundary: ids, messages, subjects and their encoding.
//!
//! Nothing here waits, opens a socket or reads a clock. Everything that a coordinator, a worker or
//! a client says to another is one of these types, so they can be upgraded one at a time.
//!
//! - [`ids`]: runs, jobs, attempts, workers, pools, channels, content hashes
//! - [`time`]: wall-clock instants and the [`time::Clock`] they come from
//! - [`envelope`]: the versioned MessagePack frame around every message
//! - [`subject`]: the one place that spells and parses subjects
//! - [`job`], [`outcome`], [`issue`]: work handed to a worker and what came of it
//! - [`result`]: what checks and runs came to, as people and programs are shown it
//! - [`worker`]: what workers report and what they are told
//! - [`event`]: the facts of a run, as they stand in the journal and on the event stream
//! - [`api`]: requests to a coordinator and its answers

pub mod api;
pub mod envelope;
pub mod event;
pub mod ids;
pub mod issue;
pub mod job;
pub mod outcome;
pub mod result;
pub mod subject;
pub mod time;
pub mod worker;

pub use envelope::{Envelope, TraceContext};
pub use ids::{
    Attempt, ChannelId, CheckName, ContentHash, JobId, PoolName, RunId, Shard, WorkerId,
};
pub use issue::{Issue, Severity};
pub use job::Job;
pub use outcome::Outcome;
pub use subject::Subject;
pub use time::{Clock, Timestamp};
