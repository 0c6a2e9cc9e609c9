//! What the process's exit status says. Scripts rely on these numbers; they do not change.

/// The exit status of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitCode {
    /// The command did what it was asked; every check passed.
    Passed,
    /// A check failed or reported a critical issue, or the run was cancelled by somebody else.
    Failed,
    /// The configuration or the command line is wrong, or names something that does not exist.
    Usage,
    /// The fleet cannot be reached or does not accept work now; the same command may succeed later.
    Unavailable,
    /// A fault of Visor itself.
    Bug,
    /// Interrupted by Ctrl-C or a termination signal.
    Interrupted,
}

/// The table that `visor --help` ends with.
pub(crate) const TABLE: &str = "\
Exit codes:
    0  every check passed
    1  a check failed or reported a critical issue
    2  the configuration or the command line is wrong
    3  the fleet cannot be reached or does not accept work now
   70  a fault of Visor itself
  130  interrupted";

impl ExitCode {
    /// The number given to the operating system.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unavailable => 3,
            Self::Bug => 70,
            Self::Interrupted => 130,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lists_every_code() {
        let codes = [
            ExitCode::Passed,
            ExitCode::Failed,
            ExitCode::Usage,
            ExitCode::Unavailable,
            ExitCode::Bug,
            ExitCode::Interrupted,
        ];
        for code in codes {
            let number = format!("{:>5}  ", code.number());
            assert!(TABLE.lines().any(|line| line.starts_with(&number)), "{code:?}");
        }
    }
}
