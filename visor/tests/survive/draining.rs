//! Adding and taking away workers, and taking back a run.

use rustix::process::Signal;
use visor_protocol::api::{Request, Response};
use visor_protocol::result::{CheckState, RunState};

use crate::harness::{Checks, Fleet, leftovers, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_told_to_end_finishes_what_it_holds_and_takes_nothing_new() {
    let test = "a_worker_told_to_end_finishes_what_it_holds_and_takes_nothing_new";
    let Some(mut fleet) = Fleet::start(test).await else { return };
    let drained = fleet.start_worker("w-drained", 4).await;
    let checks = Checks::new(fleet.dir(), 12, "sleep 2");
    fleet.client.submit(&checks.submission()).await;
    let begun = || checks.begun().values().filter(|begun| !begun.is_empty()).count();
    until("its slots are busy", || begun() == 4).await;
    fleet.workers[drained].stop().await;
    assert_eq!((begun(), checks.ended()), (4, 4), "what it held is over, and nothing else began");

    fleet.start_worker("w-after", 4).await;
    fleet.client.passes(checks.run).await;
    checks.assert_ran_once();
    let histories = fleet.end(&[(checks.run, 12)]).await;
    histories[0].assert_first_attempts();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_told_twice_to_end_stops_at_once_and_hands_back_what_it_held() {
    let test = "a_worker_told_twice_to_end_stops_at_once_and_hands_back_what_it_held";
    let Some(mut fleet) = Fleet::start(test).await else { return };
    let stopped = fleet.start_worker("w-stopped", 4).await;
    // Only the first attempt takes long.
    let work = "case \"$VISOR_JOB\" in *.1) setsid sleep 600 & sleep 600;; esac";
    let checks = Checks::new(fleet.dir(), 4, work);
    fleet.client.submit(&checks.submission()).await;
    until("its slots are busy", || checks.begun().values().all(|begun| !begun.is_empty())).await;
    let owned = leftovers::owned_by(fleet.workers[stopped].pid());
    fleet.workers[stopped].signal(Signal::TERM);
    fleet.workers[stopped].says("draining").await;
    fleet.workers[stopped].stop().await;
    assert_eq!(leftovers::processes(&owned), Vec::<String>::new());
    assert_eq!(checks.ended(), 0);

    fleet.start_worker("w-after", 4).await;
    fleet.client.passes(checks.run).await;
    let histories = fleet.end(&[(checks.run, 4)]).await;
    let requeued = histories[0].requeued();
    assert_eq!(requeued.len(), 4);
    for requeue in requeued {
        assert!(requeue.why.contains("w-stopped was stopped"), "{}", requeue.why);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_joins_in_the_middle_of_a_run_shares_its_checks() {
    let test = "a_worker_that_joins_in_the_middle_of_a_run_shares_its_checks";
    let Some(mut fleet) = Fleet::start(test).await else { return };
    fleet.start_worker("w-first", 2).await;
    let checks = Checks::new(fleet.dir(), 60, "sleep 0.3");
    fleet.client.submit(&checks.submission()).await;
    until("the run is under way", || checks.ended() >= 4).await;
    fleet.start_worker("w-second", 4).await;
    fleet.client.passes(checks.run).await;
    checks.assert_ran_once();
    let histories = fleet.end(&[(checks.run, 60)]).await;
    let by_second =
        histories[0].outcomes().filter(|outcome| outcome.worker.as_str() == "w-second").count();
    println!("{by_second} of 60 checks ran on the second worker");
    assert!(by_second > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_a_run_ends_the_process_trees_of_its_checks() {
    let test = "cancelling_a_run_ends_the_process_trees_of_its_checks";
    let Some(mut fleet) = Fleet::start(test).await else { return };
    fleet.start_worker("w-1", 4).await;
    // Deaf to a polite request, with children in sessions of their own.
    let work = "trap '' TERM; setsid sleep 600 & (trap '' TERM; sleep 600) & sleep 600";
    let checks = Checks::new(fleet.dir(), 10, work);
    fleet.client.submit(&checks.submission()).await;
    let begun = || checks.begun().values().filter(|begun| !begun.is_empty()).count();
    until("four checks run", || begun() == 4).await;
    let mark = format!("VISOR_JOB={}-", checks.run);
    until("each has three processes", || leftovers::processes(&mark).len() >= 12).await;
    let cancel =
        Request::Cancel { run: checks.run.to_string(), reason: "the test wants it".into() };
    let answer = fleet.client.insist(cancel).await;
    assert_eq!(answer, Ok(Response::Cancelled { run: checks.run, was_running: true }));

    let report = fleet.client.finished(checks.run).await;
    assert_eq!(report.summary.state, RunState::Cancelled);
    assert_eq!(report.summary.note.as_deref(), Some("cancelled: the test wants it"));
    for check in &report.checks {
        let over = matches!(check.state, CheckState::Cancelled | CheckState::Skipped);
        assert!(over, "{}: {:?}", check.name, check.state);
    }
    assert_eq!((begun(), checks.ended()), (4, 0));
    let jobs = report.checks.iter().filter(|check| check.job.is_some()).count();
    fleet.end(&[(checks.run, jobs)]).await;
}
