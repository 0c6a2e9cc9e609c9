//! All channels: opens one for the first run of a tenant or repository, and takes up open runs
//! from the journal at a start.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use visor_engine::Plan;
use visor_protocol::api::Submission;
use visor_protocol::event::Recorded;
use visor_protocol::ids::ChannelId;

use super::branch;
use super::one::{self, ChannelActor};
use crate::services::Services;

/// What others say.
pub(crate) enum Msg {
    /// Open a run.
    Open { submission: Arc<Submission>, plan: Arc<Plan>, reply: branch::Accepted },
    /// Take up a run from its journal.
    Restore { submission: Arc<Submission>, plan: Arc<Plan>, history: Vec<Recorded> },
    /// A channel has had no run for a while; it was told of so many.
    Idle { channel: ChannelId, actor: ActorId, told: u64 },
}

/// The actor above all channels.
pub(crate) struct ChannelsActor;

pub(crate) struct State {
    services: Arc<Services>,
    channels: HashMap<ChannelId, Known>,
    id_of: HashMap<ActorId, ChannelId>,
}

struct Known {
    actor: ActorRef<one::Msg>,
    /// Runs it was told of by us, the only ones to tell it of any.
    told: u64,
}

impl Actor for ChannelsActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Arc<Services>;

    async fn pre_start(
        &self,
        _: ActorRef<Msg>,
        services: Arc<Services>,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State { services, channels: HashMap::new(), id_of: HashMap::new() })
    }

    async fn handle(
        &self,
        me: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Open { submission, plan, reply } => {
                let channel = state.channel(&me, &submission.channel)?;
                let _ = channel.cast(one::Msg::Open { submission, plan, reply });
            }
            Msg::Restore { submission, plan, history } => {
                let channel = state.channel(&me, &submission.channel)?;
                let _ = channel.cast(one::Msg::Restore { submission, plan, history });
            }
            // If it was told of another run meanwhile, that one is on its way to it.
            Msg::Idle { channel, actor, told } => {
                let still = |known: &Known| known.actor.get_id() == actor && known.told == told;
                if state.channels.get(&channel).is_some_and(still)
                    && let Some(known) = state.channels.remove(&channel)
                {
                    state.id_of.remove(&actor);
                    state.count();
                    known.actor.stop(None);
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                if let Some(id) = state.id_of.remove(&cell.get_id()) {
                    state.channels.remove(&id);
                    state.count();
                    // Its branches stopped with it: take their runs up from the journal.
                    tracing::error!(channel = %id, %error, "a channel fell over");
                    state.services.recover.notify_one();
                }
            }
            SupervisionEvent::ActorTerminated(cell, ..) => {
                if let Some(id) = state.id_of.remove(&cell.get_id()) {
                    state.channels.remove(&id);
                    state.count();
                }
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl State {
    fn count(&self) {
        self.services.gauges.channels.store(self.channels.len() as u64, Ordering::Relaxed);
    }

    /// The actor of a channel, which is about to be told of a run.
    fn channel(
        &mut self,
        me: &ActorRef<Msg>,
        id: &ChannelId,
    ) -> Result<ActorRef<one::Msg>, ActorProcessingErr> {
        if let Some(known) = self.channels.get_mut(id) {
            known.told += 1;
            return Ok(known.actor.clone());
        }
        let arguments = (id.clone(), me.clone(), Arc::clone(&self.services));
        let (channel, _) = ractor::ActorRuntime::spawn_linked_instant(
            None,
            ChannelActor,
            arguments,
            me.get_cell(),
        )?;
        self.channels.insert(id.clone(), Known { actor: channel.clone(), told: 1 });
        self.id_of.insert(channel.get_id(), id.clone());
        self.count();
        Ok(channel)
    }
}
