//! `cargo xtask bench-e2e`: how fast the whole program is, each figure beside a floor that was
//! measured in the same minutes on the same machine.
//!
//! - [`rounds`]: interleaved rounds and their medians
//! - [`child`]: one process: how long it took and what it used
//! - [`embedded`]: `visor run`, against bare processes and bare appends
//! - [`fleet`]: coordinator, NATS and workers, against the bare queue, by way of the load generator
//! - [`table`]: the rows

mod child;
mod embedded;
mod fleet;
mod rounds;
mod table;

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde_json::json;

use crate::{interrupt, say, tools};
use table::Row;

/// Measure the whole program against floors of the same run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Shorter, for a first look; its figures are too rough to quote
    #[arg(long)]
    quick: bool,
    /// Only `visor run`: no NATS, no fleet
    #[arg(long)]
    embedded_only: bool,
    /// Use the programs in this folder instead of building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// The programs that are measured and measured with.
struct Programs {
    visor: PathBuf,
    loadtest: PathBuf,
    floor: PathBuf,
}

/// Builds, measures and prints.
pub(crate) fn run(args: &Args) -> Result<()> {
    interrupt::listen()?;
    let folder = match &args.programs {
        Some(folder) => std::path::absolute(folder)?,
        None => build()?,
    };
    let programs = Programs {
        visor: folder.join("visor"),
        loadtest: folder.join("visor-loadtest"),
        floor: folder.join("visor-spawn-floor"),
    };
    let mut rows = embedded::measure(&programs, args.quick)?;
    if !args.embedded_only {
        rows.extend(fleet::measure(&programs, args.quick)?);
    }
    if args.json {
        let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let object = json!({ "cores": cores, "quick": args.quick, "rows": rows });
        say::result(&object.to_string());
    } else {
        say::result(&table::render(&rows));
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    say::step("building visor and visor-loadtest, release");
    let mut command = tools::cargo();
    command.args(["build", "--release", "--locked", "-p", "visor", "-p", "visor-loadtest"]);
    if !interrupt::run(&mut command)?.success() {
        bail!("they do not build");
    }
    Ok(tools::target_dir()?.join("release"))
}
