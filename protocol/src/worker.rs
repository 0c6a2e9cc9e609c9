//! What workers report and what they are told. Both travel on core subjects: a lost report is
//! repaired by the next heartbeat, a lost order by the next reconciliation.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::ids::{Attempt, JobId, PoolName, WorkerId};

/// One try at one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ticket {
    /// Which job.
    pub job: JobId,
    /// Which try.
    pub attempt: Attempt,
}

/// From a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The whole present state; renews every lease it names.
    Heartbeat(Box<Heartbeat>),
    /// Attempts that the worker has taken and started.
    Claimed {
        /// Who took them.
        worker: WorkerId,
        /// Which life of the worker.
        boot: u64,
        /// What was taken, and when it started.
        tickets: Vec<(Ticket, Timestamp)>,
    },
    /// The worker stops now and holds nothing any more.
    Goodbye {
        /// Who stops.
        worker: WorkerId,
        /// Which life of the worker.
        boot: u64,
    },
}

/// A worker's present state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who says so.
    pub worker: WorkerId,
    /// Which life of the worker: a restarted one holds nothing of what the earlier one held.
    pub boot: u64,
    /// The pool it serves.
    pub pool: PoolName,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// The attempts it holds: running, or finished and not yet safely reported.
    pub held: Vec<Ticket>,
    /// Whether it takes work.
    pub state: WorkerState,
    /// Where checks without a sandbox of their own run.
    pub execution: Execution,
    /// The images it was told to have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageStatus>,
    /// What the machine is doing.
    #[serde(default)]
    pub host: HostUsage,
    /// The build that runs there.
    pub version: String,
    /// When it started.
    pub since: Timestamp,
}

/// Whether a worker takes work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WorkerState {
    /// It does.
    Ready,
    /// It finishes what it holds and takes nothing new.
    Draining,
    /// It cannot.
    NotReady {
        /// Why, and what would help.
        reason: String,
    },
}

/// Where checks without a sandbox of their own run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Execution {
    /// In the pool's sandbox.
    #[default]
    Sandbox,
    /// On the worker's host: an operator switched it on.
    Host,
}

/// Whether an image can be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageStatus {
    /// The name it was asked for by.
    pub image: String,
    /// It is there.
    pub ready: bool,
    /// Its digest or id when it is there, what is wrong when not.
    pub detail: String,
}

/// Load of a worker's machine.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostUsage {
    /// Busy part of all cores, 0 to 100.
    pub cpu_percent: f32,
    /// Memory in use, in bytes.
    pub memory_used_bytes: u64,
    /// Memory there is, in bytes.
    pub memory_total_bytes: u64,
}

/// To a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Kill these attempts if they run; drop them if they wait.
    Cancel {
        /// Which.
        tickets: Vec<Ticket>,
        /// Why, for the log.
        reason: String,
    },
    /// Report these outcomes again if you still have them: the report was lost on its way.
    Resend {
        /// Which.
        tickets: Vec<Ticket>,
    },
    /// Take nothing new, finish what is held, then stop.
    Drain,
    /// Send a heartbeat now: a new leader is listening.
    Report,
}

/// Output of a job as it comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogChunk {
    /// Which try wrote it.
    pub ticket: Ticket,
    /// Standard error rather than standard output.
    pub stderr: bool,
    /// Bytes of this stream that came before it.
    pub offset: u64,
    /// The bytes.
    pub bytes: bytes::Bytes,
}
