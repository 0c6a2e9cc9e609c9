//! Publish, subscribe, request and answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use visor_protocol::envelope::MAX_MESSAGE_BYTES;
use visor_protocol::ids::Shard;
use visor_protocol::subject::{ApiOperation, Pattern, Subject};
use visor_testkit::build::run_id;
use visor_testkit::eventually_some;
use visor_testkit::wait::DEADLINE;
use visor_transport::{Bus, BusError};

use crate::fixture::{Fixture, QUIET, heard, heartbeat, jobs, run, text};

crate::conformance! {
    a_message_reaches_everybody_who_is_subscribed_and_nobody_else,
    a_pattern_meets_all_its_subjects,
    messages_of_one_publisher_on_one_subject_come_in_order,
    a_subscriber_too_far_behind_loses_the_newest_messages,
    a_message_carries_its_subject,
    a_request_is_answered,
    the_first_answer_to_a_request_counts,
    a_request_with_nobody_to_answer_fails_at_once,
    a_request_that_is_not_answered_ends_in_time,
    a_dropped_subscription_has_ended,
    a_payload_that_is_too_large_is_refused_everywhere,
    recorded_events_reach_those_who_are_subscribed,
}

async fn a_message_reaches_everybody_who_is_subscribed_and_nobody_else(f: Fixture) {
    let mut first = f.bus.subscribe(&run().into()).await.unwrap();
    let mut second = f.other.subscribe(&run().into()).await.unwrap();
    let mut elsewhere = f.bus.subscribe(&Subject::Run(run_id(2)).into()).await.unwrap();
    f.other.publish(&run(), text(1)).await.unwrap();
    f.other.publish(&Subject::Run(run_id(2)), text(2)).await.unwrap();
    assert_eq!(heard(&mut first).await, "1");
    assert_eq!(heard(&mut second).await, "1");
    assert_eq!(heard(&mut elsewhere).await, "2");
}

async fn a_pattern_meets_all_its_subjects(f: Fixture) {
    let mut workers = f.bus.subscribe(&Pattern::AllWorkers).await.unwrap();
    let mut logs = f.bus.subscribe(&Pattern::LogsOfRun(run_id(1))).await.unwrap();
    let control = Subject::Worker(
        visor_testkit::build::worker_id("w1"),
        visor_protocol::subject::WorkerTopic::Control,
    );
    f.bus.publish(&control, text(0)).await.unwrap();
    f.bus.publish(&heartbeat("w1"), text(1)).await.unwrap();
    f.bus.publish(&heartbeat("w2"), text(2)).await.unwrap();
    f.bus.publish(&Subject::Logs(run_id(2), 0), text(3)).await.unwrap();
    f.bus.publish(&Subject::Logs(run_id(1), 7), text(4)).await.unwrap();
    assert_eq!(heard(&mut workers).await, "1");
    assert_eq!(heard(&mut workers).await, "2");
    assert_eq!(heard(&mut logs).await, "4");
}

async fn messages_of_one_publisher_on_one_subject_come_in_order(f: Fixture) {
    let mut subscription = f.bus.subscribe(&run().into()).await.unwrap();
    for n in 0..2_000 {
        f.other.publish(&run(), text(n)).await.unwrap();
    }
    for n in 0..2_000 {
        assert_eq!(heard(&mut subscription).await, n.to_string());
    }
}

async fn a_subscriber_too_far_behind_loses_the_newest_messages(f: Fixture) {
    const SENT: usize = 30_000;
    let mut slow = f.bus.subscribe(&run().into()).await.unwrap();
    let mut quick = f.bus.subscribe(&run().into()).await.unwrap();
    let publisher = Arc::clone(&f.other);
    let publishing = tokio::spawn(async move {
        for n in 0..SENT {
            publisher.publish(&run(), text(n)).await.unwrap();
        }
    });
    while heard(&mut quick).await != (SENT - 1).to_string() {}
    publishing.await.unwrap();
    let mut received = 0;
    while let Ok(Some(message)) = tokio::time::timeout(QUIET, slow.next()).await {
        assert_eq!(message.payload, text(received));
        received += 1;
    }
    assert!((1_000..SENT).contains(&received), "{received} of {SENT} messages were kept");
    f.other.publish(&run(), text(7)).await.unwrap();
    assert_eq!(heard(&mut slow).await, "7", "with room again, it hears again");
}

