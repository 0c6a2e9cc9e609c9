//! A process of ours.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::leftovers;
use super::wait::until_some;

/// Lines of a log that a failure shows.
const SHOWN: usize = 120;

/// A process whose output goes to a file. Killed by its id when this value is dropped; its log is
/// shown when that is because the test failed.
pub(crate) struct Service {
    name: String,
    child: Child,
    log: PathBuf,
}

/// The binary under test, with none of the settings of whoever runs the test.
pub(crate) fn visor(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_visor"));
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours = ["VISOR_", "CLICOLOR", "DOCKER_"].iter().any(|start| text.starts_with(start));
        if ours || text == "NO_COLOR" {
            command.env_remove(&name);
        }
    }
    command
}

impl Service {
    /// Starts it; its log goes to this file.
    #[track_caller]
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let file = File::create(log).unwrap();
        let copy = file.try_clone().unwrap();
        let child = command.stdin(Stdio::null()).stdout(copy).stderr(file).spawn().unwrap();
        leftovers::running(child.id(), true);
        Self { name: name.to_owned(), child, log: log.to_owned() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        let status = until_some(&what, async || self.child.try_wait().unwrap()).await;
        leftovers::running(self.child.id(), false);
        status
    }

    /// Kills it as a crash would.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.end().await;
    }

    /// Asks it to end, and expects it to do so well.
    pub(crate) async fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.end().await;
        assert!(status.success(), "{} ended with {status}:\n{}", self.name, self.log());
    }

    /// Waits until its log says this. Fails when it ends before.
    pub(crate) async fn says(&mut self, words: &str) -> String {
        let what = format!("{} says `{words}`", self.name);
        until_some(&what, async || {
            let log = self.log();
            if log.contains(words) {
                return Some(log);
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{} ended with {ended:?}:\n{log}", self.name);
            None
        })
        .await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        leftovers::running(self.child.id(), false);
        // Its warden does this as well; a test that fails because it does not leaves nothing.
        for process in leftovers::processes(&leftovers::owned_by(self.child.id())) {
            let pid = process.split(' ').next().and_then(|pid| pid.parse().ok());
            if let Some(pid) = pid.and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN)..];
            eprintln!("── log of {} ──\n{}", self.name, shown.join("\n"));
        }
    }
}
