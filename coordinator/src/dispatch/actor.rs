//! The dispatcher's shell: receives, asks the core, tells checks to go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use visor_protocol::ids::{Attempt, JobId};
use visor_protocol::time::{Clock, Timestamp};
use visor_protocol::worker::Ticket;
use visor_transport::Bus;

use super::core::{Core, Effect, Event, PoolCapacity, WaitInfo, Waiting};
use super::handle::{DispatchStatus, Dispatcher};
use crate::channel::check;
use crate::config::CoordinatorConfig;

/// How often it looks for jobs that nobody took.
const TICK: Duration = Duration::from_millis(250);

pub(super) enum Msg {
    Submit { waiting: Waiting, check: ActorRef<check::Msg>, held: bool },
    Withdraw(Ticket),
    Claimed(Vec<Ticket>),
    Released(Vec<(Ticket, Option<Duration>)>),
    Capacity(Vec<PoolCapacity>),
    Explain(JobId, RpcReplyPort<Option<WaitInfo>>),
    Status(RpcReplyPort<DispatchStatus>),
    Tick,
    Wake(Timestamp),
}

struct DispatchActor;

struct State {
    core: Core,
    /// Who asked for the current attempt of each job. What is said of an earlier attempt, by a
    /// worker that was lost and came back, must not take the way to this one away.
    checks: HashMap<JobId, (Attempt, ActorRef<check::Msg>)>,
    clock: Arc<dyn Clock>,
    bus: Arc<dyn Bus>,
    wake_at: Option<Timestamp>,
}

/// Starts the dispatcher under its supervisor.
pub(crate) async fn start(
    config: &CoordinatorConfig,
    clock: Arc<dyn Clock>,
    bus: Arc<dyn Bus>,
    supervisor: ActorCell,
) -> Result<Dispatcher, SpawnErr> {
    let state = State {
        core: Core::new(&config.fleet.limits, config.lease.unclaimed),
        checks: HashMap::new(),
        clock,
        bus,
        wake_at: None,
    };
    let (actor, _) = Actor::spawn_linked(None, DispatchActor, state, supervisor).await?;
    Ok(Dispatcher::new(actor))
}

impl Actor for DispatchActor {
    type Msg = Msg;
    type State = State;
    type Arguments = State;

    async fn pre_start(
        &self,
        me: ActorRef<Msg>,
        state: State,
    ) -> Result<State, ActorProcessingErr> {
        me.send_interval(TICK, || Msg::Tick);
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let now = state.clock.now();
        let effects = match message {
            Msg::Submit { waiting, check, held } => {
                state.checks.insert(waiting.ticket.job, (waiting.ticket.attempt, check));
                let event = if held { Event::Adopt(waiting) } else { Event::Submit(waiting) };
                state.core.apply(now, event)
            }
            Msg::Withdraw(ticket) => {
                state.forget(ticket);
                state.core.apply(now, Event::Withdraw(ticket))
            }
            Msg::Claimed(tickets) => state.core.apply(now, Event::Claimed(tickets)),
            Msg::Released(tickets) => {
                for (ticket, _) in &tickets {
                    state.forget(*ticket);
                }
                state.core.apply(now, Event::Released(tickets))
            }
            Msg::Capacity(pools) => state.core.apply(now, Event::Capacity(pools)),
            Msg::Tick => {
                let connected = state.bus.is_connected();
                state.core.apply(now, Event::Tick { connected })
            }
            Msg::Wake(at) => {
                if state.wake_at == Some(at) {
                    state.wake_at = None;
                }
                let connected = state.bus.is_connected();
                state.core.apply(now, Event::Tick { connected })
            }
            Msg::Explain(job, reply) => {
                let _ = reply.send(state.core.explain(job));
                return Ok(());
            }
            Msg::Status(reply) => {
                let _ = reply.send(DispatchStatus {
                    pools: state.core.pools(),
                    limits: state.core.limits(),
                    oldest: state.core.oldest(),
                });
                return Ok(());
            }
        };
        for effect in effects {
            state.start(effect);
        }
        state.arm(&me, now);
        Ok(())
    }
}

impl State {
    fn forget(&mut self, ticket: Ticket) {
        if self.checks.get(&ticket.job).is_some_and(|(attempt, _)| *attempt == ticket.attempt) {
            self.checks.remove(&ticket.job);
        }
    }

    fn start(&self, effect: Effect) {
        match effect {
            Effect::Admit(ticket, publication) => {
                if let Some((_, check)) = self.checks.get(&ticket.job) {
                    let attempt = ticket.attempt;
                    let _ = check.cast(check::Msg::Admit { attempt, publication });
                }
            }
        }
    }

    /// Wakes itself when the next held-back job may go.
    fn arm(&mut self, me: &ActorRef<Msg>, now: Timestamp) {
        let Some(at) = self.core.next_wake() else { return };
        if self.wake_at.is_none_or(|armed| at < armed) {
            self.wake_at = Some(at);
            me.send_after(at.since(now), move || Msg::Wake(at));
        }
    }
}
