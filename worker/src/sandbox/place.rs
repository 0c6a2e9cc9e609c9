//! One check in one container: made, listened to, started, waited for, removed.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::{
    AttachContainerOptions, ContainerArchiveInfoOptions, CreateContainerOptions,
    InspectContainerOptions, KillContainerOptions, StartContainerOptions, WaitContainerOptions,
};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::time::Instant;
use visor_protocol::job::SandboxSpec;
use visor_protocol::outcome::{End, Fault, Usage};
use visor_providers::{GRACE, Place, Ran, Recorder, ShellCommand, Stop, Stream};

use super::create::{Design, SHELL, request};
use super::engine::EngineError;
use super::images::Image;
use super::keeper::Sandboxes;
use super::meter::Meter;
use crate::workspace::copy::Owner;
use crate::workspace::growth::outgrown;

/// How long the output of a container that has ended is still listened to.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// How long a killed container may take to end before it is reported anyway.
const UNKILLABLE: Duration = Duration::from_secs(15);

/// The kernel's limit for one argument or variable.
const LONGEST_ARGUMENT: usize = 128 * 1024 - 1;

/// The status of a container whose command is not there, and of a shell whose command is not.
const NOT_FOUND: i64 = 127;

/// How long the engine may take to say which process of this machine a container is.
const MEASURED: Duration = Duration::from_secs(5);

/// How long the engine may be down before what it ran counts as lost.
const DOWN: Duration = Duration::from_secs(10);

/// A container to be, for one job.
pub struct SandboxPlace {
    /// The engine, and who looks after it.
    pub sandboxes: Arc<Sandboxes>,
    /// What the check asked for.
    pub spec: SandboxSpec,
    /// Its image.
    pub image: Image,
    /// Whom it runs as.
    pub user: Owner,
    /// Its files on this machine.
    pub workspace: Option<PathBuf>,
    /// What those files may take on the disk, when they are the check's own.
    pub room: Option<u64>,
    /// A hosts file to give it.
    pub hosts: PathBuf,
}

#[async_trait]
impl Place for SandboxPlace {
    async fn run(&self, command: ShellCommand<'_>, recorder: &mut Recorder, stop: &Stop) -> Ran {
        let container = self.sandboxes.admit(command.ticket);
        let usage = Mutex::new(Usage::default());
        let end = self.run_in(container.name(), command, recorder, stop, &usage).await;
        container.remove().await;
        Ran {
            end: end.unwrap_or_else(End::Infrastructure),
            usage: usage.into_inner(),
            image: Some(self.image.exact.clone()),
        }
    }
}

type Output = Pin<Box<dyn futures::Stream<Item = Result<LogOutput, Error>> + Send>>;

/// How far ending the container has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Asked to end.
    Asked(Ending),
    /// Killed.
    Killed(Ending),
}

/// Why it is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    TimedOut,
    Cancelled,
    OutOfDisk,
}

impl Phase {
    fn ending(self) -> Option<Ending> {
        match self {
            Self::Running => None,
            Self::Asked(ending) | Self::Killed(ending) => Some(ending),
        }
    }
}

impl SandboxPlace {
    async fn run_in(
        &self,
        name: &str,
        command: ShellCommand<'_>,
        recorder: &mut Recorder,
        stop: &Stop,
        usage: &Mutex<Usage>,
    ) -> Result<End, Fault> {
        let started = tokio::select! {
            biased;
            () = stop.stopped() => return Ok(End::Cancelled),
            started = self.start(name, &command) => started?,
        };
        let Started { client, id, output } = started;
        let attended = Attended { client: &client, name, id: &id, timeout: command.timeout, usage };
        Ok(match self.attend(attended, output, recorder, stop).await? {
            Ended::Because(Ending::TimedOut) => End::TimedOut,
            Ended::Because(Ending::Cancelled) => End::Cancelled,
            Ended::Because(Ending::OutOfDisk) => End::OutOfDisk { limit: self.spec.disk_bytes },
            Ended::Exited(0) => End::Exited { code: 0 },
            Ended::Exited(code) => self.explain_exit(&client, name, code).await?,
        })
    }

    /// Makes the container, listens to it, and starts it: in this order, so that no output is
    /// missed.
    async fn start(&self, name: &str, command: &ShellCommand<'_>) -> Result<Started, Fault> {
        fits(command)?;
        let engine = &self.sandboxes.engine;
        let client = engine.client().await.map_err(|error| error.fault())?;
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let body = request(Design {
            spec: &self.spec,
            exec: command.exec,
            env: command.env,
            user: self.user,
            workspace: self.workspace.as_deref(),
            hosts: &self.hosts,
            labels: self.sandboxes.labels(command.ticket),
            cores,
        });
        let options =
            CreateContainerOptions { name: Some(name.to_owned()), platform: String::new() };
        let created = client.create_container(Some(options), body);
        let created = engine.call("make a container", created).await;
        let created = created.map_err(|error| self.create_fault(&error))?;
        let options = AttachContainerOptions {
            stream: true,
            stdout: true,
            stderr: true,
            ..AttachContainerOptions::default()
        };
        let attached = client.attach_container(name, Some(options));
        let attached = engine.call("attach to a container", attached).await;
        let attached = attached.map_err(|error| error.fault())?;
        let started = client.start_container(name, None::<StartContainerOptions>);
        let started = engine.call("start a container", started).await;
        started.map_err(|error| Self::start_fault(&error))?;
        Ok(Started { client, id: created.id, output: attached.output })
    }

