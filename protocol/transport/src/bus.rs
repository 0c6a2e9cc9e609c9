//! The [`Bus`]: what a coordinator and its workers need of the thing between them.
//!
//! Two things have it: [`memory`](crate::memory) for one process, NATS for a fleet. One suite of
//! tests runs against both. The bus is transport, never the system of record: whatever it loses,
//! doubles or reorders, reconciliation against the coordinator's journal repairs.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use visor_protocol::ids::{ContentHash, PoolName, Shard};
use visor_protocol::subject::{Pattern, Subject};

/// A durable work queue: each message is taken by one consumer and removed when acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Job attempts of a pool.
    Jobs(PoolName),
    /// Outcomes for a shard's leader.
    Results(Shard),
}

impl Queue {
    /// The subject its messages are published to.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Jobs(pool) => Subject::Jobs(pool.clone()),
            Self::Results(shard) => Subject::Results(*shard),
        }
    }
}

/// Why the bus could not do something.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Nothing answers, or not in time. Asking again may succeed.
    #[error("{what}: no answer from the transport within {within:?}")]
    Timeout {
        /// What was tried.
        what: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// The transport is there and refuses, or its connection broke. Asking again may succeed.
    #[error("{what} failed: {why}")]
    Unavailable {
        /// What was tried.
        what: String,
        /// What the transport says.
        why: String,
    },
    /// Nobody serves this subject.
    #[error("nobody answers on `{subject}`: is a coordinator running?")]
    NoResponder {
        /// The subject.
        subject: String,
    },
    /// The address or the credentials are wrong: asking again will not help.
    #[error("cannot connect to {url}: {why}")]
    Connect {
        /// Where, without credentials.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// The blob is not there.
    #[error("blob {hash} is not in the store")]
    NoBlob {
        /// Its hash.
        hash: ContentHash,
    },
    /// The payload is larger than may travel.
    #[error("payload of {len} bytes for `{subject}` is larger than {limit}")]
    TooLarge {
        /// Where it was going.
        subject: String,
        /// Its size.
        len: usize,
        /// What may travel.
        limit: usize,
    },
    /// The bus was closed by its owner.
    #[error("the transport is closed")]
    Closed,
}

/// A message of a subscription.
#[derive(Debug, Clone)]
pub struct Message {
    /// Where it was published; `None` when that is no subject of ours.
    pub subject: Option<Subject>,
    /// Its bytes, as they came: not yet trusted.
    pub payload: Bytes,
    /// Where an answer goes, when the sender waits for one.
    pub reply: Option<ReplyTo>,
}

/// An address for one answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReplyTo(pub(crate) String);

/// Messages that match a pattern, from the moment it was made. Dropping it ends it.
#[async_trait]
pub trait Subscription: Send {
    /// The next message; `None` when the bus is closed. Survives reconnects: what is published
    /// while the connection is down is lost.
    async fn next(&mut self) -> Option<Message>;
}

/// A message taken from a queue. It comes again, to any consumer, when it is neither acknowledged
/// nor extended in time (`ack_wait`), or when this value is dropped and that time passes.
#[async_trait]
pub trait Delivery: Send {
    /// Its bytes, as they came: not yet trusted.
    fn payload(&self) -> &Bytes;

    /// How often it has been delivered, this time included. Only a hint: nats-server 2.9 was seen
    /// to start counting anew.
    fn deliveries(&self) -> u64;

    /// Takes it out of the queue. Does not wait for the server to confirm; a lost
    /// acknowledgement shows as a second delivery.
    async fn ack(self: Box<Self>) -> Result<(), BusError>;

    /// Puts it back, to be delivered again after the delay.
    async fn nack(self: Box<Self>, after: Duration) -> Result<(), BusError>;
}

/// A consumer of a queue.
#[async_trait]
pub trait Consumer: Send {
    /// Asks for up to `max` further messages, to be returned by [`Consumer::next`]. Requests add
    /// up; a request that the server forgot (restart, expiry) is repeated by the consumer itself
    /// until it is filled.
    fn request(&mut self, max: u32);

    /// The next requested message. Waits as long as it takes: reconnects, rebuilds a consumer
    /// that the server lost or that has stalled. `None` when the bus is closed. Cancel-safe.
    async fn next(&mut self) -> Option<Box<dyn Delivery>>;

    /// How many messages are requested and not yet returned.
    fn outstanding(&self) -> u32;
}

/// What is known of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueState {
    /// Messages in it, delivered or not.
    pub messages: u64,
    /// Of these, delivered and not yet acknowledged.
    pub unacknowledged: u64,
}

/// What the bus runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusInfo {
    /// `memory`, or `NATS 2.10.4`.
    pub name: String,
    /// Round trips leave this process.
    pub remote: bool,
    /// What this server's version lacks, in sentences.
    pub degraded: Vec<String>,
}

/// The bus. Cheap to share as `Arc<dyn Bus>`. Every call has a deadline of its own.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// What the bus runs on.
    fn info(&self) -> BusInfo;

    /// Whether the connection stands right now.
    fn is_connected(&self) -> bool;

    /// Sends to whoever is subscribed now. At most once; not confirmed.
    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError>;

    /// Sends and waits for one answer.
    async fn request(
        &self,
        subject: &Subject,
        payload: Bytes,
        within: Duration,
    ) -> Result<Bytes, BusError>;

    /// Answers a request.
    async fn respond(&self, to: &ReplyTo, payload: Bytes) -> Result<(), BusError>;

    /// Subscribes. Messages of one publisher on one subject come in order. A subscriber that
    /// falls more than a bounded number of messages behind loses the newest ones.
    async fn subscribe(&self, pattern: &Pattern) -> Result<Box<dyn Subscription>, BusError>;

    /// Makes the queue when it is not there. Idempotent; called again after a loss.
    async fn ensure_queue(&self, queue: &Queue) -> Result<(), BusError>;

    /// Appends to the queue and waits until the server has stored it. A second message of the
    /// same id within two minutes is dropped, without an error.
    async fn enqueue(&self, queue: &Queue, id: &str, payload: Bytes) -> Result<(), BusError>;

    /// Opens a consumer. Consumers of one queue share its messages.
    async fn consume(&self, queue: &Queue) -> Result<Box<dyn Consumer>, BusError>;

    /// How full the queue is. A queue that does not exist is [`BusError::Unavailable`].
    async fn queue_state(&self, queue: &Queue) -> Result<QueueState, BusError>;

    /// Appends to the event stream; kept there for a bounded time. Waits until it is stored.
    async fn record(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError>;

    /// Keeps bytes under their hash. Idempotent.
    async fn put_blob(&self, bytes: Bytes) -> Result<ContentHash, BusError>;

    /// The bytes with this hash; refused when they are more than `limit`, or do not have it.
    async fn get_blob(&self, hash: ContentHash, limit: u64) -> Result<Bytes, BusError>;

    /// Whether the blob is there.
    async fn has_blob(&self, hash: ContentHash) -> Result<bool, BusError>;

    /// Flushes what was published and closes every subscription and consumer.
    async fn close(&self);
}
