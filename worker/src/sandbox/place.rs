//! One check in one container: made, listened to, started, waited for, removed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::models::{ContainerState, ContainerStateStatusEnum};
use bollard::query_parameters::{
    AttachContainerOptions, ContainerArchiveInfoOptions, CreateContainerOptions,
    InspectContainerOptions, StartContainerOptions,
};
use parking_lot::Mutex;
use visor_protocol::job::SandboxSpec;
use visor_protocol::outcome::{End, Fault, Usage};
use visor_providers::{Place, Ran, Recorder, ShellCommand, Stop};

use super::attend::{Attended, Ended, Ending, Output};
use super::create::{Design, SHELL, request};
use super::engine::EngineError;
use super::images::Image;
use super::keeper::Sandboxes;
use crate::workspace::copy::Owner;

/// The kernel's limit for one argument or variable.
const LONGEST_ARGUMENT: usize = 128 * 1024 - 1;

/// The status of a container whose command is not there, and of a shell whose command is not.
const NOT_FOUND: i64 = 127;

/// How long the engine may take to make the container of a check that was cancelled meanwhile.
const MADE: Duration = Duration::from_secs(10);

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

impl SandboxPlace {
    async fn run_in(
        &self,
        name: &str,
        command: ShellCommand<'_>,
        recorder: &mut Recorder,
        stop: &Stop,
        usage: &Mutex<Usage>,
    ) -> Result<End, Fault> {
        if stop.is_stopped() {
            return Ok(End::Cancelled);
        }
        // What the engine is just making cannot be removed yet, and would stay: that is waited for.
        let given_up = async {
            stop.stopped().await;
            tokio::time::sleep(MADE).await;
        };
        let made = tokio::select! {
            made = self.make(name, &command) => made?,
            () = given_up => return Ok(End::Cancelled),
        };
        let started = tokio::select! {
            biased;
            () = stop.stopped() => return Ok(End::Cancelled),
            started = self.start(name, made) => started?,
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

    /// Makes the container. Its id.
    async fn make(
        &self,
        name: &str,
        command: &ShellCommand<'_>,
    ) -> Result<(Docker, String), Fault> {
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
            labels: self.sandboxes.labels(command.ticket, command.timeout),
            cores,
        });
        let options =
            CreateContainerOptions { name: Some(name.to_owned()), platform: String::new() };
        let created = client.create_container(Some(options), body);
        let created = engine.call("make a container", created).await;
        let created = created.map_err(|error| self.create_fault(&error))?;
        Ok((client, created.id))
    }

    /// Listens to the container, and starts it: in this order, so that no output is missed.
    async fn start(&self, name: &str, made: (Docker, String)) -> Result<Started, Fault> {
        let ((client, id), engine) = (made, &self.sandboxes.engine);
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
        Ok(Started { client, id, output: attached.output })
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

    /// What a status other than 0 means. Asked of the engine: what the check prints means nothing.
    async fn explain_exit(&self, client: &Docker, name: &str, code: i64) -> Result<End, Fault> {
        let engine = &self.sandboxes.engine;
        let inspected = client.inspect_container(name, None::<InspectContainerOptions>);
        let inspected = engine.call("inspect a container", inspected).await;
        let is_removed = match &inspected {
            Ok(container) => container.state.as_ref().is_some_and(is_going),
            Err(error) => error.is_absent(),
        };
        if is_removed {
            return Err(Fault {
                code: "visor::sandbox::removed".into(),
                message: "somebody else removed the container while the check ran".into(),
                retry: true,
            });
        }
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

/// Whether a container is being removed, which is not over when its processes are.
fn is_going(state: &ContainerState) -> bool {
    let status = state.status;
    matches!(status, Some(ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::DEAD))
}

/// A container that was just started.
struct Started {
    client: Docker,
    id: String,
    output: Output,
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
