//! Core subscriptions.

use async_nats::Subscriber;
use async_trait::async_trait;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::{Message, ReplyTo, Subscription};

pub(super) struct NatsSubscription {
    pub(super) subscriber: Subscriber,
    pub(super) closed: CancellationToken,
}

#[async_trait]
impl Subscription for NatsSubscription {
    async fn next(&mut self) -> Option<Message> {
        let message = tokio::select! {
            biased;
            message = self.subscriber.next() => message?,
            () = self.closed.cancelled() => return None,
        };
        Some(Message {
            subject: message.subject.parse().ok(),
            payload: message.payload,
            reply: message.reply.map(|reply| ReplyTo(reply.to_string())),
        })
    }
}
