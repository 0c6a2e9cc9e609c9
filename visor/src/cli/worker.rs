//! `visor worker`

use clap::Args;
use visor_protocol::ids::WorkerId;

use super::Context;
use super::role_args::{Role, RoleArgs};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::roles::worker;
use crate::{logging, runtime};

/// Arguments of `visor worker`.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    pub(crate) role: RoleArgs,
    /// Its name in the fleet [default: the host's name with a random ending]
    #[arg(long, value_name = "ID", env = "VISOR_WORKER_ID")]
    pub(crate) id: Option<WorkerId>,
}

impl WorkerArgs {
    pub(super) fn execute(self, context: Context) -> Result<ExitCode, Failure> {
        let style = context.terminal.err;
        let _logging = logging::for_service("visor-worker", self.role.log_format, style)?;
        super::say_without_meaning(&self.role, Role::Worker, context);
        runtime::service()?.block_on(worker::run(self, style))
    }
}
