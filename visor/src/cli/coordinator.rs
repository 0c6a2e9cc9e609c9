//! `visor coordinator`

use super::Context;
use super::role_args::{Role, RoleArgs};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::roles::coordinator;
use crate::{logging, runtime};

pub(super) fn execute(args: RoleArgs, context: Context) -> Result<ExitCode, Failure> {
    let style = context.terminal.err;
    let _logging = logging::for_service("visor-coordinator", args.log_format, style)?;
    super::say_without_meaning(&args, Role::Coordinator, context);
    runtime::service()?.block_on(coordinator::run(args, style))
}
