//! The fleet as people start it: NATS, `visor coordinator`, `visor worker`, and the clients.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

use rustix::process::Signal;
use support::{Project, Running, free_port, processes, until};
use visor_testkit::nats::NatsServer;

const CONFIG: &str = r#"
version: "1.0"
checks:
  tree: { type: command, exec: "cat data.txt; test ! -e secret.log; test -L link" }
  bad: { type: command, exec: "echo for-the-log; echo why >&2; exit 4" }
  after: { type: command, exec: echo never, depends_on: [bad] }
"#;

/// A fleet of one coordinator and one worker on this host.
struct Fleet {
    place: Project,
    nats: NatsServer,
    http: String,
    coordinator: Option<Running>,
    worker: Option<Running>,
}

impl Fleet {
    async fn start(test: &str) -> Option<Self> {
        let nats = NatsServer::start_or_skip(test).await?;
        let place = Project::empty();
        let http = format!("127.0.0.1:{}", free_port());
        let url = nats.url();
        let args = ["coordinator", "--nats", &url, "--data-dir", "co", "--http", &http];
        let coordinator = Running::service(&mut place.command(&args), &place.file("co.log"));
        let mut fleet = Self { place, nats, http, coordinator: Some(coordinator), worker: None };
        fleet.worker = Some(fleet.worker("w1"));
        until("coordinator and worker are ready", || {
            let said = fleet.ask(&["workers", "--json"]);
            said.code == Some(0) && said.out.contains("\"w1\"")
        });
        Some(fleet)
    }

    fn worker(&self, id: &str) -> Running {
        let url = self.nats.url();
        let args =
            ["worker", "--nats", &url, "--data-dir", "wo", "--execution", "host", "--id", id];
        let mut command = self.place.command(&args);
        Running::service(command.args(["--slots", "3"]), &self.place.file("worker.log"))
    }

    fn ask(&self, args: &[&str]) -> support::Said {
        let mut command = self.place.command(args);
        support::said(command.env("VISOR_FLEET", self.nats.url()).output().unwrap())
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.place.file(name)).unwrap_or_default()
    }
}

fn project() -> Project {
    let project = Project::new(CONFIG);
    project.write("data.txt", "from the tree\n");
    project.write("secret.log", "not to be sent");
    project.write(".gitignore", "*.log\n");
    std::os::unix::fs::symlink("data.txt", project.file("link")).unwrap();
    project
}

#[tokio::test]
async fn a_fleet_run_prints_what_a_run_here_prints_and_can_be_looked_at_later() {
    let name = "a_fleet_run_prints_what_a_run_here_prints_and_can_be_looked_at_later";
    let Some(fleet) = Fleet::start(name).await else { return };
    let project = project();
    for address in [fleet.nats.url(), format!("http://{}", fleet.http)] {
        let said = project.visor(&["run", "--fleet", &address]).ended(1);
        assert!(said.out.contains("✓ tree"), "{address}: {}", said.out);
        assert!(said.out.contains("on w1"), "{address}: {}", said.out);
        assert!(said.out.contains("1 passed, 1 failed, 1 skipped"), "{address}: {}", said.out);

        let said = project.visor(&["run", "--fleet", &address, "-o", "json"]).ended(1);
        let results: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(results["tree"][0]["output"], "from the tree", "{address}");

        let said = project.visor(&["run", "--fleet", &address, "-c", "tree", "--verbose"]).ended(0);
        assert!(said.err.contains("tree passed"), "{address}: {}", said.err);

        // The second time the tree is there already.
        assert!(!said.err.contains("sending"), "{address}: {}", said.err);

        let ask = |args: &[&str]| {
            let mut all = args.to_vec();
            all.extend(["--fleet", &address]);
            project.visor(&all).ended(0)
        };
        let runs: serde_json::Value = serde_json::from_str(&ask(&["runs", "--json"]).out).unwrap();
        let failed = runs.as_array().unwrap().iter().find(|run| run["state"] == "failed").unwrap();
        let id = failed["run"].as_str().unwrap();
        let short = &id[20..];
        assert!(ask(&["runs"]).out.contains(short));
        assert!(ask(&["runs", "show", short]).out.contains("exit 4"));
        assert!(ask(&["runs", "logs", short, "bad"]).out.contains("for-the-log"));
        assert!(ask(&["why", &format!("{short}/bad")]).out.contains("exit 4"));
        assert!(ask(&["runs", "cancel", id]).out.contains("over already"));
        assert!(ask(&["status"]).out.contains("default 1 worker"));
        assert!(ask(&["deadletter", "list"]).out.contains("no dead letters"));
        project.visor(&["runs", "show", "zzzzzz", "--fleet", &address]).ended(2);
    }
}

#[tokio::test]
async fn verbose_shows_output_of_the_fleet_as_it_comes() {
    let name = "verbose_shows_output_of_the_fleet_as_it_comes";
    let Some(fleet) = Fleet::start(name).await else { return };
    let project = Project::new(
        "version: '1.0'\nchecks:\n  a: { type: command, exec: \"echo first; echo second\" }\n",
    );
    for address in [fleet.nats.url(), format!("http://{}", fleet.http)] {
        let said = project.visor(&["run", "--fleet", &address, "--verbose"]).ended(0);
        assert!(said.err.contains("a │ first\n  a │ second\n"), "{address}: {}", said.err);
    }
}

