//! `visor`: checks over a graph of dependencies, on this machine or on a fleet.
//!
//! - [`cli`]: what people type
//! - [`client`]: asking a coordinator, wherever it is
//! - [`render`]: what people see
//! - [`roles`]: coordinator, worker and transport put together
//! - [`failure`], [`exit_code`]: how it ends when it does not work

mod cli;
mod client;
mod exit_code;
mod failure;
mod logging;
mod panic_hook;
mod render;
mod roles;
mod runtime;

use crate::cli::{Cli, Context};
use crate::exit_code::ExitCode;
use crate::render::terminal::{self, Terminal};

/// Every job crosses threads several times, so what one allocates another frees. The system's
/// allocator takes a lock for that, and its threads spend a tenth of their time waiting for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // The helper that outlives us is this program again. It must not become anything larger.
    if std::env::args_os().nth(1).is_some_and(|first| first == visor_providers::warden::ARGUMENT) {
        return visor_providers::warden::main();
    }
    panic_hook::install();
    // The hook has told what happened; what is left is the status.
    std::panic::catch_unwind(command).unwrap_or(ExitCode::Bug).into()
}

fn command() -> ExitCode {
    let cli = Cli::read();
    let context = Context { terminal: Terminal::detect() };
    match cli.execute(context) {
        Ok(code) => code,
        Err(failure) => {
            terminal::eprint(&failure.render(context.terminal.err));
            failure.exit()
        }
    }
}
