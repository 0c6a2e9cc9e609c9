//! What is not needed any more goes: channels without runs, pools that nobody serves, jobs that
//! nobody waits for.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use support::Fleet;
use visor_coordinator::Probe;
use visor_protocol::api::{Request, Response};
use visor_protocol::envelope::Envelope;
use visor_protocol::ids::{PoolName, Shard};
use visor_protocol::result::RunState;
use visor_testkit::build::{JobBuilder, SubmissionBuilder, noop_config, ticket};
use visor_testkit::{FakeWorkerOptions, Scripted, eventually, eventually_some};
use visor_transport::Queue;

#[tokio::test(start_paused = true)]
async fn a_channel_without_runs_is_stopped_and_opened_again_by_the_next_run() {
    let fleet = Fleet::start(Probe::default()).await;
    let _worker = fleet.worker(FakeWorkerOptions::new("one", 8)).await;
    for n in 0..100 {
        let channel = format!("acme/{n}");
        let run = SubmissionBuilder::new(n, noop_config(1)).channel(&channel).build();
        fleet.submit_built(run).await;
    }
    let channels = || fleet.api().gauges().channels.load(Ordering::Relaxed);
    assert_eq!(channels(), 100);
    tokio::time::sleep(Duration::from_secs(60)).await;
    eventually("no channel is left", || channels() == 0).await;
    let again = SubmissionBuilder::new(200, noop_config(1)).channel("acme/7").build();
    let report = fleet.finished(fleet.submit_built(again).await).await;
    assert_eq!(report.summary.state, RunState::Passed);
    assert_eq!(channels(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_run_is_lost_that_comes_while_its_channel_is_about_to_stop() {
    let fleet = Fleet::start(Probe::default()).await;
    let _worker = fleet.worker(FakeWorkerOptions::new("one", 8)).await;
    let channels = || fleet.api().gauges().channels.load(Ordering::Relaxed);
    let mut stopped_before = 0;
    for n in 0..24 {
        let run = fleet.submit(2 * n, &noop_config(1)).await;
        assert_eq!(fleet.finished(run).await.summary.state, RunState::Passed);
        // Before, about, and after the moment at which the channel has been idle for long enough.
        tokio::time::sleep(Duration::from_millis(59_920 + 5 * n)).await;
        stopped_before += u32::from(channels() == 0);
        let run = fleet.submit(2 * n + 1, &noop_config(1)).await;
        assert_eq!(fleet.finished(run).await.summary.state, RunState::Passed);
        tokio::time::sleep(Duration::from_secs(120)).await;
        eventually("the channel is stopped", || channels() == 0).await;
    }
    assert!((1..24).contains(&stopped_before), "{stopped_before}: the moment was not met");
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_nobody_serves_is_forgotten_with_its_last_job() {
    let fleet = Fleet::start(Probe::default()).await;
    let _worker = fleet.worker(FakeWorkerOptions::new("one", 8)).await;
    let pools = async || match fleet.call(Request::Status).await {
        Ok(Response::Status(status)) => {
            status.pools.iter().map(|pool| pool.pool.to_string()).collect::<Vec<_>>()
        }
        other => panic!("no status: {other:?}"),
    };
    let mistyped = SubmissionBuilder::new(1, noop_config(3)).pool("defualt").build();
    let run = fleet.submit_built(mistyped).await;
    assert_eq!(pools().await, ["default", "defualt"]);
    let cancel = Request::Cancel { run: run.to_string(), reason: "mistyped".into() };
    fleet.call(cancel).await.expect("it is cancelled");
    fleet.finished(run).await;
    assert_eq!(pools().await, ["default"]);
}

/// The journal was wiped, or the run cancelled while nobody served the pool: its jobs still lie in
/// the transport's queue.
#[tokio::test(start_paused = true)]
async fn a_worker_that_takes_a_job_of_an_unknown_run_is_told_to_stop_it() {
    let fleet = Fleet::start(Probe::default()).await;
    let queue = Queue::Jobs(PoolName::default_pool());
    fleet.bus.ensure_queue(&queue).await.expect("the queue is made");
    let mut strangers = Vec::new();
    for seq in 0..3 {
        let mut job = JobBuilder::new(77, seq).build();
        // One of another coordinator's part of the channels: none leads it.
        job.shard = Shard(if seq == 2 { 9 } else { 0 });
        strangers.push(ticket(&job));
        let payload = Envelope::new(job, fleet.clock.now()).encode().expect("it is small");
        fleet.bus.enqueue(&queue, &format!("stranger-{seq}"), payload).await.expect("it is stored");
    }
    let hangs = FakeWorkerOptions::new("one", 3).script(|job| match job.job.run {
        run if run == visor_testkit::build::run_id(77) => Scripted::hang(),
        _ => Scripted::pass(Duration::ZERO),
    });
    let worker = fleet.worker(hangs).await;
    eventually("all three were taken and stopped", || {
        let mut cancelled = worker.cancelled();
        cancelled.sort_unstable();
        cancelled == strangers && worker.held().is_empty()
    })
    .await;
    let results = Queue::Results(Shard(0));
    eventually_some("what was reported of them is gone as well", async || {
        let state = fleet.bus.queue_state(&results).await.ok()?;
        (state.messages == 0).then_some(())
    })
    .await;
    let run = fleet.submit(1, &noop_config(5)).await;
    assert_eq!(fleet.finished(run).await.summary.state, RunState::Passed);
}
