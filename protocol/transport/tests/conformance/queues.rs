//! Work queues.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use visor_protocol::ids::PoolName;
use visor_protocol::subject::Pattern;
use visor_testkit::eventually_some;
use visor_transport::{Bus, BusError, Queue, QueueState};

use crate::fixture::{ACK_WAIT, Fixture, QUIET, body, heard, jobs, rests, results, taken, text};

crate::conformance! {
    a_queue_that_does_not_exist_is_unavailable,
    making_a_queue_twice_is_making_it_once,
    what_is_enqueued_is_delivered_once_and_gone_when_acknowledged,
    a_queue_is_made_by_whoever_needs_it,
    requests_add_up_and_no_more_is_delivered_than_was_requested,
    a_waiting_request_is_filled_as_messages_come,
    consumers_of_one_queue_share_its_messages,
    what_is_not_acknowledged_comes_again_to_anybody,
    a_nack_brings_a_message_back_at_once,
    a_nack_with_a_delay_brings_a_message_back_later,
    a_second_message_of_the_same_id_is_dropped,
    messages_without_an_id_are_all_kept,
    a_wait_for_the_next_message_can_be_given_up_at_any_time,
    what_a_dropped_consumer_had_requested_goes_to_others,
    queues_do_not_mix,
    many_messages_can_be_enqueued_at_the_same_time,
    what_is_enqueued_is_heard_by_subscribers_too,
    a_large_number_of_messages_goes_through_one_by_one,
}

/// Waits until the queue is like this.
async fn becomes(bus: &Arc<dyn Bus>, queue: &Queue, messages: u64, unacknowledged: u64) {
    let wanted = QueueState { messages, unacknowledged };
    eventually_some(&format!("the queue is {wanted:?}"), async || {
        (bus.queue_state(queue).await.unwrap() == wanted).then_some(())
    })
    .await;
}

async fn a_queue_that_does_not_exist_is_unavailable(f: Fixture) {
    let error = f.bus.queue_state(&jobs()).await.unwrap_err();
    assert!(matches!(error, BusError::Unavailable { .. }), "{error}");
}

async fn making_a_queue_twice_is_making_it_once(f: Fixture) {
    f.bus.ensure_queue(&jobs()).await.unwrap();
    f.bus.enqueue(&jobs(), "1", text(1)).await.unwrap();
    f.bus.ensure_queue(&jobs()).await.unwrap();
    f.other.ensure_queue(&jobs()).await.unwrap();
    becomes(&f.bus, &jobs(), 1, 0).await;
}

async fn what_is_enqueued_is_delivered_once_and_gone_when_acknowledged(f: Fixture) {
    f.bus.enqueue(&jobs(), "1", text(1)).await.unwrap();
    let mut consumer = f.other.consume(&jobs()).await.unwrap();
    consumer.request(2);
    let delivery = taken(&mut consumer).await;
    assert_eq!((body(delivery.as_ref()).as_str(), delivery.deliveries()), ("1", 1));
    becomes(&f.bus, &jobs(), 1, 1).await;
    delivery.ack().await.unwrap();
    becomes(&f.bus, &jobs(), 0, 0).await;
    rests(&mut consumer).await;
}

async fn a_queue_is_made_by_whoever_needs_it(f: Fixture) {
    let mut consumer = f.other.consume(&jobs()).await.unwrap();
    consumer.request(1);
    f.bus.enqueue(&jobs(), "1", text(1)).await.unwrap();
    taken(&mut consumer).await.ack().await.unwrap();
    f.bus.enqueue(&results(), "1", text(1)).await.unwrap();
    becomes(&f.bus, &results(), 1, 0).await;
}

async fn requests_add_up_and_no_more_is_delivered_than_was_requested(f: Fixture) {
    let mut consumer = f.other.consume(&jobs()).await.unwrap();
    for n in 0..10 {
        f.bus.enqueue(&jobs(), &n.to_string(), text(n)).await.unwrap();
    }
    assert_eq!(consumer.outstanding(), 0);
    rests(&mut consumer).await;
    consumer.request(1);
    consumer.request(2);
    assert_eq!(consumer.outstanding(), 3);
    let mut held = Vec::new();
    for left in [2, 1, 0] {
        held.push(taken(&mut consumer).await);
        assert_eq!(consumer.outstanding(), left);
    }
    rests(&mut consumer).await;
    becomes(&f.bus, &jobs(), 10, 3).await;
    consumer.request(7);
    for _ in 0..7 {
        held.push(taken(&mut consumer).await);
    }
    let bodies: BTreeSet<String> = held.iter().map(|delivery| body(delivery.as_ref())).collect();
    assert_eq!(bodies.len(), 10);
}

