//! One run: events in, effects out.
//!
//! - `machine`: the state machine
//! - `cell`: how one check of it stands
//! - `failure`: which results are failures
//! - `report`: a run as it is shown

mod cell;
mod failure;
mod machine;
#[cfg(test)]
mod properties;
mod report;
#[cfg(test)]
mod tests;

use visor_protocol::event::Expression;
use visor_protocol::outcome::End;
use visor_protocol::outcome::Fault;
use visor_protocol::result::{CheckResult, RunState, SkipReason};

pub use failure::is_fatal;
pub use machine::RunMachine;

use crate::expression::Evaluation;
use crate::plan::CheckIndex;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An expression was evaluated.
    Evaluated {
        /// Whose.
        check: CheckIndex,
        /// Which.
        which: Expression,
        /// What it came to, or why it could not be evaluated.
        value: Result<serde_json::Value, String>,
    },
    /// A worker took the check.
    Started {
        /// Which.
        check: CheckIndex,
    },
    /// The worker was lost, and the check waits for another.
    Requeued {
        /// Which.
        check: CheckIndex,
    },
    /// The check is over.
    Settled {
        /// Which.
        check: CheckIndex,
        /// How it ended.
        end: End,
        /// What it came to.
        result: CheckResult,
    },
    /// Somebody wants the run stopped.
    Cancel,
    /// The run's own time is over.
    TimedOut,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Evaluate this and come back with [`Event::Evaluated`].
    Evaluate(Box<Evaluation>),
    /// Run the check and come back with [`Event::Settled`].
    Start {
        /// Position among all starts of the run.
        seq: u32,
        /// Which.
        check: CheckIndex,
    },
    /// Nothing: the check is settled as skipped.
    Skip {
        /// Which.
        check: CheckIndex,
        /// Why.
        reason: SkipReason,
    },
    /// Nothing: the check is settled as failed without having run.
    Fail {
        /// Which.
        check: CheckIndex,
        /// Why it cannot be run.
        fault: Fault,
    },
    /// Stop the check. It still comes back with [`Event::Settled`].
    Cancel {
        /// Position of its start.
        seq: u32,
        /// Which.
        check: CheckIndex,
    },
    /// The run is over.
    Finish {
        /// How.
        state: RunState,
    },
}
