//! What the bus says of itself, and its end.

use std::sync::Arc;

use visor_protocol::ids::{ContentHash, Shard};
use visor_protocol::subject::Subject;
use visor_testkit::wait::DEADLINE;
use visor_transport::BusError;

use crate::fixture::{Fixture, jobs, run, taken, text};

crate::conformance! {
    an_open_bus_says_what_it_is,
    a_closed_bus_ends_those_who_wait_and_refuses_the_rest,
    what_was_published_before_the_end_arrives,
}

async fn an_open_bus_says_what_it_is(f: Fixture) {
    assert!(f.bus.is_connected());
    let info = f.bus.info();
    if info.remote {
        assert!(info.name.starts_with("NATS 2."), "{}", info.name);
    } else {
        assert_eq!((info.name.as_str(), info.degraded.len()), ("memory", 0));
    }
}

async fn a_closed_bus_ends_those_who_wait_and_refuses_the_rest(f: Fixture) {
    let mut subscription = f.bus.subscribe(&run().into()).await.unwrap();
    let mut consumer = f.bus.consume(&jobs()).await.unwrap();
    f.bus.enqueue(&jobs(), "1", text(1)).await.unwrap();
    consumer.request(2);
    let delivery = taken(&mut consumer).await;
    let waiting = tokio::spawn(async move {
        (subscription.next().await.is_none(), consumer.next().await.is_none())
    });
    f.bus.close().await;
    f.bus.close().await;
    let ended = tokio::time::timeout(DEADLINE, waiting).await.expect("those who wait are told");
    assert_eq!(ended.unwrap(), (true, true));
    assert!(!f.bus.is_connected());
    let hash = ContentHash::of(b"x");
    let refusals: Vec<BusError> = vec![
        delivery.ack().await.unwrap_err(),
        f.bus.publish(&run(), text(1)).await.unwrap_err(),
        f.bus.request(&run(), text(1), DEADLINE).await.unwrap_err(),
        f.bus.subscribe(&run().into()).await.err().unwrap(),
        f.bus.ensure_queue(&jobs()).await.unwrap_err(),
        f.bus.enqueue(&jobs(), "2", text(1)).await.unwrap_err(),
        f.bus.consume(&jobs()).await.err().unwrap(),
        f.bus.queue_state(&jobs()).await.unwrap_err(),
        f.bus.record(&Subject::Events(Shard(0)), text(1)).await.unwrap_err(),
        f.bus.put_blob(text(1)).await.unwrap_err(),
        f.bus.get_blob(hash, 1).await.unwrap_err(),
        f.bus.has_blob(hash).await.unwrap_err(),
    ];
    for (position, refusal) in refusals.into_iter().enumerate() {
        assert!(matches!(refusal, BusError::Closed), "{position}: {refusal}");
    }
}

async fn what_was_published_before_the_end_arrives(f: Fixture) {
    let mut subscription = f.other.subscribe(&run().into()).await.unwrap();
    for n in 0..500 {
        f.bus.publish(&run(), text(n)).await.unwrap();
    }
    if !Arc::ptr_eq(&f.bus, &f.other) {
        f.bus.close().await;
    }
    for n in 0..500 {
        assert_eq!(crate::fixture::heard(&mut subscription).await, n.to_string());
    }
}
