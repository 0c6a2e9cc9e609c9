//! kill -9 of a worker.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;
use visor_protocol::time::{Clock, SystemClock};

use crate::harness::{Checks, Fleet, leftovers, until};

/// Only the lease is faster than this: the transport gives a job to another worker after 30 s.
const WITHOUT_LEASE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_in_its_first_moment_leaves_no_process_behind() {
    let test = "a_worker_killed_in_its_first_moment_leaves_no_process_behind";
    let Some(mut fleet) = Fleet::start(test).await else { return };
    let killed = fleet.start_worker("w-killed", 4).await;
    let work = "case \"$VISOR_JOB\" in *.1) setsid sleep 600 & sleep 600;; esac";
    let checks = Checks::new(fleet.dir(), 4, work);
    fleet.client.submit(&checks.submission()).await;
    let begun = || checks.begun().values().filter(|begun| !begun.is_empty()).count();
    until("a check has begun", || begun() > 0).await;
    let owned = leftovers::owned_by(fleet.workers[killed].pid());
    fleet.workers[killed].kill().await;
    until("its warden kills what it left", || leftovers::processes(&owned).is_empty()).await;
    fleet.start_worker("w-comes", 4).await;
    fleet.client.passes(checks.run).await;
    fleet.end(&[(checks.run, 4)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_among_200_checks_costs_time_and_nothing_else() {
    let test = "a_worker_killed_among_200_checks_costs_time_and_nothing_else";
    let Some(mut fleet) = Fleet::start(test).await else { return };
    let killed = fleet.start_worker("w-killed", 8).await;
    fleet.start_worker("w-stays", 8).await;

    // Each check leaves its process group and its session, as a daemon would.
    let work = "setsid sleep 600 >/dev/null 2>&1 & test -f hello/world.txt && sleep 0.4 || exit 9";
    let checks = Checks::new(fleet.dir(), 200, work);
    let mut submission = checks.submission();
    submission.workspace = Some(fleet.client.pack(&[("hello/world.txt", "hello")]).await);
    fleet.client.submit(&submission).await;
    until("50 checks are over", || checks.ended() >= 50).await;

    let owned = leftovers::owned_by(fleet.workers[killed].pid());
    assert!(!leftovers::processes(&owned).is_empty(), "it has checks under way");
    let at = SystemClock.now();
    fleet.workers[killed].kill().await;
    until("its warden kills what it left", || leftovers::processes(&owned).is_empty()).await;
    // On the same directory, so that it clears away the files, too.
    fleet.start_worker("w-comes", 4).await;

    fleet.client.passes(checks.run).await;
    checks.assert_ran();
    let histories = fleet.end(&[(checks.run, 200)]).await;
    let requeued = histories[0].requeued();
    assert!(!requeued.is_empty(), "attempts were lost with it");
    let mut lost = BTreeSet::new();
    for requeue in requeued {
        assert!(requeue.why.contains("w-killed was lost"), "{}", requeue.why);
        lost.insert(requeue.seq);
    }
    for outcome in histories[0].outcomes().filter(|outcome| lost.contains(&outcome.job.seq)) {
        assert_ne!(outcome.worker.as_str(), "w-killed");
        assert_eq!(outcome.attempt.0, 2);
    }
    let mut restarts: Vec<Duration> = histories[0]
        .started()
        .filter(|(ticket, _)| ticket.attempt.0 == 2)
        .map(|(_, started)| started.since(at))
        .collect();
    restarts.sort_unstable();
    println!("{} attempts were lost and began again after {restarts:?}", lost.len());
    assert!(restarts.iter().all(|after| *after < WITHOUT_LEASE), "{restarts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_a_killed_worker_was_sent_and_never_looked_at_run_soon() {
    let test = "jobs_that_a_killed_worker_was_sent_and_never_looked_at_run_soon";
    let Some(mut fleet) = Fleet::start(test).await else { return };
    let killed = fleet.start_worker("w-killed", 8).await;
    let stays = fleet.start_worker("w-stays", 8).await;
    // It has asked for work, and the server does not know that nobody reads what it sends.
    fleet.workers[killed].signal(Signal::STOP);
    let checks = Checks::new(fleet.dir(), 40, "sleep 0.1");
    fleet.client.submit(&checks.submission()).await;
    until("others have begun", || checks.ended() >= 1).await;
    let at = SystemClock.now();
    fleet.workers[killed].kill().await;
    fleet.client.passes(checks.run).await;

    // Half a minute later the transport brings them again, to one that has never heard of them.
    fleet.workers[stays].stop().await;
    fleet.start_worker("w-comes", 8).await;
    fleet.queues_are_empty().await;
    checks.assert_ran_once();
    let histories = fleet.end(&[(checks.run, 40)]).await;
    histories[0].assert_first_attempts();
    let mut begun: Vec<Duration> =
        histories[0].started().map(|(_, started)| started.since(at)).collect();
    begun.sort_unstable();
    println!("the last of them began {:?} after the kill", begun.last());
    assert!(begun.iter().all(|after| *after < WITHOUT_LEASE), "{begun:?}");
}
