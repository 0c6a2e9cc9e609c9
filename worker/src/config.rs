//! What a worker is told.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use visor_protocol::ids::{PoolName, WorkerId};
use visor_protocol::job::SandboxSpec;
use visor_protocol::worker::Execution;

/// What a worker is told.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Its name. Two that run at once must not share one.
    pub id: WorkerId,
    /// The pool whose jobs it takes.
    pub pool: PoolName,
    /// How many jobs it runs at once.
    pub slots: NonZeroU32,
    /// Where jobs without a sandbox of their own run.
    pub execution: Execution,
    /// Where it keeps unpacked workspaces and the record of what to clean up after a crash. A
    /// directory under the system's temporary one, gone with the worker, when absent.
    pub data_dir: Option<PathBuf>,
    /// The sandbox of jobs that name none, when [`Execution::Sandbox`].
    pub default_sandbox: Option<SandboxSpec>,
    /// Further images to have ready.
    pub images: Vec<String>,
    /// The container engine. Only talked to when something needs it.
    pub docker: DockerOptions,
    /// Free bytes of the data directory's disk below which it takes no jobs. The smaller of 1 GiB
    /// and a twentieth of the disk when absent.
    pub min_free: Option<u64>,
    /// Nobody else could take its jobs, and nobody waits for an engine or an image to come: what
    /// cannot run in a sandbox now has failed for good. For a run on one's own machine.
    pub alone: bool,
    /// Keep a [warden](visor_providers::warden) that cleans up when this process is killed. Only
    /// for programs whose `main` knows the warden's argument.
    pub warden: bool,
    /// Times and bounds.
    pub timings: Timings,
}

impl WorkerConfig {
    /// A worker that runs as many jobs at once as the machine has cores, in sandboxes.
    pub fn new(id: WorkerId, pool: PoolName) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let slots = u32::try_from(cores).ok().and_then(NonZeroU32::new);
        Self {
            id,
            pool,
            slots: slots.unwrap_or(NonZeroU32::MIN),
            execution: Execution::default(),
            data_dir: None,
            default_sandbox: None,
            images: Vec::new(),
            docker: DockerOptions::default(),
            min_free: None,
            alone: false,
            warden: false,
            timings: Timings::default(),
        }
    }
}

/// How to reach the container engine.
#[derive(Debug, Clone, Default)]
pub struct DockerOptions {
    /// `unix:///path/to/socket`, or the path alone; the engine's usual socket when absent. The
    /// engine must run on this machine: it is given directories of this machine to mount.
    pub host: Option<String>,
}

/// Times and bounds of a worker.
#[derive(Debug, Clone)]
pub struct Timings {
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// How long a drain waits for what is held before it stops that too; for ever when absent.
    pub drain: Option<Duration>,
    /// How long the last outcomes are tried to be stored when the worker is stopped.
    pub flush: Duration,
    /// How long a job that may have been given to another meanwhile is held back after its claim,
    /// for the coordinator to say so.
    pub second_thought: Duration,
    /// Between two looks at the images and at containers that nobody needs any more.
    pub engine_check: Duration,
    /// How long one call to the container engine may take.
    pub engine_call: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(500),
            drain: None,
            flush: Duration::from_secs(5),
            second_thought: Duration::from_secs(1),
            engine_check: Duration::from_secs(15),
            engine_call: Duration::from_secs(30),
        }
    }
}
