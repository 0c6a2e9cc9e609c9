//! A bus to test, as two parties see it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use visor_protocol::ids::{PoolName, Shard};
use visor_protocol::subject::{Subject, WorkerTopic};
use visor_testkit::build::{run_id, worker_id};
use visor_testkit::nats::NatsServer;
use visor_testkit::wait::DEADLINE;
use visor_transport::nats::NatsOptions;
use visor_transport::{Bus, Consumer, Delivery, MemoryBus, MemoryOptions, Queue, Subscription};

/// Short, so that tests of redelivery are; long beside a round trip. Not the time for which a
/// request stands at a server: when a message is to come again in the moment in which the request
/// for it ends, nats-server 2.9.10 starts to count its deliveries anew.
pub(crate) const ACK_WAIT: Duration = Duration::from_millis(1_500);

/// Long enough for what must not come to have come.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

pub(crate) struct Fixture {
    pub(crate) bus: Arc<dyn Bus>,
    /// The same bus through a connection of its own, where there are connections.
    pub(crate) other: Arc<dyn Bus>,
    _server: Option<NatsServer>,
}

impl Fixture {
    pub(crate) fn memory() -> Self {
        let options = MemoryOptions { ack_wait: ACK_WAIT, ..MemoryOptions::default() };
        let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(options));
        Self { other: Arc::clone(&bus), bus, _server: None }
    }

    pub(crate) async fn nats(test: &str) -> Option<Self> {
        let server = NatsServer::start_or_skip(test).await?;
        let options = NatsOptions { ack_wait: ACK_WAIT, ..NatsOptions::new(server.url()) };
        let bus = visor_transport::nats::connect(options.clone()).await.unwrap();
        let other = visor_transport::nats::connect(options).await.unwrap();
        Some(Self { bus, other, _server: Some(server) })
    }
}

pub(crate) fn jobs() -> Queue {
    Queue::Jobs(PoolName::default_pool())
}

pub(crate) fn results() -> Queue {
    Queue::Results(Shard(0))
}

pub(crate) fn run() -> Subject {
    Subject::Run(run_id(1))
}

pub(crate) fn heartbeat(worker: &str) -> Subject {
    Subject::Worker(worker_id(worker), WorkerTopic::Heartbeat)
}

pub(crate) fn text(n: usize) -> Bytes {
    n.to_string().into()
}

/// The next message's text.
pub(crate) async fn heard(subscription: &mut Box<dyn Subscription>) -> String {
    let next = tokio::time::timeout(DEADLINE, subscription.next()).await;
    let message = next.expect("a message comes").expect("the bus is open");
    String::from_utf8(message.payload.to_vec()).unwrap()
}

/// The next delivery.
pub(crate) async fn taken(consumer: &mut Box<dyn Consumer>) -> Box<dyn Delivery> {
    let next = tokio::time::timeout(DEADLINE, consumer.next()).await;
    next.expect("a delivery comes").expect("the bus is open")
}

pub(crate) fn body(delivery: &dyn Delivery) -> String {
    String::from_utf8(delivery.payload().to_vec()).unwrap()
}

/// Nothing is delivered for a while.
pub(crate) async fn rests(consumer: &mut Box<dyn Consumer>) {
    if let Ok(next) = tokio::time::timeout(QUIET, consumer.next()).await {
        panic!("unexpected delivery {:?}", next.map(|delivery| body(delivery.as_ref())));
    }
}
