//! A message taken from a queue.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use async_trait::async_trait;
use bytes::Bytes;

use super::link::Link;
use crate::{BusError, Delivery};

pub(super) struct NatsDelivery {
    pub(super) link: Arc<Link>,
    pub(super) payload: Bytes,
    pub(super) reply: Subject,
}

/// Tells the server to deliver it again at once.
pub(super) const AGAIN: Bytes = Bytes::from_static(b"-NAK");

#[async_trait]
impl Delivery for NatsDelivery {
    fn payload(&self) -> &Bytes {
        &self.payload
    }

    fn deliveries(&self) -> u64 {
        deliveries(&self.reply)
    }

    async fn ack(self: Box<Self>) -> Result<(), BusError> {
        self.link.send(self.reply.to_string(), Bytes::from_static(b"+ACK")).await
    }

    async fn nack(self: Box<Self>, after: Duration) -> Result<(), BusError> {
        let payload = if after.is_zero() {
            AGAIN
        } else {
            format!("-NAK {{\"delay\": {}}}", after.as_nanos()).into()
        };
        self.link.send(self.reply.to_string(), payload).await
    }
}

/// How often the message was delivered, from the address for its acknowledgement:
/// `$JS.ACK.<stream>.<consumer>.<deliveries>.<seq>.<seq>.<time>.<pending>`, with the domain and
/// the account before the stream where the server names them.
fn deliveries(reply: &str) -> u64 {
    let count = reply.split('.').count();
    let position = if count >= 11 { 6 } else { 4 };
    reply.split('.').nth(position).and_then(|token| token.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::deliveries;

    #[test]
    fn deliveries_are_read_from_both_forms_of_the_address() {
        assert_eq!(deliveries("$JS.ACK.VISOR_JOBS.pool-default.3.1.4.1700000000.0"), 3);
        assert_eq!(deliveries("$JS.ACK.hub.acc.VISOR_JOBS.pool-default.2.1.4.1700000000.0.x"), 2);
        assert_eq!(deliveries("junk"), 1);
    }
}
