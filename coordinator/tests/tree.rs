//! The actor tree: what one part's failure means for the others, and what a restart finds.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use support::Fleet;
use visor_coordinator::store::Backend;
use visor_coordinator::store::disk::DiskBackend;
use visor_coordinator::{Probe, ProbePoint};
use visor_protocol::api::{Request, Response};
use visor_protocol::event::RunEvent;
use visor_protocol::outcome::{End, Fault};
use visor_protocol::result::{CheckState, RunState};
use visor_testkit::build::noop_config;
use visor_testkit::{FakeWorkerOptions, Scripted, eventually, eventually_some};

const CHAIN: &str = "
version: '1.0'
checks:
  first: { type: noop }
  second: { type: noop, depends_on: [first] }
  third: { type: noop, depends_on: [second] }
";

const ONE_BAD: &str = "
version: '1.0'
checks:
  bad: { type: noop }
  good: { type: noop }
  after-bad: { type: noop, depends_on: [bad] }
";

/// A probe that panics the first `times` times it meets this check there.
fn panics(check: &'static str, branch: bool, times: u32) -> (Probe, Arc<AtomicU32>) {
    let met = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&met);
    let probe = Probe::new(move |point| {
        let here = match point {
            ProbePoint::CheckSubmits { check: name } => !branch && name == check,
            ProbePoint::BranchSettles { check: name } => branch && name == check,
        };
        assert!(!here || counter.fetch_add(1, Ordering::SeqCst) >= times, "put in by the test");
    });
    (probe, met)
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_from_submit_to_its_end() {
    let fleet = Fleet::start(Probe::default()).await;
    let worker = fleet.worker(FakeWorkerOptions::new("one", 4)).await;
    let run = fleet.submit(1, CHAIN).await;
    let report = fleet.finished(run).await;
    assert_eq!(report.summary.state, RunState::Passed);
    assert_eq!(report.summary.counts.passed, 3);
    let order: Vec<u32> = worker.executed().iter().map(|ticket| ticket.job.seq).collect();
    assert_eq!(order, [0, 1, 2]);
    let last = &report.checks[2];
    assert_eq!((last.attempts, last.worker.as_ref().unwrap().as_str()), (1, "one"));
    // Submitting it again is the same run, also when it has finished.
    fleet.submit(1, CHAIN).await;
    assert_eq!(worker.executed().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_check_restarts_that_check_alone() {
    let (probe, met) = panics("bad", false, 1);
    let fleet = Fleet::start(probe).await;
    let _worker = fleet.worker(FakeWorkerOptions::new("one", 4)).await;
    let report = fleet.finished(fleet.submit(1, ONE_BAD).await).await;
    assert_eq!(report.summary.state, RunState::Passed);
    assert_eq!(met.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_always_panics_fails_alone_and_its_siblings_go_on() {
    let (probe, _) = panics("bad", false, u32::MAX);
    let fleet = Fleet::start(probe).await;
    let _worker = fleet.worker(FakeWorkerOptions::new("one", 4)).await;
    let other = fleet.submit(2, CHAIN).await;
    let report = fleet.finished(fleet.submit(1, ONE_BAD).await).await;
    let state = |name: &str| {
        report.checks.iter().find(|check| check.name.as_str() == name).map(|check| check.state)
    };
    assert_eq!(report.summary.state, RunState::Failed);
    assert_eq!(state("bad"), Some(CheckState::Failed));
    assert_eq!(state("good"), Some(CheckState::Passed));
    assert_eq!(state("after-bad"), Some(CheckState::Skipped));
    let bad = report.checks.iter().find(|check| check.name.as_str() == "bad").unwrap();
    assert_eq!(bad.fault.as_ref().unwrap().code, "visor::coordinator::check_crashed");
    assert_eq!(fleet.finished(other).await.summary.state, RunState::Passed);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_branch_rebuilds_that_run_alone() {
    let (probe, met) = panics("bad", true, 1);
    let fleet = Fleet::start(probe).await;
    let _worker = fleet.worker(FakeWorkerOptions::new("one", 4)).await;
    let other = fleet.submit(2, CHAIN).await;
    let report = fleet.finished(fleet.submit(1, ONE_BAD).await).await;
    assert_eq!(report.summary.state, RunState::Passed);
    assert!(met.load(Ordering::SeqCst) >= 2);
    assert_eq!(fleet.finished(other).await.summary.state, RunState::Passed);
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_always_panics_is_given_up_and_its_run_fails_with_a_reason() {
    let (probe, _) = panics("bad", true, u32::MAX);
    let fleet = Fleet::start(probe).await;
    let _worker = fleet.worker(FakeWorkerOptions::new("one", 4)).await;
    let other = fleet.submit(2, CHAIN).await;
    let report = fleet.finished(fleet.submit(1, ONE_BAD).await).await;
    assert_eq!(report.summary.state, RunState::Failed);
    let note = report.summary.note.unwrap();
    assert!(note.contains("fell over this run") && note.contains("put in by the test"), "{note}");
    assert_eq!(fleet.finished(other).await.summary.state, RunState::Passed);
}

#[tokio::test(start_paused = true)]
async fn the_jobs_of_a_worker_that_dies_run_again_within_three_seconds() {
    let fleet = Fleet::start(Probe::default()).await;
    let hangs = FakeWorkerOptions::new("doomed", 8).script(|_| Scripted::hang());
    let doomed = fleet.worker(hangs).await;
    let run = fleet.submit(1, &noop_config(4)).await;
    eventually("the worker holds all four", || doomed.held().len() == 4).await;
    let _other = fleet.worker(FakeWorkerOptions::new("other", 8)).await;
    let died = tokio::time::Instant::now();
    doomed.kill().await;
    let report = fleet.finished(run).await;
    assert!(died.elapsed() < Duration::from_secs(3), "{:?}", died.elapsed());
    assert_eq!(report.summary.state, RunState::Passed);
    for check in &report.checks {
        assert_eq!(check.attempts, 2);
        assert!(check.history[0].contains("doomed was lost"), "{:?}", check.history);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_worker_reports_later_is_stale_and_changes_nothing() {
    let fleet = Fleet::start(Probe::default()).await;
    let slow =
        FakeWorkerOptions::new("sleeper", 8).script(|_| Scripted::exit(1, Duration::from_secs(1)));
    let sleeper = fleet.worker(slow).await;
    let run = fleet.submit(1, &noop_config(3)).await;
    eventually("the worker holds all three", || sleeper.held().len() == 3).await;
    sleeper.pause();
    let _other = fleet.worker(FakeWorkerOptions::new("other", 8)).await;
    let report = fleet.finished(run).await;
    sleeper.resume();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(report.summary.state, RunState::Passed);
    assert_eq!(fleet.report(run).await.summary, report.summary);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_cannot_be_run_anywhere_ends_in_the_dead_letters() {
    let fleet = Fleet::start(Probe::default()).await;
    let fault = Fault {
        code: "visor::sandbox::engine_down".into(),
        message: "the engine does not answer".into(),
        retry: true,
    };
    let broken = FakeWorkerOptions::new("broken", 2)
        .script(move |_| Scripted::end(End::Infrastructure(fault.clone()), Duration::ZERO));
    let _broken = fleet.worker(broken).await;
    let report = fleet.finished(fleet.submit(1, &noop_config(1)).await).await;
    assert_eq!(report.summary.state, RunState::Failed);
    assert_eq!(report.checks[0].attempts, 5);
    let Ok(Response::DeadLetters(letters)) = fleet.call(Request::DeadLetters).await else {
        panic!("no dead letters");
    };
    assert_eq!((letters.len(), letters[0].history.len()), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn cancelling_stops_what_runs_and_skips_what_waits() {
    let fleet = Fleet::start(Probe::default()).await;
    let worker = fleet.worker(FakeWorkerOptions::new("one", 4).script(|_| Scripted::hang())).await;
    let run = fleet.submit(1, CHAIN).await;
    eventually("the first check runs", || worker.held().len() == 1).await;
    let cancelled =
        fleet.call(Request::Cancel { run: run.to_string(), reason: "enough".into() }).await;
    assert_eq!(cancelled, Ok(Response::Cancelled { run, was_running: true }));
    let report = fleet.finished(run).await;
    assert_eq!(report.summary.state, RunState::Cancelled);
    assert_eq!(report.checks[0].state, CheckState::Cancelled);
    assert_eq!(report.checks[2].state, CheckState::Skipped);
    assert_eq!(worker.cancelled().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn jobs_wait_for_a_worker_and_why_says_so() {
    let fleet = Fleet::start(Probe::default()).await;
    let run = fleet.submit(1, CHAIN).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let Ok(Response::Why(reasons)) =
        fleet.call(Request::Why { run: run.to_string(), check: None }).await
    else {
        panic!("no reasons");
    };
    let told = "waiting 3.0 s for a worker: there is none, in pool `default` or any other";
    assert_eq!(reasons[0].summary, told);
    assert_eq!(reasons[0].remedy.as_deref(), Some("start a worker: visor worker --pool default"));
    assert_eq!(reasons[1].summary, "waits for first");
    let _worker = fleet.worker(FakeWorkerOptions::new("one", 1)).await;
    assert_eq!(fleet.finished(run).await.summary.state, RunState::Passed);
}

/// Every job settled exactly once, and the run's history ends with its end.
fn assert_settled_once(directory: &std::path::Path, run: visor_protocol::RunId, jobs: usize) {
    let backend = DiskBackend::open(directory).unwrap();
    let history = backend.events(run).unwrap();
    let mut settled: Vec<u32> = history
        .iter()
        .filter_map(|recorded| match &recorded.event {
            RunEvent::Settled { outcome, .. } => Some(outcome.job.seq),
            _ => None,
        })
        .collect();
    settled.sort_unstable();
    assert_eq!(settled, (0..u32::try_from(jobs).unwrap()).collect::<Vec<_>>());
    let ends = history
        .iter()
        .filter(|recorded| matches!(recorded.event, RunEvent::Finished { .. }))
        .count();
    assert_eq!(ends, 1);
    assert!(backend.open_runs().unwrap().is_empty());
}

#[tokio::test]
async fn a_restarted_coordinator_takes_up_what_was_open() {
    let directory = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::durable(directory.path()).await;
    let slow =
        FakeWorkerOptions::new("one", 2).script(|_| Scripted::pass(Duration::from_millis(20)));
    let worker = fleet.worker(slow).await;
    let run = fleet.submit(1, &noop_config(40)).await;
    eventually("some checks have run", || worker.executed().len() > 5).await;
    fleet.stop_coordinator().await;
    fleet.start_coordinator(Probe::default()).await;
    let report = fleet.finished(run).await;
    assert_eq!(report.summary.state, RunState::Passed);
    assert_eq!(report.summary.counts.passed, 40);
    fleet.stop_coordinator().await;
    assert_settled_once(directory.path(), run, 40);
}

#[tokio::test]
async fn faults_from_before_a_restart_are_not_counted_as_lost_workers() {
    let directory = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::durable(directory.path()).await;
    fleet.stop_coordinator().await;
    fleet.config.fleet.lost_worker_attempts = 2;
    fleet.start_coordinator(Probe::default()).await;
    let fault = Fault {
        code: "visor::sandbox::engine_down".into(),
        message: "the engine does not answer".into(),
        retry: true,
    };
    let twice = FakeWorkerOptions::new("doomed", 1).script(move |job| match job.attempt.0 {
        1 | 2 => Scripted::end(End::Infrastructure(fault.clone()), Duration::ZERO),
        _ => Scripted::hang(),
    });
    let doomed = fleet.worker(twice).await;
    let run = fleet.submit(1, &noop_config(1)).await;
    eventually_some("two attempts met the fault", async || {
        (fleet.report(run).await.checks[0].attempts >= 3).then_some(())
    })
    .await;
    fleet.stop_coordinator().await;
    fleet.start_coordinator(Probe::default()).await;
    eventually("a third is under way", || doomed.held().iter().any(|t| t.attempt.0 > 2)).await;
    doomed.kill().await;
    let _good = fleet.worker(FakeWorkerOptions::new("good", 1)).await;
    let report = fleet.finished(run).await;
    assert_eq!(report.summary.state, RunState::Passed, "{:?}", report.checks[0].fault);
}

#[tokio::test]
async fn a_finished_run_is_reported_from_the_journal_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::durable(directory.path()).await;
    let hello = FakeWorkerOptions::new("one", 2)
        .script(|_| Scripted::pass(Duration::ZERO).printing("hello\n"));
    let _worker = fleet.worker(hello).await;
    let config = "version: '1.0'\nchecks:\n  greet: { type: command, exec: 'true' }\n";
    let run = fleet.submit(1, config).await;
    let before = fleet.finished(run).await;
    fleet.stop_coordinator().await;
    fleet.start_coordinator(Probe::default()).await;
    assert_eq!(fleet.report(run).await, before);
    let short = run.short();
    let Ok(Response::Logs(logs)) =
        fleet.call(Request::Logs { run: short, check: "greet".into() }).await
    else {
        panic!("no logs");
    };
    assert_eq!((logs.stdout.as_str(), logs.complete), ("hello\n", true));
}