#[tokio::test]
async fn ctrl_c_cancels_the_run_on_the_fleet() {
    let Some(fleet) = Fleet::start("ctrl_c_cancels_the_run_on_the_fleet").await else { return };
    let marker = format!("66666.{}", std::process::id());
    let project = Project::new(&format!(
        "version: '1.0'\nchecks:\n  a: {{ type: command, exec: sleep {marker} }}\n"
    ));
    let args = ["run", "--fleet", &fleet.nats.url()];
    let visor = Running::start(&mut project.command(&args));
    until("the check runs", || !processes(&format!("sleep {marker}")).is_empty());
    visor.signal(Signal::INT);
    let said = visor.end().ended(130);
    assert!(said.err.contains("on the fleet"), "{}", said.err);
    assert_eq!(processes(&format!("sleep {marker}")), Vec::<String>::new());
    let runs = fleet.ask(&["runs", "--json"]).ended(0);
    assert!(runs.out.contains("\"state\": \"cancelled\""), "{}", runs.out);
}

#[tokio::test]
async fn a_worker_asked_to_end_finishes_what_it_holds_and_another_goes_on() {
    let name = "a_worker_asked_to_end_finishes_what_it_holds_and_another_goes_on";
    let Some(mut fleet) = Fleet::start(name).await else { return };
    let project = Project::new(
        "version: '1.0'\nchecks:\n  a: { type: command, exec: \"touch $GO.running; until test -e \
         $GO; do sleep 0.02; done\", env: { GO: \"${GO}\" } }\n  b: { type: command, exec: echo \
         second, depends_on: [a] }\n",
    );
    let go = project.file("go");
    let running = project.file("go.running");
    let mut command = project.command(&["run", "--fleet", &fleet.nats.url()]);
    let visor = Running::start(command.env("GO", &go));
    until("the check runs", || running.exists());
    let worker = fleet.worker.take().unwrap();
    worker.signal(Signal::TERM);
    until("it drains", || fleet.log("worker.log").contains("draining"));
    std::fs::write(&go, "").unwrap();
    worker.end().ended(0);
    fleet.worker = Some(fleet.worker("w2"));
    let said = visor.end().ended(0);
    assert!(said.out.contains("✓ a") && said.out.contains("on w1"), "{}", said.out);
    assert!(said.out.contains("✓ b") && said.out.contains("on w2"), "{}", said.out);
}

#[tokio::test]
async fn a_coordinator_that_is_killed_goes_on_where_it_was() {
    let name = "a_coordinator_that_is_killed_goes_on_where_it_was";
    let Some(mut fleet) = Fleet::start(name).await else { return };
    let checks: String = (0..30)
        .map(|i| format!("  c{i}: {{ type: command, exec: 'sleep 0.1; echo x >> $TALLY', env: {{ TALLY: \"${{TALLY}}\" }} }}\n"))
        .collect();
    let project = Project::new(&format!("version: '1.0'\nchecks:\n{checks}"));
    let tally = project.file("tally");
    let mut command = project.command(&["run", "--fleet", &fleet.nats.url()]);
    let visor = Running::start(command.env("TALLY", &tally));
    let lines = || std::fs::read_to_string(&tally).unwrap_or_default().lines().count();
    until("some checks are over", || lines() >= 5);
    fleet.coordinator.take().unwrap().signal(Signal::KILL);
    let url = fleet.nats.url();
    let args = ["coordinator", "--nats", &url, "--data-dir", "co", "--http", &fleet.http];
    let again = Running::service(&mut fleet.place.command(&args), &fleet.place.file("co2.log"));
    fleet.coordinator = Some(again);
    let said = visor.end().ended(0);
    assert!(said.out.contains("30 checks: 30 passed"), "{}", said.out);
    assert_eq!(lines(), 30, "each check ran once");
}

#[tokio::test]
async fn a_second_coordinator_is_refused() {
    let Some(fleet) = Fleet::start("a_second_coordinator_is_refused").await else { return };
    let url = fleet.nats.url();
    let args = ["coordinator", "--nats", &url, "--data-dir", "other", "--http", "127.0.0.1:0"];
    let said = fleet.place.visor(&args).ended(2);
    assert!(said.err.contains("another coordinator"), "{}", said.err);
}

#[tokio::test]
async fn a_fleet_without_a_coordinator_is_said_at_once_and_given_up_soon() {
    let name = "a_fleet_without_a_coordinator_is_said_at_once_and_given_up_soon";
    let Some(nats) = NatsServer::start_or_skip(name).await else { return };
    let project = Project::new("version: '1.0'\nchecks: { a: { type: noop } }");
    let said = project.visor(&["run", "--fleet", &nats.url()]).ended(3);
    let first = said.err.find("not accepted yet: no coordinator answers at nats://").unwrap();
    let last = said.err.find("help: start one with `visor coordinator").unwrap();
    assert!(first < last, "{}", said.err);
}

#[tokio::test]
async fn an_output_that_is_too_large_is_the_same_over_nats() {
    let name = "an_output_that_is_too_large_is_the_same_over_nats";
    let Some(fleet) = Fleet::start(name).await else { return };
    let project = Project::new(
        "version: '1.0'\nchecks:\n  big: { type: command, exec: \"echo first; head -c 6000000 \
         /dev/zero | tr '\\\\0' x; echo; echo last\" }\n",
    );
    let here = project.visor(&["run", "-o", "json"]).ended(0);
    let there = project.visor(&["run", "-o", "json", "--fleet", &fleet.nats.url()]).ended(0);
    assert_eq!(here.out, there.out);
}
