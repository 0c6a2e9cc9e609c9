//! The API of a coordinator as a trait, so that HTTP and the bus need nothing else of it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use ractor::ActorRef;
use tokio::sync::broadcast;
use visor_protocol::api::{ApiError, FleetStatus, Reply, Request, Response};
use visor_protocol::event::Notice;
use visor_protocol::ids::ContentHash;

use crate::channel::channels;
use crate::gauges::Gauges;
use crate::services::Services;

/// What a coordinator answers.
#[async_trait]
pub trait ApiService: Send + Sync + 'static {
    /// Answers one request, within seconds.
    async fn call(&self, request: Request) -> Reply;

    /// Everything that happens from now on. A receiver that falls behind is told how much it
    /// missed.
    fn notices(&self) -> broadcast::Receiver<Arc<Notice>>;

    /// Counters for `/metrics`.
    fn gauges(&self) -> &Gauges;

    /// Keeps bytes for a run's workspace.
    ///
    /// # Errors
    /// When the store refuses.
    async fn put_blob(&self, bytes: Bytes) -> Result<ContentHash, ApiError>;

    /// Whether the blob is there.
    ///
    /// # Errors
    /// When the store does not answer.
    async fn has_blob(&self, hash: ContentHash) -> Result<bool, ApiError>;

    /// `None` when runs can be accepted, otherwise what is wrong.
    async fn trouble(&self) -> Option<String>;

    /// The fleet in short.
    async fn status(&self) -> FleetStatus;
}

/// The API over a coordinator's actors.
pub(crate) struct Service {
    pub(super) services: Arc<Services>,
    pub(super) channels: ActorRef<channels::Msg>,
    pub(super) since: visor_protocol::Timestamp,
}

impl Service {
    pub(crate) fn new(services: Arc<Services>, channels: ActorRef<channels::Msg>) -> Self {
        let since = services.clock.now();
        Self { services, channels, since }
    }
}

pub(super) fn unavailable(error: &visor_transport::BusError) -> ApiError {
    ApiError::new("visor::transport::unavailable", error.to_string()).retry_after(1_000)
}

#[async_trait]
impl ApiService for Service {
    async fn call(&self, request: Request) -> Reply {
        match request {
            Request::Submit(submission) => self.submit(*submission).await,
            Request::Cancel { run, reason } => self.cancel(&run, reason).await,
            Request::Runs { limit, state, channel } => self.runs(limit, state, channel).await,
            Request::Run { run } => {
                let run = self.find(&run).await?;
                Ok(Response::Run(self.report(run).await?))
            }
            Request::Logs { run, check } => self.logs(&run, &check).await,
            Request::Why { run, check } => self.why(&run, check.as_deref()).await,
            Request::Workers => Ok(Response::Workers(self.services.fleet.workers().await)),
            Request::Drain { worker } => match self.services.fleet.drain(worker.clone()).await {
                Some(holds) => Ok(Response::Draining { worker, holds }),
                None => Err(ApiError::new(
                    "visor::api::unknown_worker",
                    format!("there is no worker `{worker}`; `visor workers` lists them"),
                )),
            },
            Request::Status => Ok(Response::Status(Box::new(self.status().await))),
            Request::DeadLetters => self.dead_letters().await,
        }
    }

    fn notices(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.services.notices.subscribe()
    }

    fn gauges(&self) -> &Gauges {
        &self.services.gauges
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<ContentHash, ApiError> {
        self.services.bus.put_blob(bytes).await.map_err(|error| unavailable(&error))
    }

    async fn has_blob(&self, hash: ContentHash) -> Result<bool, ApiError> {
        self.services.bus.has_blob(hash).await.map_err(|error| unavailable(&error))
    }

    async fn trouble(&self) -> Option<String> {
        if let Some(why) = self.services.journal.trouble() {
            return Some(why);
        }
        if !self.services.bus.is_connected() {
            return Some(format!("{} cannot be reached", self.services.bus.info().name));
        }
        None
    }

    async fn status(&self) -> FleetStatus {
        self.fleet_status().await
    }
}
