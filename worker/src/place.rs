//! Which place a job runs in, made ready for it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use visor_protocol::Job;
use visor_protocol::ids::WorkerId;
use visor_protocol::job::{Placement, SandboxSpec, Workspace};
use visor_protocol::outcome::Fault;
use visor_protocol::worker::{Execution, ImageStatus};
use visor_providers::host::HostPlace;
use visor_providers::host::owners::{self, Claim};
use visor_providers::{Place, Ran, Recorder, ShellCommand, Stop, warden};
use visor_transport::Bus;

use crate::config::{DockerOptions, Timings, WorkerConfig};
use crate::error::WorkerError;
use crate::sandbox::create::{self, NOBODY};
use crate::sandbox::images::{Image, Images};
use crate::sandbox::life::Home;
use crate::sandbox::place::SandboxPlace;
use crate::sandbox::{Engine, Sandboxes};
use crate::workspace::copy::Owner;
use crate::workspace::{LaidOut, Workspaces};

/// The names a machine has for itself.
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// All places of a worker.
pub(crate) struct Places {
    execution: Execution,
    default_sandbox: Option<SandboxSpec>,
    pool: visor_protocol::PoolName,
    /// Other processes share the bus, so a directory named by a job need not be meant for us.
    remote: bool,
    /// Nobody waits for an engine or an image to come.
    alone: bool,
    data_dir: DataDir,
    /// Opened when the first job needs them: a run on one's own machine never does.
    workspaces: OnceCell<Workspaces>,
    sandboxes: OnceCell<Arc<Sandboxes>>,
    design: SandboxDesign,
    _claim: Option<Claim>,
}

/// What is needed to start looking after sandboxes.
struct SandboxDesign {
    docker: DockerOptions,
    timings: Timings,
    images: Vec<String>,
    worker: WorkerId,
    boot: u64,
}

enum DataDir {
    Given(PathBuf),
    /// The warden takes it away when this process is killed.
    Temporary(OnceCell<(Option<warden::Directory>, TempDir)>),
}

/// A place, ready for one job.
pub(crate) enum Ready {
    /// For work that runs no program.
    Nowhere,
    Host {
        place: HostPlace,
        files: Option<LaidOut>,
    },
    Sandbox {
        place: Box<SandboxPlace>,
        files: Option<LaidOut>,
    },
}

fn fault(code: &str, message: impl Into<String>, retry: bool) -> Fault {
    Fault { code: code.into(), message: message.into(), retry }
}

impl Places {
    pub(crate) async fn open(
        config: &WorkerConfig,
        boot: u64,
        remote: bool,
    ) -> Result<Self, WorkerError> {
        let claim = match config.data_dir.clone() {
            Some(data_dir) => claim(data_dir).await?,
            None => None,
        };
        let places = Self {
            execution: config.execution,
            default_sandbox: config.default_sandbox.clone(),
            pool: config.pool.clone(),
            remote,
            alone: config.alone,
            data_dir: match &config.data_dir {
                Some(path) => DataDir::Given(path.clone()),
                None => DataDir::Temporary(OnceCell::new()),
            },
            workspaces: OnceCell::new(),
            sandboxes: OnceCell::new(),
            design: SandboxDesign::of(config, boot),
            _claim: claim,
        };
        if config.data_dir.is_some() {
            // Now rather than with the first job: it sweeps what an earlier worker left.
            places
                .workspaces()
                .await
                .map_err(|(path, source)| WorkerError::DataDir { path, source })?;
        }
        if config.execution == Execution::Sandbox || !config.images.is_empty() {
            places.sandboxes().await?;
        }
        Ok(places)
    }

    /// The images the worker was told to have, and how they stand.
    pub(crate) fn images(&self) -> Vec<ImageStatus> {
        self.sandboxes.get().map(|sandboxes| sandboxes.images.status()).unwrap_or_default()
    }

    /// Who looks after sandboxes, when anybody needed one so far.
    pub(crate) fn opened_sandboxes(&self) -> Option<Arc<Sandboxes>> {
        self.sandboxes.get().map(Arc::clone)
    }

    /// Makes the place of a job ready.
    pub(crate) async fn prepare(&self, job: &Job, bus: &dyn Bus) -> Result<Ready, Fault> {
        if !job.work.is_process() {
            return Ok(Ready::Nowhere);
        }
        match self.sandbox_of(job)? {
            None => {
                let files = self.files(job, None, bus).await?;
                let directory = directory(job, files.as_ref());
                Ok(Ready::Host { place: HostPlace::new(directory), files })
            }
            Some(spec) => self.sandbox(job, spec.clone(), bus).await,
        }
    }

