//! `visor validate`

use std::path::PathBuf;

use clap::Args;
use visor_engine::config;
use visor_engine::diagnostic::Diagnostics;

use super::target::print;
use super::{Context, project};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::{json, terminal, text};

/// Arguments of `visor validate`.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The configuration [default: visor.yaml or .visor.yaml of the repository or this directory]
    #[arg(long, value_name = "FILE", env = "VISOR_CONFIG_PATH")]
    config: Option<PathBuf>,
    /// Print the mistakes as JSON
    #[arg(long)]
    json: bool,
}

impl ValidateArgs {
    pub(super) fn execute(self, context: Context) -> Result<ExitCode, Failure> {
        let source = project::read(self.config.as_deref())?;
        let (checks, mistakes) = match config::load(&source) {
            Ok(loaded) => (Some(loaded.config.checks.len()), loaded.warnings),
            Err(mistakes) => (None, mistakes),
        };
        if self.json {
            print(&json::pretty(&as_json(&mistakes, checks.is_some())))?;
        } else {
            if !mistakes.is_empty() {
                terminal::eprint(&project::shown(&mistakes, context.terminal.err));
            }
            match checks {
                Some(checks) => {
                    let checks = text::count(checks as u64, "check");
                    let warnings = match mistakes.is_empty() {
                        true => String::new(),
                        false => format!(", {}", mistakes.summary()),
                    };
                    let name = text::clean_line(&source.name);
                    let sign = context.terminal.out.green("✓");
                    print(&format!("{sign} {name}: {checks}{warnings}\n"))?;
                }
                None => {
                    terminal::eprint(&format!("{}. Nothing was run.\n", mistakes.summary()));
                }
            }
        }
        Ok(if checks.is_some() { ExitCode::Passed } else { ExitCode::Usage })
    }
}

fn as_json(mistakes: &Diagnostics, valid: bool) -> serde_json::Value {
    let each = mistakes.iter().map(|mistake| {
        let place = mistakes.place(mistake);
        serde_json::json!({
            "code": mistake.code,
            "level": mistake.level,
            "message": mistake.message,
            "file": mistakes.source().name,
            "line": place.map(|(line, _)| line),
            "column": place.map(|(_, column)| column),
            "help": mistake.help,
        })
    });
    serde_json::json!({
        "valid": valid,
        "errors": mistakes.errors(),
        "warnings": mistakes.warnings(),
        "diagnostics": each.collect::<Vec<_>>(),
    })
}
