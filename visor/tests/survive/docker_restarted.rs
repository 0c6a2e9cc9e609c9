//! Restart of the Docker daemon.

use visor_testkit::docker::{DockerEngine, IMAGE};

use crate::harness::{Checks, Fleet, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_docker_daemon_restarted_among_sandboxed_checks_fails_none_of_them() {
    let test = "a_docker_daemon_restarted_among_sandboxed_checks_fails_none_of_them";
    let Some(mut engine) = DockerEngine::private_or_skip(test).await else { return };
    let Some(mut fleet) = Fleet::start(test).await else { return };
    let host = engine.host();
    let arguments = ["--execution", "sandbox", "--image", IMAGE, "--docker", &host];
    fleet.start_worker_with("w-1", 2, &arguments).await;

    // No marks: nothing of this machine is in a sandbox. The journal says what ran.
    let checks = Checks::unmarked(12, "sleep 1");
    fleet.client.submit(&checks.submission()).await;
    let started = || !engine.containers("visor.job").is_empty();
    until("a container runs", started).await;
    engine.kill();
    engine.start_again().await;
    fleet.client.passes(checks.run).await;
    let histories = fleet.end(&[(checks.run, 12)]).await;
    println!("{} attempts could not be run and were tried again", histories[0].requeued().len());
    assert_eq!(engine.containers("visor.job"), Vec::<String>::new());
}
