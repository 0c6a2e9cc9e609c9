//! Stop, wipe and restart of NATS.

use visor_protocol::api::{Request, Response};

use crate::harness::{Checks, Fleet, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_server_that_comes_back_empty_among_200_checks_loses_none() {
    let test = "a_nats_server_that_comes_back_empty_among_200_checks_loses_none";
    let Some(mut fleet) = Fleet::start(test).await else { return };
    fleet.start_worker("w-1", 8).await;
    fleet.start_worker("w-2", 8).await;

    let checks = Checks::new(fleet.dir(), 200, "sleep 0.3");
    fleet.client.submit(&checks.submission()).await;
    until("50 checks are over", || checks.ended() >= 50).await;
    fleet.nats.stop().await;
    fleet.nats.wipe();
    // Somebody submits meanwhile: unanswered or refused, but not accepted and lost.
    let meanwhile = Checks::new(fleet.dir(), 10, "sleep 0.1");
    let request = Request::Submit(Box::new(meanwhile.submission()));
    let answer = fleet.client.ask(request).await;
    assert!(!matches!(answer, Ok(Ok(_))), "nobody can have answered: {answer:?}");
    fleet.nats.restart().await;
    // The same again, twice: it is one run.
    fleet.client.submit(&meanwhile.submission()).await;
    fleet.client.submit(&meanwhile.submission()).await;

    let mut runs = Vec::new();
    for checks in [&checks, &meanwhile] {
        fleet.client.passes(checks.run).await;
        checks.assert_ran();
        runs.push((checks.run, checks.count));
    }
    // Answered again after its end: still the same run.
    let again = fleet.client.insist(Request::Submit(Box::new(meanwhile.submission()))).await;
    assert_eq!(again, Ok(Response::Accepted { run: meanwhile.run }));
    fleet.end(&runs).await;
}
