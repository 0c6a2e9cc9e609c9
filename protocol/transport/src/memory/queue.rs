//! A work queue: the ledger behind a lock, one task that watches its deadlines, and consumers.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::dedupe::Dedupe;
use super::ledger::{Ledger, Taken};
use crate::{BusError, Consumer, Delivery, QueueState};

pub(super) struct WorkQueue {
    name: String,
    limits: Limits,
    inner: Mutex<Inner>,
    /// A deadline came nearer than the watcher sleeps for, or the queue is closed.
    nearer: Notify,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) ack_wait: Duration,
    pub(super) dedupe_window: Duration,
    pub(super) dedupe_ids: usize,
    pub(super) messages: u64,
    pub(super) bytes: usize,
}

struct Inner {
    ledger: Ledger,
    /// When the watcher wakes next.
    armed: Option<Instant>,
    watched: bool,
    closed: bool,
}

impl WorkQueue {
    pub(super) fn new(name: String, limits: Limits) -> Self {
        let dedupe = Dedupe::new(limits.dedupe_window, limits.dedupe_ids);
        let ledger = Ledger::new(limits.ack_wait, dedupe);
        let inner = Inner { ledger, armed: None, watched: false, closed: false };
        Self { name, limits, inner: Mutex::new(inner), nearer: Notify::new() }
    }

    pub(super) fn state(&self) -> QueueState {
        self.inner.lock().ledger.state()
    }

    pub(super) fn push(&self, id: &str, payload: Bytes) -> Result<(), BusError> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(BusError::Closed);
        }
        let (held, bytes) = (inner.ledger.state().messages, inner.ledger.bytes());
        if held >= self.limits.messages || bytes + payload.len() > self.limits.bytes {
            return Err(BusError::Unavailable {
                what: format!("enqueue on `{}`", self.name),
                why: format!("the queue is full with {held} messages of {bytes} bytes"),
            });
        }
        let now = Instant::now();
        inner.ledger.push(now, id, payload);
        self.serve(inner, now);
        Ok(())
    }

    pub(super) fn consume(self: &Arc<Self>) -> Result<Box<dyn Consumer>, BusError> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(BusError::Closed);
        }
        if !std::mem::replace(&mut inner.watched, true) {
            tokio::spawn(Arc::clone(self).watch());
        }
        let seat = inner.ledger.sit();
        drop(inner);
        Ok(Box::new(MemoryConsumer { queue: Arc::clone(self), seat, outstanding: 0 }))
    }

    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        let woken = inner.ledger.wakers();
        drop(inner);
        self.nearer.notify_one();
        woken.into_iter().for_each(Waker::wake);
    }

    /// Delivers again what nobody acknowledged. One task for a queue, asleep while nothing is out.
    async fn watch(self: Arc<Self>) {
        loop {
            let (woken, deadline) = {
                let now = Instant::now();
                let mut inner = self.inner.lock();
                if inner.closed {
                    return;
                }
                inner.ledger.expire(now);
                let woken = inner.ledger.serve(now);
                inner.armed = inner.ledger.next_deadline();
                (woken, inner.armed)
            };
            woken.into_iter().for_each(Waker::wake);
            match deadline {
                None => self.nearer.notified().await,
                Some(at) => {
                    // Woken early, it only looks again and sleeps anew.
                    let _ = tokio::time::timeout_at(at, self.nearer.notified()).await;
                }
            }
        }
    }

    /// Gives out what is ready, then wakes consumers and, when it sleeps too long, the watcher.
    fn serve(&self, mut inner: MutexGuard<'_, Inner>, now: Instant) {
        let woken = inner.ledger.serve(now);
        let deadline = inner.ledger.next_deadline();
        let nearer = deadline.is_some_and(|at| inner.armed.is_none_or(|armed| at < armed));
        if nearer {
            inner.armed = deadline;
        }
        drop(inner);
        if nearer {
            self.nearer.notify_one();
        }
        woken.into_iter().for_each(Waker::wake);
    }
}

struct MemoryConsumer {
    queue: Arc<WorkQueue>,
    seat: usize,
    outstanding: u32,
}

#[async_trait]
impl Consumer for MemoryConsumer {
    fn request(&mut self, max: u32) {
        // What goes beyond the counter could never be told apart from being filled.
        let more = max.min(u32::MAX - self.outstanding);
        self.outstanding += more;
        let mut inner = self.queue.inner.lock();
        inner.ledger.want(self.seat, more);
        self.queue.serve(inner, Instant::now());
    }

    async fn next(&mut self) -> Option<Box<dyn Delivery>> {
        // A queue that is never empty must not keep its reader from yielding.
        tokio::task::coop::consume_budget().await;
        let (queue, seat) = (&self.queue, self.seat);
        let (taken, payload) = poll_fn(|cx| {
            let mut inner = queue.inner.lock();
            if inner.closed {
                return Poll::Ready(None);
            }
            let polled = inner.ledger.poll_take(seat, cx);
            // Expired deliveries at this place became new requests.
            if polled.is_pending() {
                queue.serve(inner, Instant::now());
            }
            polled.map(Some)
        })
        .await?;
        self.outstanding -= 1;
        let queue = Arc::clone(&self.queue);
        Some(Box::new(MemoryDelivery { queue, taken, payload }))
    }

    fn outstanding(&self) -> u32 {
        self.outstanding
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        let mut inner = self.queue.inner.lock();
        inner.ledger.leave(self.seat);
        self.queue.serve(inner, Instant::now());
    }
}

struct MemoryDelivery {
    queue: Arc<WorkQueue>,
    taken: Taken,
    payload: Bytes,
}

#[async_trait]
impl Delivery for MemoryDelivery {
    fn payload(&self) -> &Bytes {
        &self.payload
    }

    fn deliveries(&self) -> u64 {
        self.taken.deliveries
    }

    async fn ack(self: Box<Self>) -> Result<(), BusError> {
        let mut inner = self.queue.inner.lock();
        if inner.closed {
            return Err(BusError::Closed);
        }
        inner.ledger.ack(self.taken.seq);
        Ok(())
    }

    async fn nack(self: Box<Self>, after: Duration) -> Result<(), BusError> {
        let mut inner = self.queue.inner.lock();
        if inner.closed {
            return Err(BusError::Closed);
        }
        let now = Instant::now();
        inner.ledger.nack(self.taken, (after > Duration::ZERO).then(|| now + after));
        self.queue.serve(inner, now);
        Ok(())
    }
}
