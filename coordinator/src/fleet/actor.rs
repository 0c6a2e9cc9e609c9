//! The fleet's shell: receives reports, asks the core, tells checks, the dispatcher and workers.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use visor_protocol::Subject;
use visor_protocol::api::WorkerInfo;
use visor_protocol::envelope::Envelope;
use visor_protocol::ids::WorkerId;
use visor_protocol::subject::WorkerTopic;
use visor_protocol::time::{Clock, Timestamp};
use visor_protocol::worker::{Control, Report, Ticket};
use visor_transport::Bus;

use super::core::{Core, Effect, Event};
use super::handle::Fleet;
use crate::channel::check;
use crate::channel::directory::Directory;
use crate::config::CoordinatorConfig;
use crate::dispatch::Dispatcher;

/// Orders to workers on their way at once. An order that finds no room is dropped: whatever it was
/// about is found again by the next heartbeat.
const ORDERS: usize = 4_096;

pub(super) enum Msg {
    Report(Report),
    Finished(Vec<(Ticket, WorkerId, Duration)>),
    Restore { worker: WorkerId, ticket: Ticket },
    Forget(Ticket),
    Order { worker: WorkerId, control: Control },
    Drain { worker: WorkerId, reply: RpcReplyPort<Option<u32>> },
    Workers(RpcReplyPort<Vec<WorkerInfo>>),
    Holder(Ticket, RpcReplyPort<Option<(WorkerId, Timestamp)>>),
    Sweep,
}

struct FleetActor;

pub(super) struct State {
    core: Core,
    clock: Arc<dyn Clock>,
    bus: Arc<dyn Bus>,
    dispatcher: Dispatcher,
    directory: Directory,
    orders: mpsc::Sender<(WorkerId, Control)>,
    sweep: Duration,
}

/// Starts the fleet under its supervisor.
pub(crate) async fn start(
    config: &CoordinatorConfig,
    clock: Arc<dyn Clock>,
    bus: Arc<dyn Bus>,
    dispatcher: Dispatcher,
    directory: Directory,
    tasks: &TaskTracker,
    supervisor: ActorCell,
) -> Result<Fleet, SpawnErr> {
    let (orders, receiver) = mpsc::channel(ORDERS);
    tasks.spawn(send_orders(Arc::clone(&bus), Arc::clone(&clock), receiver));
    let state = State {
        core: Core::new(config.lease.ttl),
        clock,
        bus,
        dispatcher,
        directory,
        orders,
        sweep: config.lease.sweep,
    };
    let (actor, _) = Actor::spawn_linked(None, FleetActor, state, supervisor).await?;
    Ok(Fleet::new(actor))
}

/// One task sends all orders, so that those for one worker keep their order.
async fn send_orders(
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    mut orders: mpsc::Receiver<(WorkerId, Control)>,
) {
    while let Some((worker, control)) = orders.recv().await {
        let subject = Subject::Worker(worker, WorkerTopic::Control);
        match Envelope::new(control, clock.now()).encode() {
            Ok(payload) => {
                if let Err(error) = bus.publish(&subject, payload).await {
                    tracing::warn!(%error, %subject, "order not sent; the next heartbeat repairs it");
                }
            }
            Err(error) => tracing::error!(%error, %subject, "order cannot be encoded"),
        }
    }
}

impl Actor for FleetActor {
    type Msg = Msg;
    type State = State;
    type Arguments = State;

    async fn pre_start(
        &self,
        me: ActorRef<Msg>,
        state: State,
    ) -> Result<State, ActorProcessingErr> {
        me.send_interval(state.sweep, || Msg::Sweep);
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let now = state.clock.now();
        let event = match message {
            Msg::Report(Report::Heartbeat(heartbeat)) => Event::Heartbeat(heartbeat),
            Msg::Report(Report::Claimed { worker, boot, tickets }) => {
                Event::Claimed { worker, boot, tickets }
            }
            Msg::Report(Report::Goodbye { worker, boot }) => Event::Goodbye { worker, boot },
            Msg::Finished(tickets) => Event::Finished(tickets),
            Msg::Restore { worker, ticket } => Event::Restore { worker, ticket },
            Msg::Forget(ticket) => Event::Forget(ticket),
            Msg::Sweep => Event::Sweep { connected: state.bus.is_connected() },
            Msg::Order { worker, control } => {
                state.order(worker, control);
                return Ok(());
            }
            Msg::Drain { worker, reply } => {
                let known = state.core.workers(now).into_iter().find(|info| info.worker == worker);
                if known.is_some() {
                    state.order(worker, Control::Drain);
                }
                let _ = reply.send(known.map(|info| info.busy));
                return Ok(());
            }
            Msg::Workers(reply) => {
                let _ = reply.send(state.core.workers(now));
                return Ok(());
            }
            Msg::Holder(ticket, reply) => {
                let _ = reply.send(state.core.holder(ticket));
                return Ok(());
            }
        };
        let effects = state.core.apply(now, event);
        state.start(effects);
        Ok(())
    }
}

impl State {
    fn start(&mut self, effects: Vec<Effect>) {
        let mut claimed = Vec::new();
        for effect in effects {
            match effect {
                Effect::Started { ticket, worker, at } => {
                    claimed.push(ticket);
                    match self.directory.check(ticket.job) {
                        Some(check) => {
                            let attempt = ticket.attempt;
                            let _ = check.cast(check::Msg::Started { attempt, worker, at });
                        }
                        None => self.unknown(ticket, worker),
                    }
                }
                Effect::Lost { ticket, worker, why } => {
                    tracing::warn!(job = %ticket.job, attempt = %ticket.attempt, %worker, why, "lease lost");
                    if let Some(check) = self.directory.check(ticket.job) {
                        let _ = check.cast(check::Msg::Lost { attempt: ticket.attempt, why });
                    }
                }
                Effect::Resend { worker, tickets } => {
                    self.order(worker, Control::Resend { tickets });
                }
                Effect::Cancel { worker, tickets, why } => {
                    self.order(worker, Control::Cancel { tickets, reason: why.to_owned() });
                }
                Effect::Released(tickets) => self.dispatcher.released(
                    tickets.into_iter().map(|(ticket, ran)| (ticket, Some(ran))).collect(),
                ),
                Effect::Capacity(pools) => self.dispatcher.capacity(pools),
                Effect::Joined(worker) => tracing::info!(%worker, "worker joined"),
                Effect::Gone { worker, why } => tracing::warn!(%worker, why, "worker gone"),
            }
        }
        if !claimed.is_empty() {
            self.dispatcher.claimed(claimed);
        }
    }

    /// A worker runs something that nobody here waits for: an attempt that was settled or given up
    /// meanwhile. A run that is being rebuilt asks for its jobs again, so stopping is safe.
    fn unknown(&mut self, ticket: Ticket, worker: WorkerId) {
        let now = self.clock.now();
        let _ = self.core.apply(now, Event::Forget(ticket));
        // While a run is rebuilt its checks are not there yet, and its jobs must go on.
        if self.directory.is_settling() {
            return;
        }
        let tickets = vec![ticket];
        self.order(worker, Control::Cancel { tickets, reason: "nobody waits for it".into() });
    }

    fn order(&self, worker: WorkerId, control: Control) {
        if let Err(error) = self.orders.try_send((worker, control)) {
            tracing::warn!(%error, "order dropped; the next heartbeat repairs it");
        }
    }
}