    async fn sandbox(&self, job: &Job, spec: SandboxSpec, bus: &dyn Bus) -> Result<Ready, Fault> {
        create::validate(&spec)?;
        let (sandboxes, image) = self.image(&spec.image).await.map_err(|mut fault| {
            if self.alone {
                fault.retry = false;
                fault.message.push_str(", or take `sandbox:` out of the check");
            }
            fault
        })?;
        let user = self.user_of(job, &image);
        let files = self.files(job, Some(user), bus).await?;
        let workspace = directory(job, files.as_ref());
        let hosts = self.hosts().await.map_err(|(path, error)| disk_fault(&path, &error))?;
        let own = files.as_ref().filter(|_| !spec.read_only);
        let room = own.map(|files| files.allowance(spec.disk_bytes));
        let sandboxes = Arc::clone(sandboxes);
        let place = SandboxPlace { sandboxes, spec, image, user, workspace, room, hosts };
        Ok(Ready::Sandbox { place: Box::new(place), files })
    }

    /// An image, and the engine that has it.
    async fn image(&self, name: &str) -> Result<(&Arc<Sandboxes>, Image), Fault> {
        let sandboxes = self
            .sandboxes()
            .await
            .map_err(|error| fault("visor::sandbox::engine_address", explain(&error), true))?;
        let image = sandboxes.images.get(name, &sandboxes.engine).await?;
        Ok((sandboxes, image))
    }

