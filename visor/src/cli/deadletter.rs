//! `visor deadletter`

use clap::{Args, Subcommand};
use visor_protocol::api::{Request, Response};

use super::Context;
use super::target::{Target, now};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::lists;

/// Arguments of `visor deadletter`.
#[derive(Debug, Args)]
pub(crate) struct DeadletterArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// All of them, with their history (also without a word)
    List,
}

impl DeadletterArgs {
    pub(super) fn execute(self, context: Context) -> Result<ExitCode, Failure> {
        let Action::List = self.action.unwrap_or(Action::List);
        let letters = self.target.with(async |fleet| {
            let expect = |answer| match answer {
                Response::DeadLetters(letters) => Some(letters),
                _ => None,
            };
            fleet.ask(Request::DeadLetters, expect).await
        })?;
        self.target.print(&letters, |letters| {
            lists::dead_letters(letters, now(context), context.terminal.out)
        })
    }
}
