//! What only a real server can show: restarts, lost storage, silence, credentials, strangers.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests, in functions that clippy does not take for such"
)]

mod connecting;
mod losses;
mod strangers;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use visor_protocol::ids::PoolName;
use visor_testkit::nats::NatsServer;
use visor_testkit::wait::DEADLINE;
use visor_transport::nats::{NatsOptions, connect};
use visor_transport::{Bus, Consumer, Delivery, Queue};

/// The path of the test that runs, for the message that it is skipped.
macro_rules! test_name {
    ($name:ident) => {
        concat!(module_path!(), "::", stringify!($name))
    };
}

use test_name;

fn jobs() -> Queue {
    Queue::Jobs(PoolName::default_pool())
}

fn text(n: usize) -> Bytes {
    n.to_string().into()
}

fn number(delivery: &dyn Delivery) -> usize {
    String::from_utf8(delivery.payload().to_vec()).unwrap().parse().unwrap()
}

/// Settings that let silence show soon.
fn options(server: &NatsServer) -> NatsOptions {
    NatsOptions {
        ack_wait: Duration::from_secs(2),
        pull_expiry: Duration::from_secs(1),
        pull_heartbeat: Duration::from_millis(300),
        ..NatsOptions::new(server.url())
    }
}

async fn bus(server: &NatsServer) -> Arc<dyn Bus> {
    connect(options(server)).await.unwrap()
}

async fn taken(consumer: &mut Box<dyn Consumer>) -> Box<dyn Delivery> {
    let next = tokio::time::timeout(DEADLINE, consumer.next()).await;
    next.expect("a delivery comes").expect("the bus is open")
}
