//! Requests to a coordinator and its answers: the same over NATS, over HTTP and within a process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::ids::{ChannelId, ContentHash, PoolName, RunId, WorkerId};
use crate::job::Workspace;
use crate::result::{RunReport, RunState, RunSummary};
use crate::subject::ApiOperation;
use crate::worker::{Execution, HostUsage, ImageStatus, WorkerState};

/// A configuration larger than this is refused before it is parsed.
pub const MAX_CONFIG_BYTES: usize = 512 * 1024;

/// A run somebody wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Submission {
    /// Its id, made by the submitter: submitting it twice is one run.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub run: RunId,
    /// The channel it belongs to.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub channel: ChannelId,
    /// The configuration.
    pub config: ConfigSource,
    /// Which of its checks, and how.
    #[serde(default)]
    pub selection: Selection,
    /// The files its checks see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Workspace>,
    /// What is checked, as expressions see it.
    #[serde(default, skip_serializing_if = "Revision::is_unknown")]
    pub revision: Revision,
    /// Variables of the submitter that checks and expressions see.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Whom it goes before.
    #[serde(default)]
    pub priority: Priority,
    /// The pool its checks run in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub pool: Option<PoolName>,
    /// Milliseconds after which the run is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Somebody follows it: send its notices and its output as they come.
    #[serde(default)]
    pub watched: bool,
}

/// What is checked, in the words of the repository it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Revision {
    /// The branch that is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The branch it will go into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_branch: Option<String>,
    /// Files that were changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files_changed: Vec<String>,
}

impl Revision {
    /// Nothing is known of it.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// A configuration file as its submitter read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigSource {
    /// The name shown to people, usually the path as it was typed.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Which checks of a configuration run, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Selection {
    /// Names; empty, or `all` among them, means every check.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// Only checks with one of these tags, and untagged ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// No checks with any of these tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude_tags: Vec<String>,
    /// The event that triggered the run; none means no filter by event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Checks of the run that may be under way at once; the file's own limit when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallelism: Option<u32>,
    /// Stop at the first failure; the file's own choice when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_fast: Option<bool>,
}

/// Whom a run goes before. Within one priority, channels share fairly.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

impl Priority {
    /// All of them, the first to go first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];
}

/// A question or an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Run this.
    Submit(Box<Submission>),
    /// Stop a run.
    Cancel {
        /// Its id or the end of it.
        run: String,
        /// Who and why.
        reason: String,
    },
    /// The latest runs.
    Runs {
        /// How many at most.
        limit: u32,
        /// Only those that stand so.
        state: Option<RunState>,
        /// Only those of this channel.
        channel: Option<ChannelId>,
    },
    /// One run with its checks.
    Run {
        /// Its id or the end of it.
        run: String,
    },
    /// The output of a check.
    Logs {
        /// The run's id or the end of it.
        run: String,
        /// The check.
        check: String,
    },
    /// What a check waits for, or why it ended as it did.
    Why {
        /// The run's id or the end of it.
        run: String,
        /// The check; every unsettled one when absent.
        check: Option<String>,
    },
    /// The workers.
    Workers,
    /// Have a worker finish what it holds and stop.
    Drain {
        /// Which.
        worker: WorkerId,
    },
    /// The fleet in short.
    Status,
    /// Jobs given up on, with their history.
    DeadLetters,
}

