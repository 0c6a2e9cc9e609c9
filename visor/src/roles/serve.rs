//! `visor serve`: one machine's server. The bus is in memory, the journal on disk.

use std::sync::Arc;

use tokio::time::Instant;
use visor_coordinator::{Coordinator, CoordinatorConfig};
use visor_protocol::ids::WorkerId;
use visor_protocol::time::SystemClock;
use visor_protocol::worker::Execution;
use visor_worker::Worker;

use super::{common, embedded, facts, http, lifetime};
use crate::cli::role_args::RoleArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::startup::{self, Block};
use crate::render::style::Style;
use crate::render::terminal;

/// Serves until it is told to stop.
///
/// # Errors
/// When it cannot start, or falls over.
pub(crate) async fn run(args: RoleArgs, style: Style) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let mut interrupts = common::interrupts()?;
    let fleet = common::fleet_config(args.config.as_deref(), style)?;
    let address = http::Address::take(args.http(), args.token.as_deref()).await?;
    let data_dir = common::data_dir(args.data_dir.as_deref(), "serve")?;
    let id = WorkerId::new("local").expect("the name is a valid id");
    // Who reaches a loopback address could run programs here anyway; who comes from elsewhere
    // must not be able to.
    let usual = match args.http().ip().is_loopback() {
        true => Execution::Host,
        false => Execution::Sandbox,
    };
    let worker = common::worker_config(&args, id, usual, data_dir.join("worker"));
    let bus = common::durable_memory_bus(&data_dir);

    let mut block = Block::new("serve");
    block.fact("data", data_dir.display().to_string());
    facts::of_transport(&mut block, &*bus, None);
    facts::of_worker(&mut block, &worker).await;
    facts::of_limits(&mut block, &fleet);
    block.fact("http", address.shown());
    facts::show(&block, style);

    let config =
        CoordinatorConfig { data_dir: Some(data_dir), fleet, ..CoordinatorConfig::default() };
    let coordinator = Coordinator::start(config, Arc::clone(&bus), Arc::new(SystemClock))
        .await
        .map_err(|error| embedded::start_failure(&error))?;
    let worker = Worker::start(worker, Arc::clone(&bus), Arc::new(SystemClock)).await;
    let worker = worker.map_err(|error| common::worker_failure(&error))?;
    let server = address.serve(coordinator.api());
    terminal::eprint(&startup::ready(started.elapsed()));

    let ended = lifetime::of_coordinator(&coordinator, &mut interrupts).await;
    // The worker first: what it finishes, the coordinator still writes down.
    lifetime::drain_worker(&worker, &mut interrupts).await;
    server.stop().await;
    lifetime::stop_coordinator(coordinator, &mut interrupts).await;
    bus.close().await;
    ended.map(|()| ExitCode::Passed)
}
