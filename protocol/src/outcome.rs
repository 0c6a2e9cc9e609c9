//! What came of a job attempt.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::ids::{Attempt, ContentHash, JobId, WorkerId};

/// The report of one attempt. The first one for a job's current attempt settles the job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which job.
    pub job: JobId,
    /// Which try at it.
    pub attempt: Attempt,
    /// Who ran it.
    pub worker: WorkerId,
    /// When the work began, by the worker's clock.
    pub started_at: Timestamp,
    /// When it ended, by the worker's clock.
    pub finished_at: Timestamp,
    /// How it ended.
    pub end: End,
    /// What it wrote to standard output.
    #[serde(default, skip_serializing_if = "Captured::is_empty")]
    pub stdout: Captured,
    /// What it wrote to standard error.
    #[serde(default, skip_serializing_if = "Captured::is_empty")]
    pub stderr: Captured,
    /// What it used.
    #[serde(default)]
    pub usage: Usage,
    /// The image it ran in, with its digest where known; none on the worker's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// By itself, with this status; 0 is success.
    Exited {
        /// The exit status.
        code: i32,
    },
    /// By a signal that we did not send.
    Signaled {
        /// Its number.
        signal: i32,
    },
    /// We killed it at its deadline.
    TimedOut,
    /// We killed it because it was cancelled.
    Cancelled,
    /// It used more memory than its limit and was killed for it.
    OutOfMemory,
    /// It wrote more into its files than its limit and was killed for it.
    OutOfDisk {
        /// The limit, in bytes.
        limit: u64,
    },
    /// It never ran: something outside the check is broken.
    Infrastructure(Fault),
}

/// Something outside the check that kept it from running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Fault {
    /// Stable code, for example `visor::sandbox::image_missing`.
    pub code: String,
    /// What failed, where, and what to do.
    pub message: String,
    /// Another worker, or this one a little later, may succeed.
    pub retry: bool,
}

/// The beginning of an output stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Captured {
    /// The bytes, when they are few enough to travel inline.
    #[serde(default, skip_serializing_if = "Bytes::is_empty")]
    pub inline: Bytes,
    /// Where the kept bytes lie when they are too many to travel inline; `inline` then holds the
    /// last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<ContentHash>,
    /// All bytes that were written, kept or not.
    pub total: u64,
    /// Bytes of them that were kept; fewer than `total` when the limit cut the stream.
    pub kept: u64,
}

/// Outputs up to this many bytes travel inside the outcome; larger ones as blobs.
pub const INLINE_OUTPUT_BYTES: usize = 64 * 1024;

impl Captured {
    /// A whole stream that is short enough to travel inline.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let inline = bytes.into();
        let total = inline.len() as u64;
        Self { inline, blob: None, total, kept: total }
    }

    /// Nothing was written.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Bytes that the blob has at most: what was kept, and the note that stands where the limit cut
    /// the middle out.
    pub fn blob_limit(&self) -> u64 {
        self.kept.saturating_add(1_024)
    }

    /// The limit cut the stream.
    pub fn is_truncated(&self) -> bool {
        self.kept < self.total
    }
}

/// Resources an attempt used; zero where the platform does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Largest resident set in bytes.
    pub peak_memory_bytes: u64,
    /// User CPU time in microseconds.
    pub user_micros: u64,
    /// System CPU time in microseconds.
    pub system_micros: u64,
}
