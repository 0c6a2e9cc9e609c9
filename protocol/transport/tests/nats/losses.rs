//! Restarts, lost storage, lost consumers, silence.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use visor_protocol::ids::Shard;
use visor_protocol::subject::{Pattern, Subject};
use visor_testkit::build::run_id;
use visor_testkit::nats::NatsServer;
use visor_testkit::wait::DEADLINE;
use visor_testkit::{eventually, eventually_some};
use visor_transport::nats::{NatsOptions, connect};
use visor_transport::{Bus, BusError};

use crate::{bus, jobs, number, options, taken, test_name, text};

/// Enqueues numbers until told to stop; those that were confirmed.
async fn enqueue_until(bus: Arc<dyn Bus>, stop: Arc<AtomicBool>) -> BTreeSet<usize> {
    let mut confirmed = BTreeSet::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if bus.enqueue(&jobs(), &n.to_string(), text(n)).await.is_ok() {
            confirmed.insert(n);
        }
    }
    confirmed
}

/// Takes and acknowledges until everything confirmed has come, through three restarts.
async fn nothing_confirmed_is_lost(server: &mut NatsServer, hard: bool) {
    let (sender, taker) = (bus(server).await, bus(server).await);
    let stop = Arc::<AtomicBool>::default();
    let sending = tokio::spawn(enqueue_until(Arc::clone(&sender), Arc::clone(&stop)));
    let seen = Arc::new(parking_lot::Mutex::new(BTreeSet::new()));
    let taking = tokio::spawn({
        let seen = Arc::clone(&seen);
        async move {
            let mut consumer = taker.consume(&jobs()).await.unwrap();
            consumer.request(16);
            while let Some(delivery) = consumer.next().await {
                seen.lock().insert(number(delivery.as_ref()));
                consumer.request(1);
                assert!(consumer.outstanding() <= 16);
                // Lost while there is no connection; the message comes again.
                let _ = delivery.ack().await;
            }
        }
    });
    for _ in 0..3 {
        let before = seen.lock().len();
        eventually("messages flow", || seen.lock().len() > before + 200).await;
        if hard {
            server.kill().await;
        } else {
            server.stop().await;
        }
        server.restart().await;
    }
    let before = seen.lock().len();
    eventually("messages flow again", || seen.lock().len() > before + 200).await;
    stop.store(true, Ordering::Relaxed);
    let confirmed = sending.await.unwrap();
    eventually("all that was confirmed comes", || confirmed.is_subset(&seen.lock())).await;
    eventually_some("nothing is left", async || {
        let state = sender.queue_state(&jobs()).await.ok()?;
        (state.messages == 0).then_some(())
    })
    .await;
    taking.abort();
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_server_is_killed_and_restarted() {
    let test = test_name!(nothing_acknowledged_is_lost_when_the_server_is_killed_and_restarted);
    let Some(mut server) = NatsServer::start_or_skip(test).await else { return };
    nothing_confirmed_is_lost(&mut server, true).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_server_is_restarted() {
    let test = test_name!(nothing_acknowledged_is_lost_when_the_server_is_restarted);
    let Some(mut server) = NatsServer::start_or_skip(test).await else { return };
    nothing_confirmed_is_lost(&mut server, false).await;
}

#[tokio::test]
async fn everything_works_again_after_the_server_lost_its_storage() {
    let test = test_name!(everything_works_again_after_the_server_lost_its_storage);
    let Some(mut server) = NatsServer::start_or_skip(test).await else { return };
    let (bus, other) = (bus(&server).await, bus(&server).await);
    let mut consumer = other.consume(&jobs()).await.unwrap();
    let mut events = other.subscribe(&Pattern::AllEvents).await.unwrap();
    consumer.request(10);
    bus.enqueue(&jobs(), "0", text(0)).await.unwrap();
    taken(&mut consumer).await.ack().await.unwrap();
    let hash = bus.put_blob(text(0)).await.unwrap();
    server.kill().await;
    server.wipe();
    server.restart().await;

    // Whoever needs a thing makes it again; nobody has to be told.
    bus.enqueue(&jobs(), "1", text(1)).await.unwrap();
    let delivery = taken(&mut consumer).await;
    assert_eq!(number(delivery.as_ref()), 1);
    delivery.ack().await.unwrap();
    assert_eq!(consumer.outstanding(), 8);
    bus.record(&Subject::Events(Shard(0)), text(2)).await.unwrap();
    let heard = tokio::time::timeout(DEADLINE, events.next()).await.unwrap().unwrap();
    assert_eq!(heard.payload, text(2));
    assert!(!bus.has_blob(hash).await.unwrap());
    bus.put_blob(text(0)).await.unwrap();
    assert_eq!(other.get_blob(hash, 100).await.unwrap(), text(0));
    bus.ensure_queue(&jobs()).await.unwrap();
}

#[tokio::test]
async fn a_consumer_that_waits_makes_its_queue_again_by_itself() {
    let test = test_name!(a_consumer_that_waits_makes_its_queue_again_by_itself);
    let Some(mut server) = NatsServer::start_or_skip(test).await else { return };
    let (bus, other) = (bus(&server).await, bus(&server).await);
    let mut consumer = other.consume(&jobs()).await.unwrap();
    consumer.request(1);
    let waiting = tokio::spawn(async move { taken(&mut consumer).await.ack().await });
    server.kill().await;
    server.wipe();
    server.restart().await;
    eventually_some("the queue is there", async || bus.queue_state(&jobs()).await.ok()).await;
    bus.enqueue(&jobs(), "1", text(1)).await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_deleted_consumer_or_stream_is_made_again() {
    let test = test_name!(a_deleted_consumer_or_stream_is_made_again);
    let Some(server) = NatsServer::start_or_skip(test).await else { return };
    let bus = bus(&server).await;
    let mut consumer = bus.consume(&jobs()).await.unwrap();
    let stranger = async_nats::connect(server.url()).await.unwrap();
    for (n, operation) in
        ["CONSUMER.DELETE.VISOR_JOBS.pool-default", "STREAM.DELETE.VISOR_JOBS"].iter().enumerate()
    {
        consumer.request(1);
        // Its request stands at the server.
        assert!(tokio::time::timeout(Duration::from_millis(200), consumer.next()).await.is_err());
        let subject = format!("$JS.API.{operation}");
        stranger.request(subject, "".into()).await.unwrap();
        bus.enqueue(&jobs(), &n.to_string(), text(n)).await.unwrap();
        let delivery = taken(&mut consumer).await;
        assert_eq!(number(delivery.as_ref()), n);
        delivery.ack().await.unwrap();
    }
}

#[tokio::test]
async fn a_request_outlives_its_expiry_at_the_server() {
    let test = test_name!(a_request_outlives_its_expiry_at_the_server);
    let Some(server) = NatsServer::start_or_skip(test).await else { return };
    let bus = bus(&server).await;
    let mut consumer = bus.consume(&jobs()).await.unwrap();
    consumer.request(3);
    let expiries = 3 * options(&server).pull_expiry;
    assert!(tokio::time::timeout(expiries, consumer.next()).await.is_err());
    for n in 0..5 {
        bus.enqueue(&jobs(), &n.to_string(), text(n)).await.unwrap();
    }
    for n in 0..3 {
        assert_eq!(number(taken(&mut consumer).await.as_ref()), n);
    }
    let rests = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await.is_err();
    assert!(rests, "repeated requests do not add up");
    assert_eq!(bus.queue_state(&jobs()).await.unwrap().unacknowledged, 3);
}

#[tokio::test]
async fn a_server_that_holds_its_breath_costs_a_call_its_deadline_and_no_more() {
    let test = test_name!(a_server_that_holds_its_breath_costs_a_call_its_deadline_and_no_more);
    let Some(server) = NatsServer::start_or_skip(test).await else { return };
    let options = NatsOptions { deadline: Duration::from_millis(500), ..options(&server) };
    let bus = connect(options).await.unwrap();
    let mut consumer = bus.consume(&jobs()).await.unwrap();
    consumer.request(1);
    server.pause().await;
    let error = bus.enqueue(&jobs(), "1", text(1)).await.unwrap_err();
    assert!(matches!(error, BusError::Timeout { .. }), "{error}");
    let error = bus.queue_state(&jobs()).await.unwrap_err();
    assert!(matches!(error, BusError::Timeout { .. }), "{error}");
    let error = bus.put_blob(text(1)).await.unwrap_err();
    assert!(matches!(error, BusError::Timeout { .. }), "{error}");
    // Long enough for the consumer to notice the silence.
    assert!(tokio::time::timeout(Duration::from_secs(4), consumer.next()).await.is_err());
    server.resume();
    eventually_some("the server takes messages", async || {
        bus.enqueue(&jobs(), "2", text(2)).await.ok()
    })
    .await;
    // The first may have been stored although nobody heard of it.
    let delivery = taken(&mut consumer).await;
    assert!([1, 2].contains(&number(delivery.as_ref())));
}

#[tokio::test]
async fn subscriptions_and_requests_survive_a_restart() {
    let test = test_name!(subscriptions_and_requests_survive_a_restart);
    let Some(mut server) = NatsServer::start_or_skip(test).await else { return };
    let (bus, other) = (bus(&server).await, bus(&server).await);
    let subject = Subject::Run(run_id(1));
    let mut subscription = other.subscribe(&subject.clone().into()).await.unwrap();
    server.stop().await;
    eventually("the loss is noticed", || !bus.is_connected() && !other.is_connected()).await;
    let error = bus.publish(&subject, text(1)).await.unwrap_err();
    assert!(matches!(error, BusError::Unavailable { .. }), "{error}");
    server.restart().await;
    eventually("both are back", || bus.is_connected() && other.is_connected()).await;
    let heard = tokio::spawn(async move { subscription.next().await.unwrap().payload });
    // A message published before the other side is subscribed again is lost.
    eventually_some("the subscription hears again", async || {
        bus.publish(&subject, text(2)).await.unwrap();
        heard.is_finished().then_some(())
    })
    .await;
    assert_eq!(heard.await.unwrap(), text(2));
}
