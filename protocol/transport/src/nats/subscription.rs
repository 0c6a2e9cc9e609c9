//! Core subscriptions.
//!
//! The client bounds what waits for a subscriber by number alone, and sixteen thousand messages of
//! a megabyte are sixteen gigabytes. So a task of each subscription takes them from the client as
//! they come, and keeps what waits within bytes as well: the client's own buffer holds no more than
//! arrives between two of its turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::Subscriber;
use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Message, ReplyTo, Subscription};

/// Messages that a subscriber may be behind.
const MESSAGES: usize = 16_384;
/// Bytes that it may be behind.
const BYTES: usize = 64 * 1024 * 1024;

pub(super) struct NatsSubscription {
    messages: mpsc::Receiver<async_nats::Message>,
    behind: Arc<AtomicUsize>,
    taker: JoinHandle<()>,
    closed: CancellationToken,
}

impl NatsSubscription {
    pub(super) fn new(subscriber: Subscriber, closed: CancellationToken) -> Self {
        let (sender, messages) = mpsc::channel(MESSAGES);
        let behind = Arc::<AtomicUsize>::default();
        let taker = tokio::spawn(take(subscriber, sender, Arc::clone(&behind)));
        Self { messages, behind, taker, closed }
    }
}

/// Takes messages as they come; those that find no room are dropped.
async fn take(
    mut subscriber: Subscriber,
    sender: mpsc::Sender<async_nats::Message>,
    behind: Arc<AtomicUsize>,
) {
    let mut lost = 0_u64;
    while let Some(message) = subscriber.next().await {
        let len = message.payload.len();
        let before = behind.fetch_add(len, Ordering::Relaxed);
        let fits = before == 0 || before + len <= BYTES;
        if fits && sender.try_send(message).is_ok() {
            continue;
        }
        behind.fetch_sub(len, Ordering::Relaxed);
        lost += 1;
        if lost.is_power_of_two() {
            tracing::warn!(lost, "a subscriber is too slow and loses messages");
        }
    }
}

impl Drop for NatsSubscription {
    fn drop(&mut self) {
        self.taker.abort();
    }
}

#[async_trait]
impl Subscription for NatsSubscription {
    async fn next(&mut self) -> Option<Message> {
        let message = tokio::select! {
            biased;
            message = self.messages.recv() => message?,
            () = self.closed.cancelled() => return None,
        };
        self.behind.fetch_sub(message.payload.len(), Ordering::Relaxed);
        Some(Message {
            subject: message.subject.parse().ok(),
            payload: message.payload,
            reply: message.reply.map(|reply| ReplyTo(reply.to_string())),
        })
    }
}
