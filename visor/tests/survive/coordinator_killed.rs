//! kill -9 and restart of the coordinator.

use crate::harness::{Checks, Fleet, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_killed_among_200_checks_goes_on_where_it_was() {
    let test = "a_coordinator_killed_among_200_checks_goes_on_where_it_was";
    let Some(mut fleet) = Fleet::start(test).await else { return };
    fleet.start_worker("w-1", 8).await;
    fleet.start_worker("w-2", 8).await;

    let checks = Checks::new(fleet.dir(), 200, "sleep 0.3");
    fleet.client.submit(&checks.submission()).await;
    until("50 checks are over", || checks.ended() >= 50).await;
    // Whatever was answered is kept, also what was answered a moment before the end.
    let late: Vec<Checks> = (0..5).map(|_| Checks::new(fleet.dir(), 3, "sleep 0.1")).collect();
    for checks in &late {
        fleet.client.submit(&checks.submission()).await;
    }
    fleet.kill_coordinator().await;
    fleet.start_coordinator().await;
    // A second time, while the first restart is not yet done with taking up.
    until("120 checks are over", || checks.ended() >= 120).await;
    fleet.kill_coordinator().await;
    fleet.start_coordinator().await;

    let all: Vec<&Checks> = std::iter::once(&checks).chain(&late).collect();
    let mut runs = Vec::new();
    for checks in all {
        fleet.client.passes(checks.run).await;
        checks.assert_ran();
        runs.push((checks.run, checks.count));
    }
    fleet.end(&runs).await;
}
