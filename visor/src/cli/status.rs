//! `visor status`

use clap::Args;
use visor_protocol::api::{Request, Response};

use super::Context;
use super::target::{Target, now};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::status;

/// Arguments of `visor status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    target: Target,
    /// Also what is always so here, for example what an old NATS server lacks
    #[arg(long, short)]
    verbose: bool,
}

impl StatusArgs {
    pub(super) fn execute(self, context: Context) -> Result<ExitCode, Failure> {
        let answer = self.target.with(async |fleet| {
            let expect = |answer| match answer {
                Response::Status(status) => Some(status),
                _ => None,
            };
            fleet.ask(Request::Status, expect).await
        })?;
        self.target.print(&answer, |answer| {
            status::render(answer, now(context), self.verbose, context.terminal.out)
        })
    }
}
