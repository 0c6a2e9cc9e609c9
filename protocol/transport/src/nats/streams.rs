//! The streams and consumers, and making them.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::{Done, Failure, code};
use super::link::Link;
use super::options::NatsOptions;
use super::patience::Patience;
use crate::{BusError, Queue, QueueState};

/// What is kept on the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Stored {
    /// A queue: its stream, and its consumer.
    Queue(Queue),
    /// The event stream.
    Events,
    /// The stream under the object store.
    Blobs,
}

pub(super) const BUCKET: &str = "visor-blobs";

impl Stored {
    /// The name of the stream.
    pub(super) fn stream(&self) -> &'static str {
        match self {
            Self::Queue(Queue::Jobs(_)) => "VISOR_JOBS",
            Self::Queue(Queue::Results(_)) => "VISOR_RESULTS",
            Self::Events => "VISOR_EVENTS",
            Self::Blobs => "OBJ_visor-blobs",
        }
    }

    fn config(&self, options: &NatsOptions) -> Value {
        let queue = |subjects: &str| {
            json!({
                "subjects": [subjects],
                "retention": "workqueue",
                "discard": "new",
                "max_bytes": options.queue_bytes,
                "max_age": 0,
                "duplicate_window": nanos(options.dedupe_window),
            })
        };
        let mut config = match self {
            Self::Queue(Queue::Jobs(_)) => queue("visor.v1.jobs.>"),
            Self::Queue(Queue::Results(_)) => queue("visor.v1.results.>"),
            Self::Events => json!({
                "subjects": ["visor.v1.events.>"],
                "retention": "limits",
                "discard": "old",
                "max_bytes": options.event_bytes,
                "max_age": nanos(options.event_max_age),
                "duplicate_window": nanos(options.dedupe_window),
            }),
            // As `nats object` makes it, so that its tools can read the bucket.
            Self::Blobs => json!({
                "subjects": [format!("$O.{BUCKET}.C.>"), format!("$O.{BUCKET}.M.>")],
                "retention": "limits",
                "discard": "new",
                "max_bytes": options.blob_bytes,
                "max_age": nanos(options.blob_max_age),
                "duplicate_window": nanos(options.dedupe_window),
                "allow_rollup_hdrs": true,
                "allow_direct": true,
            }),
        };
        config["name"] = self.stream().into();
        config["storage"] = "file".into();
        config["num_replicas"] = options.replicas.into();
        config["max_consumers"] = (-1).into();
        config["max_msgs"] = (-1).into();
        config
    }
}

/// The durable consumer that all consumers of a queue share.
pub(super) fn consumer_name(queue: &Queue) -> String {
    match queue {
        Queue::Jobs(pool) => format!("pool-{pool}"),
        Queue::Results(shard) => format!("shard-{shard}"),
    }
}

fn consumer_config(queue: &Queue, options: &NatsOptions) -> Value {
    json!({
        "durable_name": consumer_name(queue),
        "filter_subject": queue.subject().to_string(),
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": nanos(options.ack_wait),
        "max_deliver": -1,
        // Attempts are acknowledged when claimed, outcomes when committed: what is out at once is
        // bounded by slots and batches, and must never be held back by this number instead.
        "max_ack_pending": 100_000,
        // Each consumer of each process keeps a few requests here.
        "max_waiting": 8_192,
        "replay_policy": "instant",
    })
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Deserialize)]
struct ConsumerInfo {
    num_pending: u64,
    num_ack_pending: u64,
}

impl Link {
    /// Makes what is missing, unless it was seen since the connection stands.
    pub(super) async fn ensure(&self, thing: &Stored, until: Instant) -> Result<(), BusError> {
        self.open()?;
        if self.is_ensured(thing) {
            return Ok(());
        }
        // After a reconnect everybody comes here at once: one of them does it for all.
        let making = tokio::time::timeout_at(until, self.making.lock()).await;
        let _making = making.map_err(|_| BusError::Timeout {
            what: format!("making the stream {}", thing.stream()),
            within: self.options.deadline,
        })?;
        if self.is_ensured(thing) { Ok(()) } else { self.make(thing, until).await }
    }

    /// Makes what is missing.
    pub(super) async fn make(&self, thing: &Stored, until: Instant) -> Result<(), BusError> {
        let what = format!("making the stream {}", thing.stream());
        let mut patience = Patience::new(self, &what, until);
        loop {
            self.open()?;
            let epoch = self.epoch();
            match self.try_make(thing, patience.try_timeout()).await {
                Ok(()) => {
                    self.mark_ensured(epoch, thing.clone());
                    return Ok(());
                }
                Err(failure) => patience.pause(failure).await?,
            }
        }
    }

    async fn try_make(&self, thing: &Stored, within: Duration) -> Result<(), Failure> {
        self.make_stream(thing, within).await?;
        match thing {
            Stored::Queue(queue) => self.make_consumer(thing.stream(), queue, within).await,
            Stored::Events | Stored::Blobs => Ok(()),
        }
    }

