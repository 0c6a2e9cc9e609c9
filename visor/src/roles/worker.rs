//! `visor worker`: slots for a fleet.

use std::sync::Arc;

use tokio::time::Instant;
use visor_protocol::time::SystemClock;
use visor_protocol::worker::Execution;
use visor_worker::Worker;

use super::nats::{DEFAULT_NATS, connect_service, without_credentials};
use super::{common, facts, lifetime};
use crate::cli::worker::WorkerArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::startup::{self, Block};
use crate::render::style::Style;
use crate::render::terminal;

/// Works until it is told to stop, and then finishes what it holds.
///
/// # Errors
/// When it cannot start.
pub(crate) async fn run(args: WorkerArgs, style: Style) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let mut interrupts = common::interrupts()?;
    let id = match args.id.clone() {
        Some(id) => id,
        None => common::worker_id()?,
    };
    // Shared by the workers of one machine: each keeps its things apart, and clears away what is
    // left of those that were killed.
    let data_dir = common::data_dir(args.role.data_dir.as_deref(), "worker")?;
    let config = common::worker_config(&args.role, id, Execution::Sandbox, data_dir.clone());
    let url = args.role.nats.as_deref().unwrap_or(DEFAULT_NATS);

    let mut block = Block::new(&format!("worker {}", config.id));
    block.fact("data", data_dir.display().to_string());
    facts::of_worker(&mut block, &config).await;
    let name = format!("visor worker {}", config.id);
    let bus = tokio::select! {
        bus = connect_service(url, &name) => bus?,
        () = interrupts.next() => return Ok(ExitCode::Interrupted),
    };
    facts::of_transport(&mut block, &*bus, Some(&without_credentials(url)));
    facts::show(&block, style);

    let worker = Worker::start(config, Arc::clone(&bus), Arc::new(SystemClock)).await;
    let worker = worker.map_err(|error| common::worker_failure(&error))?;
    terminal::eprint(&startup::ready(started.elapsed()));

    lifetime::of_worker(&worker, &mut interrupts).await;
    bus.close().await;
    Ok(ExitCode::Passed)
}
