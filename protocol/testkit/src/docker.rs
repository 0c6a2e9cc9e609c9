//! A real container engine: the one the test command provides, or a private one with its files,
//! sockets and process ids in a directory of its own, without a bridge and firewall rules.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::nats::skip;
use crate::wait::eventually_some;

/// Set by a test command that already has an engine: `unix:///path/to/socket`.
pub const PROVIDED: &str = "VISOR_TEST_DOCKER_HOST";

/// The image that every engine of a test has.
pub const IMAGE: &str = "visor/base:busybox";

/// Where Debian puts it when it is not on the path.
const USUAL_PLACE: &str = "/usr/sbin/dockerd";

/// The script that makes the image, beside this crate.
const BUILD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sandbox-images/build-offline.sh");

/// An engine. A private one is stopped when this value is dropped.
#[derive(Debug)]
pub struct DockerEngine {
    socket: PathBuf,
    private: Option<Private>,
}

#[derive(Debug)]
struct Private {
    program: OsString,
    child: Option<Child>,
    dir: TempDir,
}

impl DockerEngine {
    /// The provided engine, else a private one, with the base image in it. Where none can be had,
    /// says that the test is skipped and returns nothing; with `CI=true` that is a failure.
    ///
    /// # Panics
    /// When an engine is installed and does not start, or is not and has to be.
    pub async fn start_or_skip(test: &str) -> Option<Self> {
        match std::env::var(PROVIDED) {
            Ok(host) => {
                let engine = Self { socket: socket_of(&host), private: None };
                engine.build_image_unless_there();
                Some(engine)
            }
            Err(_) => Self::private_or_skip(test).await,
        }
    }

    /// A private engine, for tests that stop it, kill it, or count what is in it.
    ///
    /// # Panics
    /// When an engine is installed and does not start, or is not and has to be.
    pub async fn private_or_skip(test: &str) -> Option<Self> {
        let Some(program) = find() else {
            skip(test, "dockerd is not installed");
            return None;
        };
        if !rustix::process::geteuid().is_root() {
            skip(test, "only root can start a private dockerd");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("visor-docker-").tempdir();
        let dir = dir.expect("a directory for the engine");
        let socket = dir.path().join("docker.sock");
        let private = Private { program, child: None, dir };
        let mut engine = Self { socket, private: Some(private) };
        engine.launch().await;
        engine.build_image_unless_there();
        Some(engine)
    }

    /// What a worker is told.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Names of the containers that carry a label, `name=value` or just `name`.
    ///
    /// # Panics
    /// When the engine does not answer.
    pub fn containers(&self, label: &str) -> Vec<String> {
        let path =
            format!("/containers/json?all=1&filters=%7B%22label%22%3A%5B%22{label}%22%5D%7D");
        let list = self.get(&path);
        let containers = list.as_array().expect("a list of containers");
        let name = |container: &serde_json::Value| {
            container["Names"][0].as_str().map(|name| name.trim_start_matches('/').to_owned())
        };
        containers.iter().filter_map(name).collect()
    }

    /// What the engine answers to a GET.
    ///
    /// # Panics
    /// When it does not answer, or not with JSON.
    pub fn get(&self, path: &str) -> serde_json::Value {
        let answer = request(&self.socket, "GET", path).expect("the engine answers");
        serde_json::from_str(&answer).expect("the engine answers with JSON")
    }

    /// Kills the daemon the hard way. Its containers live on.
    ///
    /// # Panics
    /// When the engine is not private.
    pub fn kill(&mut self) {
        let mut child = self.private().child.take().expect("a running daemon");
        child.kill().expect("the daemon can be killed");
        child.wait().expect("the daemon is ours");
        // Its containerd dies with it. Where nobody reaps that at once, the next daemon would take
        // the zombie for a living one and wait for it.
        let containerd = self.private().dir.path().join("exec/containerd/containerd.pid");
        let pid = fs::read_to_string(&containerd).ok().and_then(|pid| pid.trim().parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = fs::remove_file(containerd);
    }

    /// Stops the daemon from answering, without ending it.
    ///
    /// # Panics
    /// When the engine is not private.
    pub fn freeze(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it answer again.
    ///
    /// # Panics
    /// When the engine is not private.
    pub fn thaw(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Starts it again on what it had.
    ///
    /// # Panics
    /// When the engine is not private, or does not start.
    pub async fn start_again(&mut self) {
        self.launch().await;
    }

    fn private(&mut self) -> &mut Private {
        self.private.as_mut().expect("an engine of our own")
    }

    fn signal(&mut self, signal: Signal) {
        let child = self.private().child.as_ref().expect("a running daemon");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the daemon is ours");
    }

    async fn launch(&mut self) {
        let socket = self.socket.clone();
        let private = self.private();
        let at = |name: &str| private.dir.path().join(name);
        let log = fs::OpenOptions::new().create(true).append(true).open(at("log"));
        let log = log.expect("a log for the engine");
        // Left by one that was killed; its number may be somebody else's by now.
        let _ = fs::remove_file(at("pid"));
        let child = Command::new(&private.program)
            .arg(format!("--host=unix://{}", socket.display()))
            .arg(format!("--data-root={}", at("data").display()))
            .arg(format!("--exec-root={}", at("exec").display()))
            .arg(format!("--pidfile={}", at("pid").display()))
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .arg("--shutdown-timeout=2")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let child = private.child.insert(child.expect("dockerd starts"));
        eventually_some("dockerd answers", async || {
            if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                let log = fs::read_to_string(at("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                panic!("dockerd ended: {}", last.join("\n"));
            }
            request(&socket, "GET", "/_ping").ok()
        })
        .await;
    }

    fn build_image_unless_there(&self) {
        let there = request(&self.socket, "GET", &format!("/images/{IMAGE}/json"));
        if there.is_ok_and(|answer| answer.contains("\"Id\"")) {
            return;
        }
        let built = Command::new("sh").arg(BUILD).arg(self.host()).output();
        let built = built.expect("the image's script can be run");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::CONT);
                // Asked nicely it takes its helpers along.
                let _ = kill_process(pid, Signal::TERM);
            }
            let _ = child.wait();
        }
        // What a killed daemon left: helpers that name the directory, and mounts in it.
        let dir = self.dir.path().display().to_string();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
            if String::from_utf8_lossy(&command).contains(&dir)
                && let Some(pid) = pid.and_then(Pid::from_raw)
                && pid != rustix::process::getpid()
            {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = |line: &&str| line.split(' ').nth(1).is_some_and(|at| at.starts_with(&dir));
        for line in mounts.lines().rev().filter(ours) {
            let at = line.split(' ').nth(1).unwrap_or_default();
            let _ = Command::new("umount").args(["--lazy", at]).stderr(Stdio::null()).status();
        }
    }
}

fn socket_of(host: &str) -> PathBuf {
    host.strip_prefix("unix://").unwrap_or(host).into()
}

/// One request, by hand: the engine ends the connection after its answer.
fn request(socket: &Path, method: &str, path: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(format!("{method} {path} HTTP/1.0\r\nHost: engine\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| io::Error::other("no answer"))
}

fn find() -> Option<OsString> {
    let runs = |program: &OsString| {
        let status = Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    [OsString::from("dockerd"), USUAL_PLACE.into()].into_iter().find(runs)
}
