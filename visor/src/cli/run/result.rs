//! The result of a run, where it was asked for.

use std::fs;

use visor_protocol::result::RunReport;

use super::RunArgs;
use super::args::Output;
use crate::cli::Context;
use crate::cli::target::print;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::style::Style;
use crate::render::{json, markdown, summary, terminal, text};

impl RunArgs {
    /// A result that cannot be written should not cost a whole run.
    pub(super) fn check_output_file(&self) -> Result<(), Failure> {
        let Some(path) = &self.output_file else { return Ok(()) };
        let opened = fs::OpenOptions::new().create(true).append(true).open(path);
        opened.map(drop).map_err(|error| {
            let what = format!("cannot write the result to `{}`", path.display());
            Failure::usage("visor::cli::output_file", what).because(&error)
        })
    }

    /// Writes it.
    pub(super) fn show(&self, report: &RunReport, context: Context) -> Result<(), Failure> {
        let to_file = self.output_file.is_some();
        let kept = self.fleet.as_ref().map(|fleet| format!(" --fleet {}", text::shell_word(fleet)));
        let again = self.again();
        let options = summary::Options {
            style: if to_file { Style::plain() } else { context.terminal.out },
            width: context.terminal.width,
            verbose: self.verbose,
            quiet: self.quiet,
            again: &again,
            kept: kept.as_deref(),
            places: self.fleet.is_some(),
        };
        let result = match self.output {
            Output::Table => summary::render(report, &options),
            Output::Json => json::grouped(report),
            Output::Report => json::pretty(report),
            Output::Markdown => markdown::render(report),
        };
        let Some(path) = &self.output_file else { return print(&result) };
        fs::write(path, result).map_err(|error| {
            let what = format!("cannot write the result to `{}`", path.display());
            Failure::new(ExitCode::Failed, "visor::cli::output_file", what).because(&error)
        })?;
        if !self.quiet {
            let checks = text::count(report.summary.counts.total(), "check");
            terminal::eprint(&format!(
                "  {checks}: {}   result in {}\n",
                summary::count_words(report),
                path.display()
            ));
        }
        Ok(())
    }
}
