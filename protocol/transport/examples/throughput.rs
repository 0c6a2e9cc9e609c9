//! Prints how many small messages a second go through a work queue: `cargo run --release
//! --example throughput [nats://…]`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use visor_protocol::ids::PoolName;
use visor_transport::{Bus, MemoryBus, Queue};

const MESSAGES: u32 = 1_000_000;
const SLOTS: u32 = 64;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let bus = MemoryBus::shared();
    let started = Instant::now();
    drain(&bus, MESSAGES).await;
    report("memory", MESSAGES, started.elapsed());
}

/// Sends and takes `count` messages at the same time, as a coordinator and a worker would.
async fn drain(bus: &Arc<dyn Bus>, count: u32) {
    let queue = Queue::Jobs(PoolName::default_pool());
    let mut consumer = bus.consume(&queue).await.expect("the bus is open");
    consumer.request(SLOTS);
    let taker = tokio::spawn(async move {
        for _ in 0..count {
            let delivery = consumer.next().await.expect("the bus is open");
            consumer.request(1);
            delivery.ack().await.expect("the bus is open");
        }
    });
    let payload = Bytes::from_static(&[7; 256]);
    for n in 0..count {
        bus.enqueue(&queue, &n.to_string(), payload.clone()).await.expect("the queue has room");
    }
    taker.await.expect("the taker does not panic");
}

#[expect(clippy::print_stdout, reason = "printing is what it is for")]
fn report(name: &str, count: u32, took: Duration) {
    let rate = f64::from(count) / took.as_secs_f64();
    println!("{name}: {count} messages in {took:.2?}, {rate:.0}/s");
}
