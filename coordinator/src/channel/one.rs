//! A channel: the open runs of one tenant or repository. Rebuilds a run whose branch fell over,
//! without the others noticing. One that has had no run for a while is stopped.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use visor_engine::Plan;
use visor_protocol::api::Submission;
use visor_protocol::event::{Recorded, RunEvent};
use visor_protocol::ids::{ChannelId, RunId};

use super::book::RunBook;
use super::branch::{self, BranchActor, Origin};
use super::channels;
use crate::services::Services;
use crate::store::RunWrite;

/// A branch that falls over this often is given up, and its run reported as failed.
const BRANCH_RESTARTS: u32 = 3;

/// A channel without a run for this long is stopped; the next run opens it again.
const IDLE: Duration = Duration::from_secs(60);

/// What others say to a channel.
pub(crate) enum Msg {
    /// Open a run.
    Open { submission: Arc<Submission>, plan: Arc<Plan>, reply: branch::Accepted },
    /// Take up a run from its journal.
    Restore { submission: Arc<Submission>, plan: Arc<Plan>, history: Vec<Recorded> },
    /// The history of a run whose branch fell over was read.
    Reread { run: RunId, history: Result<Vec<Recorded>, String> },
    /// It is some time since there was no run.
    LookIdle,
}

/// The actor of one channel.
pub(crate) struct ChannelActor;

pub(crate) struct State {
    id: ChannelId,
    channels: ActorRef<channels::Msg>,
    services: Arc<Services>,
    runs: HashMap<RunId, Open>,
    run_of: HashMap<ActorId, RunId>,
    /// Runs that it was told of.
    told: u64,
    /// How many it had been told of when the clock for being idle was set, while it is.
    idle_since: Option<u64>,
}

struct Open {
    submission: Arc<Submission>,
    plan: Arc<Plan>,
    restarts: u32,
    last_error: String,
}

impl Actor for ChannelActor {
    type Msg = Msg;
    type State = State;
    type Arguments = (ChannelId, ActorRef<channels::Msg>, Arc<Services>);

