//! The bus that misbehaves does so as told, and the same each time.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests, in functions that clippy does not take for such"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use visor_protocol::ids::{PoolName, Shard};
use visor_protocol::subject::{ApiOperation, Subject};
use visor_testkit::build::run_id;
use visor_testkit::faulty::Direction;
use visor_testkit::{Faults, FaultyBus};
use visor_transport::{Bus, BusError, MemoryBus, Queue};

fn run() -> Subject {
    Subject::Run(run_id(1))
}

fn jobs() -> Queue {
    Queue::Jobs(PoolName::default_pool())
}

/// What arrives of a thousand numbers, in the order in which it does.
async fn heard(seed: u64, faults: Faults) -> Vec<u32> {
    let memory = MemoryBus::shared();
    let bus = FaultyBus::new(Arc::clone(&memory), seed, faults);
    let mut subscription = memory.subscribe(&run().into()).await.unwrap();
    for n in 0..1_000_u32 {
        bus.publish(&run(), n.to_be_bytes().to_vec().into()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    memory.close().await;
    let mut heard = Vec::new();
    while let Some(message) = subscription.next().await {
        heard.push(u32::from_be_bytes(message.payload[..].try_into().unwrap()));
    }
    heard
}

#[tokio::test(start_paused = true)]
async fn without_faults_it_is_the_bus_it_wraps() {
    assert_eq!(heard(1, Faults::none()).await, (0..1_000).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn messages_are_lost_doubled_and_late_the_same_way_for_the_same_seed() {
    let first = heard(7, Faults::rough()).await;
    assert_eq!(first, heard(7, Faults::rough()).await);
    assert_ne!(first, heard(8, Faults::rough()).await);
    let mut counts = BTreeMap::new();
    for n in &first {
        *counts.entry(*n).or_insert(0) += 1;
    }
    assert!((900..990).contains(&counts.len()), "{} of 1000 arrived", counts.len());
    let twice = counts.values().filter(|count| **count == 2).count();
    assert!((20..100).contains(&twice), "{twice} of 1000 arrived twice");
    assert!(!first.is_sorted(), "some came after later ones");
}

#[tokio::test(start_paused = true)]
async fn a_queue_gives_everything_in_the_end_whatever_goes_wrong() {
    let memory = MemoryBus::shared();
    let bus = FaultyBus::new(Arc::clone(&memory), 3, Faults::rough());
    let mut consumer = bus.consume(&jobs()).await.unwrap();
    for n in 0..300_u32 {
        while bus.enqueue(&jobs(), &n.to_string(), n.to_string().into()).await.is_err() {}
    }
    let mut counts = BTreeMap::new();
    consumer.request(8);
    while memory.queue_state(&jobs()).await.unwrap().messages > 0 {
        let next = tokio::time::timeout(Duration::from_secs(1), consumer.next()).await;
        let Ok(Some(delivery)) = next else { continue };
        *counts.entry(delivery.payload().clone()).or_insert(0) += 1;
        assert!(consumer.outstanding() <= 8);
        delivery.ack().await.unwrap();
        consumer.request(1);
    }
    assert_eq!(counts.len(), 300);
    assert!(counts.values().any(|count| *count > 1), "a lost acknowledgement shows");
}

#[tokio::test(start_paused = true)]
async fn a_cut_holds_until_it_is_healed() {
    let memory = MemoryBus::shared();
    let bus = FaultyBus::new(Arc::clone(&memory), 1, Faults::none());
    let api = Subject::Api(Shard(0), ApiOperation::Read);
    let mut requests = memory.subscribe(&api.clone().into()).await.unwrap();
    let served = Arc::clone(&memory);
    let serving = tokio::spawn(async move {
        let mut count = 0;
        while let Some(request) = requests.next().await {
            served.respond(&request.reply.unwrap(), Bytes::from_static(b"yes")).await.unwrap();
            count += 1;
        }
        count
    });
    let within = Duration::from_secs(1);
    let ask = async || bus.request(&api, Bytes::new(), within).await;
    assert_eq!(ask().await.unwrap(), "yes");

    bus.cut(Direction::Outgoing);
    assert!(!bus.is_connected());
    assert!(matches!(ask().await, Err(BusError::Timeout { .. })));
    assert!(matches!(bus.enqueue(&jobs(), "1", Bytes::new()).await, Err(BusError::Timeout { .. })));
    assert!(memory.queue_state(&jobs()).await.is_err(), "nothing went out");
    bus.heal();

    bus.cut(Direction::Incoming);
    assert!(matches!(ask().await, Err(BusError::Timeout { .. })));
    assert!(bus.enqueue(&jobs(), "1", Bytes::new()).await.is_err());
    assert_eq!(
        memory.queue_state(&jobs()).await.unwrap().messages,
        1,
        "it was stored all the same"
    );
    bus.heal();

    assert!(bus.is_connected());
    assert_eq!(ask().await.unwrap(), "yes");
    memory.close().await;
    assert_eq!(serving.await.unwrap(), 3, "the request whose answer was lost had arrived");
}