impl Request {
    /// Which subject and scope it needs.
    pub fn operation(&self) -> ApiOperation {
        match self {
            Self::Submit(_) => ApiOperation::Submit,
            Self::Cancel { .. } | Self::Drain { .. } => ApiOperation::Operate,
            Self::Runs { .. }
            | Self::Run { .. }
            | Self::Logs { .. }
            | Self::Why { .. }
            | Self::Workers
            | Self::Status
            | Self::DeadLetters => ApiOperation::Read,
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The run is accepted: it will finish, or be reported as failed.
    Accepted {
        /// Its id.
        run: RunId,
    },
    /// Stopping it began; it was finished already when false.
    Cancelled {
        /// Its id.
        run: RunId,
        /// It was still running.
        was_running: bool,
    },
    /// The latest runs, newest first.
    Runs(Vec<RunSummary>),
    /// One run.
    Run(Box<RunReport>),
    /// Output of a check.
    Logs(Logs),
    /// Reasons.
    Why(Vec<Reason>),
    /// The workers.
    Workers(Vec<WorkerInfo>),
    /// The worker was told to drain.
    Draining {
        /// Which.
        worker: WorkerId,
        /// Attempts it still holds.
        holds: u32,
    },
    /// The fleet in short.
    Status(Box<FleetStatus>),
    /// Jobs given up on.
    DeadLetters(Vec<DeadLetter>),
    /// The answer is too large for a message: an `Envelope<Reply>` in the blob store.
    Stored {
        /// Its hash.
        hash: ContentHash,
        /// Its size.
        bytes: u64,
    },
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiError {
    /// Stable code, for example `visor::api::unknown_run`.
    pub code: String,
    /// What is wrong, where, and what to do.
    pub message: String,
    /// Milliseconds after which the same request may succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl ApiError {
    /// A refusal that asking again will not change.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retry_after_ms: None }
    }

    /// The same request may succeed after this many milliseconds.
    #[must_use]
    pub fn retry_after(mut self, millis: u64) -> Self {
        self.retry_after_ms = Some(millis);
        self
    }
}

/// What a coordinator sends back.
pub type Reply = Result<Response, ApiError>;

/// Output of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Logs {
    /// Standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, invalid UTF-8 replaced.
    pub stderr: String,
    /// Bytes of standard output that were written in all.
    pub stdout_total: u64,
    /// Bytes of standard error that were written in all.
    pub stderr_total: u64,
    /// The check is over and there will be no more.
    pub complete: bool,
}

/// What a check waits for, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Wait {
    /// Checks it depends on.
    Dependency,
    /// A place among the checks that its run may have under way.
    Place,
    /// The end of the pause before its next attempt.
    Retry,
    /// A worker that takes jobs: its pool has none.
    Worker,
    /// A worker that has its image.
    Image,
    /// A token of a limit.
    Bucket,
    /// A slot: all of its pool are taken.
    Slot,
    /// The worker to take what was handed to it.
    Claim,
    /// The journal, which cannot be written.
    Journal,
}

/// Why a check stands as it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reason {
    /// The check.
    pub check: String,
    /// Its state, in a word.
    pub state: String,
    /// What it waits for, while it waits, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
    /// The same in words that go on from `waits for`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// One sentence: what it waits for, or why it ended.
    pub summary: String,
    /// What it depends on, and how each stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<(String, String)>,
    /// Further facts: image, limits, policy, lease, earlier tries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<(String, String)>,
    /// What would let it go on, when something would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// One worker in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerInfo {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub worker: WorkerId,
    /// Its pool.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub pool: PoolName,
    /// Slots in all.
    pub slots: u32,
    /// Slots in use.
    pub busy: u32,
    /// Whether it takes work.
    pub state: WorkerState,
    /// Where checks without a sandbox of their own run.
    pub execution: Execution,
    /// Its images.
    pub images: Vec<ImageStatus>,
    /// Its machine's load.
    pub host: HostUsage,
    /// Attempts it ended in the last minute.
    pub jobs_last_minute: u32,
    /// The build that runs there.
    pub version: String,
    /// When it started.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
    /// Milliseconds since it was last heard.
    pub silent_ms: u64,
}

/// The fleet in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FleetStatus {
    /// The build of the coordinator.
    pub version: String,
    /// What the jobs travel over: `memory`, or NATS with its version.
    pub transport: String,
    /// When the coordinator started.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
    /// Runs that are not finished.
    pub open_runs: u32,
    /// Jobs that wait in the dispatcher.
    pub waiting: u32,
    /// Milliseconds the oldest of them has waited.
    pub oldest_waiting_ms: u64,
    /// Attempts handed to workers and not yet settled.
    pub in_flight: u32,
    /// Pools with their workers.
    pub pools: Vec<PoolStatus>,
    /// Token buckets that hold somebody back.
    pub limits: Vec<LimitStatus>,
    /// Jobs settled in the last minute.
    pub settled_last_minute: u32,
    /// Jobs given up on.
    pub dead_letters: u32,
    /// What is wrong, in sentences; empty when nothing is.
    pub warnings: Vec<String>,
    /// What will always be so here and is good to know, in sentences: what an old server lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One pool in [`FleetStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolStatus {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub pool: PoolName,
    /// Workers that take work.
    pub ready: u32,
    /// Workers that do not.
    pub not_ready: u32,
    /// Slots of the ready ones.
    pub slots: u32,
    /// Attempts handed to them.
    pub in_flight: u32,
    /// Jobs that wait for a slot.
    pub waiting: u32,
}

/// One token bucket in [`FleetStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LimitStatus {
    /// Its name in the fleet's configuration, with what it is keyed by.
    pub limit: String,
    /// Jobs that wait for a token of it.
    pub waiting: u32,
}

/// A job given up on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadLetter {
    /// Its run.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub run: RunId,
    /// Its check.
    pub check: String,
    /// When it was given up.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// Why each try came to nothing.
    pub history: Vec<String>,
}
