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
