//! `visor workers`

use clap::{Args, Subcommand};
use visor_protocol::api::{Request, Response};
use visor_protocol::ids::WorkerId;

use super::Context;
use super::target::{Target, now};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::{lists, text};

/// Arguments of `visor workers`.
#[derive(Debug, Args)]
pub(crate) struct WorkersArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// All workers (also without a word)
    List,
    /// Have a worker finish what it holds and stop
    Drain {
        /// The worker's id
        worker: WorkerId,
    },
}

impl WorkersArgs {
    pub(super) fn execute(self, context: Context) -> Result<ExitCode, Failure> {
        match self.action.unwrap_or(Action::List) {
            Action::List => {
                let workers = self.target.with(async |fleet| {
                    let expect = |answer| match answer {
                        Response::Workers(workers) => Some(workers),
                        _ => None,
                    };
                    fleet.ask(Request::Workers, expect).await
                })?;
                self.target.print(&workers, |workers| {
                    lists::workers(workers, now(context), context.terminal.out)
                })
            }
            Action::Drain { worker } => {
                let (worker, holds) = self.target.with(async |fleet| {
                    let expect = |answer| match answer {
                        Response::Draining { worker, holds } => Some((worker, holds)),
                        _ => None,
                    };
                    fleet.ask(Request::Drain { worker }, expect).await
                })?;
                let answer = serde_json::json!({ "worker": worker, "holds": holds });
                self.target.print(&answer, |_| {
                    let holds = text::count(holds, "job");
                    format!(
                        "worker {worker} takes nothing new, finishes {holds} and stops; \
                         `visor worker --id {worker}` starts it again\n"
                    )
                })
            }
        }
    }
}
