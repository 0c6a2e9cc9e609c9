//! One value of each kind of message, with everything in it that can be.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;
use visor_protocol::Timestamp;
use visor_protocol::api::{
    ApiError, ConfigSource, DeadLetter, FleetStatus, LimitStatus, Logs, PoolStatus, Priority,
    Reason, Reply, Request, Response, Revision, Selection, Submission, Wait, WorkerInfo,
};
use visor_protocol::envelope::TraceContext;
use visor_protocol::event::{Cause, Expression, News, Notice, Recorded, RunEvent};
use visor_protocol::ids::{
    Attempt, ChannelId, CheckName, ContentHash, JobId, PoolName, RunId, Shard, WorkerId,
};
use visor_protocol::issue::{Issue, Severity};
use visor_protocol::job::{Job, LogLevel, Placement, SandboxSpec, Work, Workspace};
use visor_protocol::outcome::{Captured, End, Fault, Outcome, Usage};
use visor_protocol::result::{
    CheckReport, CheckResult, CheckState, Counts, RunReport, RunState, RunSummary, SkipReason,
};
use visor_protocol::worker::{
    Control, Execution, Heartbeat, HostUsage, ImageStatus, LogChunk, Report, Ticket, WorkerState,
};

pub(crate) fn at(second: u64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000 + second * 1_000_000)
}

pub(crate) fn trace() -> TraceContext {
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into();
    TraceContext { traceparent }
}

fn run() -> RunId {
    RunId::new(at(0), 0x0123_4567_89ab_cdef)
}

fn job() -> JobId {
    JobId { run: run(), seq: 7 }
}

fn ticket() -> Ticket {
    Ticket { job: job(), attempt: Attempt(2) }
}

fn channel() -> ChannelId {
    ChannelId::new("acme/api").unwrap()
}

fn check() -> CheckName {
    CheckName::new("unit tests").unwrap()
}

fn pool() -> PoolName {
    PoolName::new("gpu").unwrap()
}

fn worker() -> WorkerId {
    WorkerId::new("w-eu-1").unwrap()
}

fn hash() -> ContentHash {
    ContentHash::of(b"some bytes")
}

fn workspace() -> Workspace {
    Workspace::Archive { hash: hash(), bytes: 10 }
}

fn env() -> BTreeMap<String, String> {
    BTreeMap::from([("CI".into(), "true".into()), ("PORT".into(), "80".into())])
}

fn fault() -> Fault {
    Fault {
        code: "visor::sandbox::image_missing".into(),
        message: "image `node:20` is not there".into(),
        retry: true,
    }
}

fn usage() -> Usage {
    Usage { peak_memory_bytes: 1 << 20, user_micros: 1_500, system_micros: 700 }
}

pub(crate) fn jobs() -> Vec<(&'static str, Job)> {
    let base = Job {
        job: job(),
        attempt: Attempt(2),
        shard: Shard(0),
        check: check(),
        channel: channel(),
        pool: pool(),
        work: Work::Noop,
        env: BTreeMap::new(),
        timeout_ms: 60_000,
        placement: Placement::Pool,
        workspace: None,
        output_limit: 4 << 20,
        watched: false,
    };
    let mut sandbox = SandboxSpec::new("node", "node:20");
    sandbox.env_passthrough = vec!["CI_*".into()];
    sandbox.network = true;
    let log = Work::Log { level: LogLevel::Warn, message: "careful".into() };
    let command = Job {
        work: Work::Command { exec: "make test".into() },
        env: env(),
        placement: Placement::Sandbox(Box::new(sandbox)),
        workspace: Some(workspace()),
        watched: true,
        ..base.clone()
    };
    let directory = Workspace::Directory { path: "/home/me/project".into() };
    vec![
        ("noop", base.clone()),
        ("log", Job { work: log, workspace: Some(directory), ..base }),
        ("command", command),
    ]
}

fn images() -> Vec<ImageStatus> {
    vec![ImageStatus { image: "node:20".into(), ready: false, detail: "it is not there".into() }]
}

fn host() -> HostUsage {
    HostUsage { cpu_percent: 12.5, memory_used_bytes: 1 << 30, memory_total_bytes: 4 << 30 }
}

pub(crate) fn reports() -> Vec<(&'static str, Report)> {
    let heartbeat = |state| {
        Report::Heartbeat(Box::new(Heartbeat {
            worker: worker(),
            boot: 1_767_225_600_000_001,
            pool: pool(),
            slots: 8,
            held: vec![ticket()],
            state,
            execution: Execution::Host,
            images: images(),
            host: host(),
            version: "0.1.0".into(),
            since: at(0),
        }))
    };
    let reason = "the engine does not answer".into();
    vec![
        ("ready", heartbeat(WorkerState::Ready)),
        ("draining", heartbeat(WorkerState::Draining)),
        ("not_ready", heartbeat(WorkerState::NotReady { reason })),
        (
            "claimed",
            Report::Claimed { worker: worker(), boot: 3, tickets: vec![(ticket(), at(2))] },
        ),
        ("goodbye", Report::Goodbye { worker: worker(), boot: 3 }),
    ]
}

