//! `visor coordinator`: the head of a fleet.

use std::sync::Arc;

use tokio::time::Instant;
use visor_coordinator::{Coordinator, CoordinatorConfig};
use visor_protocol::time::SystemClock;

use super::nats::{DEFAULT_NATS, connect_service, without_credentials};
use super::{common, embedded, facts, http, lifetime};
use crate::cli::role_args::RoleArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::startup::{self, Block};
use crate::render::style::Style;
use crate::render::terminal;

/// Coordinates until it is told to stop.
///
/// # Errors
/// When it cannot start, or falls over.
pub(crate) async fn run(args: RoleArgs, style: Style) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let mut interrupts = common::interrupts()?;
    let fleet = common::fleet_config(args.config.as_deref(), style)?;
    // Bound before anything else: a taken port is found before anybody relies on the rest.
    let address = http::Address::take(args.http(), args.token.as_deref()).await?;
    let data_dir = common::data_dir(args.data_dir.as_deref(), "coordinator")?;
    let url = args.nats.as_deref().unwrap_or(DEFAULT_NATS);

    let mut block = Block::new("coordinator");
    block.fact("data", data_dir.display().to_string());
    facts::of_limits(&mut block, &fleet);
    let bus = tokio::select! {
        bus = connect_service(url, "visor coordinator") => bus?,
        () = interrupts.next() => return Ok(ExitCode::Interrupted),
    };
    facts::of_transport(&mut block, &*bus, Some(&without_credentials(url)));
    block.fact("http", address.shown());
    facts::show(&block, style);

    let config =
        CoordinatorConfig { data_dir: Some(data_dir), fleet, ..CoordinatorConfig::default() };
    let coordinator = Coordinator::start(config, Arc::clone(&bus), Arc::new(SystemClock))
        .await
        .map_err(|error| embedded::start_failure(&error))?;
    let server = address.serve(coordinator.api());
    terminal::eprint(&startup::ready(started.elapsed()));

    let ended = lifetime::of_coordinator(&coordinator, &mut interrupts).await;
    server.stop().await;
    lifetime::stop_coordinator(coordinator, &mut interrupts).await;
    bus.close().await;
    ended.map(|()| ExitCode::Passed)
}
