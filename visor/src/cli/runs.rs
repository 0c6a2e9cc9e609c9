//! `visor runs`

use clap::{Args, Subcommand, ValueEnum};
use visor_protocol::api::{Logs, Request, Response};
use visor_protocol::ids::ChannelId;
use visor_protocol::result::{CheckReport, CheckState, RunReport, RunState};

use super::Context;
use super::target::{Target, now};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::{lists, summary, terminal, text};

/// Arguments of `visor runs`.
#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The latest runs, newest first (also without a word)
    List(ListArgs),
    /// One run with its checks
    Show {
        /// The run's id, or the end of it
        run: String,
        /// Only this check
        #[arg(long, short, value_name = "NAME")]
        check: Option<String>,
    },
    /// What a check wrote
    Logs {
        /// The run's id, or the end of it
        run: String,
        /// The check
        check: String,
    },
    /// Stop a run
    Cancel {
        /// The run's id, or the end of it
        run: String,
        /// Why, for whoever wonders later
        #[arg(long, value_name = "TEXT", default_value = "cancelled from the command line")]
        reason: String,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// How many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    limit: u32,
    /// Only runs that stand so
    #[arg(long, value_name = "STATE")]
    state: Option<State>,
    /// Only runs of this channel
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<ChannelId>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Running,
    Passed,
    Failed,
    Cancelled,
}

impl From<State> for RunState {
    fn from(state: State) -> Self {
        match state {
            State::Running => Self::Running,
            State::Passed => Self::Passed,
            State::Failed => Self::Failed,
            State::Cancelled => Self::Cancelled,
        }
    }
}

impl RunsArgs {
    pub(super) fn execute(self, context: Context) -> Result<ExitCode, Failure> {
        let target = self.target;
        let list = ListArgs { limit: 20, state: None, channel: None };
        match self.action.unwrap_or(Action::List(list)) {
            Action::List(args) => list_runs(&target, args, context),
            Action::Show { run, check } => show(&target, run, check.as_deref(), context),
            Action::Logs { run, check } => logs(&target, &run, &check),
            Action::Cancel { run, reason } => cancel(&target, run, reason),
        }
    }
}

fn list_runs(target: &Target, args: ListArgs, context: Context) -> Result<ExitCode, Failure> {
    let request = Request::Runs {
        limit: args.limit,
        state: args.state.map(Into::into),
        channel: args.channel,
    };
    let runs = target.with(async |fleet| {
        let expect = |answer| match answer {
            Response::Runs(runs) => Some(runs),
            _ => None,
        };
        fleet.ask(request, expect).await
    })?;
    target.print(&runs, |runs| lists::runs(runs, now(context), context.terminal.out))
}

fn show(
    target: &Target,
    run: String,
    check: Option<&str>,
    context: Context,
) -> Result<ExitCode, Failure> {
    let mut report = target.with(async |fleet| {
        let expect = |answer| match answer {
            Response::Run(report) => Some(*report),
            _ => None,
        };
        fleet.ask(Request::Run { run: run.clone() }, expect).await
    })?;
    if let Some(name) = check {
        report.checks.retain(|check| check.name.as_str() == name);
        if report.checks.is_empty() {
            let what = format!("run {run} has no check `{name}`");
            return Err(Failure::usage("visor::cli::unknown_check", what)
                .help(format!("`visor runs show {run}` lists its checks")));
        }
    }
    target.print(&report, |report| run_text(report, target, check.is_some(), context))
}

fn run_text(report: &RunReport, target: &Target, whole: bool, context: Context) -> String {
    let style = context.terminal.out;
    let run = &report.summary;
    let head = format!(
        "{} {}  {} · {} · {}\n\n",
        style.bold(&run.run.to_string()),
        lists::run_state(run.state, style),
        text::clean_line(&run.config),
        text::clean_line(run.channel.as_str()),
        lists::ago(now(context), run.submitted_at),
    );
    let channel = match run.channel.as_str() {
        "local" => String::new(),
        channel => format!(" --channel {}", text::shell_word(channel)),
    };
    let config = super::file::name_again(&run.config);
    let again = format!("visor run --config {config}{}{channel}", target.repeated());
    let body = summary::render(
        report,
        &summary::Options {
            style,
            width: context.terminal.width,
            verbose: whole,
            quiet: false,
            again: &again,
            kept: Some(&target.repeated()),
            places: true,
        },
    );
    head + &body
}

