//! `visor run`, and `visor` without a command.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rand::TryRng as _;
use rand::rngs::SysRng;
use visor_engine::{Loaded, Plan};
use visor_protocol::api::{ConfigSource, Priority, Selection, Submission};
use visor_protocol::ids::{ChannelId, PoolName, RunId};
use visor_protocol::job::{Placement, Workspace};
use visor_protocol::result::{RunReport, RunState};
use visor_protocol::time::{Clock as _, SystemClock};

use super::target::print;
use super::{Context, project};
use crate::client::connect::connect;
use crate::client::follow::{self, Ended, Where};
use crate::client::{Backend, environment, pack};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::progress::model::Model;
use crate::render::progress::screen::{Screen, Volume};
use crate::render::style::Style;
use crate::render::{json, markdown, summary, terminal, text};
use crate::roles::embedded::{Embedded, Options as EmbeddedOptions};
use crate::roles::signals::Interrupts;
use crate::{logging, runtime};

/// Arguments of `visor run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The configuration [default: visor.yaml or .visor.yaml of the repository or this directory]
    #[arg(long, value_name = "FILE", env = "VISOR_CONFIG_PATH")]
    config: Option<PathBuf>,
    /// Only this check and what it depends on; `all` for all; can be given several times
    #[arg(long = "check", short = 'c', value_name = "NAME")]
    checks: Vec<String>,
    /// Also checks with one of these tags (those without tags run anyway)
    #[arg(long, value_name = "TAG,…", value_delimiter = ',')]
    tags: Vec<String>,
    /// No checks with one of these tags
    #[arg(long, value_name = "TAG,…", value_delimiter = ',')]
    exclude_tags: Vec<String>,
    /// What to print
    #[arg(
        long,
        short,
        value_name = "FORMAT",
        env = "VISOR_OUTPUT_FORMAT",
        default_value = "table"
    )]
    output: Output,
    /// Write the result there instead of standard output
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Checks under way at once [default: the file's, else 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_parallelism: Option<u32>,
    /// Stop at the first failure
    #[arg(long)]
    fail_fast: bool,
    /// Only checks that run on this event, for example pr_updated
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// Stop the run after this time: milliseconds, or a number with ms, s, m or h
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    timeout: Option<u64>,
    /// Show nothing but the result
    #[arg(long, short, conflicts_with = "verbose")]
    quiet: bool,
    /// Show every check with its output as it comes
    #[arg(long, short)]
    verbose: bool,
    /// Show what Visor itself is doing
    #[arg(long)]
    debug: bool,
    /// Run on this fleet: nats://HOST:PORT or http://HOST:PORT
    #[arg(long, value_name = "URL", env = "VISOR_FLEET")]
    fleet: Option<String>,
    /// The token for the fleet's HTTP API
    #[arg(long, value_name = "TOKEN", env = "VISOR_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Keep the run's journal there (runs on this machine)
    #[arg(long, value_name = "DIR", env = "VISOR_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// The channel the run belongs to, for example acme/api
    #[arg(long, value_name = "CHANNEL", env = "VISOR_CHANNEL")]
    channel: Option<ChannelId>,
    /// The pool of workers its checks run in (runs on a fleet)
    #[arg(long, value_name = "POOL", env = "VISOR_POOL")]
    pool: Option<PoolName>,
    /// Whom the run goes before
    #[arg(long, value_name = "PRIORITY", default_value = "normal")]
    priority: PriorityArg,
}

/// What is printed of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// Results by group, and nothing else
    Json,
    /// A document for comments and job summaries
    Markdown,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PriorityArg {
    High,
    Normal,
    Low,
}

impl From<PriorityArg> for Priority {
    fn from(priority: PriorityArg) -> Self {
        match priority {
            PriorityArg::High => Self::High,
            PriorityArg::Normal => Self::Normal,
            PriorityArg::Low => Self::Low,
        }
    }
}

/// `1500`, `1500ms`, `30s`, `5m`, `1h`.
fn milliseconds(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        unit => return Err(format!("`{unit}` is not ms, s, m or h")),
    };
    let number: u64 = number.parse().map_err(|_| "a number, for example 30s".to_owned())?;
    match number.checked_mul(factor) {
        Some(0) => Err("no time at all".to_owned()),
        Some(millis) => Ok(millis),
        None => Err("that is more time than there is".to_owned()),
    }
}

impl RunArgs {
    /// Which checks, and how.
    pub(super) fn selection(&self) -> Selection {
        let clean = |tags: &[String]| -> Vec<String> {
            tags.iter().map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect()
        };
        Selection {
            checks: self.checks.clone(),
            tags: clean(&self.tags),
            exclude_tags: clean(&self.exclude_tags),
            // The original's way to say that events do not matter.
            event: self.event.clone().filter(|event| event != "all"),
            max_parallelism: self.max_parallelism,
            fail_fast: self.fail_fast.then_some(true),
        }
    }

