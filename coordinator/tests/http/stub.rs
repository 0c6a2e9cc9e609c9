//! A service that answers what a test wants.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, broadcast};
use visor_coordinator::ApiService;
use visor_coordinator::gauges::Gauges;
use visor_protocol::Timestamp;
use visor_protocol::api::{ApiError, FleetStatus, LimitStatus, PoolStatus, Reply, Request};
use visor_protocol::event::Notice;
use visor_protocol::ids::{ContentHash, PoolName};

type Answer = Box<dyn Fn(Request) -> Reply + Send + Sync>;

pub(crate) struct Stub {
    pub(crate) notices: broadcast::Sender<Arc<Notice>>,
    /// Rung by the stub once for each blob that came.
    pub(crate) came: Notify,
    /// Rung by the test once for each blob that may be kept.
    pub(crate) store: Notify,
    pub(crate) trouble: Option<String>,
    pub(crate) slow: Duration,
    answer: Answer,
    gauges: Gauges,
}

impl Stub {
    pub(crate) fn new(answer: impl Fn(Request) -> Reply + Send + Sync + 'static) -> Self {
        Self {
            // Few, so that a follower falls behind soon.
            notices: broadcast::channel(4).0,
            came: Notify::new(),
            store: Notify::new(),
            trouble: None,
            slow: Duration::ZERO,
            answer: Box::new(answer),
            gauges: Gauges::default(),
        }
    }

    pub(crate) fn refusing(error: ApiError) -> Arc<Self> {
        Arc::new(Self::new(move |_| Err(error.clone())))
    }
}

#[async_trait]
impl ApiService for Stub {
    async fn call(&self, request: Request) -> Reply {
        tokio::time::sleep(self.slow).await;
        (self.answer)(request)
    }

    fn notices(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.notices.subscribe()
    }

    fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<ContentHash, ApiError> {
        self.came.notify_one();
        self.store.notified().await;
        Ok(ContentHash::of(&bytes))
    }

    async fn has_blob(&self, _: ContentHash) -> Result<bool, ApiError> {
        Ok(false)
    }

    async fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    async fn status(&self) -> FleetStatus {
        FleetStatus {
            version: "1.2.3".into(),
            transport: "memory".into(),
            since: Timestamp::from_micros(1_000_000),
            open_runs: 2,
            waiting: 3,
            oldest_waiting_ms: 1_500,
            in_flight: 4,
            pools: vec![PoolStatus {
                pool: PoolName::default_pool(),
                ready: 1,
                not_ready: 2,
                slots: 8,
                in_flight: 4,
                waiting: 3,
            }],
            limits: vec![LimitStatus { limit: "quote\" and \\ slash".into(), waiting: 7 }],
            settled_last_minute: 0,
            dead_letters: 5,
            warnings: Vec::new(),
            notes: Vec::new(),
        }
    }
}
