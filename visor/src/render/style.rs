//! Colours, or none. A state always has a sign and a word as well: colour alone says nothing.

use visor_protocol::result::CheckState;

/// Whether text may be coloured. Passed in, so that a renderer never asks the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    coloured: bool,
}

impl Style {
    /// Text as it is.
    pub(crate) const fn plain() -> Self {
        Self { coloured: false }
    }

    /// Text with ANSI colours.
    pub(crate) const fn coloured() -> Self {
        Self { coloured: true }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// The sign of a state.
    pub(crate) fn sign(self, state: CheckState) -> String {
        match state {
            CheckState::Waiting | CheckState::Queued => self.dim("◌"),
            CheckState::Running => self.cyan("●"),
            CheckState::Passed => self.green("✓"),
            CheckState::Failed => self.red("✗"),
            CheckState::Skipped => self.dim("–"),
            CheckState::Cancelled => self.yellow("■"),
        }
    }
}

/// The word for a state.
pub(crate) fn state_word(state: CheckState) -> &'static str {
    match state {
        CheckState::Waiting => "waiting",
        CheckState::Queued => "queued",
        CheckState::Running => "running",
        CheckState::Passed => "passed",
        CheckState::Failed => "failed",
        CheckState::Skipped => "skipped",
        CheckState::Cancelled => "cancelled",
    }
}