    pub(super) fn execute(self, context: Context) -> Result<ExitCode, Failure> {
        let _logging = logging::for_command(self.debug, context.terminal.err)?;
        let source = project::read(self.config.as_deref())?;
        let loaded = project::load(&source, context)?;
        let all = environment::everything();
        let chosen = match self.keeps_journal() {
            true => environment::named_in(&source.text, &all),
            false => environment::Chosen { env: all, withheld: Vec::new() },
        };
        let seen = visor_engine::Context { env: chosen.env.clone(), ..Default::default() };
        let plan = Plan::new(&loaded.config, &self.selection(), &seen)
            .map_err(|mistakes| project::refused(&mistakes, context))?;
        self.check_output_file()?;
        self.warn(&loaded, &plan, &chosen.withheld, context);

        let run = new_run_id()?;
        let submission = self.submission(run, source, chosen.env);
        let ended = match &self.fleet {
            Some(fleet) => {
                runtime::embedded()?.block_on(self.on_fleet(fleet, submission, &plan, context))?
            }
            None => self.here(submission, &plan, context)?,
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

    /// The submission will be written down somewhere that outlives this process.
    fn keeps_journal(&self) -> bool {
        self.fleet.is_some() || self.data_dir.is_some()
    }

    fn volume(&self) -> Volume {
        match (self.quiet, self.verbose) {
            (true, _) => Volume::Quiet,
            (false, true) => Volume::Verbose,
            (false, false) => Volume::Normal,
        }
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
            let excluded = plan.excluded().len() as u64;
            note(format!(
                "nothing is selected: {} left out by tags, event or name",
                text::count(excluded, "check")
            ));
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
        env: std::collections::BTreeMap<String, String>,
    ) -> Submission {
        Submission {
            run,
            channel: self.channel.clone().unwrap_or_else(ChannelId::local),
            config,
            selection: self.selection(),
            revision: visor_protocol::api::Revision::default(),
            workspace: None,
            env,
            priority: self.priority.into(),
            pool: self.pool.clone().filter(|_| self.fleet.is_some()),
            timeout_ms: self.timeout,
            watched: true,
        }
    }

    /// Runs in this process.
    fn here(
        &self,
        mut submission: Submission,
        plan: &Plan,
        context: Context,
    ) -> Result<Ended, Failure> {
        let directory = std::env::current_dir().map_err(|error| {
            Failure::usage("visor::cli::no_directory", "this directory does not exist any more")
                .because(&error)
        })?;
        let path = directory.to_str().ok_or_else(|| {
            let what = format!("the name of this directory, {directory:?}, is not UTF-8");
            Failure::usage("visor::cli::directory_name", what)
        })?;
        submission.workspace = Some(Workspace::Directory { path: path.to_owned() });
        // Output is shown as it comes only with --verbose; otherwise its end is in the report.
        submission.watched = true;
        let sandboxed =
            plan.checks().iter().any(|check| matches!(check.placement, Placement::Sandbox(_)));
        let options = EmbeddedOptions {
            slots: plan.max_parallelism().min(plan.checks().len().max(1)),
            data_dir: self.data_dir.clone(),
            sandboxed,
            processes: plan.checks().iter().any(|check| check.work.is_process()),
        };
        let place = "this machine".to_owned();
        let screen = self.screen(plan, &submission.config.name, &place, false, context);
        let runtime = runtime::embedded()?;
        let ended = runtime.block_on(async {
            // Before anything is started, so that nothing is left when the first signal is early.
            let mut interrupts = listen()?;
            let embedded = Embedded::start(options).await?;
            let backend = embedded.backend();
            let ended = follow::follow(
                backend.as_ref(),
                submission,
                screen,
                &mut interrupts,
                Where::Here,
                self.verbose,
            )
            .await;
            embedded.finish(&ended).await;
            ended
        });
        // Whatever still runs is idle; waiting for its threads would cost more than the run did.
        runtime.shutdown_background();
        ended
    }

    /// Runs on a fleet.
    async fn on_fleet(
        &self,
        fleet: &str,
        mut submission: Submission,
        plan: &Plan,
        context: Context,
    ) -> Result<Ended, Failure> {
        let mut interrupts = listen()?;
        let prepared = async {
            let backend = connect(fleet, self.token.as_deref()).await?;
            submission.workspace = Some(self.upload(backend.as_ref(), context).await?);
            Ok::<_, Failure>((backend, submission))
        };
        let (backend, submission) = tokio::select! {
            prepared = prepared => prepared?,
            // Nothing was submitted: there is nothing to cancel.
            () = interrupts.next() => return Ok(Ended::Interrupted(None)),
        };
        let place = format!("{} · run {}", backend.place(), submission.run.short());
        let mut screen = self.screen(plan, &submission.config.name, &place, true, context);
        let run = submission.run;
        screen.say(&format!("  run {run} on {}", backend.place()), std::time::Duration::ZERO);
        let ended = follow::follow(
            backend.as_ref(),
            submission,
            screen,
            &mut interrupts,
            Where::Fleet,
            self.verbose,
        )
        .await;
        backend.close().await;
        ended
    }

    async fn upload(&self, backend: &dyn Backend, context: Context) -> Result<Workspace, Failure> {
        let directory = std::env::current_dir().map_err(|error| {
            Failure::usage("visor::cli::no_directory", "this directory does not exist any more")
                .because(&error)
        })?;
        let packed = tokio::task::spawn_blocking(move || pack::pack(&directory)).await;
        let packed = packed.map_err(|error| {
            Failure::new(ExitCode::Bug, "visor::pack::failed", "packing the working tree failed")
                .because(&error)
        })??;
        let say = |line: String| {
            if !self.quiet {
                let style = context.terminal.err;
                terminal::eprint(&format!("  {}\n", style.dim(&line)));
            }
        };
        if !packed.left_out.is_empty() {
            let number = packed.left_out.len() as u64;
            say(format!(
                "{} neither file, directory nor link, left out",
                text::count(number, "path")
            ));
        }
        let bytes = packed.bytes.len() as u64;
        let place = backend.place().to_owned();
        let hash = {
            let bytes = packed.bytes.clone();
            tokio::task::spawn_blocking(move || visor_protocol::ContentHash::of(&bytes))
                .await
                .map_err(|error| {
                    let what = "reading the packed tree failed";
                    Failure::new(ExitCode::Bug, "visor::pack::failed", what).because(&error)
                })?
        };
        let there = backend.has_blob(hash).await.map_err(|error| error.into_failure(&place))?;
        if !there {
            let entries = text::count(packed.entries as u64, "path");
            say(format!("sending {entries}, {}", text::size(bytes)));
            backend.put_blob(packed.bytes).await.map_err(|error| error.into_failure(&place))?;
        }
        Ok(Workspace::Archive { hash, bytes })
    }

    fn screen(
        &self,
        plan: &Plan,
        config: &str,
        place: &str,
        places: bool,
        context: Context,
    ) -> Screen {
        let number = text::count(plan.checks().len() as u64, "check");
        let at_once = plan.max_parallelism();
        let heading =
            format!("{} · {number} · {place} · {at_once} at once", text::clean_line(config));
        let checks = plan.checks().iter().map(|check| {
            let dependencies = check.dependencies.iter().flatten();
            let names = dependencies.map(|&index| plan.check(index).name.to_string()).collect();
            (check.name.to_string(), names)
        });
        let model = Model::new(heading, places, checks);
        Screen::new(model, self.volume(), context.terminal.live, context.terminal.err)
    }

    /// A result that cannot be written should not cost a whole run.
    fn check_output_file(&self) -> Result<(), Failure> {
        let Some(path) = &self.output_file else { return Ok(()) };
        let opened = fs::OpenOptions::new().create(true).append(true).open(path);
        opened.map(drop).map_err(|error| {
            let what = format!("cannot write the result to `{}`", path.display());
            Failure::usage("visor::cli::output_file", what).because(&error)
        })
    }

    fn show(&self, report: &RunReport, context: Context) -> Result<(), Failure> {
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

    /// This command without its choice of checks.
    fn again(&self) -> String {
        let mut out = "visor run".to_owned();
        let mut flag = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(out, " {name} {}", text::shell_word(&value));
            }
        };
        flag("--config", self.config.as_ref().map(|path| path.display().to_string()));
        let list = |tags: &[String]| (!tags.is_empty()).then(|| tags.join(","));
        flag("--tags", list(&self.tags));
        flag("--exclude-tags", list(&self.exclude_tags));
        flag("--event", self.event.clone());
        flag("--fleet", self.fleet.clone());
        out
    }
}

fn listen() -> Result<Interrupts, Failure> {
    Interrupts::listen().map_err(|error| {
        let what = "cannot listen for signals";
        Failure::new(ExitCode::Unavailable, "visor::start::signals", what).because(&error)
    })
}

fn new_run_id() -> Result<RunId, Failure> {
    let mut bytes = [0; 16];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| {
        let what = "the operating system gives no random numbers";
        Failure::new(ExitCode::Unavailable, "visor::start::random", what).because(&error)
    })?;
    Ok(RunId::new(SystemClock.now(), u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_have_a_unit() {
        assert_eq!(milliseconds("1500"), Ok(1_500));
        assert_eq!(milliseconds("30s"), Ok(30_000));
        assert_eq!(milliseconds("5 m"), Ok(300_000));
        for wrong in ["", "s", "0", "1d", "99999999999999999999", "-1", "1.5s"] {
            assert!(milliseconds(wrong).is_err(), "{wrong:?}");
        }
    }
}