    /// Whom a check in a container runs as: whoever its image was made for, or nobody. A worker
    /// that is not the administrator cannot give files away, so checks run as itself; a directory
    /// that is used in place is used by its owner. Never the administrator.
    fn user_of(&self, job: &Job, image: &Image) -> Owner {
        let own = Owner {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        let in_place = match &job.workspace {
            Some(Workspace::Directory { path }) => std::fs::metadata(path).ok(),
            Some(Workspace::Archive { .. }) | None => None,
        };
        match in_place.map(|meta| Owner { uid: meta.uid(), gid: meta.gid() }) {
            Some(owner) if owner.uid != 0 && owner.gid != 0 => owner,
            _ if own.uid != 0 => own,
            _ => image.user.unwrap_or(NOBODY),
        }
    }

    fn sandbox_of<'a>(&'a self, job: &'a Job) -> Result<Option<&'a SandboxSpec>, Fault> {
        match (&job.placement, self.execution) {
            (Placement::Sandbox(spec), _) => Ok(Some(spec)),
            (Placement::Pool, Execution::Host) => Ok(None),
            (Placement::Pool, Execution::Sandbox) => match &self.default_sandbox {
                Some(spec) => Ok(Some(spec)),
                None => Err(fault(
                    "visor::sandbox::no_default",
                    format!(
                        "check `{}` names no sandbox and pool `{}` has no default one: give the \
                         pool a sandbox image, or start its workers with `--execution host`",
                        job.check, self.pool
                    ),
                    false,
                )),
            },
        }
    }

    /// A private copy of the job's files, when they come packed.
    async fn files(
        &self,
        job: &Job,
        user: Option<Owner>,
        bus: &dyn Bus,
    ) -> Result<Option<LaidOut>, Fault> {
        match &job.workspace {
            None => Ok(None),
            Some(Workspace::Directory { path }) => {
                if self.remote {
                    let why = format!(
                        "the job names the directory {path} of its submitter's machine; over a \
                         network files travel packed"
                    );
                    return Err(fault("visor::workspace::not_local", why, false));
                }
                Ok(None)
            }
            Some(Workspace::Archive { hash, bytes }) => {
                let workspaces = self.workspaces().await;
                let workspaces = workspaces.map_err(|(path, error)| disk_fault(&path, &error))?;
                // Only the administrator can give files to somebody else.
                let user = user.filter(|_| rustix::process::geteuid().is_root());
                let laid_out = workspaces.lay_out(*hash, *bytes, user, bus).await;
                laid_out.map(Some).map_err(|error| {
                    fault("visor::workspace::lay_out", error.to_string(), error.may_pass())
                })
            }
        }
    }

    async fn data_dir(&self) -> Result<&Path, (PathBuf, std::io::Error)> {
        match &self.data_dir {
            DataDir::Given(path) => Ok(path),
            DataDir::Temporary(made) => {
                let make = || async {
                    let made = tempfile::Builder::new().prefix("visor-worker-").tempdir()?;
                    Ok((warden::watch_directory(made.path()), made))
                };
                let made = made.get_or_try_init(make).await;
                made.map(|(_, made)| made.path()).map_err(|error| (std::env::temp_dir(), error))
            }
        }
    }

    async fn workspaces(&self) -> Result<&Workspaces, (PathBuf, std::io::Error)> {
        let data_dir = self.data_dir().await?;
        let open = || async {
            let (directory, owners) = (data_dir.join("workspaces"), data_dir.join("owners"));
            let work = move || Workspaces::open(&directory, |owner| owners.join(owner).exists());
            let opened = tokio::task::spawn_blocking(work).await;
            opened.unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
        };
        let opened = self.workspaces.get_or_try_init(open).await;
        opened.map_err(|error| (data_dir.join("workspaces"), error))
    }

    async fn sandboxes(&self) -> Result<&Arc<Sandboxes>, WorkerError> {
        let SandboxDesign { docker, timings, images, worker, boot } = &self.design;
        let start = || async {
            let engine = Engine::at(docker.host.as_deref(), timings.engine_call)
                .map_err(WorkerError::Engine)?;
            let images = Images::new(self.pool.clone(), images.clone());
            let who = (worker.clone(), *boot);
            let home = match &self.data_dir {
                // Entered when the worker started.
                DataDir::Given(path) => Some(
                    Home::open(path.join("owners"))
                        .map_err(|source| WorkerError::DataDir { path: path.clone(), source })?,
                ),
                DataDir::Temporary(_) => None,
            };
            Ok(Sandboxes::start(engine, images, who, home, timings.engine_check))
        };
        self.sandboxes.get_or_try_init(start).await
    }

    /// A hosts file for containers without a network: the engine gives those an empty one.
    async fn hosts(&self) -> Result<PathBuf, (PathBuf, std::io::Error)> {
        let path = self.data_dir().await?.join("hosts");
        if !path.is_file() {
            let written = tokio::fs::write(&path, HOSTS).await;
            written.map_err(|error| (path.clone(), error))?;
        }
        Ok(path)
    }

    /// Takes away what only this worker used.
    pub(crate) async fn close(&self) {
        if let Some(sandboxes) = self.sandboxes.get() {
            sandboxes.close().await;
        }
        if let Some(workspaces) = self.workspaces.get() {
            workspaces.close().await;
        }
    }
}

impl SandboxDesign {
    fn of(config: &WorkerConfig, boot: u64) -> Self {
        let default = config.default_sandbox.iter().map(|spec| &spec.image);
        let mut images: Vec<String> = default.chain(&config.images).cloned().collect();
        images.sort();
        images.dedup();
        Self {
            docker: config.docker.clone(),
            timings: config.timings.clone(),
            images,
            worker: config.id.clone(),
            boot,
        }
    }
}

/// Where a job's files are on this machine.
fn directory(job: &Job, files: Option<&LaidOut>) -> Option<PathBuf> {
    match (files, &job.workspace) {
        (Some(files), _) => Some(files.path().to_owned()),
        (None, Some(Workspace::Directory { path })) => Some(PathBuf::from(path)),
        (None, Some(Workspace::Archive { .. }) | None) => None,
    }
}

fn disk_fault(path: &Path, error: &std::io::Error) -> Fault {
    let why = format!("this worker cannot use {}: {error}", path.display());
    fault("visor::worker::disk", why, true)
}

fn explain(error: &WorkerError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Enters this process into the data directory and kills what earlier ones left running.
async fn claim(data_dir: PathBuf) -> Result<Option<Claim>, WorkerError> {
    let work = move || {
        let path = data_dir.join("owners");
        owners::claim(&path).map_err(|source| WorkerError::DataDir { path, source })
    };
    let claimed = tokio::task::spawn_blocking(work).await;
    let (claim, killed) = claimed.unwrap_or_else(|_| Ok((None, 0)))?;
    if killed > 0 {
        tracing::warn!(killed, "killed processes that an earlier worker left behind");
    }
    Ok(claim)
}

#[async_trait]
impl Place for Ready {
    async fn run(&self, command: ShellCommand<'_>, recorder: &mut Recorder, stop: &Stop) -> Ran {
        match self {
            Self::Nowhere => Ran::fault(
                "visor::worker::nowhere",
                "work that should run no program tried to run one",
                false,
            ),
            Self::Host { place, .. } => place.run(command, recorder, stop).await,
            Self::Sandbox { place, .. } => place.run(command, recorder, stop).await,
        }
    }
}

impl Ready {
    /// Takes away what was made for the job.
    pub(crate) async fn close(self) {
        match self {
            Self::Nowhere => {}
            Self::Host { files, .. } | Self::Sandbox { files, .. } => {
                if let Some(files) = files {
                    files.remove().await;
                }
            }
        }
    }
}