fn outcome(end: End) -> Outcome {
    Outcome {
        job: job(),
        attempt: Attempt(2),
        worker: worker(),
        started_at: at(2),
        finished_at: at(3),
        end,
        stdout: Captured::whole(&b"ok\n"[..]),
        stderr: Captured {
            inline: Bytes::from_static(b"end"),
            blob: Some(hash()),
            total: 9,
            kept: 8,
        },
        usage: usage(),
        image: Some("node:20@sha256:0f0f".into()),
    }
}

pub(crate) fn outcomes() -> Vec<Outcome> {
    let ends = [
        End::Exited { code: 3 },
        End::Signaled { signal: 9 },
        End::TimedOut,
        End::Cancelled,
        End::OutOfMemory,
        End::OutOfDisk { limit: 1 << 30 },
        End::Infrastructure(fault()),
    ];
    ends.map(outcome).into()
}

pub(crate) fn log_chunk() -> LogChunk {
    LogChunk { ticket: ticket(), stderr: true, offset: 70_000, bytes: Bytes::from_static(b"a\xff") }
}

pub(crate) fn controls() -> Vec<(&'static str, Control)> {
    let tickets = vec![ticket()];
    vec![
        ("cancel", Control::Cancel { tickets: tickets.clone(), reason: "superseded".into() }),
        ("resend", Control::Resend { tickets }),
        ("drain", Control::Drain),
        ("report", Control::Report),
    ]
}

fn submission() -> Submission {
    Submission {
        run: run(),
        channel: channel(),
        config: ConfigSource { name: "visor.yaml".into(), text: "version: \"1.0\"\n".into() },
        selection: Selection {
            checks: vec!["all".into()],
            tags: vec!["fast".into()],
            exclude_tags: vec!["slow".into()],
            event: Some("pr_opened".into()),
            max_parallelism: Some(4),
            fail_fast: Some(true),
        },
        workspace: Some(workspace()),
        revision: Revision {
            branch: Some("topic".into()),
            base_branch: Some("main".into()),
            files_changed: vec!["src/lib.rs".into()],
        },
        env: env(),
        priority: Priority::High,
        pool: Some(pool()),
        timeout_ms: Some(600_000),
        watched: true,
    }
}

pub(crate) fn requests() -> Vec<(&'static str, Request)> {
    let (run, check) = (run().to_string(), "unit tests".to_owned());
    let state = Some(RunState::Failed);
    vec![
        ("submit", Request::Submit(Box::new(submission()))),
        ("cancel", Request::Cancel { run: run.clone(), reason: "enough".into() }),
        ("runs", Request::Runs { limit: 50, state, channel: Some(channel()) }),
        ("run", Request::Run { run: run.clone() }),
        ("logs", Request::Logs { run: run.clone(), check: check.clone() }),
        ("why", Request::Why { run, check: Some(check) }),
        ("workers", Request::Workers),
        ("drain", Request::Drain { worker: worker() }),
        ("status", Request::Status),
        ("dead_letters", Request::DeadLetters),
    ]
}

pub(crate) fn summary() -> RunSummary {
    let counts = Counts {
        waiting: 1,
        queued: 2,
        running: 3,
        passed: 4,
        failed: 5,
        skipped: 6,
        cancelled: 7,
    };
    RunSummary {
        run: run(),
        channel: channel(),
        config: "visor.yaml".into(),
        state: RunState::Cancelled,
        submitted_at: at(0),
        finished_at: Some(at(9)),
        counts,
        note: Some("cancelled: enough".into()),
    }
}

fn result() -> CheckResult {
    let mut issue = Issue::system("lint/long", Severity::Critical, "too long");
    issue.end_line = Some(3);
    issue.suggestion = Some("shorten it".into());
    let output = Some(json!({ "score": 1.5, "list": [1, null, "x"] }));
    CheckResult { issues: vec![issue], output, content: "text".into() }
}

fn check_report() -> CheckReport {
    CheckReport {
        name: check(),
        group: "tests".into(),
        kind: "command".into(),
        state: CheckState::Failed,
        job: Some(job()),
        result: result(),
        skipped: Some(SkipReason::DependencyFailed { dependencies: vec!["lint".into()] }),
        waits_for: vec!["lint".into()],
        ended: Some("exit 3".into()),
        why: Some("exit 3".into()),
        fault: Some(fault()),
        tail: "last line".into(),
        attempts: 2,
        history: vec!["w-eu-2 was lost".into()],
        worker: Some(worker()),
        image: Some("node:20".into()),
        next_attempt_at: Some(at(4)),
        queued_at: Some(at(1)),
        started_at: Some(at(2)),
        finished_at: Some(at(3)),
        usage: usage(),
    }
}

