//! A private container engine: its own data, sockets and process ids in a temporary folder, no
//! bridge and no firewall rules, so that it can live beside another one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::{self, Server};
use crate::{interrupt, say, tools};

/// What the folders of private engines are called; the id of their owner follows.
const PREFIX: &str = "visor-engine-";

/// How long the daemon may take to answer.
const START: Duration = Duration::from_secs(60);

/// The engine that tests use.
#[derive(Debug)]
pub(super) struct Engine {
    host: String,
    // In the order in which they go: first the server, then its files.
    private: Option<(Server, Files)>,
}

impl Engine {
    /// A private engine where we may start one, otherwise the one that answers this user.
    pub(super) fn provide() -> Result<Self> {
        let Some(dockerd) = tools::find("dockerd") else { bail!("dockerd is not installed") };
        let engine = if rustix::process::geteuid().is_root() {
            Self::start(&dockerd)?
        } else {
            let host = "unix:///var/run/docker.sock".to_owned();
            if docker(&host, &["version"]).is_none() {
                bail!("only root can start a private one, and none answers at {host}");
            }
            Self { host, private: None }
        };
        let version = docker(&engine.host, &["version", "--format", "{{.Server.Version}}"])
            .unwrap_or_default();
        say::step(&format!("containers: engine {} at {}", version.trim(), engine.host));
        engine.build_image()?;
        Ok(engine)
    }

    fn start(dockerd: &Path) -> Result<Self> {
        sweep();
        let folder = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .tempdir()
            .context("cannot make a folder for the engine")?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        let host = format!("unix://{}", at("docker.sock"));
        let log = folder.path().join("dockerd.log");
        let arguments = [
            format!("--host={host}"),
            format!("--data-root={}", at("data")),
            format!("--exec-root={}", at("exec")),
            format!("--pidfile={}", at("pid")),
            "--bridge=none".to_owned(),
            "--iptables=false".to_owned(),
            "--ip6tables=false".to_owned(),
            // A daemon that is stopped does not wait for containers that ignore it.
            "--shutdown-timeout=5".to_owned(),
        ];
        let files = Files { folder };
        let mut server = Server::start(dockerd, &arguments, &log)?;
        let mut ended = false;
        let answers = process::wait_until(START, || {
            ended = server.has_ended() || interrupt::check().is_err();
            ended || docker(&host, &["version"]).is_some()
        });
        interrupt::check()?;
        if ended || !answers {
            drop(server);
            let log = fs::read_to_string(&log).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(3).collect();
            bail!("dockerd (process group of our own) does not answer: {}", last.join("; "));
        }
        say::step(&format!("containers: started a private dockerd, process {}", server.id()));
        Ok(Self { host, private: Some((server, files)) })
    }

    /// What tests connect to.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Makes the base image that sandbox tests run in.
    fn build_image(&self) -> Result<()> {
        let script = tools::root().join("sandbox-images/build-offline.sh");
        if !script.is_file() {
            bail!("{} is missing", script.display());
        }
        say::step("containers: building the base sandbox image");
        let status = interrupt::run(
            Command::new(&script)
                .env("DOCKER_HOST", &self.host)
                .env("PATH", tools::search_path())
                .stdin(Stdio::null())
                .stdout(Stdio::null()),
        )?;
        if !status.success() {
            bail!("{} failed: {status}", script.display());
        }
        Ok(())
    }

    /// Containers that are still there. Asked only of a private engine: another one has other
    /// users.
    pub(super) fn leftovers(&self) -> Vec<String> {
        if self.private.is_none() {
            return Vec::new();
        }
        let listed = docker(&self.host, &["ps", "--all", "--format", "{{.Names}} ({{.Status}})"]);
        listed.unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

fn docker(host: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(tools::find("docker")?)
        .args(["--host", host])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The engine's folder. What a killed daemon leaves in it (its containerd, mounts) goes first.
#[derive(Debug)]
struct Files {
    folder: TempDir,
}

impl Drop for Files {
    fn drop(&mut self) {
        clear(self.folder.path());
    }
}

fn clear(folder: &Path) {
    for path in ["exec/containerd/containerd.pid", "pid"].map(|name| folder.join(name)) {
        let text = fs::read_to_string(path).unwrap_or_default();
        if let Ok(id) = text.trim().parse() {
            process::terminate(id);
            if !process::wait_until(Duration::from_secs(10), || !process::is_alive(id)) {
                process::kill(id);
            }
        }
    }
    for mount in mounts_below(folder) {
        let _ = Command::new("umount").arg("-l").arg(mount).stdin(Stdio::null()).status();
    }
    if let Err(error) = fs::remove_dir_all(folder) {
        say::step(&format!("{} could not be removed: {error}", folder.display()));
    }
}

/// Removes the folders of owners that were killed before they could.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        if let Some((owner, _)) = owner
            && owner.parse().is_ok_and(|owner| !process::is_alive(owner))
        {
            say::step(&format!("removing {name}, which a killed run left behind"));
            clear(&entry.path());
        }
    }
}

/// Mount points in a folder, innermost first.
fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut inside: Vec<PathBuf> = points.filter(|point| point.starts_with(folder)).collect();
    inside.reverse();
    inside
}
