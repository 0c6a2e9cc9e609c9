//! One run on this machine: coordinator and worker in this process, nothing left behind.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use visor_coordinator::{Coordinator, CoordinatorConfig, CoordinatorHandle, StartError};
use visor_engine::Config;
use visor_protocol::api::ConfigSource;
use visor_protocol::ids::{PoolName, WorkerId};
use visor_protocol::time::SystemClock;
use visor_protocol::worker::Execution;
use visor_transport::Bus;
use visor_worker::{DockerOptions, Worker, WorkerConfig, WorkerHandle};

use crate::client::Backend;
use crate::client::bus::BusBackend;
use crate::client::follow::Ended;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::roles::common;

/// Containers are removed within this time, or swept by the next worker.
const CLEAN_WITHIN: Duration = Duration::from_secs(20);
/// Somebody who presses Ctrl-C twice waits no longer; the warden ends what is left.
const HURRY_WITHIN: Duration = Duration::from_secs(1);

/// What a run needs.
#[derive(Debug)]
pub(crate) struct Options {
    /// Checks that may be under way at once.
    pub(crate) slots: usize,
    /// Where the journal lies; in memory when absent.
    pub(crate) data_dir: Option<PathBuf>,
    /// A check asks for a sandbox.
    pub(crate) sandboxed: bool,
    /// A check runs programs.
    pub(crate) processes: bool,
}

/// Coordinator and worker of this process.
pub(crate) struct Embedded {
    coordinator: CoordinatorHandle,
    worker: WorkerHandle,
    bus: Arc<dyn Bus>,
    options: Options,
}

impl Embedded {
    /// Starts both.
    ///
    /// # Errors
    /// When the journal cannot be used.
    pub(crate) async fn start(options: Options) -> Result<Self, Failure> {
        let bus = common::memory_bus();
        let clock = Arc::new(SystemClock);
        let data_dir = match &options.data_dir {
            Some(said) => Some(common::data_dir(Some(said), "run")?),
            None => None,
        };
        let config =
            CoordinatorConfig { data_dir, shares_files: true, ..CoordinatorConfig::default() };
        let coordinator = Coordinator::start(config, Arc::clone(&bus), Arc::clone(&clock) as _)
            .await
            .map_err(|error| start_failure(&error))?;
        let id = WorkerId::new("local").expect("the name is a valid id");
        let mut config = WorkerConfig::new(id, PoolName::default_pool());
        let slots = u32::try_from(options.slots).unwrap_or(u32::MAX);
        config.slots = slots.try_into().unwrap_or(config.slots);
        config.execution = Execution::Host;
        config.docker =
            DockerOptions { host: std::env::var("DOCKER_HOST").ok().filter(|h| !h.is_empty()) };
        config.alone = true;
        config.warden = options.processes;
        let worker = Worker::start(config, Arc::clone(&bus), clock).await;
        let worker = worker.map_err(|error| common::worker_failure(&error))?;
        Ok(Self { coordinator, worker, bus, options })
    }

    /// The file that is going to be submitted, loaded.
    pub(crate) fn know(&self, source: &ConfigSource, config: &Arc<Config>) {
        self.coordinator.know(source, Arc::clone(config));
    }

    /// The way to the coordinator.
    pub(crate) fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(BusBackend::new(Arc::clone(&self.bus), "this machine".to_owned()))
    }

    /// Ends both. A run that is over left nothing to wait for, unless there were containers to
    /// remove or a journal to close.
    pub(crate) async fn finish(self, ended: &Result<Ended, Failure>) {
        let patience = match ended {
            Ok(Ended::Finished(_) | Ended::Interrupted(Some(_))) if !self.options.sandboxed => None,
            Ok(Ended::Finished(_) | Ended::Interrupted(Some(_))) | Err(_) => Some(CLEAN_WITHIN),
            Ok(Ended::Interrupted(None)) => Some(HURRY_WITHIN),
        };
        if let Some(patience) = patience {
            // Kills what runs, removes what is there.
            let _ = tokio::time::timeout(patience, self.worker.stop()).await;
        }
        if self.options.data_dir.is_some() {
            self.coordinator.stop().await;
        }
    }
}

/// Why a coordinator does not start, as a person is told it.
pub(crate) fn start_failure(error: &StartError) -> Failure {
    let what = "the coordinator does not start";
    match error {
        StartError::Store(_) => {
            Failure::new(ExitCode::Usage, "visor::start::journal", what).because(error).help(
                "the directory must be writable, have room, and be used by one process at a time",
            )
        }
        StartError::Transport(_) => {
            Failure::unavailable("visor::start::transport", what).because(error)
        }
        StartError::AlreadyServed { .. } => {
            Failure::usage("visor::start::already_served", what).because(error)
        }
        StartError::Actor { .. } => {
            Failure::new(ExitCode::Bug, "visor::start::actor", what).because(error)
        }
    }
}