    fn create_fault(&self, error: &EngineError) -> Fault {
        let image = &self.spec.image;
        match error {
            EngineError::Refused { status: 404, .. } => {
                self.sandboxes.images.forget(image);
                self.sandboxes.images.missing(image)
            }
            EngineError::Refused { message, .. } if message.contains("bind source path") => Fault {
                code: "visor::sandbox::no_directory".into(),
                message: format!("the workspace cannot be mounted: {message}"),
                retry: true,
            },
            error => error.fault(),
        }
    }

    fn start_fault(error: &EngineError) -> Fault {
        match error {
            EngineError::Refused { message, .. } if message.contains("docker-init") => Fault {
                code: "visor::sandbox::no_init".into(),
                message: format!(
                    "the container engine has no `docker-init`, which is the first process of \
                     every container; it comes with the engine, on Debian in the package `tini`: \
                     {message}"
                ),
                retry: true,
            },
            error => error.fault(),
        }
    }

    /// Listens to a running container until its end, and brings that about where it must.
    async fn attend(
        &self,
        attended: Attended<'_>,
        mut output: Output,
        recorder: &mut Recorder,
        stop: &Stop,
    ) -> Result<Ended, Fault> {
        let Attended { client, name, timeout, .. } = attended;
        let mut exit = std::pin::pin!(self.exit(client, name));
        let mut lost = std::pin::pin!(self.lost());
        let mut stopped = std::pin::pin!(stop.stopped());
        let mut outgrown = std::pin::pin!(self.outgrown());
        let mut measured = std::pin::pin!(measure(attended));
        // Not waited for: an engine that is slow to pass on a signal delays no limit.
        let mut signals = FuturesUnordered::new();
        let mut measuring = true;
        let mut step = Instant::now() + timeout;
        let mut phase = Phase::Running;
        let mut ended = None;
        let mut open = true;
        while ended.is_none() || open {
            let mut next = None;
            // Time limits first: they hold even against a flood of output.
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(step) => match (ended, phase) {
                    // The output stays open although the container has ended.
                    (Some(_), _) => break,
                    (None, Phase::Running) => next = Some(Phase::Asked(Ending::TimedOut)),
                    (None, Phase::Asked(ending)) => next = Some(Phase::Killed(ending)),
                    (None, Phase::Killed(ending)) => return Ok(Ended::Because(ending)),
                },
                () = &mut stopped, if phase == Phase::Running && ended.is_none() => {
                    next = Some(Phase::Asked(Ending::Cancelled));
                }
                // No grace: what it wrote until then would be written, too.
                () = &mut outgrown, if phase == Phase::Running && ended.is_none() => {
                    next = Some(Phase::Killed(Ending::OutOfDisk));
                }
                Some(()) = signals.next(), if !signals.is_empty() => {}
                // Before the exit, which the engine tells when there is nothing to measure left.
                () = &mut measured, if measuring => measuring = false,
                code = &mut exit, if ended.is_none() => {
                    // One that was to end is reported as such whatever the engine says of it.
                    ended = Some(match (phase.ending(), code) {
                        (Some(ending), _) => Ended::Because(ending),
                        (None, code) => Ended::Exited(code?),
                    });
                    step = Instant::now() + OUTPUT_GRACE;
                }
                fault = &mut lost, if ended.is_none() && phase == Phase::Running => {
                    return Err(fault);
                }
                () = flush_due(recorder) => recorder.flush(Instant::now()),
                chunk = output.next(), if open => match chunk {
                    Some(Ok(LogOutput::StdErr { message })) => {
                        recorder.push(Stream::Stderr, &message);
                    }
                    Some(Ok(
                        LogOutput::StdOut { message }
                        | LogOutput::Console { message }
                        | LogOutput::StdIn { message },
                    )) => recorder.push(Stream::Stdout, &message),
                    // Whether the container ended with it is for `exit` to say.
                    Some(Err(_)) | None => open = false,
                },
            }
            if let Some(next) = next {
                let (which, patience): (&[_], _) = match next {
                    Phase::Killed(_) => (&["SIGKILL"], UNKILLABLE),
                    // A stopped process cannot answer.
                    Phase::Running | Phase::Asked(_) => (&["SIGTERM", "SIGCONT"], GRACE),
                };
                (phase, step) = (next, Instant::now() + patience);
                signals.push(self.signal(client, name, which));
            }
        }
        // The loop ends only with an end.
        Ok(ended.unwrap_or(Ended::Because(Ending::TimedOut)))
    }

    /// Ends when the check has written more into its files than it may.
    async fn outgrown(&self) {
        match (&self.workspace, self.room) {
            (Some(path), Some(room)) => outgrown(path.clone(), room).await,
            _ => std::future::pending().await,
        }
    }

    /// The exit status, as the engine has it from the kernel: nothing that a check prints or
    /// writes can change it.
    async fn exit(&self, client: &Docker, name: &str) -> Result<i64, Fault> {
        let what = "wait for a container";
        // Asked after the start: a container that has ended by then is answered at once.
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut waiting = client.wait_container(name, Some(options));
        let engine = &self.sandboxes.engine;
        let error = match waiting.next().await {
            Some(Ok(answer)) => return Ok(answer.status_code),
            // The client's way to say that the status was not 0.
            Some(Err(Error::DockerContainerWaitError { code, error })) if error.is_empty() => {
                return Ok(code);
            }
            Some(Err(error)) => engine.explain(what, error),
            None => EngineError::Unreachable {
                socket: engine.socket().to_owned(),
                what,
                why: "the connection was closed".into(),
            },
        };
        if error.is_down() {
            engine.mark_down(&error);
        }
        Err(engine_lost(&error.to_string()))
    }

    /// Ends when the engine has been down for so long that what it ran counts as lost.
    async fn lost(&self) -> Fault {
        let mut state = self.sandboxes.engine.watch();
        loop {
            if state.wait_for(Option::is_some).await.is_err() {
                return std::future::pending().await;
            }
            let up = state.wait_for(Option::is_none);
            if tokio::time::timeout(DOWN, up).await.is_err() {
                let why = state.borrow().clone().unwrap_or_default();
                return engine_lost(&why);
            }
        }
    }

    /// Sends signals to the container's first process, which passes them on.
    async fn signal(&self, client: &Docker, name: &str, signals: &[&str]) {
        for signal in signals {
            let options = KillContainerOptions { signal: (*signal).to_owned() };
            let sent = client.kill_container(name, Some(options));
            if let Err(error) = self.sandboxes.engine.call("signal a container", sent).await {
                // It may have ended by itself in this moment. If not, removing it kills it.
                tracing::debug!(%error, container = name, signal, "not sent");
                return;
            }
        }
    }

    /// What a status other than 0 means. Asked of the engine: what the check prints means nothing.
    async fn explain_exit(&self, client: &Docker, name: &str, code: i64) -> Result<End, Fault> {
        let engine = &self.sandboxes.engine;
        let inspected = client.inspect_container(name, None::<InspectContainerOptions>);
        let inspected = engine.call("inspect a container", inspected).await;
        let state = inspected.ok().and_then(|container| container.state);
        if state.and_then(|state| state.oom_killed) == Some(true) {
            return Ok(End::OutOfMemory);
        }
        if code == NOT_FOUND {
            let options = ContainerArchiveInfoOptions { path: SHELL.to_owned() };
            let found = client.get_container_archive_info(name, Some(options));
            if engine.call("look for a shell", found).await.is_err_and(|error| error.is_absent()) {
                let image = &self.spec.image;
                return Err(Fault {
                    code: "visor::sandbox::no_shell".into(),
                    message: format!("image `{image}` has no {SHELL} that could run the command"),
                    retry: false,
                });
            }
        }
        Ok(End::Exited { code: i32::try_from(code).unwrap_or(i32::MAX) })
    }
}

