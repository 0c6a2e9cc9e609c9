//! All channels: opens one for the first run of a tenant or repository, and takes up open runs
//! from the journal at a start.

use std::collections::HashMap;
use std::sync::Arc;

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
}

/// The actor above all channels.
pub(crate) struct ChannelsActor;

pub(crate) struct State {
    services: Arc<Services>,
    channels: HashMap<ChannelId, ActorRef<one::Msg>>,
    id_of: HashMap<ActorId, ChannelId>,
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
                    // Its branches stopped with it: take their runs up from the journal.
                    tracing::error!(channel = %id, %error, "a channel fell over");
                    state.services.recover.notify_one();
                }
            }
            SupervisionEvent::ActorTerminated(cell, ..) => {
                if let Some(id) = state.id_of.remove(&cell.get_id()) {
                    state.channels.remove(&id);
                }
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl State {
    fn channel(
        &mut self,
        me: &ActorRef<Msg>,
        id: &ChannelId,
    ) -> Result<ActorRef<one::Msg>, ActorProcessingErr> {
        if let Some(channel) = self.channels.get(id) {
            return Ok(channel.clone());
        }
        let arguments = (id.clone(), Arc::clone(&self.services));
        let (channel, _) = ractor::ActorRuntime::spawn_linked_instant(
            None,
            ChannelActor,
            arguments,
            me.get_cell(),
        )?;
        self.channels.insert(id.clone(), channel.clone());
        self.id_of.insert(channel.get_id(), id.clone());
        Ok(channel)
    }
}