async fn a_waiting_request_is_filled_as_messages_come(f: Fixture) {
    let mut consumer = f.other.consume(&jobs()).await.unwrap();
    consumer.request(50);
    for n in 0..50 {
        f.bus.enqueue(&jobs(), &n.to_string(), text(n)).await.unwrap();
        let delivery = taken(&mut consumer).await;
        assert_eq!(body(delivery.as_ref()), n.to_string());
        delivery.ack().await.unwrap();
    }
    assert_eq!(consumer.outstanding(), 0);
}

async fn consumers_of_one_queue_share_its_messages(f: Fixture) {
    let mut consumers =
        [f.bus.consume(&jobs()).await.unwrap(), f.other.consume(&jobs()).await.unwrap()];
    for consumer in &mut consumers {
        consumer.request(20);
        // Its request stands at the server before there is anything to take.
        rests(consumer).await;
    }
    for n in 0..40 {
        f.bus.enqueue(&jobs(), &n.to_string(), text(n)).await.unwrap();
    }
    let mut seen = BTreeSet::new();
    for consumer in &mut consumers {
        for _ in 0..20 {
            let delivery = taken(consumer).await;
            assert!(seen.insert(body(delivery.as_ref())));
            delivery.ack().await.unwrap();
        }
    }
    assert_eq!(seen.len(), 40);
    becomes(&f.bus, &jobs(), 0, 0).await;
}

async fn what_is_not_acknowledged_comes_again_to_anybody(f: Fixture) {
    f.bus.enqueue(&jobs(), "1", text(1)).await.unwrap();
    let mut first = f.bus.consume(&jobs()).await.unwrap();
    first.request(1);
    let held = taken(&mut first).await;
    let mut second = f.other.consume(&jobs()).await.unwrap();
    second.request(1);
    let again = taken(&mut second).await;
    assert_eq!((body(again.as_ref()).as_str(), again.deliveries()), ("1", 2));
    drop(again);
    second.request(1);
    let again = taken(&mut second).await;
    assert_eq!(again.deliveries(), 3, "dropping it is not acknowledging it");
    // As JetStream has it: whoever it was delivered to may acknowledge it, late too.
    held.ack().await.unwrap();
    becomes(&f.bus, &jobs(), 0, 0).await;
}

async fn a_nack_brings_a_message_back_at_once(f: Fixture) {
    f.bus.enqueue(&jobs(), "1", text(1)).await.unwrap();
    let mut consumer = f.other.consume(&jobs()).await.unwrap();
    for deliveries in 1..=5 {
        consumer.request(1);
        let delivery = taken(&mut consumer).await;
        assert_eq!(delivery.deliveries(), deliveries);
        delivery.nack(Duration::ZERO).await.unwrap();
    }
}

async fn a_nack_with_a_delay_brings_a_message_back_later(f: Fixture) {
    f.bus.enqueue(&jobs(), "1", text(1)).await.unwrap();
    let mut consumer = f.other.consume(&jobs()).await.unwrap();
    consumer.request(1);
    taken(&mut consumer).await.nack(3 * QUIET).await.unwrap();
    consumer.request(1);
    rests(&mut consumer).await;
    let again = taken(&mut consumer).await;
    assert_eq!((body(again.as_ref()).as_str(), again.deliveries()), ("1", 2));
    again.ack().await.unwrap();
    becomes(&f.bus, &jobs(), 0, 0).await;
}

async fn a_second_message_of_the_same_id_is_dropped(f: Fixture) {
    f.bus.enqueue(&jobs(), "same", text(1)).await.unwrap();
    f.other.enqueue(&jobs(), "same", text(2)).await.unwrap();
    f.bus.enqueue(&jobs(), "other", text(3)).await.unwrap();
    let mut consumer = f.bus.consume(&jobs()).await.unwrap();
    consumer.request(3);
    for expected in ["1", "3"] {
        let delivery = taken(&mut consumer).await;
        assert_eq!(body(delivery.as_ref()), expected);
        delivery.ack().await.unwrap();
    }
    f.bus.enqueue(&jobs(), "same", text(4)).await.unwrap();
    rests(&mut consumer).await;
}

