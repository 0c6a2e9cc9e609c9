//! The facts of a run. [`RunEvent`]s stand in the journal, and a run is rebuilt from them alone;
//! [`Notice`]s are what the world is told.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Timestamp;
use crate::api::Submission;
use crate::ids::{Attempt, ChannelId, CheckName, JobId, PoolName, RunId, WorkerId};
use crate::outcome::Outcome;
use crate::result::{CheckResult, CheckState, RunState};
use crate::worker::Ticket;

/// An event with its place in its run's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// When the coordinator recorded it.
    pub at: Timestamp,
    /// What happened.
    pub event: RunEvent,
}

/// One fact of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEvent {
    /// The run exists; the first event of each.
    Accepted(Box<Submission>),
    /// An expression of a check was evaluated.
    Evaluated {
        /// Whose expression.
        check: CheckName,
        /// Which of its expressions.
        which: Expression,
        /// What it came to, or why it could not be evaluated.
        value: Result<Value, String>,
    },
    /// A job was asked for.
    Queued {
        /// Which job; its first attempt.
        job: JobId,
        /// For which check.
        check: CheckName,
        /// In which pool.
        pool: PoolName,
    },
    /// A worker took an attempt.
    Started {
        /// Which.
        ticket: Ticket,
        /// Who.
        worker: WorkerId,
        /// When, by the worker's clock.
        at: Timestamp,
    },
    /// The attempt is over without settling its job, and the next one is queued.
    Requeued {
        /// Which job.
        job: JobId,
        /// The number of the new attempt.
        attempt: Attempt,
        /// Why the earlier one came to nothing.
        why: String,
        /// Which of the bounded numbers of tries it used up.
        #[serde(default)]
        cause: Cause,
        /// No worker is asked before this; at once when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_before: Option<Timestamp>,
    },
    /// The job is over.
    Settled {
        /// What the worker reported.
        outcome: Box<Outcome>,
        /// What that means. Kept beside the report so that a run is rebuilt from its journal
        /// alone, also when a large output has left the blob store.
        result: Box<CheckResult>,
    },
    /// Something was reported too late, and changed nothing.
    Stale {
        /// Which attempt.
        ticket: Ticket,
        /// By whom.
        worker: WorkerId,
    },
    /// Somebody wants the run stopped.
    CancelRequested {
        /// Who and why.
        reason: String,
    },
    /// The run's own time is over.
    TimedOut,
    /// The run is over; the last event of each.
    Finished {
        /// How.
        state: RunState,
    },
}

/// Why an attempt came to nothing. Each kind has a bound of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Its worker was lost. Journals that do not say are read so: a job that may kill its workers
    /// is better given up too early than too late.
    #[default]
    Lost,
    /// Something outside the check kept it from running.
    Fault,
    /// Its worker stopped it although nobody had asked.
    Stopped,
}

/// The expressions a check has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expression {
    /// Whether it runs at all.
    If,
    /// Whether what it produced is a failure.
    FailIf,
    /// The file's own `fail_if`, after each check.
    GlobalFailIf,
}

/// Something the world is told about a run. Stable: `/api/v1/runs/{id}/events` sends these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Notice {
    /// Which run.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub run: RunId,
    /// Its channel.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub channel: ChannelId,
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: News,
}

/// What a [`Notice`] says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum News {
    /// The run was accepted.
    RunAccepted {
        /// How many checks were selected.
        checks: u32,
    },
    /// A check changed its state.
    Check {
        /// Which check.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        check: CheckName,
        /// Its new state.
        state: CheckState,
        /// Which try, once there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>))]
        attempt: Option<Attempt>,
        /// Its job, once there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        job: Option<JobId>,
        /// Who runs it, once somebody does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        worker: Option<WorkerId>,
        /// When the work began, by the worker's clock, once that is known. The notice of a check's
        /// end says it too: that of its beginning may be lost, or have had no time to be sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
        started_at: Option<Timestamp>,
        /// Milliseconds it ran, once it is over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ran_ms: Option<f64>,
        /// Issues it found, once it is over.
        #[serde(default)]
        issues: u32,
        /// Why, where that needs words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// The run is over.
    RunFinished {
        /// How.
        state: RunState,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Envelope;

    #[test]
    fn a_notice_of_a_job_survives_both_encodings() {
        let job = JobId { run: RunId::new(Timestamp::from_micros(9_000), 7), seq: 3 };
        let what = News::Check {
            check: CheckName::new("lint").unwrap(),
            state: CheckState::Running,
            attempt: Some(Attempt::FIRST),
            job: Some(job),
            worker: Some(WorkerId::new("w-1").unwrap()),
            started_at: None,
            ran_ms: Some(0.5),
            issues: 0,
            why: None,
        };
        let channel = ChannelId::local();
        let notice = Notice { run: job.run, channel, at: Timestamp::from_micros(1), what };
        let json = serde_json::to_string(&notice).unwrap();
        assert_eq!(serde_json::from_str::<Notice>(&json).unwrap(), notice);
        let bytes = Envelope::new(vec![notice.clone()], notice.at).encode().unwrap();
        assert_eq!(Envelope::<Vec<Notice>>::decode(&bytes).unwrap().body, [notice]);
    }
}
