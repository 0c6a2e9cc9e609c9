//! Processes by id: asking them to end, and servers that end with us.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::{say, tools};

fn pid(raw: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(raw).ok()?)
}

/// Asks a process to end.
pub(crate) fn terminate(raw: u32) {
    if let Some(pid) = pid(raw) {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Ends a process.
pub(crate) fn kill(raw: u32) {
    if let Some(pid) = pid(raw) {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Whether a process of this id exists.
pub(crate) fn is_alive(raw: u32) -> bool {
    pid(raw).is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// Asks `done` until it says yes or the time is over.
#[expect(clippy::disallowed_methods, reason = "other programs are watched from outside")]
pub(crate) fn wait_until(within: Duration, mut done: impl FnMut() -> bool) -> bool {
    let tick = Duration::from_millis(25);
    let mut waited = Duration::ZERO;
    loop {
        if done() {
            return true;
        }
        if waited >= within {
            return false;
        }
        thread::sleep(tick);
        waited += tick;
    }
}

/// A server that we started. It ends when this value is dropped, and by the kernel's hand when we
/// die without dropping it.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    child: Child,
    grace: Duration,
}

impl Server {
    /// Starts a program with its output going to a file.
    pub(crate) fn start(program: &Path, args: &[String], log: &Path) -> Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let output =
            File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        // `setpriv` is part of Debian's essential util-linux. Elsewhere the server is still
        // stopped by us, only not when we are killed with -9.
        let mut command = match tools::find("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "TERM", "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        let child = command
            .args(args)
            .env("PATH", tools::search_path())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C in a terminal is for us; we stop the server once its users are gone.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, grace: Duration::from_secs(30) })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        terminate(self.child.id());
        if !wait_until(self.grace, || !matches!(self.child.try_wait(), Ok(None))) {
            say::step(&format!("{} did not stop when asked, and is killed", self.name));
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
