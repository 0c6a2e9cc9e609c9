//! The provider.

use async_trait::async_trait;
use visor_protocol::Job;
use visor_protocol::outcome::End;

use crate::place::{Place, Stop};
use crate::provider::{Finished, Provider};
use crate::recorder::Recorder;

/// Does nothing, successfully.
#[derive(Debug, Clone, Copy)]
pub struct NoopProvider;

#[async_trait]
impl Provider for NoopProvider {
    fn kind(&self) -> &'static str {
        "noop"
    }

    fn at_once(&self, _job: &Job, _recorder: &mut Recorder) -> Option<End> {
        Some(End::Exited { code: 0 })
    }

    async fn run(&self, _: &Job, _: &dyn Place, _: Recorder, _: &Stop) -> Finished {
        Finished::bare(End::Exited { code: 0 })
    }
}
