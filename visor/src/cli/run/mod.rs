//! `visor run`, and `visor` without a command.
//!
//! - [`args`]: its flags
//! - this file: from the flags to a submission, and from its end to the exit status
//! - [`nothing`]: which flag helps when nothing is selected
//! - [`place`]: in this process, or on a fleet
//! - [`result`]: what is printed, and where

mod args;
mod nothing;
mod place;
mod result;

use std::collections::BTreeMap;
use std::path::Path;

use rand::TryRng as _;
use rand::rngs::SysRng;
use visor_engine::{Loaded, Plan};
use visor_protocol::api::{ConfigSource, Revision, Submission};
use visor_protocol::ids::{ChannelId, RunId};
use visor_protocol::result::RunState;
use visor_protocol::time::{Clock as _, SystemClock};

pub(crate) use self::args::RunArgs;
use super::{Context, project};
use crate::client::follow::Ended;
use crate::client::{dotenv, environment, revision};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::terminal;
use crate::{logging, runtime};

impl RunArgs {
    pub(in crate::cli) fn execute(self, context: Context) -> Result<ExitCode, Failure> {
        let own = environment::everything();
        let from_file = self.dotenv(context);
        if self.fleet.is_none() {
            dotenv::apply_before_any_thread(&from_file);
        }
        let _logging = logging::for_command(self.debug, context.terminal.err)?;
        let source = project::read(self.config.as_deref())?;
        let loaded = project::load(&source, context)?;
        let mut all = own.clone();
        all.extend(from_file);
        let chosen = match self.keeps_journal() {
            true => environment::named_in(&source.text, &all, &own),
            false => environment::Chosen { env: all, withheld: Vec::new() },
        };
        let seen = visor_engine::Context { env: chosen.env.clone(), ..Default::default() };
        let plan = Plan::new(&loaded.config, &self.selection(), &seen)
            .map_err(|mistakes| project::refused(&mistakes, context))?;
        self.check_output_file()?;
        self.warn(&loaded, &plan, &chosen.withheld, context);

        let run = new_run_id()?;
        let revision = revision_for(&plan, &source.text);
        let submission = self.submission(run, source, revision, chosen.env);
        let ended = match &self.fleet {
            Some(fleet) => {
                runtime::embedded()?.block_on(self.on_fleet(fleet, submission, &plan, context))?
            }
            None => self.here(submission, &loaded.config, &plan, context)?,
        };
        match ended {
            Ended::Finished(report) => {
                self.show(&report, context)?;
                Ok(match report.summary.state {
                    RunState::Passed => ExitCode::Passed,
                    RunState::Failed | RunState::Cancelled | RunState::Running => ExitCode::Failed,
                })
            }
            Ended::Interrupted(report) => {
                if let Some(report) = report {
                    self.show(&report, context)?;
                }
                Ok(ExitCode::Interrupted)
            }
        }
    }

    /// What the `.env` file of this directory says.
    fn dotenv(&self, context: Context) -> BTreeMap<String, String> {
        dotenv::read(Path::new("")).unwrap_or_else(|error| {
            if !self.quiet {
                let mark = context.terminal.err.yellow("!");
                let name = dotenv::NAME;
                terminal::eprint(&format!("  {mark} `{name}` is left out: {error}\n"));
            }
            BTreeMap::new()
        })
    }

    /// The submission will be written down somewhere that outlives this process.
    fn keeps_journal(&self) -> bool {
        self.fleet.is_some() || self.data_dir.is_some()
    }

    /// What is probably not as meant, before anything runs.
    fn warn(&self, loaded: &Loaded, plan: &Plan, withheld: &[String], context: Context) {
        if self.quiet {
            return;
        }
        let style = context.terminal.err;
        if !loaded.warnings.is_empty() {
            terminal::eprint(&project::shown(&loaded.warnings, style));
        }
        let note = |line: String| terminal::eprint(&format!("  {} {line}\n", style.yellow("!")));
        if plan.checks().is_empty() && !plan.excluded().is_empty() {
            note(nothing::said(&loaded.config, plan.excluded()));
        }
        if !withheld.is_empty() {
            note(format!(
                "not sent along, since they look like secrets: {} (VISOR_ALLOW_ENV={} sends them)",
                withheld.join(", "),
                withheld.join(","),
            ));
        }
        if self.fleet.is_none() && self.pool.is_some() && self.verbose {
            note("--pool has no meaning without --fleet: this machine is the only pool".into());
        }
    }

    fn submission(
        &self,
        run: RunId,
        config: ConfigSource,
        revision: Revision,
        env: BTreeMap<String, String>,
    ) -> Submission {
        Submission {
            run,
            channel: self.channel.clone().unwrap_or_else(ChannelId::local),
            config,
            selection: self.selection(),
            revision,
            workspace: None,
            env,
            priority: self.priority.into(),
            pool: self.pool.clone().filter(|_| self.fleet.is_some()),
            timeout_ms: self.timeout,
            watched: true,
        }
    }
}

/// What is checked, as far as an expression may ask for it.
fn revision_for(plan: &Plan, text: &str) -> Revision {
    match std::env::current_dir() {
        Ok(here) if plan.has_expressions() => {
            revision::of(&here, text.contains("filesChanged") || text.contains("filesCount"))
        }
        _ => Revision::default(),
    }
}

fn new_run_id() -> Result<RunId, Failure> {
    let mut bytes = [0; 16];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| {
        let what = "the operating system gives no random numbers";
        Failure::new(ExitCode::Unavailable, "visor::start::random", what).because(&error)
    })?;
    Ok(RunId::new(SystemClock.now(), u128::from_be_bytes(bytes)))
}
