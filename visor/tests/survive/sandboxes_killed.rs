//! kill -9 of a worker whose checks are in containers.

use visor_testkit::docker::{DockerEngine, IMAGE};

use crate::harness::{Checks, Fleet, until, until_some};

const CHECKS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_among_sandboxed_checks_leaves_no_container_and_settles_each_once() {
    let test = "a_worker_killed_among_sandboxed_checks_leaves_no_container_and_settles_each_once";
    let Some(engine) = DockerEngine::private_or_skip(test).await else { return };
    let Some(mut fleet) = Fleet::start(test).await else { return };
    let host = engine.host();
    let arguments = ["--execution", "sandbox", "--image", IMAGE, "--docker", &host];
    let killed = fleet.start_worker_with("w-1", CHECKS as u32, &arguments).await;

    // Long enough that none has ended when the last of them has begun.
    let checks = Checks::unmarked(CHECKS, "cat hello/world.txt && sleep 8");
    let mut submission = checks.submission();
    submission.workspace = Some(fleet.client.pack(&[("hello/world.txt", "hello")]).await);
    fleet.client.submit(&submission).await;
    until_some("all are in flight", async || {
        let report = fleet.client.report(checks.run).await;
        let begun = report.checks.iter().filter(|check| check.worker.is_some()).count();
        (begun == CHECKS).then_some(())
    })
    .await;
    // Some run, some are just being made.
    until("containers run", || engine.containers("visor.job").len() >= 8).await;
    fleet.workers[killed].kill().await;
    fleet.start_worker_with("w-1", CHECKS as u32, &arguments).await;

    fleet.client.passes(checks.run).await;
    until("no container is left", || engine.containers("visor.worker").is_empty()).await;
    let histories = fleet.end(&[(checks.run, CHECKS)]).await;
    let requeued = histories[0].requeued();
    println!("{} attempts were lost with the worker", requeued.len());
    assert!(!requeued.is_empty());
    assert_eq!(engine.containers("visor.worker"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_at_the_same_time_leave_each_others_containers_alone() {
    let test = "runs_at_the_same_time_leave_each_others_containers_alone";
    let Some(engine) = DockerEngine::private_or_skip(test).await else { return };
    let project = tempfile::tempdir().unwrap();
    let file = format!(
        "version: '1.0'\nsandboxes: {{ s: {{ image: '{IMAGE}' }} }}\nchecks:\n  a: {{ type: command, \
         sandbox: s, exec: 'until test -e go; do sleep 0.1; done; echo done' }}\n"
    );
    std::fs::write(project.path().join(".visor.yaml"), file).unwrap();
    let start = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_visor"));
        command.args(["run", "--quiet"]).current_dir(project.path());
        command.env("DOCKER_HOST", engine.host()).stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let running = || engine.containers("visor.job").len();
    let first = start();
    until("the first runs", || running() == 1).await;
    let second = start();
    until("both run", || running() == 2).await;
    std::fs::write(project.path().join("go"), "").unwrap();
    for run in [first, second] {
        let ended = run.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(0), "{said}");
    }
    until("no container is left", || engine.containers("visor.worker").is_empty()).await;
}
