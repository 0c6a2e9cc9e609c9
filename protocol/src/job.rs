//! A job attempt, as the coordinator hands it to a worker: everything is rendered, only secrets
//! are still references.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{Attempt, ChannelId, CheckName, ContentHash, JobId, PoolName, Shard};

/// One numbered try at a unit of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Which job.
    pub job: JobId,
    /// Which try at it.
    pub attempt: Attempt,
    /// Whose results stream the outcome goes to.
    pub shard: Shard,
    /// The check it belongs to.
    pub check: CheckName,
    /// The channel of its run.
    pub channel: ChannelId,
    /// The pool it is for.
    pub pool: PoolName,
    /// What to do.
    pub work: Work,
    /// Variables added to the environment of the work.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Milliseconds after its start at which the work is killed.
    pub timeout_ms: u64,
    /// Where it runs.
    #[serde(default)]
    pub placement: Placement,
    /// The files it sees, none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Workspace>,
    /// Bytes of each output stream that are kept; the rest is counted and dropped.
    pub output_limit: u64,
    /// Somebody follows the run: stream its output as it comes.
    #[serde(default)]
    pub watched: bool,
}

/// What a job does. One variant for each provider that a worker has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Nothing: a place where dependencies meet.
    Noop,
    /// Says something.
    Log {
        /// How important it is.
        level: LogLevel,
        /// What it says.
        message: String,
    },
    /// Runs a shell command line.
    Command {
        /// The text given to `sh -c`.
        exec: String,
    },
}

impl Work {
    /// The provider's name, as a file's `type:` spells it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::Log { .. } => "log",
            Self::Command { .. } => "command",
        }
    }

    /// Whether it runs programs, so that where it runs matters.
    pub fn is_process(&self) -> bool {
        match self {
            Self::Command { .. } => true,
            Self::Noop | Self::Log { .. } => false,
        }
    }
}

/// Levels of the `log` check type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

/// Where a job that runs programs does so.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Wherever the worker's operator decided: the pool's sandbox, or the worker's own host.
    #[default]
    Pool,
    /// In this sandbox and nowhere else.
    Sandbox(Box<SandboxSpec>),
}

/// A container to run in. Everything that is not said here is closed: no network, no capability,
/// no write outside the workspace and `/tmp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Its name in the file that asked for it.
    pub name: String,
    /// The image, as the engine knows it.
    pub image: String,
    /// Where the workspace is mounted, and where the command starts.
    pub workdir: String,
    /// The workspace cannot be written.
    #[serde(default)]
    pub read_only: bool,
    /// The container may reach the network.
    #[serde(default)]
    pub network: bool,
    /// Memory limit in bytes, swap included.
    pub memory_bytes: u64,
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Processes and threads at most.
    pub pids: u32,
    /// Bytes that may be written into a private copy of the workspace, beyond what was in it.
    #[serde(default = "disk_bytes")]
    pub disk_bytes: u64,
    /// Names of the submitter's variables that come along.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_passthrough: Vec<String>,
}

impl SandboxSpec {
    /// A sandbox with the usual limits.
    pub fn new(name: impl Into<String>, image: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            image: image.into(),
            workdir: "/workspace".into(),
            read_only: false,
            network: false,
            memory_bytes: 512 * 1024 * 1024,
            cpu_millis: 1_000,
            pids: 256,
            disk_bytes: disk_bytes(),
            env_passthrough: Vec::new(),
        }
    }
}

/// The usual limit of what is written into a workspace.
fn disk_bytes() -> u64 {
    2 * 1024 * 1024 * 1024
}

/// The files of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Workspace {
    /// A directory of this machine, used in place. Only a coordinator and worker in one process
    /// may say so.
    Directory {
        /// Its absolute path.
        path: String,
    },
    /// A packed tree in the blob store; each job gets a private copy.
    Archive {
        /// Hash of the packed bytes.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        hash: ContentHash,
        /// Their number.
        bytes: u64,
    },
}
