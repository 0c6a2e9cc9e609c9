//! One check of a run.

use std::sync::Arc;

use visor_protocol::outcome::{End, Fault};
use visor_protocol::result::{CheckResult, CheckState, SkipReason};

/// One check.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) phase: Phase,
    /// Dependencies that are not settled.
    pub(super) unsettled: u32,
    pub(super) result: Arc<CheckResult>,
    pub(super) skipped: Option<SkipReason>,
    pub(super) fault: Option<Fault>,
}

/// How a check stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    /// Its dependencies are not settled, or there is no place for it.
    Waiting,
    /// Its `if` is being evaluated.
    Condition,
    /// Its `if` was true, and there is no place for it yet.
    Accepted,
    /// It was asked for.
    Queued { seq: u32 },
    /// A worker has it.
    Running { seq: u32 },
    /// It is over, and its `fail_if`s are being evaluated.
    Judged { end: End, own: Verdict, global: Verdict },
    /// Nothing more will happen to it.
    Settled(CheckState),
}

/// What became of a `fail_if`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    Absent,
    Pending,
    Known(Result<bool, String>),
}

impl Phase {
    /// How it is shown.
    pub(super) fn state(&self) -> CheckState {
        match self {
            Self::Waiting | Self::Condition | Self::Accepted => CheckState::Waiting,
            Self::Queued { .. } => CheckState::Queued,
            Self::Running { .. } | Self::Judged { .. } => CheckState::Running,
            Self::Settled(state) => *state,
        }
    }
}
