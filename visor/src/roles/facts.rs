//! What a service says of itself before anything else.

use std::time::Duration;

use tokio::time::timeout;
use visor_coordinator::config::FleetConfig;
use visor_protocol::worker::Execution;
use visor_transport::Bus;
use visor_worker::WorkerConfig;
use visor_worker::sandbox::Engine;
use visor_worker::sandbox::images::Images;

use crate::render::startup::Block;
use crate::render::style::Style;
use crate::render::{terminal, text};

/// An engine on this machine says who it is within milliseconds; a start does not wait longer.
const ENGINE_WITHIN: Duration = Duration::from_secs(2);

/// Where checks run, and what that takes.
pub(super) async fn of_worker(block: &mut Block, config: &WorkerConfig) {
    block.fact("slots", format!("{} in pool {}", config.slots, config.pool));
    match config.execution {
        Execution::Sandbox => {
            let image = config.default_sandbox.as_ref().map_or("none", |spec| spec.image.as_str());
            block.fact("checks run", format!("in sandboxes of image {image}"));
        }
        Execution::Host => {
            block.fact("checks run", "on this host, with this user's rights");
        }
    }
    of_engine(block, config).await;
}

async fn of_engine(block: &mut Block, config: &WorkerConfig) {
    let engine = match Engine::at(config.docker.host.as_deref(), ENGINE_WITHIN) {
        Ok(engine) => engine,
        Err(error) => {
            block.fact("docker", error.to_string());
            return;
        }
    };
    let socket = engine.socket().display().to_string();
    let version = async {
        let client = engine.greet().await?;
        engine.call("say its version", client.version()).await
    };
    let version = match timeout(ENGINE_WITHIN, version).await {
        Ok(Ok(version)) => version.version.unwrap_or_else(|| "unknown".into()),
        Ok(Err(error)) => return no_engine(block, config, &error.to_string()),
        Err(_) => return no_engine(block, config, &format!("{socket} does not answer")),
    };
    block.fact("docker", format!("{version} at {socket}"));
    let default = config.default_sandbox.iter().map(|spec| spec.image.clone());
    let wanted: Vec<String> = default.chain(config.images.iter().cloned()).collect();
    if wanted.is_empty() {
        return;
    }
    let images = Images::new(config.pool.clone(), wanted);
    if timeout(ENGINE_WITHIN, images.check(&engine)).await.is_err() {
        block.note("the engine is slow to say which images it has");
    }
    for image in images.status() {
        match image.ready {
            // What is there is known by its name and its digest.
            true => block.fact("image", format!("{} ready", text::short_digests(&image.detail))),
            false => {
                block.fact("image", format!("{} missing", image.image));
                block.note(image.detail);
            }
        }
    }
}

/// It may come later: the worker goes on asking.
fn no_engine(block: &mut Block, config: &WorkerConfig, why: &str) {
    block.fact("docker", "not there");
    let meaning = match config.execution {
        Execution::Sandbox => "no checks are taken until it is",
        Execution::Host => "checks that ask for a sandbox will fail",
    };
    block.note(format!("{why}; {meaning}"));
}

/// What the transport is, and what it lacks.
pub(super) fn of_transport(block: &mut Block, bus: &dyn Bus, address: Option<&str>) {
    let info = bus.info();
    let place = address.map(|address| format!(" at {address}")).unwrap_or_default();
    block.fact("transport", format!("{}{place}", info.name));
    for lack in info.degraded {
        block.note(lack);
    }
}

/// The fleet's limits in short.
pub(super) fn of_limits(block: &mut Block, fleet: &FleetConfig) {
    let names: Vec<&str> = fleet.limits.iter().map(|limit| limit.name.as_str()).collect();
    block.fact("limits", if names.is_empty() { "none".into() } else { names.join(", ") });
}

/// Shows the block.
pub(super) fn show(block: &Block, style: Style) {
    terminal::eprint(&block.render(style));
}
