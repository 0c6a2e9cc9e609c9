//! `cargo xtask`: the chores of this repository that need code.
//!
//! - [`test`]: gets the parts the tests need, runs every test, stops what it started
//! - [`deps`]: what may be depended on, and who may depend on whom
//! - [`bench`]: how fast the whole program is
//! - [`reference`]: pages that are made from the program
//! - [`interrupt`], [`process`], [`tools`]: running other programs without leaving any behind

mod bench;
mod deps;
mod interrupt;
mod process;
mod reference;
mod say;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Get what the tests need, run all of them, stop what was started.
    Test(test::Args),
    /// Check licences, sources, duplicates, bans and layers of all dependencies.
    Deps(deps::Args),
    /// Write the pages of the reference that are made from the program.
    Reference(reference::Args),
    /// Measure the whole program against floors of the same run.
    BenchE2e(bench::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Test(args) => test::run(args),
        Command::Deps(args) => deps::run(args),
        Command::Reference(args) => reference::run(args),
        Command::BenchE2e(args) => bench::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<interrupt::Interrupted>() => {
            say::line(&format!("{error}"));
            ExitCode::from(130)
        }
        Err(error) => {
            say::line(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
