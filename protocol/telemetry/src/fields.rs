//! The names of fields, in logs and traces alike.
//!
//! ```
//! # let (job, attempt) = ("3k9f-0", 1);
//! use visor_telemetry::fields;
//! tracing::warn!({ fields::JOB } = job, { fields::ATTEMPT } = attempt, "lease lost");
//! ```
//!
//! In lines for people the `.id` at the end of a name is left out: `job=3k9f-0`.

/// A run.
pub const RUN: &str = "run.id";
/// A check, by its name.
pub const CHECK: &str = "check";
/// A unit of work.
pub const JOB: &str = "job.id";
/// Which try at a job.
pub const ATTEMPT: &str = "attempt";
/// A worker.
pub const WORKER: &str = "worker.id";
/// Which life of a worker.
pub const BOOT: &str = "boot";
/// A channel.
pub const CHANNEL: &str = "channel.id";
/// A pool of workers.
pub const POOL: &str = "pool";
/// A shard of channels.
pub const SHARD: &str = "shard";
/// A queue, by its subject.
pub const QUEUE: &str = "queue";
/// An image.
pub const IMAGE: &str = "image";
/// A container.
pub const CONTAINER: &str = "container.id";
/// A directory or file.
pub const PATH: &str = "path";
/// An address.
pub const URL: &str = "url";
/// How long something took or lasted.
pub const TOOK: &str = "took";
/// How many there are.
pub const COUNT: &str = "count";
/// Why.
pub const REASON: &str = "reason";
/// What went wrong.
pub const ERROR: &str = "error";
/// A stable code of what went wrong.
pub const CODE: &str = "code";