    async fn pre_start(
        &self,
        _: ActorRef<Msg>,
        (id, channels, services): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State {
            id,
            channels,
            services,
            runs: HashMap::new(),
            run_of: HashMap::new(),
            told: 0,
            idle_since: None,
        })
    }

    async fn handle(
        &self,
        me: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Open { submission, plan, reply } => {
                state.told += 1;
                // Two submits of one run may have been under way at once.
                if let Some(open) = state.services.directory.branch(submission.run) {
                    let _ = open.cast(branch::Msg::SubmittedAgain(reply));
                    state.note_idle(&me);
                    return Ok(());
                }
                let run = submission.run;
                let open = Open { submission, plan, restarts: 0, last_error: String::new() };
                state.runs.insert(run, open);
                state.spawn(&me, run, Origin::Submission, Some(reply));
            }
            Msg::Restore { submission, plan, history } => {
                state.told += 1;
                let run = submission.run;
                let open = Open { submission, plan, restarts: 0, last_error: String::new() };
                state.runs.insert(run, open);
                state.spawn(&me, run, Origin::Journal(history), None);
            }
            Msg::Reread { run, history } => {
                state.reread(&me, run, history);
                state.note_idle(&me);
            }
            Msg::LookIdle => {
                let since = state.idle_since.take();
                if state.runs.is_empty() && since == Some(state.told) {
                    let (channel, actor, told) = (state.id.clone(), me.get_id(), state.told);
                    let _ = state.channels.cast(channels::Msg::Idle { channel, actor, told });
                }
                state.note_idle(&me);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, ..) => {
                if let Some(run) = state.run_of.remove(&cell.get_id()) {
                    state.runs.remove(&run);
                    state.note_idle(&me);
                }
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                state.fell_over(&me, cell.get_id(), &error.to_string());
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl State {
    /// Sets the clock for being idle, once: runs that come and go by the thousand set no more.
    fn note_idle(&mut self, me: &ActorRef<Msg>) {
        if self.runs.is_empty() && self.idle_since.is_none() {
            self.idle_since = Some(self.told);
            me.send_after(IDLE, || Msg::LookIdle);
        }
    }

    fn spawn(
        &mut self,
        me: &ActorRef<Msg>,
        run: RunId,
        origin: Origin,
        reply: Option<branch::Accepted>,
    ) {
        let Some(open) = self.runs.get(&run) else { return };
        let fleet = &self.services.config.fleet;
        let pool = open.submission.pool.clone().unwrap_or_else(|| fleet.pool(&self.id).clone());
        let arguments = branch::Arguments {
            submission: Arc::clone(&open.submission),
            plan: Arc::clone(&open.plan),
            pool,
            services: Arc::clone(&self.services),
        };
        match ractor::ActorRuntime::spawn_linked_instant(
            None,
            BranchActor,
            arguments,
            me.get_cell(),
        ) {
            Ok((branch, _)) => {
                self.services.directory.add_branch(run, branch.clone());
                self.run_of.insert(branch.get_id(), run);
                let _ = branch.cast(branch::Msg::Begin(origin, reply));
            }
            // Only a clash of names can do this, and branches have none.
            Err(error) => tracing::error!(%error, %run, "branch actor cannot be started"),
        }
    }

    fn fell_over(&mut self, me: &ActorRef<Msg>, branch: ActorId, error: &str) {
        let Some(run) = self.run_of.remove(&branch) else { return };
        self.services.directory.remove_branch(run, branch);
        let Some(open) = self.runs.get_mut(&run) else { return };
        open.restarts += 1;
        error.clone_into(&mut open.last_error);
        tracing::error!(%run, %error, restarts = open.restarts, "a branch fell over; it is rebuilt from the journal");
        let (me, services) = (me.clone(), Arc::clone(&self.services));
        self.services.tasks.spawn_blocking(move || {
            let history = services.journal.backend().events(run).map_err(|error| error.to_string());
            let _ = me.cast(Msg::Reread { run, history });
        });
    }

    fn reread(&mut self, me: &ActorRef<Msg>, run: RunId, history: Result<Vec<Recorded>, String>) {
        let Some(open) = self.runs.get(&run) else { return };
        match history {
            // The run was never accepted: its submitter was not answered and will ask again.
            Ok(history) if history.is_empty() => _ = self.runs.remove(&run),
            Ok(history) if open.restarts <= BRANCH_RESTARTS => {
                self.spawn(me, run, Origin::Journal(history), None);
            }
            Ok(history) => {
                let why = format!(
                    "the coordinator fell over this run {} times: {}",
                    open.restarts, open.last_error
                );
                give_up(&self.services, &open.submission, Some(&open.plan), &history, &why);
                self.runs.remove(&run);
            }
            Err(error) => {
                tracing::error!(%run, %error, "the journal cannot be read; the run stays open until a restart");
                self.runs.remove(&run);
            }
        }
    }
}

/// Ends a run in the journal that cannot be taken up again.
pub(crate) fn give_up(
    services: &Services,
    submission: &Arc<Submission>,
    plan: Option<&Arc<Plan>>,
    history: &[Recorded],
    why: &str,
) {
    let now = services.clock.now();
    let place = u32::try_from(history.len()).unwrap_or(u32::MAX);
    let state = branch::UNRECOVERABLE;
    let mut summary = visor_protocol::result::RunSummary {
        run: submission.run,
        channel: submission.channel.clone(),
        config: submission.config.name.clone(),
        state,
        submitted_at: history.first().map_or(now, |first| first.at),
        finished_at: None,
        counts: visor_protocol::result::Counts::default(),
        note: None,
    };
    // Replaying may be what fails: then the counts stay empty rather than the run open.
    let replay = || plan.and_then(|plan| RunBook::replay(submission, Arc::clone(plan), history));
    if let Ok(Some(book)) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(replay)) {
        summary = book.summary();
    }
    summary.state = state;
    summary.finished_at = Some(now);
    summary.note = Some(why.to_owned());
    let mut batch = RunWrite::new(submission.run, place);
    let finished = Recorded { at: now, event: RunEvent::Finished { state } };
    if let Err(error) = batch.push(&finished).and_then(|()| batch.set_summary(&summary)) {
        tracing::error!(%error, "a run cannot be ended in the journal");
        return;
    }
    tracing::error!(run = %submission.run, why, "run given up");
    services.journal.commit(batch, |result| {
        if let Err(error) = result {
            tracing::error!(%error, "a run cannot be ended in the journal");
        }
    });
}
