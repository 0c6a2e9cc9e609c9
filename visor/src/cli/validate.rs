//! `visor validate`

use std::path::PathBuf;

use clap::Args;
use visor_engine::config::{self, Config};
use visor_engine::diagnostic::Diagnostics;

use super::target::print;
use super::{Context, project};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::{json, placement, terminal, text};

/// Arguments of `visor validate`.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The configuration; `-` reads standard input [default: visor.yaml or .visor.yaml of the repository or this directory]
    #[arg(long, value_name = "FILE", env = "VISOR_CONFIG_PATH")]
    config: Option<PathBuf>,
    /// Print the mistakes as JSON
    #[arg(long)]
    json: bool,
}

impl ValidateArgs {
    pub(super) fn execute(self, context: Context) -> Result<ExitCode, Failure> {
        let source = project::read(self.config.as_deref())?;
        let (config, mistakes) = match config::load(&source) {
            Ok(loaded) => (Some(loaded.config), loaded.warnings),
            Err(mistakes) => (None, mistakes),
        };
        if self.json {
            print(&json::pretty(&as_json(&mistakes, config.as_deref())))?;
        } else {
            if !mistakes.is_empty() {
                terminal::eprint(&project::shown(&mistakes, context.terminal.err));
            }
            match &config {
                Some(config) => {
                    let checks = text::count(config.checks.len() as u64, "check");
                    let warnings = match mistakes.is_empty() {
                        true => String::new(),
                        false => format!(", {}", mistakes.summary()),
                    };
                    let name = text::clean_line(&source.name);
                    let sign = context.terminal.out.green("✓");
                    let table = placement::table(config, context.terminal.out);
                    print(&format!("{sign} {name}: {checks}{warnings}\n{table}"))?;
                }
                None => {
                    terminal::eprint(&format!("{}. Nothing was run.\n", mistakes.summary()));
                }
            }
        }
        Ok(if config.is_some() { ExitCode::Passed } else { ExitCode::Usage })
    }
}

fn as_json(mistakes: &Diagnostics, config: Option<&Config>) -> serde_json::Value {
    let each = mistakes.iter().map(|mistake| {
        let place = mistakes.place(mistake);
        let labels = mistake.labels.iter().map(|label| {
            let place = mistakes.place_of(label);
            serde_json::json!({
                "line": place.map(|(line, _)| line),
                "column": place.map(|(_, column)| column),
                "text": label.text,
            })
        });
        serde_json::json!({
            "code": mistake.code,
            "level": mistake.level,
            "message": mistake.message,
            "file": mistakes.source().name,
            "line": place.map(|(line, _)| line),
            "column": place.map(|(_, column)| column),
            "help": mistake.help,
            "labels": labels.collect::<Vec<_>>(),
        })
    });
    serde_json::json!({
        "valid": config.is_some(),
        "errors": mistakes.errors(),
        "warnings": mistakes.warnings(),
        "diagnostics": each.collect::<Vec<_>>(),
        "checks": config.map_or_else(|| serde_json::json!([]), placement::list),
    })
}
