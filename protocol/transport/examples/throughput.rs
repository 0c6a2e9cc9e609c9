//! Prints how many small messages a second go through a work queue and how long one takes:
//! `cargo run --release -p visor-transport --example throughput [nats://…]`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use visor_protocol::ids::PoolName;
use visor_transport::{Bus, MemoryBus, Queue, nats};

/// Messages taken at once.
const SLOTS: u32 = 64;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), visor_transport::BusError> {
    match std::env::args().nth(1) {
        None => {
            let bus = MemoryBus::shared();
            report("memory, one sender", 1_000_000, drain(&bus, &bus, 1, 1_000_000).await?);
            echo(&bus, &bus).await
        }
        Some(url) => {
            let (sender, taker) =
                (nats::connect(url.as_str()).await?, nats::connect(url.as_str()).await?);
            for senders in [1, 16, 256] {
                let took = drain(&sender, &taker, senders, 50_000).await?;
                report(&format!("NATS, {senders} in flight"), 50_000, took);
            }
            echo(&sender, &taker).await
        }
    }
}

/// Sends and takes `count` messages at the same time, as a coordinator and a worker would.
async fn drain(
    sender: &Arc<dyn Bus>,
    taker: &Arc<dyn Bus>,
    senders: u32,
    count: u32,
) -> Result<Duration, visor_transport::BusError> {
    let queue = Queue::Jobs(PoolName::default_pool());
    let mut consumer = taker.consume(&queue).await?;
    let started = Instant::now();
    consumer.request(SLOTS);
    let taking = tokio::spawn(async move {
        for _ in 0..count / senders * senders {
            let delivery = consumer.next().await.expect("the bus is open");
            consumer.request(1);
            delivery.ack().await.expect("the bus is open");
        }
    });
    let payload = Bytes::from_static(&[7; 256]);
    let sending = (0..senders).map(|_| {
        let (bus, queue, payload) = (Arc::clone(sender), queue.clone(), payload.clone());
        tokio::spawn(async move {
            for _ in 0..count / senders {
                bus.enqueue(&queue, "", payload.clone()).await.expect("the queue has room");
            }
        })
    });
    for sending in sending.collect::<Vec<_>>() {
        sending.await.expect("a sender does not panic");
    }
    taking.await.expect("the taker does not panic");
    Ok(started.elapsed())
}

/// Sends a message every millisecond and measures how long each takes to arrive.
async fn echo(
    sender: &Arc<dyn Bus>,
    taker: &Arc<dyn Bus>,
) -> Result<(), visor_transport::BusError> {
    let queue = Queue::Jobs(PoolName::default_pool());
    let mut consumer = taker.consume(&queue).await?;
    consumer.request(SLOTS);
    let origin = Instant::now();
    let taking = tokio::spawn(async move {
        let mut took = Vec::new();
        for _ in 0..2_000 {
            let delivery = consumer.next().await.expect("the bus is open");
            let text = String::from_utf8_lossy(delivery.payload()).into_owned();
            let sent = Duration::from_nanos(text.parse().expect("a number was sent"));
            took.push(origin.elapsed().saturating_sub(sent));
            consumer.request(1);
            delivery.ack().await.expect("the bus is open");
        }
        took.sort();
        took
    });
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    for _ in 0..2_000 {
        tick.tick().await;
        let (bus, queue) = (Arc::clone(sender), queue.clone());
        tokio::spawn(async move {
            let sent = origin.elapsed().as_nanos().to_string();
            bus.enqueue(&queue, "", sent.into()).await.expect("the queue has room");
        });
    }
    let took = taking.await.expect("the taker does not panic");
    say(&format!("1000/s: p50 {:?}, p95 {:?}, p99 {:?}", took[1_000], took[1_900], took[1_980]));
    Ok(())
}

fn report(name: &str, count: u32, took: Duration) {
    let rate = f64::from(count) / took.as_secs_f64();
    say(&format!("{name}: {count} messages in {took:.2?}, {rate:.0}/s"));
}

#[expect(clippy::print_stdout, reason = "printing is what it is for")]
fn say(line: &str) {
    println!("{line}");
}
