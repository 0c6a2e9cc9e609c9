//! The command line: one file for each subcommand, with its arguments and what it does.

pub(crate) mod coordinator;
pub(crate) mod deadletter;
pub(crate) mod file;
pub(crate) mod init;
pub(crate) mod project;
pub(crate) mod role_args;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod target;
pub(crate) mod validate;
pub(crate) mod why;
pub(crate) mod worker;
pub(crate) mod workers;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::exit_code::{ExitCode, TABLE};
use crate::failure::Failure;
use crate::render::terminal::Terminal;

/// Runs checks over a graph of dependencies: on this machine, or on a fleet.
///
/// Without a command, the checks of this directory's configuration are run.
#[derive(Debug, Parser)]
#[command(
    name = "visor",
    version,
    about,
    after_help = TABLE,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run checks now and print what came of them
    Run(Box<run::RunArgs>),
    /// Find the mistakes of a configuration without running anything
    #[command(alias = "lint")]
    Validate(validate::ValidateArgs),
    /// Write a configuration that fits this directory
    Init(init::InitArgs),
    /// Serve one machine: coordinator, worker slots and HTTP API in one process
    Serve(role_args::RoleArgs),
    /// Coordinate a fleet over NATS
    Coordinator(role_args::RoleArgs),
    /// Work for a fleet over NATS
    Worker(worker::WorkerArgs),
    /// Show the fleet in short
    Status(status::StatusArgs),
    /// List runs, show one, read its output, or cancel it
    Runs(runs::RunsArgs),
    /// List workers, or have one finish and stop
    Workers(workers::WorkersArgs),
    /// Say what a job waits for, or why it ended as it did
    Why(why::WhyArgs),
    /// Show the jobs that were given up on
    Deadletter(deadletter::DeadletterArgs),
}

/// What a command needs of its surroundings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    /// The process's streams.
    pub(crate) terminal: Terminal,
}

impl Cli {
    /// What was typed. A mistake ends the process with its explanation.
    pub(crate) fn read() -> Self {
        let matches = Self::described().try_get_matches();
        let read = matches.and_then(|matches| Self::from_arg_matches(&matches));
        read.unwrap_or_else(|mut error| {
            // By itself it would show flags that come from the environment as if they were needed.
            if error.kind() == ErrorKind::MissingRequiredArgument {
                let usage = usage_of(Self::described(), std::env::args().skip(1));
                error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
            }
            error.exit()
        })
    }

    /// The commands with their help.
    fn described() -> clap::Command {
        let roles = [
            ("serve", role_args::Role::Serve),
            ("coordinator", role_args::Role::Coordinator),
            ("worker", role_args::Role::Worker),
        ];
        roles.into_iter().fold(Self::command(), |command, (name, role)| {
            command.mut_subcommand(name, |command| role.explain(command))
        })
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// When it cannot be done; the failure says why, and what to do.
    pub(crate) fn execute(self, context: Context) -> Result<ExitCode, Failure> {
        match self.command {
            None => self.run.execute(context),
            Some(Command::Run(args)) => args.execute(context),
            Some(Command::Validate(args)) => args.execute(context),
            Some(Command::Init(args)) => args.execute(context),
            Some(Command::Serve(args)) => serve::execute(args, context),
            Some(Command::Coordinator(args)) => coordinator::execute(args, context),
            Some(Command::Worker(args)) => args.execute(context),
            Some(Command::Status(args)) => args.execute(context),
            Some(Command::Runs(args)) => args.execute(context),
            Some(Command::Workers(args)) => args.execute(context),
            Some(Command::Why(args)) => args.execute(context),
            Some(Command::Deadletter(args)) => args.execute(context),
        }
    }
}

/// The usage of the command that these words name.
fn usage_of(mut command: clap::Command, words: impl Iterator<Item = String>) -> StyledStr {
    command.build();
    let mut named = &mut command;
    for word in words {
        if named.find_subcommand(&word).is_some() {
            named = named.find_subcommand_mut(&word).expect("it was found");
        }
    }
    named.render_usage()
}

/// Tells an operator what was said in vain, so that nobody believes it in force.
fn say_without_meaning(args: &role_args::RoleArgs, role: role_args::Role, context: Context) {
    let mark = context.terminal.err.yellow("!");
    for line in args.without_meaning(role) {
        crate::render::terminal::eprint(&format!("  {mark} {line}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::described().debug_assert();
    }

    #[test]
    fn a_usage_is_that_of_the_command_that_was_typed() {
        let words = ["runs", "show"].map(str::to_owned).into_iter();
        let usage = usage_of(Cli::described(), words).to_string();
        assert_eq!(usage, "Usage: visor runs show [OPTIONS] <RUN>");
    }

    #[test]
    fn flags_without_a_command_are_those_of_run() {
        let cli =
            Cli::try_parse_from(["visor", "--config", "a.yaml", "-c", "all", "--tags", "x,y"]);
        let cli = cli.unwrap();
        assert!(cli.command.is_none());
        insta::assert_debug_snapshot!(cli.run.selection());
    }
}
