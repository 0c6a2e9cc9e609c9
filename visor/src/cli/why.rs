//! `visor why`

use clap::Args;
use visor_protocol::api::{Request, Response};
use visor_protocol::ids::JobId;

use super::Context;
use super::target::Target;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::why;

/// Arguments of `visor why`.
#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// RUN, RUN/CHECK (a run's id or the end of it), or a job's id
    #[arg(value_name = "JOB")]
    job: String,
    #[command(flatten)]
    target: Target,
}

impl WhyArgs {
    pub(super) fn execute(self, context: Context) -> Result<ExitCode, Failure> {
        let job = self.job;
        let reasons = self.target.with(async |fleet| {
            let (run, check) = match job.parse::<JobId>() {
                // A job's check is known to its run.
                Ok(job) => {
                    let expect = |answer| match answer {
                        Response::Run(report) => Some(report),
                        _ => None,
                    };
                    let request = Request::Run { run: job.run.to_string() };
                    let report = fleet.ask(request, expect).await?;
                    let check = report.checks.iter().find(|check| check.job == Some(job));
                    let check = check.ok_or_else(|| unknown_job(job))?;
                    (job.run.to_string(), Some(check.name.to_string()))
                }
                Err(_) => split(&job),
            };
            let expect = |answer| match answer {
                Response::Why(reasons) => Some(reasons),
                _ => None,
            };
            fleet.ask(Request::Why { run, check }, expect).await
        })?;
        self.target.print(&reasons, |reasons| why::render(reasons, context.terminal.out))
    }
}

fn unknown_job(job: JobId) -> Failure {
    Failure::usage("visor::cli::unknown_job", format!("run {} has no job {}", job.run, job.seq))
        .help(format!(
            "`visor why {}` explains every check of it that is not over",
            job.run.short()
        ))
}

/// `3k9f/check` or `3k9f`.
fn split(text: &str) -> (String, Option<String>) {
    match text.split_once('/') {
        Some((run, check)) => (run.to_owned(), Some(check.to_owned())),
        None => (text.to_owned(), None),
    }
}
