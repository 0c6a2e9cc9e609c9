//! The root of the actor tree, and the coordinator's life from start to stop.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use visor_engine::Config;
use visor_protocol::api::{ConfigSource, Reply, Request, Response};
use visor_protocol::envelope::Envelope;
use visor_protocol::ids::WorkerId;
use visor_protocol::subject::{ApiOperation, Pattern};
use visor_protocol::time::Clock;
use visor_protocol::worker::Report;
use visor_protocol::{RunId, Subject};
use visor_transport::{Bus, BusError, Queue};

use crate::api::{self, ApiService, Service, serve_bus};
use crate::channel::channels::{self, ChannelsActor};
use crate::channel::directory::Directory;
use crate::channel::one::give_up;
use crate::channel::plans::Plans;
use crate::channel::recent::Recent;
use crate::config::CoordinatorConfig;
use crate::error::{StartError, Stopped};
use crate::gauges::Gauges;
use crate::notice::NoticeHub;
use crate::probe::Probe;
use crate::services::Services;
use crate::store::Journal;
use crate::store::disk::DiskBackend;
use crate::store::memory::MemoryBackend;
use crate::{dispatch, fleet, results};

/// Runs taken up from the journal at once.
const RESTORED_AT_ONCE: usize = 32;

/// Work that is under way at a stop gets this long.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// A running coordinator.
pub struct CoordinatorHandle {
    service: Arc<Service>,
    services: Arc<Services>,
    root: ActorRef<RootMsg>,
    stop: CancellationToken,
    stopped: watch::Receiver<Option<Stopped>>,
}

/// The coordinator.
pub struct Coordinator;

enum RootMsg {}

struct RootActor;

impl Actor for RootActor {
    type Msg = RootMsg;
    type State = watch::Sender<Option<Stopped>>;
    type Arguments = watch::Sender<Option<Stopped>>;