/// A container that was just started.
struct Started {
    client: Docker,
    id: String,
    output: Output,
}

/// A container that runs.
#[derive(Clone, Copy)]
struct Attended<'a> {
    client: &'a Docker,
    name: &'a str,
    id: &'a str,
    timeout: Duration,
    usage: &'a Mutex<Usage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Exited(i64),
    Because(Ending),
}

/// Keeps what a container uses up to date until its end, where it can be seen.
async fn measure(attended: Attended<'_>) {
    let Attended { client, name, id, usage, .. } = attended;
    let mut meter = Meter::named(id);
    if meter.is_none() {
        let inspected = client.inspect_container(name, None::<InspectContainerOptions>);
        // No call of the usual kind: nothing depends on the answer.
        let inspected = tokio::time::timeout(MEASURED, inspected).await;
        let state = inspected.ok().and_then(|answer| answer.ok()?.state);
        meter = state.and_then(|state| Meter::of(state.pid?, id));
    }
    if let Some(meter) = meter {
        meter.follow(usage).await;
    }
}

/// What the kernel would refuse inside the container is refused here, in words.
fn fits(command: &ShellCommand<'_>) -> Result<(), Fault> {
    let longest = command.env.values().map(String::len).chain([command.exec.len()]).max();
    let why = if longest.unwrap_or(0) >= LONGEST_ARGUMENT {
        "is longer than the system takes: put it into a file"
    } else if command.exec.contains('\0') || command.env.values().any(|v| v.contains('\0')) {
        "contains a NUL byte"
    } else {
        return Ok(());
    };
    Err(Fault {
        code: "visor::sandbox::command".into(),
        message: format!("the command line, or a variable of its environment, {why}"),
        retry: false,
    })
}

fn engine_lost(why: &str) -> Fault {
    Fault {
        code: "visor::sandbox::engine_lost".into(),
        message: format!("the container engine was lost while the check ran: {why}"),
        retry: true,
    }
}

async fn flush_due(recorder: &Recorder) {
    match recorder.flush_due() {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
