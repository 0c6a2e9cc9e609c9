//! One command as a process of this machine: spawned, listened to, stopped and reaped.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::time::Instant;
use visor_protocol::outcome::Usage;

use super::marker;
use super::sys::{self, Status};
use crate::recorder::{Recorder, Stream};

/// Bytes taken from a pipe at once: a few at first, as many as it holds once it is full.
const READ_BYTES: (usize, usize) = (4 * 1024, 64 * 1024);

/// How often a process is looked at on kernels that cannot wake us.
const POLL: Duration = Duration::from_millis(5);

/// Variables of this process that hold credentials of the fleet and that no check needs.
const HIDDEN: [&str; 3] = ["VISOR_NATS", "VISOR_TOKEN", "VISOR_FLEET"];

/// A running command, leader of its own process group.
pub(super) struct Process {
    pid: Pid,
    exit: Exit,
    pub(super) stdout: Pipe,
    pub(super) stderr: Pipe,
}

enum Exit {
    Pidfd(AsyncFd<OwnedFd>),
    Polled,
}

impl Process {
    /// Starts the command. No hook runs between fork and exec, so the standard library can use
    /// `posix_spawn`: ten times cheaper than fork in a large process.
    pub(super) fn spawn(
        exec: &str,
        env: &BTreeMap<String, String>,
        job: &str,
        directory: Option<&Path>,
    ) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(exec);
        for name in HIDDEN {
            command.env_remove(name);
        }
        command.envs(env);
        command.env(marker::OWNER, marker::owner_chain()).env(marker::JOB, job);
        if let Some(directory) = directory {
            command.current_dir(directory);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        let mut child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the system gave no process id"))?;
        let listened = Self::listen(pid, &mut child);
        if listened.is_err() {
            // What could not be listened to must not run on unheard. Killed, it ends at once.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            let _ = child.wait();
        }
        listened
    }

    fn listen(pid: Pid, child: &mut Child) -> io::Result<Self> {
        Ok(Self {
            pid,
            exit: Exit::of(pid)?,
            stdout: Pipe::new(child.stdout.take().map(OwnedFd::from))?,
            stderr: Pipe::new(child.stderr.take().map(OwnedFd::from))?,
        })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits until the process has ended. It is not reaped yet, so its id stays its own.
    pub(super) async fn ended(&self) {
        match &self.exit {
            Exit::Pidfd(pidfd) => {
                // An error here means that the runtime shuts down; the caller's deadline decides.
                if pidfd.readable().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            Exit::Polled => {
                let options = rustix::process::WaitIdOptions::EXITED
                    | rustix::process::WaitIdOptions::NOHANG
                    | rustix::process::WaitIdOptions::NOWAIT;
                let id = rustix::process::WaitId::Pid(self.pid);
                while let Ok(None) = rustix::process::waitid(id.clone(), options) {
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }

    /// Sends a signal to the whole group. Only before the process is reaped: afterwards the
    /// group's id may be another's.
    pub(super) fn signal_group(&self, signal: Signal) {
        // Fails when every process of the group is gone or has become somebody else's.
        let _ = rustix::process::kill_process_group(self.pid, signal);
    }

    /// Reaps the process; `None` while it runs.
    pub(super) fn reap(&self) -> io::Result<Option<(Status, Usage)>> {
        sys::reap(self.pid())
    }
}

impl Exit {
    fn of(pid: Pid) -> io::Result<Self> {
        match rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(fd) => sys::watch(fd).map(Self::Pidfd),
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => Ok(Self::Polled),
            Err(error) => Err(error.into()),
        }
    }
}

/// The reading end of one output stream.
pub(super) struct Pipe(Option<pipe::Receiver>);

impl Pipe {
    fn new(fd: Option<OwnedFd>) -> io::Result<Self> {
        fd.map(pipe::Receiver::from_owned_fd).transpose().map(Self)
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Waits until there is something to read, or the end. Never ends for a closed pipe.
    pub(super) async fn readable(&self) {
        match &self.0 {
            Some(pipe) if pipe.readable().await.is_ok() => {}
            Some(_) | None => std::future::pending().await,
        }
    }

    /// Takes what there is, a few pipefuls at most so that deadlines are seen in between.
    pub(super) fn drain(&mut self, stream: Stream, buffer: &mut Vec<u8>, recorder: &mut Recorder) {
        for _ in 0..4 {
            let Some(pipe) = &self.0 else { return };
            match pipe.try_read(buffer) {
                Ok(0) => self.0 = None,
                Ok(length) => {
                    recorder.push(stream, &buffer[..length]);
                    if length == buffer.len() {
                        buffer.resize(READ_BYTES.1, 0);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.0 = None,
            }
        }
    }
}

/// Room for what is read from pipes.
pub(super) fn buffer() -> Vec<u8> {
    vec![0; READ_BYTES.0]
}

/// Sleeps until the instant; for ever when there is none.
pub(super) async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
