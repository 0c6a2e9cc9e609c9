//! What others may ask of the fleet.

use std::time::Duration;

use ractor::{ActorRef, rpc::CallResult};
use visor_protocol::api::WorkerInfo;
use visor_protocol::ids::WorkerId;
use visor_protocol::time::Timestamp;
use visor_protocol::worker::{Control, Report, Ticket};

use super::actor::Msg;

const PATIENCE: Duration = Duration::from_secs(5);

/// The fleet. Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    actor: ActorRef<Msg>,
}

impl Fleet {
    pub(super) fn new(actor: ActorRef<Msg>) -> Self {
        Self { actor }
    }

    /// A worker said something.
    pub(crate) fn report(&self, report: Report) {
        let _ = self.actor.cast(Msg::Report(report));
    }

    /// The outcomes of these have arrived: from whom, and how long the work ran.
    pub(crate) fn finished(&self, outcomes: Vec<(Ticket, WorkerId, Duration)>) {
        let _ = self.actor.cast(Msg::Finished(outcomes));
    }

    /// The journal says that this worker held the attempt before the coordinator started.
    pub(crate) fn restore(&self, worker: WorkerId, ticket: Ticket) {
        let _ = self.actor.cast(Msg::Restore { worker, ticket });
    }

    /// The attempt is no longer wanted.
    pub(crate) fn forget(&self, ticket: Ticket) {
        let _ = self.actor.cast(Msg::Forget(ticket));
    }

    /// Tells a worker to stop attempts.
    pub(crate) fn cancel(&self, worker: WorkerId, tickets: Vec<Ticket>, why: &'static str) {
        let control = Control::Cancel { tickets, reason: why.to_owned() };
        let _ = self.actor.cast(Msg::Order { worker, control });
    }

    /// Tells a worker to drain. Says how many attempts it holds; `None` when there is no such
    /// worker.
    pub async fn drain(&self, worker: WorkerId) -> Option<u32> {
        match self.actor.call(|reply| Msg::Drain { worker, reply }, Some(PATIENCE)).await {
            Ok(CallResult::Success(holds)) => holds,
            Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => None,
        }
    }

    /// The workers; empty when the fleet does not answer.
    pub async fn workers(&self) -> Vec<WorkerInfo> {
        match self.actor.call(Msg::Workers, Some(PATIENCE)).await {
            Ok(CallResult::Success(workers)) => workers,
            Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => Vec::new(),
        }
    }

    /// Who holds an attempt, and when it was last heard of.
    pub async fn holder(&self, ticket: Ticket) -> Option<(WorkerId, Timestamp)> {
        match self.actor.call(|reply| Msg::Holder(ticket, reply), Some(PATIENCE)).await {
            Ok(CallResult::Success(holder)) => holder,
            Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => None,
        }
    }
}
