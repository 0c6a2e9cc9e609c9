//! The settings of NATS: the server takes them, and each user can do its work with them and
//! nothing else.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::program::visor;
use super::{deploy, find, skipped};

const PASSWORDS: [(&str, &str); 3] = [
    ("VISOR_NATS_COORDINATOR_PASSWORD", "c0ordinator"),
    ("VISOR_NATS_WORKER_PASSWORD", "w0rker"),
    ("VISOR_NATS_CLIENT_PASSWORD", "cl1ent"),
];

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_server_takes_its_settings() {
    let Some(server) = find("nats-server") else {
        return skipped("deploy::nats::the_server_takes_its_settings", "no nats-server");
    };
    let mut command = Command::new(server);
    command.args(["-t", "-c"]).arg(deploy().join("nats/nats.conf")).envs(PASSWORDS);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_server_without_passwords_does_not_start() {
    let Some(server) = find("nats-server") else {
        return skipped(
            "deploy::nats::a_server_without_passwords_does_not_start",
            "no nats-server",
        );
    };
    let mut command = Command::new(server);
    command.args(["-t", "-c"]).arg(deploy().join("nats/nats.conf")).env_clear();
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success());
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[expect(clippy::disallowed_methods, reason = "other programs are watched from outside")]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1_200 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("not within a minute: {what}");
}

fn start(program: &Path, arguments: &[&str], log: &Path) -> Running {
    let log = std::fs::File::create(log).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).envs(PASSWORDS).stdin(Stdio::null());
    Running(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
}

/// The whole fleet with these settings: what each role may do is enough for its work.
#[test]
fn each_role_can_do_its_work_with_its_own_user() {
    let name = "deploy::nats::each_role_can_do_its_work_with_its_own_user";
    let (Some(server), Some(visor)) = (find("nats-server"), visor()) else {
        return skipped(name, "no nats-server, or visor was not built along");
    };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    // The same settings on other ports and in another folder.
    let (port, http) = (free_port(), free_port());
    let settings = super::read("nats/nats.conf")
        .replace("0.0.0.0:4222", &format!("127.0.0.1:{port}"))
        .replace("127.0.0.1:8222", &format!("127.0.0.1:{}", free_port()))
        .replace("/data/jetstream", &at("jetstream"));
    std::fs::write(at("nats.conf"), settings).unwrap();
    let _nats = start(&server, &["-c", &at("nats.conf")], &folder.path().join("nats.log"));
    wait_until("NATS listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());

    let url = |user: &str, password: &str| format!("nats://{user}:{password}@127.0.0.1:{port}");
    let coordinator = url("coordinator", PASSWORDS[0].1);
    let http = format!("127.0.0.1:{http}");
    let _coordinator = start(
        &visor,
        &["coordinator", "--nats", &coordinator, "--data-dir", &at("c"), "--http", &http],
        &folder.path().join("coordinator.log"),
    );
    let worker = url("worker", PASSWORDS[1].1);
    let _worker = start(
        &visor,
        &["worker", "--nats", &worker, "--data-dir", &at("w"), "--execution", "host"],
        &folder.path().join("worker.log"),
    );

    // The check sees the files of the run, so packing, storing and fetching them are allowed too.
    std::fs::create_dir(at("tree")).unwrap();
    std::fs::write(folder.path().join("tree/greeting"), "hello from the tree\n").unwrap();
    let config = "version: \"1.0\"\nchecks:\n  greet: { type: command, exec: cat greeting }\n";
    std::fs::write(folder.path().join("tree/visor.yaml"), config).unwrap();
    let client = url("client", PASSWORDS[2].1);
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(&visor);
        command.args(arguments).args(["--fleet", &client]).current_dir(at("tree"));
        command.stdin(Stdio::null()).output().unwrap()
    };
    wait_until("the coordinator answers", || ask(&["status"]).status.success());
    let output = ask(&["run", "--output", "json", "--timeout", "60s"]);
    let read = |name| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let logs = ["nats.log", "coordinator.log", "worker.log"].map(read).join("\n");
    assert!(output.status.success(), "{said}\n{logs}");
    assert!(said.contains("hello from the tree"), "{said}\n{logs}");
    // What the server refused anybody shows in its log, even when the work went on without.
    assert!(!logs.contains("Permissions Violation"), "{logs}");
    refuses_others(&visor, port);
}

/// Nobody gets in without a password.
fn refuses_others(visor: &Path, port: u16) {
    for url in [format!("nats://127.0.0.1:{port}"), format!("nats://client:no@127.0.0.1:{port}")] {
        let output = Command::new(visor)
            .args(["status", "--fleet", &url])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(!output.status.success(), "{url} was let in");
    }
}
