//! A panic is a fault of this program, and is told as one.

use std::panic;

use crate::render::terminal::{self, Terminal};
use crate::render::text;

/// Replaces the message of the runtime by one for people. The process ends with status 70 when the
/// panic is not caught by a supervisor.
pub(crate) fn install() {
    panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let style = Terminal::detect().err;
        terminal::eprint(&format!(
            "{}\n  {} a fault of Visor itself: {}\n  at {place}\n  help: please report it, with \
             what you did; RUST_BACKTRACE=1 says more\n",
            style.dim("visor::bug"),
            style.red("×"),
            text::clean(message),
        ));
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            let trace = std::backtrace::Backtrace::force_capture();
            terminal::eprint(&format!("{trace}\n"));
        }
    }));
}
