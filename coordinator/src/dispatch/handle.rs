//! What others may ask of the dispatcher.
//!
//! Its mailbox needs no bound of its own: each open job sends a bounded number of messages, and
//! open jobs are bounded by open runs and their parallelism.

use std::time::Duration;

use ractor::{ActorRef, rpc::CallResult};
use visor_protocol::api::{LimitStatus, PoolStatus};
use visor_protocol::ids::JobId;
use visor_protocol::time::Timestamp;
use visor_protocol::worker::Ticket;

use super::actor::Msg;
use super::core::{PoolCapacity, WaitInfo, Waiting};
use crate::channel::check;

/// Asking the dispatcher waits this long at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// The dispatcher. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    actor: ActorRef<Msg>,
}

/// The dispatcher in short.
#[derive(Debug, Clone, Default)]
pub struct DispatchStatus {
    /// The pools.
    pub pools: Vec<PoolStatus>,
    /// Limits that hold somebody back.
    pub limits: Vec<LimitStatus>,
    /// Since when the job waits that has waited longest.
    pub oldest: Option<Timestamp>,
}

impl Dispatcher {
    pub(super) fn new(actor: ActorRef<Msg>) -> Self {
        Self { actor }
    }

    /// A job wants a slot; `check` is told when it has one.
    pub(crate) fn submit(&self, waiting: Waiting, check: ActorRef<check::Msg>) {
        let _ = self.actor.cast(Msg::Submit { waiting, check, held: false });
    }

    /// A worker has the job already.
    pub(crate) fn adopt(&self, waiting: Waiting, check: ActorRef<check::Msg>) {
        let _ = self.actor.cast(Msg::Submit { waiting, check, held: true });
    }

    /// Nobody wants the job any more.
    pub(crate) fn withdraw(&self, ticket: Ticket) {
        let _ = self.actor.cast(Msg::Withdraw(ticket));
    }

    /// Workers have taken these.
    pub(crate) fn claimed(&self, tickets: Vec<Ticket>) {
        let _ = self.actor.cast(Msg::Claimed(tickets));
    }

    /// These are over.
    pub(crate) fn released(&self, tickets: Vec<(Ticket, Option<Duration>)>) {
        let _ = self.actor.cast(Msg::Released(tickets));
    }

    /// The slots of the pools have changed.
    pub(crate) fn capacity(&self, pools: Vec<PoolCapacity>) {
        let _ = self.actor.cast(Msg::Capacity(pools));
    }

    /// Where a job stands that no worker has yet.
    pub async fn explain(&self, job: JobId) -> Option<WaitInfo> {
        match self.actor.call(|reply| Msg::Explain(job, reply), Some(PATIENCE)).await {
            Ok(CallResult::Success(info)) => info,
            Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => None,
        }
    }

    /// The dispatcher in short; empty when it does not answer.
    pub async fn status(&self) -> DispatchStatus {
        match self.actor.call(Msg::Status, Some(PATIENCE)).await {
            Ok(CallResult::Success(status)) => status,
            Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => DispatchStatus::default(),
        }
    }
}
