//! The provider.

use std::time::Duration;

use async_trait::async_trait;
use visor_protocol::Job;
use visor_protocol::job::Work;
use visor_protocol::worker::Ticket;

use crate::place::{Place, ShellCommand, Stop};
use crate::provider::{Finished, Provider};
use crate::recorder::Recorder;

/// No timer is set further ahead than this; a longer timeout is as good as none.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Runs shell command lines.
#[derive(Debug, Clone, Copy)]
pub struct CommandProvider;

#[async_trait]
impl Provider for CommandProvider {
    fn kind(&self) -> &'static str {
        "command"
    }

    async fn run(
        &self,
        job: &Job,
        place: &dyn Place,
        mut recorder: Recorder,
        stop: &Stop,
    ) -> Finished {
        let exec = match &job.work {
            Work::Command { exec } => exec,
            Work::Noop | Work::Log { .. } => {
                return Finished::fault(
                    "visor::worker::wrong_provider",
                    format!("the `command` provider was given `{}` work", job.work.kind()),
                    false,
                );
            }
        };
        let command = ShellCommand {
            ticket: Ticket { job: job.job, attempt: job.attempt },
            exec,
            env: &job.env,
            timeout: Duration::from_millis(job.timeout_ms).min(LONGEST),
        };
        let ran = place.run(command, &mut recorder, stop).await;
        Finished::ran(ran, recorder)
    }
}