    async fn make_stream(&self, thing: &Stored, within: Duration) -> Result<(), Failure> {
        let operation = format!("STREAM.CREATE.{}", thing.stream());
        let mut config = thing.config(&self.options);
        match self.call::<Done>(&operation, &config, within).await {
            // It is there, made by an operator or another version of us. Their settings stand.
            Err(failure) if failure.has_code(code::STREAM_DIFFERS) => Ok(()),
            Err(failure)
                if failure.has_code(code::NO_STORAGE) || failure.has_code(code::NO_RESOURCES) =>
            {
                let wanted = config["max_bytes"].take();
                config["max_bytes"] = (-1).into();
                match self.call::<Done>(&operation, &config, within).await {
                    // It is there with its bound: a server counts its room twice before it looks.
                    Err(failure) if failure.has_code(code::STREAM_DIFFERS) => Ok(()),
                    Err(failure) => Err(failure),
                    Ok(Done {}) => {
                        // Usual on a small disk, and nothing is amiss until that is full.
                        tracing::info!(
                            stream = thing.stream(),
                            wanted_bytes = %wanted,
                            "the server has less room than this stream may take: only the \
                             server's own limit holds for it"
                        );
                        Ok(())
                    }
                }
            }
            made => made.map(drop),
        }
    }

    async fn make_consumer(
        &self,
        stream: &str,
        queue: &Queue,
        within: Duration,
    ) -> Result<(), Failure> {
        let name = consumer_name(queue);
        let operation = format!("CONSUMER.DURABLE.CREATE.{stream}.{name}");
        let body =
            json!({ "stream_name": stream, "config": consumer_config(queue, &self.options) });
        match self.call::<Done>(&operation, &body, within).await {
            Ok(Done {}) => Ok(()),
            Err(failure @ Failure::Refused { .. }) if failure.is_final() => {
                // It is there with settings that cannot be changed. They stand.
                self.consumer_info(queue, within).await.map(drop).map_err(|_| failure)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn consumer_info(
        &self,
        queue: &Queue,
        within: Duration,
    ) -> Result<ConsumerInfo, Failure> {
        let stream = Stored::Queue(queue.clone()).stream();
        let operation = format!("CONSUMER.INFO.{stream}.{}", consumer_name(queue));
        self.call(&operation, &Value::Null, within).await
    }

    /// How full a queue is.
    pub(super) async fn queue_state(
        &self,
        queue: &Queue,
        until: Instant,
    ) -> Result<QueueState, BusError> {
        let what = format!("reading the queue `{}`", queue.subject());
        let mut patience = Patience::new(self, &what, until);
        loop {
            self.open()?;
            match self.consumer_info(queue, patience.try_timeout()).await {
                Ok(ConsumerInfo { num_pending, num_ack_pending: unacknowledged }) => {
                    let messages = num_pending + unacknowledged;
                    return Ok(QueueState { messages, unacknowledged });
                }
                Err(failure)
                    if failure.has_code(code::NO_STREAM) || failure.has_code(code::NO_CONSUMER) =>
                {
                    return Err(BusError::Unavailable { what, why: "it does not exist".into() });
                }
                Err(failure) => patience.pause(failure).await?,
            }
        }
    }

    /// Makes a queue's consumer anew when messages wait that it does not deliver. What was
    /// delivered and not acknowledged is delivered again.
    pub(super) async fn rebuild_consumer(
        &self,
        queue: &Queue,
        until: Instant,
    ) -> Result<(), BusError> {
        let thing = Stored::Queue(queue.clone());
        self.make(&thing, until).await?;
        let info = self.consumer_info(queue, self.try_timeout(until)).await;
        let Ok(ConsumerInfo { num_pending: pending @ 1.., .. }) = info else { return Ok(()) };
        let consumer = consumer_name(queue);
        tracing::warn!(consumer, pending, "the consumer has stalled; making it anew");
        let operation = format!("CONSUMER.DELETE.{}.{consumer}", thing.stream());
        let deleted = self.call::<Done>(&operation, &Value::Null, self.try_timeout(until)).await;
        if let Err(error) = deleted {
            tracing::warn!(consumer, ?error, "the stalled consumer cannot be deleted");
        }
        self.make(&thing, until).await
    }
}

#[cfg(test)]
mod tests {
    use visor_protocol::ids::PoolName;
    use visor_testkit::nats::NatsServer;

    use super::*;
    use crate::nats::connect::link;

    #[tokio::test]
    async fn a_consumer_that_has_stalled_is_made_anew_and_keeps_its_messages() {
        let test = "a_consumer_that_has_stalled_is_made_anew_and_keeps_its_messages";
        let Some(server) = NatsServer::start_or_skip(test).await else { return };
        let link = link(server.url().into()).await.unwrap();
        let queue = Queue::Jobs(PoolName::default_pool());
        let thing = Stored::Queue(queue.clone());
        let created = async || {
            #[derive(Deserialize)]
            struct Created {
                created: String,
            }
            let operation = "CONSUMER.INFO.VISOR_JOBS.pool-default";
            let within = Duration::from_secs(5);
            link.call::<Created>(operation, &Value::Null, within).await.unwrap().created
        };
        link.make(&thing, link.deadline()).await.unwrap();
        let first = created().await;
        link.rebuild_consumer(&queue, link.deadline()).await.unwrap();
        assert_eq!(created().await, first, "nothing waits, so nothing has stalled");
        link.store(&thing, &queue.subject().to_string(), "1", "x".into()).await.unwrap();
        link.rebuild_consumer(&queue, link.deadline()).await.unwrap();
        assert_ne!(created().await, first);
        assert_eq!(link.queue_state(&queue, link.deadline()).await.unwrap().messages, 1);
    }
}
