//! [`MemoryBus`] and its options.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use visor_protocol::envelope::MAX_MESSAGE_BYTES;
use visor_protocol::ids::ContentHash;
use visor_protocol::subject::{Pattern, Subject};

use super::blobs::Blobs;
use super::core::{self, Core};
use super::events::Events;
use super::queue::{self, WorkQueue};
use crate::{Bus, BusError, BusInfo, Consumer, Queue, QueueState, ReplyTo, Subscription};

/// Bounds and times of a [`MemoryBus`]. The defaults suit a process that should stay small.
#[derive(Debug, Clone)]
pub struct MemoryOptions {
    /// How long a delivery may stay unacknowledged.
    pub ack_wait: Duration,
    /// How long a message id is remembered.
    pub dedupe_window: Duration,
    /// How many message ids a queue remembers at most.
    pub dedupe_ids: usize,
    /// Messages in one queue at most.
    pub queue_messages: u64,
    /// Bytes of the messages in one queue at most.
    pub queue_bytes: usize,
    /// Messages a subscriber may be behind.
    pub subscriber_messages: usize,
    /// Bytes a subscriber may be behind.
    pub subscriber_bytes: usize,
    /// Bytes of recorded events that are kept.
    pub event_bytes: usize,
    /// Bytes of all blobs.
    pub blob_bytes: u64,
    /// A directory for blobs that are to outlive the process; in memory when absent.
    pub blob_folder: Option<PathBuf>,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            ack_wait: Duration::from_secs(30),
            dedupe_window: Duration::from_secs(120),
            dedupe_ids: 65_536,
            queue_messages: 1_000_000,
            queue_bytes: 256 * 1024 * 1024,
            subscriber_messages: 16_384,
            subscriber_bytes: 64 * 1024 * 1024,
            event_bytes: 256 * 1024,
            blob_bytes: 512 * 1024 * 1024,
            blob_folder: None,
        }
    }
}

/// The bus within one process. Dropping it closes it.
pub struct MemoryBus {
    options: MemoryOptions,
    core: Arc<Core>,
    queues: RwLock<HashMap<Queue, Arc<WorkQueue>>>,
    events: Events,
    blobs: Blobs,
    closed: AtomicBool,
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self::new(MemoryOptions::default())
    }
}

impl MemoryBus {
    /// An empty bus.
    pub fn new(options: MemoryOptions) -> Self {
        let limits =
            core::Limits { messages: options.subscriber_messages, bytes: options.subscriber_bytes };
        Self {
            core: Arc::new(Core::new(limits)),
            queues: RwLock::default(),
            events: Events::new(options.event_bytes),
            blobs: Blobs::new(options.blob_bytes, options.blob_folder.clone()),
            closed: AtomicBool::new(false),
            options,
        }
    }

    /// An empty bus with the usual bounds, ready to be shared.
    pub fn shared() -> Arc<dyn Bus> {
        Arc::new(Self::default())
    }

    /// Messages that subscribers lost because they were too far behind.
    pub fn dropped(&self) -> u64 {
        self.core.dropped()
    }

    /// The latest recorded events, oldest first.
    pub fn recorded(&self) -> Vec<(Subject, Bytes)> {
        self.events.all()
    }

    fn open(&self) -> Result<(), BusError> {
        if self.closed.load(Ordering::Acquire) { Err(BusError::Closed) } else { Ok(()) }
    }

    fn queue(&self, queue: &Queue) -> Result<Arc<WorkQueue>, BusError> {
        self.open()?;
        if let Some(known) = self.queues.read().get(queue) {
            return Ok(Arc::clone(known));
        }
        let limits = queue::Limits {
            ack_wait: self.options.ack_wait,
            dedupe_window: self.options.dedupe_window,
            dedupe_ids: self.options.dedupe_ids,
            messages: self.options.queue_messages,
            bytes: self.options.queue_bytes,
        };
        let mut queues = self.queues.write();
        // Under the lock that `close_now` takes, so that no queue is made after it looked.
        self.open()?;
        let made = queues
            .entry(queue.clone())
            .or_insert_with(|| Arc::new(WorkQueue::new(queue.subject().to_string(), limits)));
        Ok(Arc::clone(made))
    }