async fn a_message_carries_its_subject(f: Fixture) {
    let mut workers = f.bus.subscribe(&Pattern::AllWorkers).await.unwrap();
    f.bus.publish(&heartbeat("w-eu-1"), text(1)).await.unwrap();
    let message = workers.next().await.unwrap();
    assert_eq!(message.subject, Some(heartbeat("w-eu-1")));
    assert_eq!(message.reply, None);
}

fn api() -> Subject {
    Subject::Api(Shard(0), ApiOperation::Read)
}

/// Answers every request with its payload and these additions.
async fn serve(bus: &Arc<dyn Bus>, additions: &'static [&'static str]) {
    let mut requests = bus.subscribe(&api().into()).await.unwrap();
    let bus = Arc::clone(bus);
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let to = request.reply.expect("a request says where its answer goes");
            for addition in additions {
                let answer = [&request.payload, addition.as_bytes()].concat();
                bus.respond(&to, answer.into()).await.unwrap();
            }
        }
    });
}

async fn a_request_is_answered(f: Fixture) {
    serve(&f.other, &["!"]).await;
    let requests = (0..100).map(|n| {
        let bus = Arc::clone(&f.bus);
        tokio::spawn(async move { bus.request(&api(), text(n), DEADLINE).await })
    });
    for (n, request) in requests.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(request.await.unwrap().unwrap(), Bytes::from(format!("{n}!")));
    }
}

async fn the_first_answer_to_a_request_counts(f: Fixture) {
    serve(&f.other, &["first", "second"]).await;
    for _ in 0..10 {
        assert_eq!(f.bus.request(&api(), Bytes::new(), DEADLINE).await.unwrap(), "first");
    }
}

async fn a_request_with_nobody_to_answer_fails_at_once(f: Fixture) {
    // With a deadline far beyond that of the test, it fails for no other reason.
    let error = f.bus.request(&api(), text(1), 10 * DEADLINE).await.unwrap_err();
    assert!(matches!(error, BusError::NoResponder { .. }), "{error}");
}

async fn a_request_that_is_not_answered_ends_in_time(f: Fixture) {
    let _silent = f.other.subscribe(&api().into()).await.unwrap();
    let within = Duration::from_millis(50);
    let error = f.bus.request(&api(), text(1), within).await.unwrap_err();
    assert!(matches!(error, BusError::Timeout { .. }), "{error}");
}

async fn a_dropped_subscription_has_ended(f: Fixture) {
    let subscription = f.other.subscribe(&api().into()).await.unwrap();
    drop(subscription);
    eventually_some("nobody listens any more", async || {
        let asked = f.bus.request(&api(), text(1), Duration::from_millis(50)).await;
        matches!(asked, Err(BusError::NoResponder { .. })).then_some(())
    })
    .await;
}

async fn a_payload_that_is_too_large_is_refused_everywhere(f: Fixture) {
    let large = Bytes::from(vec![0; MAX_MESSAGE_BYTES + 1]);
    let refusals = [
        f.bus.publish(&run(), large.clone()).await.unwrap_err(),
        f.bus.request(&api(), large.clone(), DEADLINE).await.unwrap_err(),
        f.bus.enqueue(&jobs(), "1", large.clone()).await.unwrap_err(),
        f.bus.record(&Subject::Events(Shard(0)), large.clone()).await.unwrap_err(),
    ];
    for refusal in refusals {
        let BusError::TooLarge { len, limit, .. } = refusal else { panic!("{refusal}") };
        assert_eq!((len, limit), (MAX_MESSAGE_BYTES + 1, MAX_MESSAGE_BYTES));
    }
    let mut subscription = f.bus.subscribe(&run().into()).await.unwrap();
    f.bus.publish(&run(), large.slice(1..)).await.unwrap();
    let message = tokio::time::timeout(DEADLINE, subscription.next()).await.unwrap().unwrap();
    assert_eq!(message.payload.len(), MAX_MESSAGE_BYTES, "the largest that may travel does");
}

async fn recorded_events_reach_those_who_are_subscribed(f: Fixture) {
    let mut events = f.other.subscribe(&Pattern::AllEvents).await.unwrap();
    for n in 0..10 {
        f.bus.record(&Subject::Events(Shard(0)), text(n)).await.unwrap();
    }
    for n in 0..10 {
        assert_eq!(heard(&mut events).await, n.to_string());
    }
}
