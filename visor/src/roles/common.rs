//! What the services have in common.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::TryRng as _;
use rand::rngs::SysRng;
use visor_coordinator::config::FleetConfig;
use visor_protocol::ids::WorkerId;
use visor_protocol::job::SandboxSpec;
use visor_protocol::worker::Execution;
use visor_transport::Bus;
use visor_worker::{DockerOptions, WorkerConfig, WorkerError};

use crate::cli::project;
use crate::cli::role_args::{ExecutionArg, ExecutionArgs, RoleArgs};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::style::Style;
use crate::render::terminal;
use crate::roles::signals::Interrupts;

/// The image of a pool's sandbox unless told otherwise.
pub(crate) const DEFAULT_IMAGE: &str = "visor/base:busybox";

/// A settings file larger than this is none.
const MAX_FLEET_BYTES: u64 = 1024 * 1024;

/// The fleet's settings: the file that was named, or the usual ones.
///
/// # Errors
/// When the file cannot be read or is wrong: a service with settings nobody meant does not start.
pub(crate) fn fleet_config(path: Option<&Path>, style: Style) -> Result<FleetConfig, Failure> {
    let Some(path) = path else { return Ok(FleetConfig::default()) };
    let name = path.display().to_string();
    let failed = |error: &std::io::Error| {
        Failure::usage("visor::fleet::unreadable", format!("cannot read `{name}`")).because(error)
    };
    let metadata = fs::metadata(path).map_err(|error| failed(&error))?;
    if metadata.len() > MAX_FLEET_BYTES {
        let what = format!("`{name}` is larger than a settings file may be");
        return Err(Failure::usage("visor::fleet::too_large", what));
    }
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    match FleetConfig::parse(&name, &text) {
        Ok((config, warnings)) => {
            if !warnings.is_empty() {
                terminal::eprint(&project::shown(&warnings, style));
            }
            Ok(config)
        }
        Err(mistakes) => {
            terminal::eprint(&project::shown(&mistakes, style));
            let what = format!("`{name}` cannot be used: {}", mistakes.summary());
            Err(Failure::usage("visor::fleet::invalid", what)
                .help("correct it at the places shown; nothing was started"))
        }
    }
}

/// Where state is kept: what was said, or the user's directory for state.
///
/// # Errors
/// When there is neither, or it cannot be made.
pub(crate) fn data_dir(said: Option<&Path>, role: &str) -> Result<PathBuf, Failure> {
    let usual = || {
        let set =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
        state.map(|state| state.join("visor").join(role))
    };
    let directory = said.map(Path::to_owned).or_else(usual).ok_or_else(|| {
        Failure::usage("visor::start::no_data_dir", "there is no place to keep state")
            .help("name one with --data-dir or VISOR_DATA_DIR")
    })?;
    // Container engines take whole paths only.
    std::path::absolute(&directory)
        .and_then(|whole| fs::create_dir_all(&whole).map(|()| whole))
        .map_err(|error| {
            let what = format!("cannot use `{}` to keep state", directory.display());
            Failure::usage("visor::start::data_dir", what)
                .because(&error)
                .help("make it writable, or name another with --data-dir")
        })
}

/// A worker as it was asked for.
///
/// # Errors
/// When there are no random numbers for its name.
pub(crate) fn worker_config(
    args: &RoleArgs,
    id: WorkerId,
    usual: Execution,
    data_dir: PathBuf,
) -> WorkerConfig {
    let execution = match args.execution.execution {
        Some(ExecutionArg::Host) => Execution::Host,
        Some(ExecutionArg::Sandbox) => Execution::Sandbox,
        None => usual,
    };
    let mut config = WorkerConfig::new(id, args.pool.clone());
    config.slots = args.slots().try_into().unwrap_or(config.slots);
    config.execution = execution;
    config.data_dir = Some(data_dir);
    if execution == Execution::Sandbox {
        config.default_sandbox = Some(SandboxSpec::new("default", image(&args.execution)));
    } else {
        config.images = args.execution.image.iter().cloned().collect();
    }
    config.docker = DockerOptions { host: docker_host(&args.execution) };
    config.min_free = args.execution.min_free.map(|mib| mib.saturating_mul(1024 * 1024));
    config.warden = true;
    config
}

fn image(args: &ExecutionArgs) -> String {
    args.image.clone().unwrap_or_else(|| DEFAULT_IMAGE.into())
}

/// The engine's address: what was said, or what Docker's own tools would use.
pub(crate) fn docker_host(args: &ExecutionArgs) -> Option<String> {
    args.docker
        .clone()
        .or_else(|| std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()))
}

/// A worker's name: the host's, with an ending that tells several on it apart.
///
/// # Errors
/// When the operating system gives no random numbers.
pub(crate) fn worker_id() -> Result<WorkerId, Failure> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut plain: String = host
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' })
        .take(64)
        .collect();
    if plain.is_empty() {
        plain.push_str("worker");
    }
    let ending = SysRng.try_next_u32().map_err(|error| {
        let what = "the operating system gives no random numbers";
        Failure::new(ExitCode::Unavailable, "visor::start::random", what).because(&error)
    })?;
    let name = format!("{plain}-{:05x}", ending & 0xf_ffff);
    Ok(WorkerId::new(&name).expect("letters, digits and hyphens, well under the limit"))
}

/// Listens for signals.
///
/// # Errors
/// When the operating system refuses.
pub(crate) fn interrupts() -> Result<Interrupts, Failure> {
    Interrupts::listen().map_err(|error| {
        let what = "cannot listen for signals";
        Failure::new(ExitCode::Unavailable, "visor::start::signals", what).because(&error)
    })
}

/// Why a worker does not start, as a person is told it.
pub(crate) fn worker_failure(error: &WorkerError) -> Failure {
    Failure::usage("visor::start::worker", "the worker does not start")
        .because(error)
        .help("make the directory writable, or name another with --data-dir")
}

/// The bus of one process.
pub(crate) fn memory_bus() -> Arc<dyn Bus> {
    Arc::new(visor_transport::MemoryBus::new(visor_transport::MemoryOptions::default()))
}

/// Files of runs that a one-machine server keeps at most.
const KEPT_FILES_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// The bus of a server whose accepted runs outlive it: their files lie on the disk, as its journal
/// does.
pub(crate) fn durable_memory_bus(data_dir: &std::path::Path) -> Arc<dyn Bus> {
    Arc::new(visor_transport::MemoryBus::new(visor_transport::MemoryOptions {
        blob_bytes: KEPT_FILES_BYTES,
        blob_folder: Some(data_dir.join("blobs")),
        ..visor_transport::MemoryOptions::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_that_was_named_from_here_is_known_by_its_whole_path() {
        let whole = data_dir(Some(Path::new(".")), "worker").unwrap();
        assert!(whole.is_absolute(), "{}", whole.display());
    }
}
