//! What comes too late: reports of attempts that were given to others, and of runs that are over.

mod support;

use std::time::Duration;

use support::Fleet;
use visor_coordinator::Probe;
use visor_coordinator::store::Backend;
use visor_coordinator::store::disk::DiskBackend;
use visor_protocol::envelope::Envelope;
use visor_protocol::event::RunEvent;
use visor_protocol::ids::{Attempt, JobId, Shard};
use visor_protocol::outcome::{Captured, End, Outcome, Usage};
use visor_protocol::result::RunState;
use visor_testkit::build::{noop_config, worker_id};
use visor_testkit::{FakeWorkerOptions, Scripted, eventually, eventually_some};
use visor_transport::Queue;

#[tokio::test(start_paused = true)]
async fn a_second_attempt_in_line_is_not_forgotten_when_the_first_reports() {
    let fleet = Fleet::start(Probe::default()).await;
    let slow = |name: &str| {
        FakeWorkerOptions::new(name, 3).script(|_| Scripted::exit(1, Duration::from_secs(1)))
    };
    let (gone, back) = (fleet.worker(slow("gone")).await, fleet.worker(slow("that-is-back")).await);
    let run = fleet.submit(1, &noop_config(8)).await;
    eventually("both hold three", || gone.held().len() + back.held().len() == 6).await;
    gone.pause();
    back.pause();
    eventually_some("the attempts are lost", async || {
        let report = fleet.report(run).await;
        (report.checks.iter().filter(|check| check.attempts == 2).count() == 6).then_some(())
    })
    .await;
    // It takes what the other had, while its own still wait, and reports its own.
    back.resume();
    let report = fleet.finished(run).await;
    assert_eq!(report.summary.counts.total(), 8);
}

#[tokio::test]
async fn reports_of_a_run_that_is_over_are_noted_each_and_taken_out_of_the_queue() {
    let directory = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::durable(directory.path()).await;
    let _worker = fleet.worker(FakeWorkerOptions::new("one", 4)).await;
    let run = fleet.submit(1, &noop_config(5)).await;
    let report = fleet.finished(run).await;
    let at = report.summary.submitted_at;
    let late = |seq| Outcome {
        job: JobId { run, seq },
        attempt: Attempt(7),
        worker: worker_id("late"),
        started_at: at,
        finished_at: at,
        end: End::Exited { code: 1 },
        stdout: Captured::default(),
        stderr: Captured::default(),
        usage: Usage::default(),
        image: None,
    };
    let results = Queue::Results(Shard(0));
    let outcomes: Vec<Outcome> = (0..5).map(late).collect();
    let payload = Envelope::new(outcomes, at).encode().unwrap();
    fleet.bus.enqueue(&results, "late", payload).await.unwrap();
    eventually_some("the queue is empty", async || {
        let state = fleet.bus.queue_state(&results).await.unwrap();
        (state.messages == 0).then_some(())
    })
    .await;
    // Everything goes on.
    let next = fleet.submit(2, &noop_config(5)).await;
    assert_eq!(fleet.finished(next).await.summary.state, RunState::Passed);
    assert_eq!(fleet.report(run).await, report);
    fleet.stop_coordinator().await;
    let history = DiskBackend::open(directory.path()).unwrap().events(run).unwrap();
    let stale = |event: &RunEvent| matches!(event, RunEvent::Stale { .. });
    let end = history.iter().position(|r| matches!(r.event, RunEvent::Finished { .. })).unwrap();
    let after: Vec<bool> = history[end + 1..].iter().map(|r| stale(&r.event)).collect();
    assert_eq!(after, [true; 5]);
}
