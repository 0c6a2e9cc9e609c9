//! The host as a [`Place`].

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::Signal;
use tokio::time::Instant;
use visor_protocol::outcome::{End, Usage};

use super::marker;
use super::orphans::{self, Family};
use super::process::{self, Process, at};
use super::sys::Status;
use crate::place::{GRACE, Place, Ran, ShellCommand, Stop};
use crate::recorder::{Recorder, Stream};
use crate::warden;

/// How long the pipes of a command that has ended are listened to, when something it started holds
/// them open.
const PIPE_GRACE: Duration = Duration::from_millis(100);

/// A command that does not end this long after it was killed is stuck in the kernel; it is
/// reported, not waited for.
const UNKILLABLE: Duration = Duration::from_secs(10);

/// From here on a command counts as long: the warden is told, leftovers are tended.
const LONG: Duration = Duration::from_millis(200);

/// How often a long command's dead orphans are reaped.
const TEND: Duration = Duration::from_secs(1);

/// Runs commands as processes of this machine, in a directory.
#[derive(Debug, Clone, Default)]
pub struct HostPlace {
    directory: Option<PathBuf>,
}

impl HostPlace {
    /// Commands start in this directory; in this process' own when none is given.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { directory }
    }
}

#[async_trait]
impl Place for HostPlace {
    async fn run(&self, command: ShellCommand<'_>, recorder: &mut Recorder, stop: &Stop) -> Ran {
        if stop.is_stopped() {
            return Ran { end: End::Cancelled, usage: Usage::default(), image: None };
        }
        let job = marker::job(command.ticket);
        let family = Family::begin(job.clone());
        let directory = self.directory.as_deref();
        let process = match Process::spawn(command.exec, command.env, &job, directory) {
            Ok(process) => process,
            Err(error) => return spawn_fault(&error, command.exec, directory),
        };
        family.started(process.pid());
        let mut attendance = Attendance::new(process, command.timeout);
        let (end, usage) = attendance.attend(recorder, stop).await;
        // What it left behind goes before the outcome is known to anybody.
        family.clear().await;
        Ran { end, usage, image: None }
    }
}

/// Why a running command is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Asked to end.
    Asked(Ending),
    /// Killed.
    Killed(Ending),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    TimedOut,
    Cancelled,
}

impl Ending {
    fn end(self) -> End {
        match self {
            Self::TimedOut => End::TimedOut,
            Self::Cancelled => End::Cancelled,
        }
    }
}

/// Looks after one process from its start to its end.
struct Attendance {
    process: Process,
    phase: Phase,
    /// The next step of the phase: deadline, kill, or giving up.
    step: Instant,
    /// When to do the chores of a long command.
    chores: Instant,
    warden: Option<warden::Group>,
    ended: Option<Instant>,
    reaped: bool,
}

impl Attendance {
    fn new(process: Process, timeout: Duration) -> Self {
        let now = Instant::now();
        Self {
            process,
            phase: Phase::Running,
            step: now + timeout,
            chores: now + LONG,
            warden: None,
            ended: None,
            reaped: false,
        }
    }

    async fn attend(&mut self, recorder: &mut Recorder, stop: &Stop) -> (End, Usage) {
        let mut buffer = process::buffer();
        let mut stopped = Box::pin(stop.stopped());
        loop {
            let piped = self.process.stdout.is_open() || self.process.stderr.is_open();
            match self.ended {
                Some(_) if !piped => break,
                Some(at) if Instant::now() >= at + PIPE_GRACE => break,
                Some(_) | None => {}
            }
            let (step, chores) = match self.ended {
                None => (Some(self.step), Some(self.chores)),
                Some(at) => (Some(at + PIPE_GRACE), None),
            };
            // In this order: time limits hold even against a flood of output.
            tokio::select! {
                biased;
                () = at(step) => if self.ended.is_none() && self.next_step() {
                    break;
                },
                () = &mut stopped, if self.phase == Phase::Running && self.ended.is_none() => {
                    self.ask(Ending::Cancelled);
                }
                () = self.process.ended(), if self.ended.is_none() => {
                    self.ended = Some(Instant::now());
                }
                () = at(recorder.flush_due()) => recorder.flush(Instant::now()),
                () = self.process.stdout.readable() => {
                    self.process.stdout.drain(Stream::Stdout, &mut buffer, recorder);
                }
                () = self.process.stderr.readable() => {
                    self.process.stderr.drain(Stream::Stderr, &mut buffer, recorder);
                }
                () = at(chores) => self.do_chores(),
            }
        }
        self.finish()
    }

    /// The time of the present phase is up. True when there is nothing more to try.
    fn next_step(&mut self) -> bool {
        match self.phase {
            Phase::Running => self.ask(Ending::TimedOut),
            Phase::Asked(ending) => {
                self.process.signal_group(Signal::KILL);
                self.phase = Phase::Killed(ending);
                self.step = Instant::now() + UNKILLABLE;
            }
            Phase::Killed(_) => {
                tracing::error!(pid = self.process.pid(), "a killed command does not end");
                return true;
            }
        }
        false
    }

    fn ask(&mut self, ending: Ending) {
        self.process.signal_group(Signal::TERM);
        // A stopped process cannot answer.
        self.process.signal_group(Signal::CONT);
        self.phase = Phase::Asked(ending);
        self.step = Instant::now() + GRACE;
    }

    fn do_chores(&mut self) {
        if self.warden.is_none() {
            self.warden = warden::watch_group(self.process.pid());
        }
        orphans::tend();
        self.chores = Instant::now() + TEND;
    }

    fn finish(&mut self) -> (End, Usage) {
        // Before it is reaped, so that the group's id cannot be another's yet.
        self.process.signal_group(Signal::KILL);
        self.warden = None;
        self.reaped = true;
        let (own_end, usage) = match self.process.reap() {
            Ok(Some((Status::Exited(code), usage))) => (End::Exited { code }, usage),
            Ok(Some((Status::Signaled(signal), usage))) => (End::Signaled { signal }, usage),
            Ok(None) => (End::TimedOut, Usage::default()),
            Err(error) => {
                let why = format!("the command's exit status was lost: {error}");
                let ran = Ran::fault("visor::host::status_lost", why, true);
                (ran.end, ran.usage)
            }
        };
        let end = match self.phase {
            Phase::Running => own_end,
            Phase::Asked(ending) | Phase::Killed(ending) => ending.end(),
        };
        (end, usage)
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        // Only when the attempt was dropped in the middle, by a panic or a runtime that ends.
        if !self.reaped {
            self.process.signal_group(Signal::KILL);
        }
    }
}

fn spawn_fault(error: &io::Error, exec: &str, directory: Option<&Path>) -> Ran {
    if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
        let why = format!("the working directory {} does not exist", directory.display());
        return Ran::fault("visor::host::no_directory", why, true);
    }
    let errno = error.raw_os_error();
    if errno == Some(libc::E2BIG) {
        let why = format!(
            "the command line ({} bytes) or its environment is longer than the system takes: put \
             it into a file",
            exec.len()
        );
        return Ran::fault("visor::host::too_long", why, false);
    }
    // Out of processes, descriptors or memory: later or elsewhere there may be some.
    let passing = matches!(errno, Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE));
    let why = format!("cannot start /bin/sh: {error}");
    Ran::fault("visor::host::spawn", why, passing)
}
