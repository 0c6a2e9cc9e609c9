//! The provider.

use async_trait::async_trait;
use visor_protocol::Job;
use visor_protocol::job::Work;
use visor_protocol::outcome::End;

use crate::place::{Place, Stop};
use crate::provider::{Finished, Provider};
use crate::recorder::{Recorder, Stream};

/// Writes the message.
#[derive(Debug, Clone, Copy)]
pub struct LogProvider;

#[async_trait]
impl Provider for LogProvider {
    fn kind(&self) -> &'static str {
        "log"
    }

    fn at_once(&self, job: &Job, recorder: &mut Recorder) -> Option<End> {
        match &job.work {
            Work::Log { message, .. } => {
                recorder.push(Stream::Stdout, message.as_bytes());
                Some(End::Exited { code: 0 })
            }
            Work::Noop | Work::Command { .. } => None,
        }
    }

    async fn run(&self, job: &Job, _: &dyn Place, _: Recorder, _: &Stop) -> Finished {
        Finished::fault(
            "visor::worker::wrong_provider",
            format!("the `log` provider was given `{}` work", job.work.kind()),
            false,
        )
    }
}
