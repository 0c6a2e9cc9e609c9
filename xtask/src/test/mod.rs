//! `cargo xtask test`: everything, on a machine that has nothing but Rust.
//!
//! - [`parts`]: the servers the tests need, from the distribution when they are missing
//! - [`engine`]: a private container engine
//! - [`runner`]: the tests themselves
//! - [`skips`]: tests that could not run, by name

mod engine;
mod parts;
mod runner;
mod skips;

use std::env;

use anyhow::{Result, bail};

use crate::{interrupt, say, tools};

/// Get what the tests need, run all of them, stop what was started.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the tests that need no server, no engine and no other process
    #[arg(long)]
    quick: bool,
    /// Install nothing: a test whose part is missing is skipped
    #[arg(long)]
    no_install: bool,
    /// Use `cargo test` although cargo-nextest is there
    #[arg(long)]
    no_nextest: bool,
    /// Handed to the test runner, for example `-- -p visor-engine` or `-- cancel`
    #[arg(last = true)]
    filter: Vec<String>,
}

/// The variable that tells tests where the private engine is.
const DOCKER_HOST: &str = "VISOR_TEST_DOCKER_HOST";

/// Runs the tests.
pub(crate) fn run(args: &Args) -> Result<()> {
    interrupt::listen()?;
    let strict = tools::is_set("CI");
    let mut environment = Vec::new();
    // Dropped last, when no test uses it any more.
    let mut private_engine = None;
    if args.quick {
        say::step("quick: tests of real servers, engines and processes are left out");
    } else {
        parts::provide(!args.no_install)?;
        if let Ok(host) = env::var(DOCKER_HOST) {
            say::step(&format!("containers: the engine at {host} ({DOCKER_HOST} is set)"));
        } else {
            match engine::Engine::provide() {
                Ok(engine) => {
                    environment.push((DOCKER_HOST, engine.host().to_owned()));
                    private_engine = Some(engine);
                }
                Err(error) if error.is::<interrupt::Interrupted>() => return Err(error),
                Err(error) => say::step(&format!("containers: no engine: {error:#}")),
            }
        }
    }

    let ran = runner::run(&environment, args);
    let leftovers = private_engine.as_ref().map(engine::Engine::leftovers).unwrap_or_default();
    drop(private_engine);
    let ran = ran?;

    skips::report(&ran.skipped);
    if !leftovers.is_empty() {
        bail!("tests left containers behind: {}", leftovers.join(", "));
    }
    if !ran.passed {
        bail!("tests failed; their output is above");
    }
    if strict && !args.quick && !ran.skipped.is_empty() {
        bail!("{} tests were skipped, which CI does not allow", ran.skipped.len());
    }
    Ok(())
}
