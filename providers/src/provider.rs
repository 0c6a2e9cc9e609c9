//! What every type of check has in common.

use async_trait::async_trait;
use visor_protocol::Job;
use visor_protocol::outcome::{End, Fault, Usage};

use crate::capture::Output;
use crate::place::{Place, Ran, Stop};
use crate::recorder::Recorder;

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub end: End,
    /// What it wrote to standard output.
    pub stdout: Output,
    /// What it wrote to standard error.
    pub stderr: Output,
    /// What it used.
    pub usage: Usage,
    /// The image it ran in.
    pub image: Option<String>,
}

impl Finished {
    /// An end without output.
    pub fn bare(end: End) -> Self {
        Self {
            end,
            stdout: Output::default(),
            stderr: Output::default(),
            usage: Usage::default(),
            image: None,
        }
    }

    /// It never ran.
    pub fn fault(code: &str, message: impl Into<String>, retry: bool) -> Self {
        Self::bare(End::Infrastructure(Fault { code: code.into(), message: message.into(), retry }))
    }

    /// A program ran and this is what was recorded of it.
    pub fn ran(ran: Ran, recorder: Recorder) -> Self {
        let (stdout, stderr) = recorder.finish();
        Self { end: ran.end, stdout, stderr, usage: ran.usage, image: ran.image }
    }
}

/// One type of check.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Its name, as [`Work::kind`](visor_protocol::job::Work::kind) has it.
    fn kind(&self) -> &'static str;

    /// Does work that takes no time and runs no program. `None` when this is not such work; it
    /// then goes to [`Provider::run`].
    fn at_once(&self, job: &Job, recorder: &mut Recorder) -> Option<End> {
        let _ = (job, recorder);
        None
    }

    /// Does the work. Ends soon after `stop` says so.
    async fn run(&self, job: &Job, place: &dyn Place, recorder: Recorder, stop: &Stop) -> Finished;
}
