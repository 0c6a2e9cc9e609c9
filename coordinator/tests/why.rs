//! What `visor why` answers: the one thing that a check waits for, and what would help.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::time::Duration;

use support::Fleet;
use visor_coordinator::{CoordinatorConfig, FleetConfig, Probe};
use visor_protocol::Subject;
use visor_protocol::api::{Reason, Request, Response, Wait};
use visor_protocol::envelope::Envelope;
use visor_protocol::ids::{PoolName, RunId};
use visor_protocol::outcome::{End, Fault};
use visor_protocol::subject::WorkerTopic;
use visor_protocol::worker::{Execution, Heartbeat, HostUsage, ImageStatus, Report, WorkerState};
use visor_testkit::build::{SubmissionBuilder, noop_config, worker_id};
use visor_testkit::{FakeWorkerOptions, Scripted, eventually_some};

async fn reasons(fleet: &Fleet, run: RunId) -> Vec<Reason> {
    match fleet.call(Request::Why { run: run.to_string(), check: None }).await {
        Ok(Response::Why(reasons)) => reasons,
        other => panic!("no reasons: {other:?}"),
    }
}

/// The first reason, once it is of this kind.
async fn waits(fleet: &Fleet, run: RunId, wait: Wait) -> Reason {
    eventually_some("it waits for that", async || {
        reasons(fleet, run).await.into_iter().find(|reason| reason.wait == Some(wait))
    })
    .await
}

fn fact<'r>(reason: &'r Reason, name: &str) -> &'r str {
    let found = reason.facts.iter().find(|(known, _)| known == name);
    found.map(|(_, fact)| fact.as_str()).unwrap_or_else(|| panic!("no `{name}`: {reason:?}"))
}

