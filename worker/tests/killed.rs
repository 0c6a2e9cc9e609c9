//! A worker's process killed with -9 in the middle of its work: nothing of that work stays.
//!
//! This binary is all three processes in turn: the test, the worker to be killed, and its warden.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, in its helpers too")]
#![expect(clippy::print_stdout, reason = "the runner reads the names of the tests there")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use support::{Desk, command, on_host, packed, runs, until};
use visor_protocol::ids::WorkerId;
use visor_protocol::job::{Placement, SandboxSpec, Workspace};
use visor_testkit::docker::{DockerEngine, IMAGE};
use visor_worker::{DockerOptions, WorkerConfig};

const TESTS: [&str; 3] = [
    "the_warden_ends_the_processes_of_a_killed_worker",
    "the_warden_removes_the_container_of_a_killed_worker",
    "the_next_worker_ends_what_a_worker_without_a_warden_left",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match arguments.first().map(String::as_str) {
        Some(visor_providers::warden::ARGUMENT) => return visor_providers::warden::main(),
        Some("owner") => runtime().block_on(work_until_killed(&arguments[1..])),
        Some("--list") => {
            if !arguments.iter().any(|argument| argument == "--ignored") {
                TESTS.iter().for_each(|name| println!("{name}: test"));
            }
        }
        _ => {
            let exact = arguments.iter().any(|argument| argument == "--exact");
            let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
            let chosen = |name: &&str| match filter {
                Some(filter) if exact => name == filter,
                Some(filter) => name.contains(filter.as_str()),
                None => true,
            };
            for name in TESTS.into_iter().filter(chosen) {
                println!("test {name} ...");
                runtime().block_on(run(name));
                println!("test {name} ... ok");
            }
        }
    }
    ExitCode::SUCCESS
}

async fn run(name: &str) {
    match TESTS.iter().position(|test| *test == name) {
        Some(0) => the_warden_ends_the_processes_of_a_killed_worker().await,
        Some(1) => the_warden_removes_the_container_of_a_killed_worker(name).await,
        _ => the_next_worker_ends_what_a_worker_without_a_warden_left().await,
    }
}

/// The worker that is going to be killed: `kind file [socket]`.
async fn work_until_killed(arguments: &[String]) {
    let kind = arguments[0].as_str();
    let pids = &arguments[1];
    let mut config = on_host(1);
    config.id = killed_id();
    let mut job = command(
        1,
        format!(
            "note() {{ echo $1 >> {pids}; }}
             sleep 1000 & note $!
             setsid sleep 1000 & note $!
             env -i sleep 1000 & note $!
             (trap '' TERM HUP; exec sleep 1000) >/dev/null 2>&1 & note $!
             note $$; wait"
        ),
    );
    match kind {
        "warden" => config.warden = true,
        "container" => {
            config.warden = true;
            config.docker = DockerOptions { host: Some(arguments[2].clone()) };
            job = command(1, "sleep 1000");
            job.placement = Placement::Sandbox(Box::new(SandboxSpec::new("s", IMAGE)));
        }
        _ => config.data_dir = Some(PathBuf::from(&arguments[2])),
    }
    let desk = Desk::open(config).await;
    if kind == "data-dir" {
        let workspace = packed(desk.bus.as_ref(), &[("file", "content\n")]).await;
        job.workspace = Some(workspace);
    }
    assert!(!matches!(job.workspace, Some(Workspace::Directory { .. })));
    desk.enqueue(&job).await;
    std::future::pending::<()>().await;
}

fn killed_id() -> WorkerId {
    WorkerId::new("w-killed").unwrap()
}

/// The worker's process, killed at the latest when the test fails.
struct Owner(Child);

impl Owner {
    fn start(arguments: &[&str]) -> Self {
        Self::start_in(&std::env::temp_dir(), arguments)
    }

    fn start_in(temporary: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("owner").args(arguments).stdin(Stdio::null()).env("TMPDIR", temporary);
        Self(command.spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Its warden, once there is one.
    fn warden(&self) -> Option<String> {
        let children = fs::read_dir("/proc").unwrap().flatten();
        let own = self.0.id().to_string();
        let is_warden = |path: &Path| {
            let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
            let parent = stat.rsplit(')').next().unwrap_or("").split_ascii_whitespace().nth(1);
            let command = fs::read(path.join("cmdline")).unwrap_or_default();
            parent == Some(own.as_str())
                && String::from_utf8_lossy(&command).contains(visor_providers::warden::ARGUMENT)
        };
        let warden = children.map(|entry| entry.path()).find(|path| is_warden(path))?;
        Some(warden.file_name().unwrap().to_string_lossy().into_owned())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn noted(path: &Path) -> Vec<String> {
    let read = || fs::read_to_string(path).unwrap_or_default();
    until("every process has started", || read().lines().count() == 5).await;
    read().lines().map(str::to_owned).collect()
}

async fn the_warden_ends_the_processes_of_a_killed_worker() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let mut owner = Owner::start(&["warden", pids.to_str().unwrap()]);
    let processes = noted(&pids).await;
    until("the warden is there", || owner.warden().is_some()).await;
    let warden = owner.warden().unwrap();
    assert!(processes.iter().all(|pid| runs(pid)));
    owner.kill();
    until("nothing of it runs", || !processes.iter().any(|pid| runs(pid))).await;
    until("the warden has ended", || !runs(&warden)).await;
}

async fn the_warden_removes_the_container_of_a_killed_worker(name: &str) {
    let Some(engine) = DockerEngine::private_or_skip(name).await else { return };
    let outer = tempfile::tempdir().unwrap();
    let temporary = outer.path().to_owned();
    let mut owner = Owner::start_in(&temporary, &["container", "-", &engine.host()]);
    let label = format!("visor.worker={}", killed_id());
    until("the container is there", || !engine.containers(&label).is_empty()).await;
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 1);
    owner.kill();
    until("the container is gone", || engine.containers(&label).is_empty()).await;
    until("its directory is gone", || fs::read_dir(&temporary).unwrap().count() == 0).await;
}

async fn the_next_worker_ends_what_a_worker_without_a_warden_left() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let data = directory.path().join("data");
    let mut owner = Owner::start(&["data-dir", pids.to_str().unwrap(), data.to_str().unwrap()]);
    let processes = noted(&pids).await;
    let is_marked = |pid: &String| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environ).contains("VISOR_OWNER=")
    };
    // Known by its number before it has become what it will be: on the way a process can be read
    // with no environment at all.
    let is_asleep = |pid: &String| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words == b"sleep\x001000\0")
    };
    until("four sleep", || processes.iter().filter(|pid| is_asleep(pid)).count() == 4).await;
    owner.kill();
    // Without marks and without a warden one cannot be told from a stranger's.
    let (marked, hidden): (Vec<&String>, Vec<&String>) =
        processes.iter().partition(|pid| is_marked(pid));
    assert_eq!((marked.len(), hidden.len()), (4, 1));
    assert!(marked.iter().all(|pid| runs(pid)));
    let copies = || fs::read_dir(data.join("workspaces")).unwrap().count();
    assert_eq!(copies(), 1);
    let mut config: WorkerConfig = on_host(1);
    config.data_dir = Some(data.clone());
    let desk = Desk::open(config).await;
    until("nothing of it runs", || !marked.iter().any(|pid| runs(pid))).await;
    assert_eq!(copies(), 1, "its own instead of the dead one's");
    assert_eq!(fs::read_dir(data.join("owners")).unwrap().count(), 1);
    desk.worker.drain().await;
    assert_eq!(copies(), 0);
    let _ = Command::new("kill").arg("-9").args(&hidden).status();
}
