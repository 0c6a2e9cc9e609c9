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
    AttachContainerOptions, CreateContainerOptions, InspectContainerOptions, KillContainerOptions,
    StartContainerOptions, WaitContainerOptions,
};
use futures::StreamExt;
use tokio::time::Instant;
use visor_protocol::job::SandboxSpec;
use visor_protocol::outcome::{End, Fault, Usage};
use visor_providers::{Place, Ran, Recorder, ShellCommand, Stop, Stream};

use super::create::{Design, request};
use super::engine::EngineError;
use super::images::Image;
use super::keeper::Sandboxes;
use crate::workspace::copy::Owner;

/// How long the output of a container that has ended is still listened to.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// How long a killed container may take to end before it is reported anyway.
const UNKILLABLE: Duration = Duration::from_secs(15);

/// The kernel's limit for one argument or variable.
const LONGEST_ARGUMENT: usize = 128 * 1024 - 1;

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
    /// A hosts file to give it.
    pub hosts: PathBuf,
}

#[async_trait]
impl Place for SandboxPlace {
    async fn run(&self, command: ShellCommand<'_>, recorder: &mut Recorder, stop: &Stop) -> Ran {
        let container = self.sandboxes.admit(command.ticket);
        let end = self.run_in(container.name(), command, recorder, stop).await;
        container.remove().await;
        Ran {
            end: end.unwrap_or_else(End::Infrastructure),
            usage: Usage::default(),
            image: Some(self.image.exact.clone()),
        }
    }
}

type Output = Pin<Box<dyn futures::Stream<Item = Result<LogOutput, Error>> + Send>>;

/// Why the container is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Killed {
    TimedOut,
    Cancelled,
}

impl SandboxPlace {
    async fn run_in(
        &self,
        name: &str,
        command: ShellCommand<'_>,
        recorder: &mut Recorder,
        stop: &Stop,
    ) -> Result<End, Fault> {
        let (client, output) = tokio::select! {
            biased;
            () = stop.stopped() => return Ok(End::Cancelled),
            started = self.start(name, &command) => started?,
        };
        let ended = self.attend(&client, name, output, command.timeout, recorder, stop).await?;
        match ended {
            Ended::Killed(Killed::TimedOut) => Ok(End::TimedOut),
            Ended::Killed(Killed::Cancelled) => Ok(End::Cancelled),
            Ended::Exited(0) => Ok(End::Exited { code: 0 }),
            Ended::Exited(code) => Ok(self.explain_exit(&client, name, code).await),
        }
    }

    /// Makes the container, listens to it, and starts it: in this order, so that no output is
    /// missed.
    async fn start(
        &self,
        name: &str,
        command: &ShellCommand<'_>,
    ) -> Result<(Docker, Output), Fault> {
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
        created.map_err(|error| self.create_fault(&error))?;
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
        started.map_err(|error| self.start_fault(&error))?;
        Ok((client, attached.output))
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

    fn start_fault(&self, error: &EngineError) -> Fault {
        match error {
            EngineError::Refused { message, .. } if message.contains("/bin/sh") => Fault {
                code: "visor::sandbox::no_shell".into(),
                message: format!(
                    "image `{}` has no /bin/sh that could run the command: {message}",
                    self.spec.image
                ),
                retry: false,
            },
            error => error.fault(),
        }
    }

    async fn attend(
        &self,
        client: &Docker,
        name: &str,
        mut output: Output,
        timeout: Duration,
        recorder: &mut Recorder,
        stop: &Stop,
    ) -> Result<Ended, Fault> {
        let mut exit = std::pin::pin!(self.exit(client, name));
        let mut lost = std::pin::pin!(self.lost());
        let mut stopped = std::pin::pin!(stop.stopped());
        let mut step = Instant::now() + timeout;
        let mut killed = None;
        let mut ended = None;
        let mut open = true;
        while ended.is_none() || open {
            // Time limits first: they hold even against a flood of output.
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(step) => match (ended, killed) {
                    // The output stays open although the container has ended.
                    (Some(_), _) => break,
                    (None, Some(why)) => return Ok(Ended::Killed(why)),
                    (None, None) => {
                        killed = Some(Killed::TimedOut);
                        step = Instant::now() + UNKILLABLE;
                        self.kill(client, name).await;
                    }
                },
                () = &mut stopped, if killed.is_none() && ended.is_none() => {
                    killed = Some(Killed::Cancelled);
                    step = Instant::now() + UNKILLABLE;
                    self.kill(client, name).await;
                }
                code = &mut exit, if ended.is_none() => {
                    // A killed container is reported as such whatever the engine says of it.
                    ended = Some(match (killed, code) {
                        (Some(why), _) => Ended::Killed(why),
                        (None, code) => Ended::Exited(code?),
                    });
                    step = Instant::now() + OUTPUT_GRACE;
                }
                fault = &mut lost, if ended.is_none() && killed.is_none() => return Err(fault),
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
        }
        // The loop ends only with an end.
        Ok(ended.unwrap_or(Ended::Killed(Killed::TimedOut)))
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

    async fn kill(&self, client: &Docker, name: &str) {
        let options = KillContainerOptions { signal: "SIGKILL".to_owned() };
        let killed = client.kill_container(name, Some(options));
        if let Err(error) = self.sandboxes.engine.call("kill a container", killed).await {
            // It may have ended by itself in this moment. If not, removing it kills it too.
            tracing::debug!(%error, container = name, "not killed");
        }
    }

    async fn explain_exit(&self, client: &Docker, name: &str, code: i64) -> End {
        let inspected = client.inspect_container(name, None::<InspectContainerOptions>);
        let inspected = self.sandboxes.engine.call("inspect a container", inspected).await;
        let state = inspected.ok().and_then(|container| container.state);
        if state.and_then(|state| state.oom_killed) == Some(true) {
            return End::OutOfMemory;
        }
        End::Exited { code: i32::try_from(code).unwrap_or(i32::MAX) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Exited(i64),
    Killed(Killed),
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
