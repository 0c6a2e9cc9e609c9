//! Fixed reports for the snapshots of every renderer.

use std::time::Duration;

use visor_protocol::api::{Reason, Wait};
use visor_protocol::ids::{ChannelId, CheckName, JobId, RunId, WorkerId};
use visor_protocol::issue::{Issue, Severity};
use visor_protocol::outcome::{Fault, Usage};
use visor_protocol::result::{
    CheckReport, CheckResult, CheckState, Counts, RunReport, RunState, RunSummary, SkipReason,
};
use visor_protocol::time::Timestamp;

/// The moment at which the sample runs were accepted.
pub(crate) fn start() -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000)
}

pub(crate) fn run_id() -> RunId {
    RunId::new(start(), 0x1234_5678_9abc_def0)
}

pub(crate) fn name(text: &str) -> CheckName {
    CheckName::new(text).unwrap()
}

/// A check that ended in this state after so many milliseconds.
pub(crate) fn check(text: &str, state: CheckState, millis: u64) -> CheckReport {
    let ran = millis > 0;
    CheckReport {
        name: name(text),
        group: text.into(),
        kind: "command".into(),
        state,
        job: ran.then(|| JobId { run: run_id(), seq: 0 }),
        result: CheckResult::default(),
        skipped: None,
        waits_for: Vec::new(),
        ended: ran.then(|| "exit 0".into()),
        why: None,
        fault: None,
        tail: String::new(),
        attempts: u32::from(ran),
        history: Vec::new(),
        worker: ran.then(|| WorkerId::new("local").unwrap()),
        image: None,
        next_attempt_at: None,
        queued_at: ran.then(start),
        started_at: ran.then(start),
        finished_at: ran.then(|| start() + Duration::from_millis(millis)),
        usage: Usage::default(),
    }
}

/// A run of these checks that took so many milliseconds.
pub(crate) fn report(state: RunState, millis: u64, checks: Vec<CheckReport>) -> RunReport {
    let mut counts = Counts::default();
    checks.iter().for_each(|check| counts.add(check.state));
    RunReport {
        summary: RunSummary {
            run: run_id(),
            channel: ChannelId::local(),
            config: "visor.yaml".into(),
            state,
            submitted_at: start(),
            finished_at: Some(start() + Duration::from_millis(millis)),
            counts,
            note: None,
        },
        checks,
    }
}

fn issue(file: &str, line: u32, severity: Severity, message: &str, rule: &str) -> Issue {
    Issue { file: file.into(), line, ..Issue::system(rule, severity, message) }
}

/// Checks that passed, failed, were skipped, and one that says something.
pub(crate) fn mixed() -> RunReport {
    let mut said = check("announce", CheckState::Passed, 1);
    said.kind = "log".into();
    said.result.content = "release 1.2 \u{1b}[31mis\u{1b}[0m next".into();

    let mut failed = check("integration", CheckState::Failed, 18_200);
    failed.ended = Some("exit 1".into());
    failed.why = failed.ended.clone();
    failed.image = Some("node@sha256:9f2c".into());
    failed.tail =
        "\u{1b}[1mFAIL\u{1b}[0m  test/pool.test.ts > returns each connection once\n".into();
    failed.result.issues = vec![
        issue(
            "src/db/pool.ts",
            41,
            Severity::Error,
            "connection is returned twice",
            "integration/double-release",
        ),
        issue(
            "src/db/pool.ts",
            88,
            Severity::Warning,
            "timeout is never applied",
            "integration/unused-timeout",
        ),
        issue(
            "command",
            0,
            Severity::Error,
            "Command execution failed: exit 1",
            "integration/command/execution_error",
        ),
    ];

    let mut skipped = check("publish-report", CheckState::Skipped, 0);
    skipped.skipped =
        Some(SkipReason::DependencyFailed { dependencies: vec!["integration".into()] });
    skipped.why = Some("integration failed".into());

    let mut data = check("unit-tests", CheckState::Passed, 4_200);
    data.result.output = Some(serde_json::json!({"tests": 212}));
    data.result.issues =
        vec![issue("src/a.ts", 3, Severity::Warning, "slow | test", "unit-tests/slow")];

    report(
        RunState::Failed,
        18_400,
        vec![check("lint", CheckState::Passed, 310), data, failed, said, skipped],
    )
}

/// A check on a fleet whose first worker was lost, and one whose image is missing.
pub(crate) fn fleet() -> RunReport {
    let mut moved = check("build", CheckState::Failed, 2_400);
    moved.worker = Some(WorkerId::new("w-eu-2").unwrap());
    moved.attempts = 2;
    moved.history = vec!["w-eu-1 was lost".into()];
    moved.ended = Some("signal 9".into());
    moved.why = Some("signal 9 (SIGKILL)".into());
    let mut faulty = check("scan", CheckState::Failed, 3);
    faulty.ended = None;
    faulty.fault = Some(Fault {
        code: "visor::sandbox::image_missing".into(),
        message: "image `scanner:3` is not on worker w-eu-2\npull it there, or build it".into(),
        retry: false,
    });
    faulty.why = faulty.fault.as_ref().map(|fault| fault.message.clone());
    report(RunState::Failed, 190_000, vec![moved, faulty])
}

/// Many checks that all passed.
pub(crate) fn many(number: usize) -> RunReport {
    let checks =
        (0..number).map(|i| check(&format!("check-{i:04}"), CheckState::Passed, 10)).collect();
    report(RunState::Passed, 2_300, checks)
}

/// A queued check that waits for this.
pub(crate) fn reason(check: &str, waits_for: &str) -> Reason {
    Reason {
        check: check.into(),
        state: "queued".into(),
        wait: Some(Wait::Worker),
        waits_for: Some(waits_for.into()),
        summary: format!("waiting 2.1 s for {waits_for}"),
        dependencies: Vec::new(),
        facts: Vec::new(),
        remedy: None,
    }
}
