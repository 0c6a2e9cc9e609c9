//! `visor serve`: one machine's server and its HTTP API.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

use rustix::process::Signal;
use support::{Project, Running, free_port, until};

struct Server {
    place: Project,
    url: String,
    running: Running,
}

impl Server {
    fn start(token: Option<&str>) -> Self {
        let place = Project::empty();
        let address = format!("127.0.0.1:{}", free_port());
        let mut server = Self::at(place, &address, token);
        server.wait(token);
        server.url = format!("http://{address}");
        server
    }

    fn at(place: Project, address: &str, token: Option<&str>) -> Self {
        let mut command = place.command(&["serve", "--http", address, "--data-dir", "state"]);
        command.args(["--slots", "4"]);
        command.envs(token.map(|token| ("VISOR_TOKEN", token)));
        let running = Running::service(&mut command, &place.file("log"));
        Self { place, url: format!("http://{address}"), running }
    }

    fn wait(&self, token: Option<&str>) {
        until("the server is ready", || {
            let mut command = self.place.command(&["workers", "--json", "--fleet", &self.url]);
            command.envs(token.map(|token| ("VISOR_TOKEN", token)));
            let said = support::said(command.output().unwrap());
            said.code == Some(0) && said.out.contains("\"local\"")
        });
    }
}

const CONFIG: &str = "version: '1.0'\nchecks:\n  a: { type: command, exec: cat data.txt }\n";

#[test]
fn a_run_is_submitted_over_http_with_its_files_and_survives_a_restart() {
    let server = Server::start(None);
    let project = Project::new(CONFIG);
    project.write("data.txt", "carried along");
    let said = project.visor(&["run", "--fleet", &server.url, "-o", "json"]).ended(0);
    assert!(said.out.contains("carried along"), "{}", said.out);

    let log = std::fs::read_to_string(server.place.file("log")).unwrap();
    assert!(log.contains("ready in") && log.contains(&server.url), "{log}");

    let Server { place, url, running } = server;
    running.signal(Signal::TERM);
    running.end().ended(0);
    let server = Server::at(place, url.trim_start_matches("http://"), None);
    server.wait(None);
    let said = project.visor(&["runs", "--fleet", &server.url]).ended(0);
    assert!(said.out.contains("✓ passed"), "{}", said.out);
}

#[test]
fn a_server_with_a_token_answers_only_to_it() {
    let token = "a-long-random-text";
    let server = Server::start(Some(token));
    let project = Project::new(CONFIG);
    project.write("data.txt", "x");
    let said = project.visor(&["run", "--fleet", &server.url]).ended(2);
    assert!(said.err.contains("VISOR_TOKEN"), "{}", said.err);
    let mut command = project.command(&["run", "--fleet", &server.url]);
    support::said(command.env("VISOR_TOKEN", token).output().unwrap()).ended(0);
}

#[test]
fn a_port_that_is_taken_is_said() {
    let server = Server::start(None);
    let address = server.url.trim_start_matches("http://");
    let said = server.place.visor(&["serve", "--http", address, "--data-dir", "other"]).ended(2);
    assert!(said.err.contains("--http"), "{}", said.err);
}

#[test]
fn a_run_for_a_pool_without_workers_says_so_and_names_those_that_have_some() {
    let server = Server::start(None);
    let project = Project::new(CONFIG);
    let run = ["run", "--fleet", &server.url, "--pool", "gpu", "--timeout", "5000"];
    let said = project.visor(&run).ended(1);
    let told = "the run waits for a worker: pool `gpu` has none; there are workers in `default`";
    assert_eq!(said.err.matches(told).count(), 1, "{}", said.err);
    let said = project.visor(&["status", "--fleet", &server.url]).ended(0);
    assert!(!said.out.contains("gpu"), "{}", said.out);
}