pub(crate) fn dead_letter() -> DeadLetter {
    let history = vec!["w-eu-2 was lost".into()];
    DeadLetter { run: run(), check: "unit tests".into(), at: at(5), history }
}

fn status() -> FleetStatus {
    FleetStatus {
        version: "0.1.0".into(),
        transport: "NATS 2.9.10".into(),
        since: at(0),
        open_runs: 1,
        waiting: 2,
        oldest_waiting_ms: 3,
        in_flight: 4,
        pools: vec![PoolStatus {
            pool: pool(),
            ready: 1,
            not_ready: 2,
            slots: 8,
            in_flight: 4,
            waiting: 2,
        }],
        limits: vec![LimitStatus { limit: "calls/acme".into(), waiting: 2 }],
        settled_last_minute: 5,
        dead_letters: 6,
        warnings: vec!["no worker".into()],
        notes: vec!["an old server".into()],
    }
}

fn worker_info() -> WorkerInfo {
    WorkerInfo {
        worker: worker(),
        pool: pool(),
        slots: 8,
        busy: 4,
        state: WorkerState::Ready,
        execution: Execution::Sandbox,
        images: images(),
        host: host(),
        jobs_last_minute: 60,
        version: "0.1.0".into(),
        since: at(0),
        silent_ms: 400,
    }
}

fn reason() -> Reason {
    Reason {
        check: "unit tests".into(),
        state: "queued".into(),
        wait: Some(Wait::Image),
        waits_for: Some("image `node:20`".into()),
        summary: "waiting 2.1 s for image `node:20`".into(),
        dependencies: vec![("lint".into(), "passed".into())],
        facts: vec![("limits".into(), "none holds it back".into())],
        remedy: Some("pull it".into()),
    }
}

pub(crate) fn replies() -> Vec<(&'static str, Reply)> {
    let logs = Logs {
        stdout: "ok\n".into(),
        stderr: String::new(),
        stdout_total: 3,
        stderr_total: 0,
        complete: true,
    };
    let report = RunReport { summary: summary(), checks: vec![check_report()] };
    let refused = ApiError::new("visor::api::unknown_run", "there is no run `x`").retry_after(500);
    vec![
        ("accepted", Ok(Response::Accepted { run: run() })),
        ("cancelled", Ok(Response::Cancelled { run: run(), was_running: true })),
        ("runs", Ok(Response::Runs(vec![summary()]))),
        ("run", Ok(Response::Run(Box::new(report)))),
        ("logs", Ok(Response::Logs(logs))),
        ("why", Ok(Response::Why(vec![reason()]))),
        ("workers", Ok(Response::Workers(vec![worker_info()]))),
        ("draining", Ok(Response::Draining { worker: worker(), holds: 3 })),
        ("status", Ok(Response::Status(Box::new(status())))),
        ("dead_letters", Ok(Response::DeadLetters(vec![dead_letter()]))),
        ("stored", Ok(Response::Stored { hash: hash(), bytes: 10 })),
        ("refused", Err(refused)),
    ]
}

pub(crate) fn notices() -> Vec<Notice> {
    let states = [
        News::RunAccepted { checks: 3 },
        News::Check {
            check: check(),
            state: CheckState::Running,
            attempt: Some(Attempt(2)),
            job: Some(job()),
            worker: Some(worker()),
            started_at: Some(at(1)),
            ran_ms: Some(0.5),
            issues: 1,
            why: Some("exit 1".into()),
        },
        News::RunFinished { state: RunState::Passed },
    ];
    states.map(|what| Notice { run: run(), channel: channel(), at: at(1), what }).into()
}

pub(crate) fn events() -> Vec<(&'static str, Recorded)> {
    let settled = RunEvent::Settled {
        outcome: Box::new(outcome(End::Exited { code: 3 })),
        result: Box::new(result()),
    };
    let evaluated =
        |value| RunEvent::Evaluated { check: check(), which: Expression::FailIf, value };
    let requeued = RunEvent::Requeued {
        job: job(),
        attempt: Attempt(2),
        why: "image `node:20` is not there".into(),
        cause: Cause::Fault,
        not_before: Some(at(4)),
    };
    let events = [
        ("accepted", RunEvent::Accepted(Box::new(submission()))),
        ("evaluated", evaluated(Ok(json!(true)))),
        ("not_evaluated", evaluated(Err("x is not defined".into()))),
        ("queued", RunEvent::Queued { job: job(), check: check(), pool: pool() }),
        ("started", RunEvent::Started { ticket: ticket(), worker: worker(), at: at(2) }),
        ("requeued", requeued),
        ("settled", settled),
        ("stale", RunEvent::Stale { ticket: ticket(), worker: worker() }),
        ("cancel_requested", RunEvent::CancelRequested { reason: "enough".into() }),
        ("timed_out", RunEvent::TimedOut),
        ("finished", RunEvent::Finished { state: RunState::Failed }),
    ];
    events.map(|(name, event)| (name, Recorded { at: at(1), event })).into()
}