fn logs(target: &Target, run: &str, check: &str) -> Result<ExitCode, Failure> {
    let (logs, state) = target.with(async |fleet| {
        let expect = |answer| match answer {
            Response::Logs(logs) => Some(logs),
            _ => None,
        };
        let question = Request::Logs { run: run.to_owned(), check: check.to_owned() };
        let logs = fleet.ask(question, expect).await?;
        if logs.stdout_total + logs.stderr_total > 0 {
            return Ok((logs, None));
        }
        // Nothing at all is an answer that needs a reason.
        let expect = |answer| match answer {
            Response::Run(report) => Some(report.checks),
            _ => None,
        };
        let checks = fleet.ask(Request::Run { run: run.to_owned() }, expect).await?;
        Ok((logs, checks.into_iter().find(|known| known.name.as_str() == check)))
    })?;
    if let Some(report) = state {
        terminal::eprint(&format!("  {}\n", wrote_nothing(&report)));
    }
    target.print(&logs, logs_text)
}

/// Why there is no output of a check.
fn wrote_nothing(check: &CheckReport) -> String {
    let name = text::clean_line(check.name.as_str());
    let why = summary::why(check).map(|why| format!(": {why}")).unwrap_or_default();
    match check.state {
        CheckState::Waiting | CheckState::Queued => format!("{name} has not begun: it is waiting"),
        CheckState::Running => format!("{name} is running; its output is kept when it is over"),
        CheckState::Skipped => format!("{name} was skipped{why}"),
        CheckState::Passed => format!("{name} passed and wrote nothing"),
        CheckState::Failed => format!("{name} failed and wrote nothing{why}"),
        CheckState::Cancelled => format!("{name} was cancelled and wrote nothing{why}"),
    }
}

/// Both streams as they are known; what was dropped is said.
fn logs_text(logs: &Logs) -> String {
    let mut out = text::clean(&logs.stdout).into_owned();
    let mut separate = |line: &str| {
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        out.push_str(line);
    };
    if !logs.stderr.is_empty() {
        separate(&format!("--- standard error ---\n{}", text::clean(&logs.stderr)));
    }
    let dropped = (logs.stdout_total + logs.stderr_total)
        .saturating_sub((logs.stdout.len() + logs.stderr.len()) as u64);
    // Replaced bytes change the length a little; what was cut is at least a kilobyte.
    if dropped > 1_000 {
        separate(&format!("--- {} more were written and not kept ---\n", text::size(dropped)));
    }
    if !logs.complete && logs.stdout_total + logs.stderr_total > 0 {
        separate("--- the check is not over ---\n");
    }
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

fn cancel(target: &Target, run: String, reason: String) -> Result<ExitCode, Failure> {
    let (run, was_running) = target.with(async |fleet| {
        let expect = |answer| match answer {
            Response::Cancelled { run, was_running } => Some((run, was_running)),
            _ => None,
        };
        fleet.ask(Request::Cancel { run, reason }, expect).await
    })?;
    let answer = serde_json::json!({ "run": run, "was_running": was_running });
    target.print(&answer, |_| match was_running {
        true => format!("run {} is being cancelled; `visor run` starts it anew\n", run.short()),
        false => format!("run {} was over already; nothing changed\n", run.short()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_show_both_streams_and_what_is_missing() {
        let logs = Logs {
            stdout: "one\u{7}".into(),
            stderr: "two".into(),
            stdout_total: 5_000_004,
            stderr_total: 3,
            complete: false,
        };
        insta::assert_snapshot!(logs_text(&logs), @r"
        one␇
        --- standard error ---
        two
        --- 5.0 MB more were written and not kept ---
        --- the check is not over ---
        ");
    }
}
