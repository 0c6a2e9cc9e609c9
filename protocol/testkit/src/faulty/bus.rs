//! The wrapped calls.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};
use visor_protocol::ids::ContentHash;
use visor_protocol::subject::{Pattern, Subject};
use visor_transport::{
    Bus, BusError, BusInfo, Consumer, Message, Queue, QueueState, ReplyTo, Subscription,
};

use super::chaos::{Chaos, Direction, Faults, Toll};
use super::queue::FaultyConsumer;

/// How long a call waits for an answer that does not come.
const DEADLINE: Duration = Duration::from_secs(5);

/// A bus with faults, over another.
pub struct FaultyBus {
    inner: Arc<dyn Bus>,
    chaos: Arc<Chaos>,
}

impl FaultyBus {
    /// Wraps a bus. The same seed and the same calls in the same order meet the same faults.
    pub fn new(inner: Arc<dyn Bus>, seed: u64, faults: Faults) -> Arc<Self> {
        Arc::new(Self { inner, chaos: Arc::new(Chaos::new(seed, faults)) })
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.chaos.set_faults(faults);
    }

    /// Cuts the process that uses this bus off from all others.
    pub fn cut(&self, direction: Direction) {
        self.chaos.set_cut(direction, true);
    }

    /// Ends all cuts.
    pub fn heal(&self) {
        self.chaos.set_cut(Direction::Both, false);
    }

    /// What went wrong so far.
    pub fn toll(&self) -> Toll {
        self.chaos.toll()
    }

    /// A call that the server carries out and answers.
    async fn call<T>(
        &self,
        what: &str,
        within: Duration,
        call: impl Future<Output = Result<T, BusError>> + Send,
    ) -> Result<T, BusError> {
        let until = Instant::now() + within;
        if !self.chaos.loses_sent() {
            let answer = call.await;
            if !self.chaos.loses_answer() {
                return answer;
            }
        }
        sleep_until(until).await;
        Err(BusError::Timeout { what: what.to_owned(), within })
    }
}

#[async_trait]
impl Bus for FaultyBus {
    fn info(&self) -> BusInfo {
        BusInfo { remote: true, ..self.inner.info() }
    }

    fn is_connected(&self) -> bool {
        !self.chaos.is_cut() && self.inner.is_connected()
    }

    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        for late in self.chaos.sent() {
            if late.is_zero() {
                self.inner.publish(subject, payload.clone()).await?;
                continue;
            }
            let (inner, subject, payload) =
                (Arc::clone(&self.inner), subject.clone(), payload.clone());
            tokio::spawn(async move {
                sleep(late).await;
                // The bus may be closed by then.
                let _ = inner.publish(&subject, payload).await;
            });
        }
        Ok(())
    }

    async fn request(
        &self,
        subject: &Subject,
        payload: Bytes,
        within: Duration,
    ) -> Result<Bytes, BusError> {
        let until = Instant::now() + within;
        let mut copies = self.chaos.sent().into_iter();
        if let Some(late) = copies.next() {
            sleep(late.min(within)).await;
            for late in copies {
                let (inner, subject, payload) =
                    (Arc::clone(&self.inner), subject.clone(), payload.clone());
                tokio::spawn(async move {
                    sleep(late).await;
                    // The first answer is the one that counts.
                    let _ = inner.request(&subject, payload, DEADLINE).await;
                });
            }
            let left = until.saturating_duration_since(Instant::now());
            let answer = self.inner.request(subject, payload, left).await;
            if !self.chaos.loses_answer() {
                return answer;
            }
        }
        sleep_until(until).await;
        Err(BusError::Timeout { what: format!("request on `{subject}`"), within })
    }

    async fn respond(&self, to: &ReplyTo, payload: Bytes) -> Result<(), BusError> {
        for late in self.chaos.sent() {
            let (inner, to, payload) = (Arc::clone(&self.inner), to.clone(), payload.clone());
            if late.is_zero() {
                inner.respond(&to, payload).await?;
                continue;
            }
            tokio::spawn(async move {
                sleep(late).await;
                let _ = inner.respond(&to, payload).await;
            });
        }
        Ok(())
    }

    async fn subscribe(&self, pattern: &Pattern) -> Result<Box<dyn Subscription>, BusError> {
        let inner = self.inner.subscribe(pattern).await?;
        Ok(Box::new(FaultySubscription { inner, chaos: Arc::clone(&self.chaos) }))
    }

    async fn ensure_queue(&self, queue: &Queue) -> Result<(), BusError> {
        self.call("making a queue", DEADLINE, self.inner.ensure_queue(queue)).await
    }

    async fn enqueue(&self, queue: &Queue, id: &str, payload: Bytes) -> Result<(), BusError> {
        self.call("enqueue", DEADLINE, self.inner.enqueue(queue, id, payload)).await
    }

    async fn consume(&self, queue: &Queue) -> Result<Box<dyn Consumer>, BusError> {
        let inner = self.inner.consume(queue).await?;
        Ok(Box::new(FaultyConsumer::new(inner, Arc::clone(&self.chaos))))
    }

    async fn queue_state(&self, queue: &Queue) -> Result<QueueState, BusError> {
        self.call("reading a queue", DEADLINE, self.inner.queue_state(queue)).await
    }

    async fn record(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        self.call("record", DEADLINE, self.inner.record(subject, payload)).await
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<ContentHash, BusError> {
        self.call("storing a blob", DEADLINE, self.inner.put_blob(bytes)).await
    }

    async fn get_blob(&self, hash: ContentHash, limit: u64) -> Result<Bytes, BusError> {
        self.call("reading a blob", DEADLINE, self.inner.get_blob(hash, limit)).await
    }

    async fn has_blob(&self, hash: ContentHash) -> Result<bool, BusError> {
        self.call("looking up a blob", DEADLINE, self.inner.has_blob(hash)).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

struct FaultySubscription {
    inner: Box<dyn Subscription>,
    chaos: Arc<Chaos>,
}

#[async_trait]
impl Subscription for FaultySubscription {
    async fn next(&mut self) -> Option<Message> {
        loop {
            let message = self.inner.next().await?;
            if !self.chaos.cuts_incoming() {
                return Some(message);
            }
        }
    }
}
