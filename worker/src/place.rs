//! Which place a job runs in, made ready for it.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use visor_protocol::Job;
use visor_protocol::job::{Placement, SandboxSpec, Workspace};
use visor_protocol::outcome::Fault;
use visor_protocol::worker::{Execution, ImageStatus};
use visor_providers::host::HostPlace;
use visor_providers::host::owners::{self, Claim};
use visor_providers::{Place, Ran, Recorder, ShellCommand, Stop};
use visor_transport::Bus;

use crate::config::WorkerConfig;
use crate::error::WorkerError;
use crate::workspace::{LaidOut, Workspaces};

/// All places of a worker.
pub(crate) struct Places {
    execution: Execution,
    default_sandbox: Option<SandboxSpec>,
    pool: visor_protocol::PoolName,
    /// Other processes share the bus, so a directory named by a job need not be meant for us.
    remote: bool,
    data_dir: DataDir,
    /// Opened when the first job needs it: a run on one's own machine never does.
    workspaces: OnceCell<Workspaces>,
    _claim: Option<Claim>,
}

enum DataDir {
    Given(PathBuf),
    Temporary(OnceCell<TempDir>),
}

/// A place, ready for one job.
pub(crate) enum Ready {
    /// For work that runs no program.
    Nowhere,
    Host {
        place: HostPlace,
        files: Option<LaidOut>,
    },
}

fn fault(code: &str, message: impl Into<String>, retry: bool) -> Fault {
    Fault { code: code.into(), message: message.into(), retry }
}

impl Places {
    pub(crate) async fn open(config: &WorkerConfig, remote: bool) -> Result<Self, WorkerError> {
        let claim = match config.data_dir.clone() {
            Some(data_dir) => claim(data_dir).await?,
            None => None,
        };
        let places = Self {
            execution: config.execution,
            default_sandbox: config.default_sandbox.clone(),
            pool: config.pool.clone(),
            remote,
            data_dir: match &config.data_dir {
                Some(path) => DataDir::Given(path.clone()),
                None => DataDir::Temporary(OnceCell::new()),
            },
            workspaces: OnceCell::new(),
            _claim: claim,
        };
        if config.data_dir.is_some() {
            // Now rather than with the first job: it sweeps what an earlier worker left.
            places
                .workspaces()
                .await
                .map_err(|(path, source)| WorkerError::DataDir { path, source })?;
        }
        Ok(places)
    }

    /// The images the worker was told to have, and how they stand.
    pub(crate) fn images(&self) -> Vec<ImageStatus> {
        Vec::new()
    }

    /// Makes the place of a job ready.
    pub(crate) async fn prepare(&self, job: &Job, bus: &dyn Bus) -> Result<Ready, Fault> {
        if !job.work.is_process() {
            return Ok(Ready::Nowhere);
        }
        match self.sandbox_of(job)? {
            None => {
                let files = self.files(job, bus).await?;
                let directory = match (&files, &job.workspace) {
                    (Some(files), _) => Some(files.path().to_owned()),
                    (None, Some(Workspace::Directory { path })) => Some(PathBuf::from(path)),
                    (None, _) => None,
                };
                Ok(Ready::Host { place: HostPlace::new(directory), files })
            }
            Some(spec) => Err(fault(
                "visor::sandbox::unavailable",
                format!("sandbox `{}` cannot be used by this build", spec.name),
                true,
            )),
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
    async fn files(&self, job: &Job, bus: &dyn Bus) -> Result<Option<LaidOut>, Fault> {
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
                let workspaces = self.workspaces().await.map_err(|(path, error)| {
                    let why = format!("cannot use {}: {error}", path.display());
                    fault("visor::workspace::disk", why, true)
                })?;
                let laid_out = workspaces.lay_out(*hash, *bytes, None, bus).await;
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
                let make = || async { tempfile::Builder::new().prefix("visor-worker-").tempdir() };
                let made = made.get_or_try_init(make).await;
                made.map(TempDir::path).map_err(|error| (std::env::temp_dir(), error))
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

    /// Takes away what only this worker used.
    pub(crate) async fn close(&self) {
        if let Some(workspaces) = self.workspaces.get() {
            workspaces.close().await;
        }
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
        }
    }
}

impl Ready {
    /// Takes away what was made for the job.
    pub(crate) async fn close(self) {
        match self {
            Self::Nowhere => {}
            Self::Host { files, .. } => {
                if let Some(files) = files {
                    files.remove().await;
                }
            }
        }
    }
}
