//! The same run on this machine and on a fleet: the same result, the same exit status.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;
use tempfile::TempDir;
use visor_protocol::api::{Request, Response};
use visor_protocol::result::RunState;

use crate::harness::service::{Service, visor};
use crate::harness::{Fleet, leftovers, until, until_some};

const PASSING: &str = r#"
version: "1.0"
checks:
  files: { type: command, exec: "cat data/words.txt; ls -a; readlink link; sh run.sh" }
  env: { type: command, exec: "echo $GREETING", env: { GREETING: "hello there" } }
  json: { type: command, exec: "echo '{\"score\": 7}'", depends_on: [files] }
  said: { type: log, message: "all of it", depends_on: [json, env] }
  nothing: { type: noop }
"#;

const FAILING: &str = r#"
version: "1.0"
checks:
  ok: { type: command, exec: "echo fine" }
  bad: { type: command, exec: "echo out; echo why >&2; exit 3", depends_on: [ok] }
  after: { type: command, exec: "echo never", depends_on: [bad] }
  judged: { type: command, exec: "echo '{\"score\": 7}'", fail_if: "output.score > 5" }
"#;

const SKIPPED: &str = r#"
version: "1.0"
checks:
  no: { type: command, exec: "echo no", if: "false" }
  after: { type: command, exec: "echo after", depends_on: [no] }
  large: { type: command, exec: "yes 0123456789 | head -c 200000" }
"#;

fn project(config: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("visor.yaml"), config).unwrap();
    fs::create_dir(at("data")).unwrap();
    fs::write(at("data/words.txt"), "some words\n").unwrap();
    fs::write(at("run.sh"), "echo from a script\n").unwrap();
    std::os::unix::fs::symlink("data/words.txt", at("link")).unwrap();
    dir
}

fn run(place: &Path, arguments: &[&str], fleet: Option<&str>) -> Command {
    let mut command = visor(&["run"]);
    command.args(arguments).current_dir(place);
    if let Some(fleet) = fleet {
        command.args(["--fleet", fleet]);
    }
    command
}

/// The text with every duration replaced, and the spaces that line things up behind it.
fn timeless(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let is_time = |words: &[&str]| {
        let number = words[0].trim_start_matches('<').parse::<f64>().is_ok();
        number && words.get(1).is_some_and(|unit| ["ms", "s", "min"].contains(unit))
    };
    let timeless = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut kept = Vec::new();
        let mut rest = words.as_slice();
        while !rest.is_empty() {
            let skip = if is_time(rest) { 2 } else { 1 };
            kept.push(if skip == 2 { "TIME" } else { rest[0] });
            rest = &rest[skip..];
        }
        kept.join(" ")
    };
    text.lines().map(timeless).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_prints_and_ends_the_same_here_over_nats_and_over_http() {
    let test = "a_run_prints_and_ends_the_same_here_over_nats_and_over_http";
    let Some(mut fleet) = Fleet::start(test).await else { return };
    fleet.start_worker("w-1", 4).await;
    let targets = [fleet.nats.url(), fleet.http.clone()];
    for (config, code) in [(PASSING, 0), (FAILING, 1), (SKIPPED, 0)] {
        let place = project(config);
        for format in ["table", "json", "markdown"] {
            let arguments = ["--output", format];
            let here = run(place.path(), &arguments, None).output().unwrap();
            let shown = String::from_utf8_lossy(&here.stderr);
            assert_eq!(here.status.code(), Some(code), "{format}: {shown}");
            for target in &targets {
                let there = run(place.path(), &arguments, Some(target)).output().unwrap();
                let shown = String::from_utf8_lossy(&there.stderr);
                assert_eq!(there.status.code(), Some(code), "{format} on {target}: {shown}");
                if format == "json" {
                    assert_eq!(
                        String::from_utf8_lossy(&there.stdout),
                        String::from_utf8_lossy(&here.stdout),
                        "on {target}"
                    );
                } else {
                    // How to repeat a check on a fleet names the fleet, and a result its worker.
                    let there = timeless(&there).replace(&format!(" --fleet {target}"), "");
                    let there = there.replace(" on w-1", "");
                    assert_eq!(there, timeless(&here), "{format} on {target}");
                }
            }
        }
    }
    fleet.end(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupting_a_client_cancels_its_run_on_the_fleet() {
    let test = "interrupting_a_client_cancels_its_run_on_the_fleet";
    let Some(mut fleet) = Fleet::start(test).await else { return };
    fleet.start_worker("w-1", 4).await;
    let config = "version: \"1.0\"\nchecks:\n  long: { type: command, exec: \"sleep 600\" }\n";
    let targets = [fleet.nats.url(), fleet.http.clone()];
    for (n, target) in targets.iter().enumerate() {
        let place = project(config);
        let log = fleet.dir().join(format!("client-{n}.log"));
        let mut command = run(place.path(), &[], Some(target));
        let mut client = Service::start("client", &mut command, &log);
        let owned = leftovers::owned_by(fleet.workers[0].pid());
        until("the check runs", || !leftovers::processes(&owned).is_empty()).await;
        client.signal(Signal::INT);
        assert_eq!(client.end().await.code(), Some(130), "{}", client.log());
        until("the check is ended", || leftovers::processes(&owned).is_empty()).await;
        until_some("the run is over", async || {
            let all = Request::Runs { limit: 10, state: None, channel: None };
            match fleet.client.insist(all).await {
                Ok(Response::Runs(runs)) => {
                    assert_eq!(runs.len(), n + 1);
                    runs.iter().all(|run| run.state == RunState::Cancelled).then_some(())
                }
                other => panic!("{other:?}"),
            }
        })
        .await;
    }
    fleet.end(&[]).await;
}
