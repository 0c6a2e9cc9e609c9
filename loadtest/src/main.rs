//! `visor-loadtest`: puts a load on Visor and reports what came of it.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use visor_loadtest::say;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // Servers are started from this thread, which outlives them.
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say::line(&format!("error: no runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli::run_until_interrupted(cli)) {
        Ok(code) => code,
        Err(error) => {
            say::line(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
