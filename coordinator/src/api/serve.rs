//! Answers requests on the bus.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use visor_protocol::Subject;
use visor_protocol::api::Response;
use visor_protocol::api::{ApiError, Reply, Request};
use visor_protocol::envelope::{Envelope, WireError};
use visor_protocol::subject::ApiOperation;
use visor_transport::{Message, Subscription};

use super::service::{ApiService, Service, unavailable};
use crate::gauges::Gauges;
use crate::services::Services;

/// Requests answered at once; further ones wait in the subscription, which is bounded.
const AT_ONCE: usize = 1_024;

/// The subject of an operation's requests.
pub(crate) fn subject(services: &Services, operation: ApiOperation) -> Subject {
    Subject::Api(services.config.shard, operation)
}

/// Serves one operation until stopped; `requests` are those that come from now on.
pub(crate) async fn run(
    services: Arc<Services>,
    service: Arc<Service>,
    operation: ApiOperation,
    requests: Box<dyn Subscription>,
    stop: CancellationToken,
) {
    let subject = subject(&services, operation);
    let mut first = Some(requests);
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    while !stop.is_cancelled() {
        let subscribed = match first.take() {
            Some(requests) => Ok(requests),
            None => services.bus.subscribe(&subject.clone().into()).await,
        };
        let mut requests = match subscribed {
            Ok(requests) => requests,
            Err(visor_transport::BusError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, %subject, "requests cannot be read; trying again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_millis(500)) => continue,
                }
            }
        };
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => return,
                message = requests.next() => match message {
                    Some(message) => message,
                    None => break,
                },
            };
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let (services, service) = (Arc::clone(&services), Arc::clone(&service));
            services.tasks.clone().spawn(async move {
                answer(&services, &*service, operation, message).await;
                drop(permit);
            });
        }
    }
}

async fn answer(
    services: &Services,
    service: &dyn ApiService,
    operation: ApiOperation,
    message: Message,
) {
    let reply: Reply = match Envelope::<Request>::decode(&message.payload) {
        // A server may let a client publish to one operation's subject and not to another's.
        Ok(envelope) if envelope.body.operation() == operation => service.call(envelope.body).await,
        Ok(_) => Err(ApiError::new("visor::api::wrong_subject", "the request is of another kind")),
        Err(error) => {
            Gauges::add(&services.gauges.messages_rejected);
            tracing::warn!(%error, "a message that is no request was rejected");
            Err(ApiError::new("visor::api::malformed", error.to_string()))
        }
    };
    let Some(to) = message.reply else { return };
    let now = services.clock.now();
    let reply = Envelope::new(reply, now);
    let encoded = match reply.encode() {
        Err(WireError::TooLarge { .. }) => store(services, &reply).await,
        encoded => encoded,
    };
    match encoded {
        Ok(payload) => {
            if let Err(error) = services.bus.respond(&to, payload).await {
                tracing::debug!(%error, "answer not sent");
            }
        }
        Err(error) => tracing::error!(%error, "answer cannot be encoded"),
    }
}

/// An answer that no message can carry, a report of ten thousand checks for example, goes to the
/// blob store and its address is sent.
async fn store(services: &Services, reply: &Envelope<Reply>) -> Result<Bytes, WireError> {
    let bytes = reply.encode_stored()?;
    let len = bytes.len() as u64;
    let reply: Reply = match services.bus.put_blob(bytes).await {
        Ok(hash) => Ok(Response::Stored { hash, bytes: len }),
        Err(error) => Err(unavailable(&error)),
    };
    Envelope::new(reply, services.clock.now()).encode()
}
