//! From a planned check to the job a worker is handed.

use std::sync::Arc;

use visor_engine::{CheckIndex, Plan};
use visor_protocol::api::Submission;
use visor_protocol::ids::{JobId, PoolName, Shard};
use visor_protocol::job::Job;
use visor_protocol::worker::Ticket;

/// Bytes of each output stream that a worker keeps.
const OUTPUT_LIMIT: u64 = 4 * 1024 * 1024;

/// What a check's jobs are made from.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) submission: Arc<Submission>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) check: CheckIndex,
    pub(crate) job: JobId,
    pub(crate) pool: PoolName,
    pub(crate) shard: Shard,
}

impl Source {
    pub(super) fn name(&self) -> &str {
        self.planned().name.as_str()
    }

    pub(super) fn planned(&self) -> &visor_engine::PlannedCheck {
        &self.plan.checks()[self.check.0 as usize]
    }

    pub(super) fn render(&self, ticket: Ticket) -> Job {
        let planned = self.planned();
        Job {
            job: ticket.job,
            attempt: ticket.attempt,
            shard: self.shard,
            check: planned.name.clone(),
            channel: self.submission.channel.clone(),
            pool: self.pool.clone(),
            work: planned.work.clone(),
            env: planned.env.clone(),
            timeout_ms: planned.timeout_ms,
            placement: planned.placement.clone(),
            workspace: self.submission.workspace.clone(),
            output_limit: OUTPUT_LIMIT,
            watched: self.submission.watched,
        }
    }
}