    async fn pre_start(
        &self,
        _: ActorRef<RootMsg>,
        stopped: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(stopped)
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<RootMsg>,
        event: SupervisionEvent,
        stopped: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            // The dispatcher, the fleet and the channels know things about each other's state: one
            // of them alone cannot be started again. All of it is rebuilt from the journal.
            SupervisionEvent::ActorFailed(cell, error) => {
                let why = format!("{:?}: {error}", cell.get_id());
                tracing::error!(why, "a part of the coordinator fell over");
                stopped.send_if_modified(|slot| {
                    let first = slot.is_none();
                    slot.get_or_insert(Stopped::FellOver { why });
                    first
                });
                me.stop(None);
            }
            SupervisionEvent::ActorTerminated(..)
            | SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl Coordinator {
    /// Starts a coordinator: opens the journal, takes up what is open in it, and serves.
    ///
    /// # Errors
    /// When the journal or the transport cannot be used, or another coordinator serves already.
    pub async fn start(
        config: CoordinatorConfig,
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
    ) -> Result<CoordinatorHandle, StartError> {
        Self::start_probed(config, bus, clock, Probe::default()).await
    }

    /// Like [`Coordinator::start`], with places at which a test may break it.
    ///
    /// # Errors
    /// As for [`Coordinator::start`].
    pub async fn start_probed(
        config: CoordinatorConfig,
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
        probe: Probe,
    ) -> Result<CoordinatorHandle, StartError> {
        if bus.info().remote {
            refuse_second(&config, &*bus, &*clock).await?;
        }
        bus.ensure_queue(&Queue::Results(config.shard)).await?;
        let journal = match &config.data_dir {
            Some(directory) => {
                let directory = directory.clone();
                let opened = tokio::task::spawn_blocking(move || DiskBackend::open(&directory));
                let backend = opened.await.map_err(|error| StartError::Actor {
                    what: "journal",
                    why: error.to_string(),
                })??;
                Journal::start(Arc::new(backend), config.keep_runs)?
            }
            None => Journal::direct(Arc::new(MemoryBackend::default())),
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (sender, stopped) = watch::channel(None);
        let actor = |what: &'static str| {
            move |error: ractor::SpawnErr| StartError::Actor { what, why: error.to_string() }
        };
        let (root, _) = Actor::spawn(None, RootActor, sender).await.map_err(actor("root"))?;
        let cell = root.get_cell();
        let dispatcher =
            dispatch::start(&config, Arc::clone(&clock), Arc::clone(&bus), cell.clone())
                .await
                .map_err(actor("dispatcher"))?;
        let directory = Directory::default();
        let fleet = fleet::start(
            &config,
            Arc::clone(&clock),
            Arc::clone(&bus),
            dispatcher.clone(),
            directory.clone(),
            &tasks,
            cell.clone(),
        )
        .await
        .map_err(actor("fleet"))?;
        let gauges = Arc::new(Gauges::default());
        let notices = NoticeHub::start(
            Arc::clone(&bus),
            Arc::clone(&clock),
            config.shard,
            Arc::clone(&gauges),
            &tasks,
            stop.clone(),
        );
        let services = Arc::new(Services {
            publisher: dispatch::Publisher::start(Arc::clone(&bus), &tasks, stop.clone()),
            plans: Plans::new(config.plan_cache),
            recent: Recent::default(),
            config,
            clock,
            bus,
            journal,
            dispatcher,
            fleet,
            notices,
            directory,
            gauges,
            tasks,
            probe,
            recover: tokio::sync::Notify::new(),
            own_id: WorkerId::new("coordinator").expect("the name is a valid id"),
        });
        let (channels, _) = Actor::spawn_linked(None, ChannelsActor, Arc::clone(&services), cell)
            .await
            .map_err(actor("channels"))?;
        let service = Arc::new(Service::new(Arc::clone(&services), channels.clone()));
        services.directory.set_settling(true);
        let reports = services.bus.subscribe(&Pattern::AllWorkers).await?;
        services.tasks.spawn(read_reports(Arc::clone(&services), reports, stop.clone()));
        restore(&services, &channels).await?;
        services.tasks.spawn(recover(Arc::clone(&services), channels, stop.clone()));
        services.tasks.spawn(results::run(Arc::clone(&services), stop.clone()));
        for operation in [ApiOperation::Submit, ApiOperation::Read, ApiOperation::Operate] {
            // Before anybody is told that it is ready: no request finds nobody.
            let subject = api::subject(&services, operation);
            let requests = services.bus.subscribe(&subject.into()).await?;
            services.tasks.spawn(serve_bus(
                Arc::clone(&services),
                Arc::clone(&service),
                operation,
                requests,
                stop.clone(),
            ));
        }
        Ok(CoordinatorHandle { service, services, root, stop, stopped })
    }
}

impl CoordinatorHandle {
    /// Questions and orders.
    pub fn api(&self) -> Arc<dyn ApiService> {
        Arc::clone(&self.service) as Arc<dyn ApiService>
    }

    /// What came of loading this file, for whoever has done so in this process already: it is not
    /// loaded a second time when it is submitted.
    pub fn know(&self, source: &ConfigSource, config: Arc<Config>) {
        self.services.plans.know(source, config);
    }

    /// Waits until the coordinator is no more, and says why.
    pub async fn closed(&self) -> Stopped {
        let mut stopped = self.stopped.clone();
        let root_gone = async {
            let _ = self.root.wait(None).await;
        };
        tokio::select! {
            why = stopped.wait_for(Option::is_some) => match why {
                Ok(why) => why.clone().unwrap_or(Stopped::Asked),
                Err(_) => Stopped::Asked,
            },
            () = root_gone => Stopped::Asked,
        }
    }

    /// Stops: takes nothing new, writes what is pending, leaves the rest to the next start.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.root.stop_and_wait(None, Some(STOP_PATIENCE)).await;
        self.services.tasks.close();
        let _ = tokio::time::timeout(STOP_PATIENCE, self.services.tasks.wait()).await;
        let journal = self.services.journal.clone();
        let _ = tokio::task::spawn_blocking(move || journal.stop()).await;
    }
}

/// Two coordinators on one transport would both settle jobs. The one that is there is left alone.
async fn refuse_second(
    config: &CoordinatorConfig,
    bus: &dyn Bus,
    clock: &dyn Clock,
) -> Result<(), StartError> {
    let subject = Subject::Api(config.shard, ApiOperation::Read);
    let Ok(payload) = Envelope::new(Request::Status, clock.now()).encode() else { return Ok(()) };
    match bus.request(&subject, payload, Duration::from_secs(1)).await {
        Ok(answer) => {
            let version = match Envelope::<Reply>::decode(&answer).map(|envelope| envelope.body) {
                Ok(Ok(Response::Status(status))) => status.version,
                _ => "unknown".into(),
            };
            Err(StartError::AlreadyServed { version })
        }
        Err(BusError::NoResponder { .. } | BusError::Timeout { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn read_reports(
    services: Arc<Services>,
    mut reports: Box<dyn visor_transport::Subscription>,
    stop: CancellationToken,
) {
    loop {
        let message = tokio::select! {
            () = stop.cancelled() => return,
            message = reports.next() => match message {
                Some(message) => message,
                None => return,
            },
        };
        match Envelope::<Report>::decode(&message.payload) {
            Ok(envelope) => services.fleet.report(envelope.body),
            Err(error) => {
                Gauges::add(&services.gauges.messages_rejected);
                tracing::warn!(%error, "a message that is no worker's report was rejected");
            }
        }
    }
}

/// Takes up every run that is open in the journal and has no branch.
async fn restore(
    services: &Arc<Services>,
    channels: &ActorRef<channels::Msg>,
) -> Result<(), StartError> {
    services.directory.set_settling(true);
    let backend = Arc::clone(services.journal.backend());
    let open = tokio::task::spawn_blocking(move || backend.open_runs());
    let open = open
        .await
        .map_err(|error| StartError::Actor { what: "journal", why: error.to_string() })??;
    let missing: Vec<RunId> =
        open.into_iter().filter(|run| services.directory.branch(*run).is_none()).collect();
    if !missing.is_empty() {
        tracing::info!(runs = missing.len(), "taking up open runs from the journal");
    }
    for chunk in missing.chunks(RESTORED_AT_ONCE) {
        let (services, chunk) = (Arc::clone(services), chunk.to_vec());
        let channels = channels.clone();
        let work = move || {
            for run in chunk {
                restore_one(&services, &channels, run);
            }
        };
        let _ = tokio::task::spawn_blocking(work).await;
    }
    let services = Arc::clone(services);
    let wait = services.config.lease.settle;
    services.tasks.clone().spawn(async move {
        if !missing.is_empty() {
            tokio::time::sleep(wait).await;
        }
        services.directory.set_settling(false);
    });
    Ok(())
}

fn restore_one(services: &Arc<Services>, channels: &ActorRef<channels::Msg>, run: RunId) {
    use visor_protocol::event::RunEvent;
    let history = match services.journal.backend().events(run) {
        Ok(history) => history,
        Err(error) => {
            tracing::error!(%run, %error, "an open run cannot be read");
            return;
        }
    };
    let Some(RunEvent::Accepted(submission)) = history.first().map(|first| &first.event) else {
        tracing::error!(%run, "the history of an open run does not begin with its acceptance");
        return;
    };
    let submission = Arc::new((**submission).clone());
    match services.plans.of(&submission) {
        Ok(plan) => {
            let _ = channels.cast(channels::Msg::Restore { submission, plan, history });
        }
        Err(error) => {
            let why = format!("this build cannot read the run's configuration: {error}");
            give_up(services, &submission, None, &history, &why);
        }
    }
}

/// Takes up runs whose channel fell over.
async fn recover(
    services: Arc<Services>,
    channels: ActorRef<channels::Msg>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = services.recover.notified() => {}
        }
        // The branches of a fallen channel stop by themselves; they are gone from the directory
        // when they have.
        tokio::time::sleep(Duration::from_millis(100)).await;
        if let Err(error) = restore(&services, &channels).await {
            tracing::error!(%error, "open runs cannot be taken up; they wait for a restart");
        }
    }
}
