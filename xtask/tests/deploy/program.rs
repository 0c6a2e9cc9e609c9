//! The program that is deployed, and what its help says it knows.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The `visor` that was built along with this test.
pub(crate) fn visor() -> Option<PathBuf> {
    let test = std::env::current_exe().unwrap();
    let built = test.parent()?.parent()?.join("visor");
    built.is_file().then_some(built)
}

/// Flags and variables of one of its commands.
pub(crate) struct Known {
    pub(crate) flags: BTreeSet<String>,
    pub(crate) variables: BTreeSet<String>,
}

impl Known {
    /// What `visor COMMAND --help` lists.
    pub(crate) fn of(command: &str) -> Option<Self> {
        let output = Command::new(visor()?)
            .args([command, "--help"])
            .stdin(Stdio::null())
            .env_clear()
            .output()
            .unwrap();
        assert!(output.status.success(), "visor {command} --help: {}", output.status);
        let help = String::from_utf8(output.stdout).unwrap();
        let words = help.split(|c: char| c.is_whitespace() || "[],=".contains(c));
        let flags = words.clone().filter(|word| word.starts_with("--"));
        let variables = words.filter(|word| word.starts_with("VISOR_"));
        let (flags, variables) =
            (flags.map(str::to_owned).collect(), variables.map(str::to_owned).collect());
        Some(Self { flags, variables })
    }

    /// Refuses a flag or a variable that the command does not have.
    #[track_caller]
    pub(crate) fn check(&self, place: &str, words: &[&str]) {
        for word in words {
            let name = word.split('=').next().unwrap_or(word);
            if name.starts_with("--") {
                assert!(self.flags.contains(name), "{place}: no flag is called {name}");
            }
            if name.starts_with("VISOR_") {
                assert!(self.variables.contains(name), "{place}: nothing reads {name}");
            }
        }
    }
}
