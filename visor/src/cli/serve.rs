//! `visor serve`

use super::Context;
use super::role_args::{Role, RoleArgs};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::roles::serve;
use crate::{logging, runtime};

pub(super) fn execute(args: RoleArgs, context: Context) -> Result<ExitCode, Failure> {
    let _logging = logging::for_service("visor-serve", args.log_format, context.terminal.err)?;
    super::say_without_meaning(&args, Role::Serve, context);
    runtime::service()?.block_on(serve::run(args, context.terminal.err))
}