    fn close_now(&self) {
        self.closed.store(true, Ordering::Release);
        self.core.close();
        for queue in self.queues.write().values() {
            queue.close();
        }
    }
}

impl Drop for MemoryBus {
    fn drop(&mut self) {
        self.close_now();
    }
}

/// What NATS would refuse is refused here too, so that no run passes at home and fails in a fleet.
fn fits(subject: &Subject, payload: &Bytes) -> Result<(), BusError> {
    if payload.len() <= MAX_MESSAGE_BYTES {
        return Ok(());
    }
    Err(BusError::TooLarge {
        subject: subject.to_string(),
        len: payload.len(),
        limit: MAX_MESSAGE_BYTES,
    })
}

#[async_trait]
impl Bus for MemoryBus {
    fn info(&self) -> BusInfo {
        BusInfo { name: "memory".into(), remote: false, degraded: Vec::new() }
    }

    fn is_connected(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }

    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        self.open()?;
        fits(subject, &payload)?;
        tokio::task::coop::consume_budget().await;
        self.core.publish(subject, &payload, None);
        // A stream stores whatever is published on its subjects, by whomever.
        match subject {
            Subject::Jobs(pool) => self.queue(&Queue::Jobs(pool.clone()))?.push("", payload),
            Subject::Results(shard) => self.queue(&Queue::Results(*shard))?.push("", payload),
            Subject::Events(_) => {
                self.events.push(subject, payload);
                Ok(())
            }
            Subject::Run(_) | Subject::Logs(..) | Subject::Worker(..) | Subject::Api(..) => Ok(()),
        }
    }

    async fn request(
        &self,
        subject: &Subject,
        payload: Bytes,
        within: Duration,
    ) -> Result<Bytes, BusError> {
        self.open()?;
        fits(subject, &payload)?;
        self.core.request(subject, &payload, within).await
    }

    async fn respond(&self, to: &ReplyTo, payload: Bytes) -> Result<(), BusError> {
        self.open()?;
        if payload.len() > MAX_MESSAGE_BYTES {
            let (len, limit) = (payload.len(), MAX_MESSAGE_BYTES);
            return Err(BusError::TooLarge { subject: to.0.clone(), len, limit });
        }
        self.core.respond(to, payload);
        Ok(())
    }

    async fn subscribe(&self, pattern: &Pattern) -> Result<Box<dyn Subscription>, BusError> {
        self.core.subscribe(pattern)
    }

    async fn ensure_queue(&self, queue: &Queue) -> Result<(), BusError> {
        self.queue(queue).map(drop)
    }

    async fn enqueue(&self, queue: &Queue, id: &str, payload: Bytes) -> Result<(), BusError> {
        let subject = queue.subject();
        fits(&subject, &payload)?;
        tokio::task::coop::consume_budget().await;
        self.queue(queue)?.push(id, payload.clone())?;
        self.core.publish(&subject, &payload, None);
        Ok(())
    }

    async fn consume(&self, queue: &Queue) -> Result<Box<dyn Consumer>, BusError> {
        self.queue(queue)?.consume()
    }

    async fn queue_state(&self, queue: &Queue) -> Result<QueueState, BusError> {
        self.open()?;
        let known = self.queues.read().get(queue).map(|queue| queue.state());
        known.ok_or_else(|| BusError::Unavailable {
            what: format!("reading the queue `{}`", queue.subject()),
            why: "it does not exist".into(),
        })
    }

    async fn record(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        self.open()?;
        fits(subject, &payload)?;
        tokio::task::coop::consume_budget().await;
        self.core.publish(subject, &payload, None);
        self.events.push(subject, payload);
        Ok(())
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<ContentHash, BusError> {
        self.open()?;
        self.blobs.put(bytes).await
    }

    async fn get_blob(&self, hash: ContentHash, limit: u64) -> Result<Bytes, BusError> {
        self.open()?;
        self.blobs.get(hash, limit).await
    }

    async fn has_blob(&self, hash: ContentHash) -> Result<bool, BusError> {
        self.open()?;
        Ok(self.blobs.contains(hash))
    }

    async fn close(&self) {
        self.close_now();
    }
}
