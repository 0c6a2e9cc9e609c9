//! What the process's streams can do, and the only writes to them.

use std::io::{self, IsTerminal as _, Write as _};

use super::style::Style;

/// What is known of standard output and standard error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    /// How results are styled.
    pub(crate) out: Style,
    /// How everything else is styled.
    pub(crate) err: Style,
    /// Standard error is a screen on which lines can be redrawn.
    pub(crate) live: bool,
    /// Columns for results; none where there is no screen, and nothing is broken or cut.
    pub(crate) width: Option<usize>,
}

impl Terminal {
    /// Looks at the streams and at `NO_COLOR`, `CLICOLOR_FORCE`, `CLICOLOR` and `TERM`.
    pub(crate) fn detect() -> Self {
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let style = |screen: bool| {
            let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
            let coloured = if set("NO_COLOR").is_some() {
                false
            } else if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
                true
            } else {
                screen && !dumb && set("CLICOLOR").is_none_or(|value| value != "0")
            };
            if coloured { Style::coloured() } else { Style::plain() }
        };
        let width = out.then(|| usize::from(console::Term::stdout().size().1).max(40));
        Self { out: style(out), err: style(err), live: err && !dumb, width }
    }
}

/// Writes a result. A reader that closed the pipe has seen enough: that is no error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes to people. Nobody can be told that standard error does not work.
pub(crate) fn eprint(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes());
    let _ = err.flush();
}

/// Rows and columns of the screen behind standard error, now: people resize windows.
pub(crate) fn screen() -> (usize, usize) {
    let (rows, columns) = console::Term::stderr().size();
    (usize::from(rows).max(5), usize::from(columns).max(20))
}