/// Each difference that the guides name, and no other: what a check sees here and on a server.
#[test]
fn what_a_check_sees_here_and_elsewhere_differs_as_documented() {
    let server = Server::start(None);
    let project = Project::new(
        r#"
version: "1.0"
checks:
  write: { type: command, exec: touch made }
  shared: { type: command, exec: "test -e made && echo yes || echo no", depends_on: write }
  git: { type: command, exec: "test -d .git && echo yes || echo no" }
  ignored: { type: command, exec: "test -e x.log && echo yes || echo no" }
  env-file: { type: command, exec: "test -e .env && echo yes || echo no" }
  tracked: { type: command, exec: "test -e kept/data && echo yes || echo no" }
  bare: { type: command, exec: 'echo "[$NAMED_ONE]"' }
  named: { type: command, exec: 'echo "$GIVEN"', env: { GIVEN: "${NAMED_ONE}" } }
  from-env-file: { type: command, exec: 'echo "$GIVEN"', env: { GIVEN: "${IN_FILE}" } }
  unnamed: { type: command, exec: "env | grep -c ^UNNAMED_ || true" }
"#,
    );
    std::fs::create_dir(project.file(".git")).unwrap();
    project.write(".gitignore", "*.log\n");
    project.write("x.log", "");
    project.write("kept/data", "");
    project.write(".env", "IN_FILE=overrides\nUNNAMED_TWO=2\n");
    let run = |place: &[&str]| {
        let mut command = project.command(&["run", "--output", "json"]);
        command.args(place).env("NAMED_ONE", "sent").env("UNNAMED_ONE", "1").env("IN_FILE", "own");
        let said = support::said(command.output().unwrap()).ended(0);
        let groups: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let of = |name: &str| groups[name][0]["output"].to_string().replace('"', "");
        let names = [
            "shared",
            "git",
            "ignored",
            "env-file",
            "tracked",
            "bare",
            "named",
            "from-env-file",
            "unnamed",
        ];
        names.map(|name| format!("{name}: {}", of(name)))
    };
    let here = run(&[]);
    assert_eq!(
        here,
        [
            "shared: yes",
            "git: yes",
            "ignored: yes",
            "env-file: yes",
            "tracked: yes",
            "bare: [sent]",
            "named: sent",
            "from-env-file: overrides",
            "unnamed: 2",
        ]
    );
    std::fs::remove_file(project.file("made")).unwrap();
    let elsewhere = run(&["--fleet", &server.url]);
    assert_eq!(
        elsewhere,
        [
            "shared: no",
            "git: no",
            "ignored: no",
            "env-file: no",
            "tracked: yes",
            "bare: []",
            "named: sent",
            "from-env-file: overrides",
            "unnamed: 0",
        ]
    );
}

#[test]
fn an_output_that_is_too_large_is_kept_and_counted_the_same_everywhere() {
    let server = Server::start(None);
    let project = Project::new(
        "version: '1.0'\nchecks:\n  big: { type: command, exec: \"echo first; head -c 6000000 \
         /dev/zero | tr '\\\\0' x; echo; echo last\" }\n",
    );
    let here = project.visor(&["run", "-o", "json"]).ended(0);
    let there = project.visor(&["run", "-o", "json", "--fleet", &server.url]).ended(0);
    assert!(here.out.contains("of 6000012 bytes"), "{}", here.out.len());
    assert_eq!(here.out, there.out);

    let runs = project.visor(&["runs", "--json", "--fleet", &server.url]).ended(0);
    let runs: serde_json::Value = serde_json::from_str(&runs.out).unwrap();
    let run = runs[0]["run"].as_str().unwrap();
    let logs = project.visor(&["runs", "logs", run, "big", "--json", "--fleet", &server.url]);
    let logs: serde_json::Value = serde_json::from_str(&logs.ended(0).out).unwrap();
    assert_eq!(logs["stdout_total"], 6_000_012);
    let kept = logs["stdout"].as_str().unwrap();
    assert!(kept.starts_with("first\n") && kept.ends_with("\nlast\n"), "{}", kept.len());
    assert!((4_000_000..4_300_000).contains(&kept.len()), "{}", kept.len());
}

#[test]
fn a_run_that_failed_can_be_looked_at_and_its_last_line_typed() {
    let server = Server::start(None);
    let project = Project::empty();
    project.write(
        "checks/mine.yaml",
        "version: '1.0'\nchecks:\n  bad: { type: command, exec: exit 3 }\n  after: { type: noop, \
         depends_on: bad }\n",
    );
    let run = ["run", "--config", "checks/mine.yaml", "--fleet", &server.url, "-o", "report"];
    let said = project.visor(&run).ended(1);
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["state"], "failed");
    let checks = report["checks"].as_array().unwrap();
    let why = |at: usize| (checks[at]["state"].as_str().unwrap(), checks[at]["why"].as_str());
    assert_eq!((why(0), why(1)), (("failed", Some("exit 3")), ("skipped", Some("bad failed"))));

    let id = report["run"].as_str().unwrap();
    let shown = project.visor(&["runs", "show", id, "--fleet", &server.url]).ended(0);
    let again = shown.out.lines().find_map(|line| line.trim().strip_prefix("again: visor "));
    let again: Vec<&str> = again.unwrap().split(' ').collect();
    assert_eq!(again[..3], ["run", "--config", "checks/mine.yaml"]);
    project.visor(&again).ended(1);

    let logs = project.visor(&["runs", "logs", id, "after", "--fleet", &server.url]).ended(0);
    assert_eq!((logs.out.as_str(), logs.err.trim()), ("", "after was skipped: bad failed"));
}