/// A worker that is there and says so once.
async fn heartbeat(fleet: &Fleet, name: &str, state: WorkerState, images: Vec<ImageStatus>) {
    let worker = worker_id(name);
    let heartbeat = Heartbeat {
        worker: worker.clone(),
        boot: 1,
        pool: PoolName::default_pool(),
        slots: 2,
        held: Vec::new(),
        state,
        execution: Execution::Sandbox,
        images,
        host: HostUsage::default(),
        version: "test".into(),
        since: fleet.clock.now(),
    };
    let report = Report::Heartbeat(Box::new(heartbeat));
    let payload = Envelope::new(report, fleet.clock.now()).encode().unwrap();
    let subject = Subject::Worker(worker, WorkerTopic::Heartbeat);
    fleet.bus.publish(&subject, payload).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pool_without_workers_is_named_with_those_that_have_some() {
    let fleet = Fleet::start(Probe::default()).await;
    let _worker = fleet.worker(FakeWorkerOptions::new("one", 4)).await;
    let mistyped = SubmissionBuilder::new(1, noop_config(1)).pool("defualt").build();
    let run = fleet.submit_built(mistyped).await;
    let reason = waits(&fleet, run, Wait::Worker).await;
    assert_eq!(
        reason.waits_for.unwrap(),
        "a worker: pool `defualt` has none; there are workers in `default`"
    );
    assert!(reason.remedy.unwrap().contains("visor worker --pool defualt"));
}

#[tokio::test(start_paused = true)]
async fn workers_that_take_nothing_say_why() {
    let fleet = Fleet::start(Probe::default()).await;
    let run = fleet.submit(1, &noop_config(1)).await;
    let reason = "the engine does not answer".to_owned();
    heartbeat(&fleet, "w-1", WorkerState::NotReady { reason }, Vec::new()).await;
    heartbeat(&fleet, "w-2", WorkerState::Draining, Vec::new()).await;
    eventually_some("both are named", async || {
        let reason = reasons(&fleet, run).await.remove(0);
        let told = "a worker of pool `default` that takes jobs: w-1 is not ready: the engine does \
                    not answer; w-2 is draining";
        (reason.wait == Some(Wait::Worker) && reason.waits_for.unwrap() == told).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_no_worker_has_is_named() {
    let fleet = Fleet::start(Probe::default()).await;
    let config = "
version: '1.0'
sandboxes: { node: { image: 'node:20' } }
checks: { test: { type: command, exec: 'true', sandbox: node } }
";
    let run = fleet.submit(1, config).await;
    let image = |ready: bool| ImageStatus {
        image: "node:20".into(),
        ready,
        detail: if ready { "sha256:1".into() } else { "pull it with `docker pull`".into() },
    };
    heartbeat(&fleet, "w-1", WorkerState::Ready, vec![image(false)]).await;
    let reason = waits(&fleet, run, Wait::Image).await;
    assert_eq!(
        reason.waits_for.as_deref(),
        Some(
            "image `node:20`, which no worker of pool `default` has: w-1: pull it with `docker pull`"
        )
    );
    assert_eq!(fact(&reason, "image"), "node:20: ready on 0 of 1 workers");
    heartbeat(&fleet, "w-1", WorkerState::Ready, vec![image(true)]).await;
    let reason = waits(&fleet, run, Wait::Claim).await;
    assert_eq!(fact(&reason, "image"), "node:20: ready on 1 of 1 workers");
}

#[tokio::test(start_paused = true)]
async fn a_job_between_two_attempts_says_when_the_next_begins_and_why() {
    let fleet = Fleet::start(Probe::default()).await;
    let fault = Fault {
        code: "visor::sandbox::image_missing".into(),
        message: "image `node:20` is not there".into(),
        retry: true,
    };
    let broken = FakeWorkerOptions::new("broken", 1)
        .script(move |_| Scripted::end(End::Infrastructure(fault.clone()), Duration::ZERO));
    let _broken = fleet.worker(broken).await;
    let run = fleet.submit(1, &noop_config(1)).await;
    let reason = waits(&fleet, run, Wait::Retry).await;
    let told = reason.waits_for.unwrap();
    assert!(told.starts_with("attempt 2, which begins in 0."), "{told}");
    assert!(told.ends_with(" s, after: image `node:20` is not there"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn slots_tokens_leases_and_shares_are_told() {
    let limits = "limits: { calls: { requests: 1, per: hour, provider: noop } }";
    let fleet = FleetConfig::parse("fleet.yaml", limits).unwrap().0;
    let config = CoordinatorConfig { fleet, ..CoordinatorConfig::default() };
    let fleet = Fleet::start_with(config, Probe::default()).await;
    let _worker = fleet.worker(FakeWorkerOptions::new("one", 1).script(|_| Scripted::hang())).await;
    let holds = "version: '1.0'\nchecks: { one: { type: log, message: m } }\n";
    let logs = "version: '1.0'\nchecks: { two: { type: log, message: m } }\n";
    let first = fleet.submit(1, holds).await;
    let lease = eventually_some("the first runs", async || {
        let reason = reasons(&fleet, first).await.remove(0);
        reason.facts.into_iter().find(|(name, _)| name == "lease")
    })
    .await;
    assert!(lease.1.starts_with("held by one, renewed 0."), "{lease:?}");
    let second = fleet.submit(2, logs).await;
    let reason = waits(&fleet, second, Wait::Slot).await;
    let told = "a slot in pool `default` (1 of 1 busy; place 1 in its channel, 1 wait in all)";
    assert_eq!(reason.waits_for.as_deref(), Some(told));
    assert_eq!(
        fact(&reason, "policy"),
        "priority normal; channel local has 1 of 1 slots, its fair share is 1"
    );
    assert_eq!(fact(&reason, "limits"), "none holds it back");
    // A second worker: the one token of the hour is taken by the first of these.
    let _more = fleet.worker(FakeWorkerOptions::new("two", 8).script(|_| Scripted::hang())).await;
    let third = fleet.submit(3, &noop_config(2)).await;
    let reason = waits(&fleet, third, Wait::Bucket).await;
    let told = reason.waits_for.unwrap();
    assert!(told.starts_with("a token of limit `calls`, which comes in 3"), "{told}");
}