async fn messages_without_an_id_are_all_kept(f: Fixture) {
    for n in 0..3 {
        f.bus.enqueue(&jobs(), "", text(n)).await.unwrap();
    }
    becomes(&f.bus, &jobs(), 3, 0).await;
}

async fn a_wait_for_the_next_message_can_be_given_up_at_any_time(f: Fixture) {
    const SENT: usize = 500;
    let mut consumer = f.other.consume(&jobs()).await.unwrap();
    let sender = Arc::clone(&f.bus);
    let sending = tokio::spawn(async move {
        for n in 0..SENT {
            sender.enqueue(&jobs(), &n.to_string(), text(n)).await.unwrap();
        }
    });
    let mut seen = BTreeSet::new();
    consumer.request(4);
    let mut patience = 0;
    while seen.len() < SENT {
        // Mostly too short to get anything, which is the point.
        patience = (patience + 37) % 2_000;
        let wait = Duration::from_micros(patience);
        if let Ok(delivery) = tokio::time::timeout(wait, consumer.next()).await {
            let delivery = delivery.unwrap();
            consumer.request(1);
            assert!(seen.insert(body(delivery.as_ref())), "{} came twice", body(delivery.as_ref()));
            delivery.ack().await.unwrap();
        }
        assert!(consumer.outstanding() <= 4);
    }
    sending.await.unwrap();
    becomes(&f.bus, &jobs(), 0, 0).await;
}

async fn what_a_dropped_consumer_had_requested_goes_to_others(f: Fixture) {
    let mut leaving = f.bus.consume(&jobs()).await.unwrap();
    leaving.request(10);
    rests(&mut leaving).await;
    for n in 0..10 {
        f.other.enqueue(&jobs(), &n.to_string(), text(n)).await.unwrap();
    }
    taken(&mut leaving).await.ack().await.unwrap();
    drop(leaving);
    let mut staying = f.other.consume(&jobs()).await.unwrap();
    staying.request(9);
    for _ in 0..9 {
        taken(&mut staying).await.ack().await.unwrap();
    }
    becomes(&f.bus, &jobs(), 0, 0).await;
}

async fn queues_do_not_mix(f: Fixture) {
    let gpu = Queue::Jobs(PoolName::new("gpu").unwrap());
    for queue in [jobs(), gpu.clone(), results()] {
        f.bus.enqueue(&queue, "1", queue.subject().to_string().into()).await.unwrap();
    }
    for queue in [results(), gpu, jobs()] {
        let mut consumer = f.other.consume(&queue).await.unwrap();
        consumer.request(2);
        let delivery = taken(&mut consumer).await;
        assert_eq!(body(delivery.as_ref()), queue.subject().to_string());
        delivery.ack().await.unwrap();
        becomes(&f.bus, &queue, 0, 0).await;
    }
}

async fn many_messages_can_be_enqueued_at_the_same_time(f: Fixture) {
    let enqueuing = (0..2_000).map(|n| {
        let bus = Arc::clone(&f.bus);
        tokio::spawn(async move { bus.enqueue(&jobs(), &n.to_string(), text(n)).await })
    });
    for enqueued in enqueuing.collect::<Vec<_>>() {
        enqueued.await.unwrap().unwrap();
    }
    becomes(&f.bus, &jobs(), 2_000, 0).await;
}

async fn what_is_enqueued_is_heard_by_subscribers_too(f: Fixture) {
    let mut all = f.other.subscribe(&Pattern::AllJobs).await.unwrap();
    f.bus.enqueue(&jobs(), "1", text(1)).await.unwrap();
    assert_eq!(heard(&mut all).await, "1");
}

async fn a_large_number_of_messages_goes_through_one_by_one(f: Fixture) {
    const SENT: usize = 5_000;
    let (bus, queue) = (Arc::clone(&f.bus), jobs());
    let sending = tokio::spawn(async move {
        for n in 0..SENT {
            bus.enqueue(&queue, &n.to_string(), text(n)).await.unwrap();
        }
    });
    let mut consumer = f.other.consume(&jobs()).await.unwrap();
    consumer.request(16);
    let mut seen = BTreeSet::new();
    while seen.len() < SENT {
        let delivery = taken(&mut consumer).await;
        consumer.request(1);
        assert!(consumer.outstanding() <= 16);
        assert!(seen.insert(body(delivery.as_ref())));
        delivery.ack().await.unwrap();
    }
    sending.await.unwrap();
    assert!(ACK_WAIT > QUIET);
}
