//! What a check came to, and the report of a whole run: what people and programs are shown.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Timestamp;
use crate::ids::{ChannelId, CheckName, JobId, RunId, WorkerId};
use crate::issue::Issue;
use crate::outcome::{Fault, Usage};

/// Why a check did not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SkipReason {
    /// Its `if` was false, or could not be evaluated.
    IfCondition {
        /// The condition.
        condition: String,
        /// What went wrong evaluating it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Checks it depends on failed or were skipped.
    DependencyFailed {
        /// Their names.
        dependencies: Vec<String>,
    },
    /// Another check failed and the run stops at the first failure.
    FailFast,
    /// The run was cancelled first.
    Cancelled,
    /// The run's time was over first.
    RunTimeout,
}

/// How a check stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum CheckState {
    /// Not yet asked for: its dependencies are not settled, or no place is free.
    Waiting,
    /// Asked for; no worker has it yet.
    Queued,
    /// A worker runs it.
    Running,
    /// It ran and did not fail.
    Passed,
    /// It ran and failed, or could not be run.
    Failed,
    /// It was not run, for a reason that is no fault of its own.
    Skipped,
    /// It was stopped before it ended.
    Cancelled,
}

impl CheckState {
    /// Nothing more will happen to it.
    pub fn is_settled(self) -> bool {
        match self {
            Self::Waiting | Self::Queued | Self::Running => false,
            Self::Passed | Self::Failed | Self::Skipped | Self::Cancelled => true,
        }
    }
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RunState {
    /// Accepted, and not finished.
    Running,
    /// Every check passed or was skipped for a reason that is no failure.
    Passed,
    /// A check failed, or a critical issue was found.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl RunState {
    /// Nothing more will happen to it.
    pub fn is_finished(self) -> bool {
        self != Self::Running
    }
}

/// What a check that ran came to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckResult {
    /// What it found.
    pub issues: Vec<Issue>,
    /// What it produced for others, when it produced something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// What it produced for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content: String,
}

/// One check in a [`RunReport`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckReport {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: CheckName,
    /// The group its results are shown under.
    pub group: String,
    /// Its provider.
    pub kind: String,
    /// How it stands.
    pub state: CheckState,
    /// Its job, once asked for.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// What it came to.
    #[serde(default)]
    pub result: CheckResult,
    /// Why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<SkipReason>,
    /// Checks it waits for, while it waits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    /// How the process ended, in words: `exit 1`, `signal 9`, `timed out`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Why it failed, was skipped or was stopped, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What outside the check kept it from running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// Last lines of its output, for showing a failure.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tail: String,
    /// Tries so far, lost ones included.
    pub attempts: u32,
    /// Why earlier tries ended: `w-eu-1 was lost`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<String>,
    /// Who runs or ran it.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// The image it ran in; until it is over, the one it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// When its next try may begin, while that is held back.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// When it was asked for.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<Timestamp>,
    /// When the last try started.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// What it used.
    #[serde(default)]
    pub usage: Usage,
}

/// A run without its checks: one line of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunSummary {
    /// Which run.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub run: RunId,
    /// Its channel.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub channel: ChannelId,
    /// The file it runs, by the name its submitter gave.
    pub config: String,
    /// How it stands.
    pub state: RunState,
    /// When it was accepted.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub submitted_at: Timestamp,
    /// When it finished.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Checks in each state.
    pub counts: Counts,
    /// Why it stands as it does, where that needs words: who cancelled it, what could not be run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Checks of a run, by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Counts {
    pub waiting: u32,
    pub queued: u32,
    pub running: u32,
    pub passed: u32,
    pub failed: u32,
    pub skipped: u32,
    pub cancelled: u32,
}

impl Counts {
    /// Counts one check.
    pub fn add(&mut self, state: CheckState) {
        *self.slot(state) += 1;
    }

    /// Moves one check from a state to another.
    pub fn shift(&mut self, from: CheckState, to: CheckState) {
        let slot = self.slot(from);
        *slot = slot.saturating_sub(1);
        self.add(to);
    }

    /// All checks.
    pub fn total(&self) -> u32 {
        self.waiting
            + self.queued
            + self.running
            + self.passed
            + self.failed
            + self.skipped
            + self.cancelled
    }

    fn slot(&mut self, state: CheckState) -> &mut u32 {
        match state {
            CheckState::Waiting => &mut self.waiting,
            CheckState::Queued => &mut self.queued,
            CheckState::Running => &mut self.running,
            CheckState::Passed => &mut self.passed,
            CheckState::Failed => &mut self.failed,
            CheckState::Skipped => &mut self.skipped,
            CheckState::Cancelled => &mut self.cancelled,
        }
    }
}

/// A run with all its checks, in the order of its file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunReport {
    /// The run itself.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// Its checks.
    pub checks: Vec<CheckReport>,
}

/// Results as existing tools read them: by group, each check that ran with its issues.
pub type GroupedResults = IndexMap<String, Vec<GroupedResult>>;

/// One check in [`GroupedResults`]. The field names are those of existing result files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupedResult {
    /// The check.
    pub check_name: CheckName,
    /// What it produced for people.
    pub content: String,
    /// Its group.
    pub group: String,
    /// What it produced for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// What it found.
    pub issues: Vec<Issue>,
}

impl RunReport {
    /// The results by group. Checks that did not run have none.
    pub fn grouped(&self) -> GroupedResults {
        let mut groups = GroupedResults::new();
        for check in &self.checks {
            let ran = match check.state {
                CheckState::Passed | CheckState::Failed => true,
                CheckState::Waiting
                | CheckState::Queued
                | CheckState::Running
                | CheckState::Skipped
                | CheckState::Cancelled => false,
            };
            if ran {
                groups.entry(check.group.clone()).or_default().push(GroupedResult {
                    check_name: check.name.clone(),
                    content: check.result.content.clone(),
                    group: check.group.clone(),
                    output: check.result.output.clone(),
                    issues: check.result.issues.clone(),
                });
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Envelope;

    #[test]
    fn a_report_survives_both_encodings() {
        let at = Timestamp::from_micros(1_700_000_000_000_000);
        let run = RunId::new(at, 7);
        let summary = RunSummary {
            run,
            channel: ChannelId::local(),
            config: "visor.yaml".into(),
            state: RunState::Failed,
            submitted_at: at,
            finished_at: Some(at),
            counts: Counts { failed: 1, ..Counts::default() },
            note: None,
        };
        let check = CheckReport {
            name: CheckName::new("lint").unwrap(),
            group: "ci".into(),
            kind: "command".into(),
            state: CheckState::Skipped,
            job: Some(JobId { run, seq: 0 }),
            result: CheckResult {
                output: Some(serde_json::json!({"a": [1]})),
                ..CheckResult::default()
            },
            skipped: Some(SkipReason::IfCondition { condition: "false".into(), error: None }),
            waits_for: vec!["build".into()],
            ended: None,
            why: None,
            fault: None,
            tail: String::new(),
            attempts: 1,
            history: Vec::new(),
            worker: None,
            image: None,
            next_attempt_at: None,
            queued_at: Some(at),
            started_at: None,
            finished_at: None,
            usage: Usage::default(),
        };
        let report = RunReport { summary, checks: vec![check] };
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<RunReport>(&json).unwrap(), report);
        let bytes = Envelope::new(report.clone(), at).encode().unwrap();
        assert_eq!(Envelope::<RunReport>::decode(&bytes).unwrap().body, report);
    }
}
