//! SIGSTOP of a worker: for a moment, and for longer than its lease.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Checks, Fleet, until, until_some};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stands_still_for_a_second_loses_nothing_and_repeats_nothing() {
    let test = "a_worker_that_stands_still_for_a_second_loses_nothing_and_repeats_nothing";
    let Some(mut fleet) = Fleet::start(test).await else { return };
    let paused = fleet.start_worker("w-paused", 8).await;
    fleet.start_worker("w-goes-on", 8).await;

    let checks = Checks::new(fleet.dir(), 200, "sleep 0.3");
    fleet.client.submit(&checks.submission()).await;
    until("30 checks are over", || checks.ended() >= 30).await;
    fleet.workers[paused].signal(Signal::STOP);
    tokio::time::sleep(Duration::from_secs(1)).await;
    fleet.workers[paused].signal(Signal::CONT);

    fleet.client.passes(checks.run).await;
    checks.assert_ran_once();
    let histories = fleet.end(&[(checks.run, 200)]).await;
    histories[0].assert_first_attempts();
    assert_eq!(histories[0].stale().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_back_from_a_long_pause_reports_what_is_stale_and_changes_nothing() {
    let test = "a_worker_back_from_a_long_pause_reports_what_is_stale_and_changes_nothing";
    let Some(mut fleet) = Fleet::start(test).await else { return };
    let paused = fleet.start_worker("w-paused", 12).await;
    fleet.start_worker("w-goes-on", 4).await;

    // The other has few slots: most of the lost attempts wait in line still when the stale
    // outcomes of the attempts before them come.
    let checks = Checks::new(fleet.dir(), 200, "sleep 0.3");
    fleet.client.submit(&checks.submission()).await;
    until("30 checks are over", || checks.ended() >= 30).await;
    fleet.workers[paused].signal(Signal::STOP);
    let lost = until_some("its attempts are given to others", async || {
        let report = fleet.client.report(checks.run).await;
        let lost: BTreeSet<u32> = report
            .checks
            .iter()
            .filter(|check| check.attempts > 1)
            .filter_map(|check| Some(check.job?.seq))
            .collect();
        (!lost.is_empty()).then_some(lost)
    })
    .await;
    fleet.workers[paused].signal(Signal::CONT);
    fleet.joined("w-paused").await;
    fleet.client.passes(checks.run).await;
    checks.assert_ran();

    // Once more, but now it comes back when the run is over.
    let second = Checks::new(fleet.dir(), 12, "sleep 1");
    fleet.client.submit(&second.submission()).await;
    until("all its slots are busy", || second.begun().values().all(|begun| !begun.is_empty()))
        .await;
    fleet.workers[paused].signal(Signal::STOP);
    fleet.client.passes(second.run).await;
    let stale_before = fleet.metric("visor_reports_stale_total").await;
    fleet.workers[paused].signal(Signal::CONT);
    fleet.joined("w-paused").await;
    until_some("its outcomes come", async || {
        (fleet.metric("visor_reports_stale_total").await > stale_before).then_some(())
    })
    .await;
    second.assert_ran();

    let histories = fleet.end(&[(checks.run, 200), (second.run, 12)]).await;
    for (history, name) in histories.iter().zip(["the first run", "the second run"]) {
        let again: BTreeSet<u32> = history.requeued().iter().map(|requeue| requeue.seq).collect();
        let stale: BTreeSet<u32> = history.stale().map(|ticket| ticket.job.seq).collect();
        println!("{name}: {} attempts lost, {} reported as stale", again.len(), stale.len());
        assert!(!again.is_empty() && stale.is_subset(&again), "{stale:?} {again:?}");
        assert_eq!(stale, again, "{name}: what came too late is noted");
        for outcome in history.outcomes().filter(|outcome| again.contains(&outcome.job.seq)) {
            assert_eq!(outcome.attempt.0, 2, "{outcome:?}");
        }
    }
    let first: BTreeSet<u32> = histories[0].requeued().iter().map(|lost| lost.seq).collect();
    assert!(lost.is_subset(&first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_back_after_twenty_seconds_changes_nothing() {
    let test = "a_worker_back_after_twenty_seconds_changes_nothing";
    come_back_after(Duration::from_secs(20), test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_back_after_the_transport_gave_its_jobs_to_others_changes_nothing() {
    let test = "a_worker_back_after_the_transport_gave_its_jobs_to_others_changes_nothing";
    // The transport gives what is not acknowledged to others after 30 s.
    come_back_after(Duration::from_secs(34), test).await;
}

async fn come_back_after(pause: Duration, test: &str) {
    let Some(mut fleet) = Fleet::start(test).await else { return };
    let paused = fleet.start_worker("w-paused", 12).await;
    fleet.start_worker("w-goes-on", 8).await;
    let held = Checks::new(fleet.dir(), 60, "sleep 0.5");
    fleet.client.submit(&held.submission()).await;
    until("10 checks are over", || held.ended() >= 10).await;
    fleet.workers[paused].signal(Signal::STOP);
    // Of these it is sent some, and does not look at them.
    let sent = Checks::new(fleet.dir(), 40, "sleep 0.2");
    fleet.client.submit(&sent.submission()).await;
    tokio::time::sleep(pause).await;
    fleet.client.passes(held.run).await;
    fleet.client.passes(sent.run).await;

    let stale_before = fleet.metric("visor_reports_stale_total").await;
    fleet.workers[paused].signal(Signal::CONT);
    fleet.joined("w-paused").await;
    until_some("its outcomes come", async || {
        (fleet.metric("visor_reports_stale_total").await > stale_before).then_some(())
    })
    .await;
    let after = Checks::new(fleet.dir(), 40, "sleep 0.1");
    fleet.client.submit(&after.submission()).await;
    fleet.client.passes(after.run).await;
    held.assert_ran();
    // What it was sent and had not looked at is over: it asks before it begins.
    fleet.queues_are_empty().await;
    sent.assert_ran_once();
    after.assert_ran_once();

    let runs = [(held.run, 60), (sent.run, 40), (after.run, 40)];
    let histories = fleet.end(&runs).await;
    let again: BTreeSet<u32> = histories[0].requeued().iter().map(|lost| lost.seq).collect();
    let stale: BTreeSet<u32> = histories[0].stale().map(|ticket| ticket.job.seq).collect();
    assert!(!again.is_empty() && again.is_subset(&stale), "{again:?} {stale:?}");
    for outcome in histories[0].outcomes().filter(|outcome| again.contains(&outcome.job.seq)) {
        assert_eq!(outcome.attempt.0, 2, "{outcome:?}");
    }
    histories[2].assert_first_attempts();
}
