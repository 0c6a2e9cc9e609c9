//! All of it behind the trait.

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::Request;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use visor_protocol::ids::ContentHash;
use visor_protocol::subject::{Pattern, Subject};

use super::api::Failure;
use super::consumer::NatsConsumer;
use super::link::Link;
use super::streams::Stored;
use super::subscription::NatsSubscription;
use super::version::Version;
use crate::{Bus, BusError, BusInfo, Consumer, Queue, QueueState, ReplyTo, Subscription};

pub(super) struct NatsBus {
    link: Arc<Link>,
}

impl NatsBus {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link }
    }
}

impl Drop for NatsBus {
    fn drop(&mut self) {
        self.link.closed.cancel();
    }
}

#[async_trait]
impl Bus for NatsBus {
    fn info(&self) -> BusInfo {
        // Of the server that answers now: another may have been upgraded meanwhile.
        let version = self.link.client.server_info().version;
        let degraded = Version::parse(&version).degraded();
        BusInfo { name: format!("NATS {version}"), remote: true, degraded }
    }

    fn is_connected(&self) -> bool {
        !self.link.closed.is_cancelled() && self.link.is_connected()
    }

    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        let subject = subject.to_string();
        self.link.open()?;
        self.link.fits(&subject, &payload)?;
        if !self.link.is_connected() {
            // Kept until the connection is back, it would arrive as stale news.
            return Err(BusError::Unavailable {
                what: format!("publish on `{subject}`"),
                why: "there is no connection at the moment".into(),
            });
        }
        self.link.send(subject, payload).await
    }

    async fn request(
        &self,
        subject: &Subject,
        payload: Bytes,
        within: Duration,
    ) -> Result<Bytes, BusError> {
        let subject = subject.to_string();
        self.link.open()?;
        self.link.fits(&subject, &payload)?;
        let started = Instant::now();
        let request = Request::new().payload(payload);
        match self.link.ask(&subject, request, within).await {
            Ok(answer) => Ok(answer.payload),
            Err(Failure::Nobody) => Err(BusError::NoResponder { subject }),
            Err(failure) => {
                self.link.open()?;
                Err(failure.into_bus(&format!("request on `{subject}`"), started.elapsed()))
            }
        }
    }

    async fn respond(&self, to: &ReplyTo, payload: Bytes) -> Result<(), BusError> {
        self.link.fits(&to.0, &payload)?;
        self.link.send(to.0.clone(), payload).await
    }

    async fn subscribe(&self, pattern: &Pattern) -> Result<Box<dyn Subscription>, BusError> {
        self.link.open()?;
        let within = self.link.options.deadline;
        let what = || format!("subscribing to `{pattern}`");
        let subscribing = self.link.client.subscribe(pattern.to_string());
        let subscriber = match tokio::time::timeout(within, subscribing).await {
            Ok(Ok(subscriber)) => subscriber,
            Ok(Err(error)) => {
                let why = error.to_string();
                return Err(BusError::Unavailable { what: what(), why });
            }
            Err(_) => return Err(BusError::Timeout { what: what(), within }),
        };
        self.link.settle().await;
        let closed = self.link.closed.clone();
        Ok(Box::new(NatsSubscription::new(subscriber, closed)))
    }

    async fn ensure_queue(&self, queue: &Queue) -> Result<(), BusError> {
        self.link.make(&Stored::Queue(queue.clone()), self.link.deadline()).await
    }

    async fn enqueue(&self, queue: &Queue, id: &str, payload: Bytes) -> Result<(), BusError> {
        let subject = queue.subject().to_string();
        // A stream knows an id once, but queues that share one have ids of their own.
        let id = match queue {
            _ if id.is_empty() => String::new(),
            Queue::Jobs(pool) => format!("{pool}:{id}"),
            Queue::Results(shard) => format!("{shard}:{id}"),
        };
        self.link.store(&Stored::Queue(queue.clone()), &subject, &id, payload).await
    }

    async fn consume(&self, queue: &Queue) -> Result<Box<dyn Consumer>, BusError> {
        self.link.ensure(&Stored::Queue(queue.clone()), self.link.deadline()).await?;
        Ok(Box::new(NatsConsumer::new(Arc::clone(&self.link), queue.clone())))
    }

    async fn queue_state(&self, queue: &Queue) -> Result<QueueState, BusError> {
        self.link.queue_state(queue, self.link.deadline()).await
    }

    async fn record(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        self.link.store(&Stored::Events, &subject.to_string(), "", payload).await
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<ContentHash, BusError> {
        self.link.put_blob(bytes).await
    }

    async fn get_blob(&self, hash: ContentHash, limit: u64) -> Result<Bytes, BusError> {
        self.link.get_blob(hash, limit).await
    }

    async fn has_blob(&self, hash: ContentHash) -> Result<bool, BusError> {
        self.link.has_blob(hash).await
    }

    async fn close(&self) {
        self.link.close().await;
    }
}
