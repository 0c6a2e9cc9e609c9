//! Others on the same server: what they send, and what they read of ours.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use visor_protocol::ids::Shard;
use visor_protocol::subject::{ApiOperation, Pattern, Subject};
use visor_testkit::build::run_id;
use visor_testkit::nats::NatsServer;
use visor_testkit::wait::DEADLINE;
use visor_transport::BusError;

use crate::{bus, jobs, taken, test_name};

#[tokio::test]
async fn a_message_on_a_subject_that_is_none_of_ours_comes_without_one() {
    let test = test_name!(a_message_on_a_subject_that_is_none_of_ours_comes_without_one);
    let Some(server) = NatsServer::start_or_skip(test).await else { return };
    let bus = bus(&server).await;
    let mut logs = bus.subscribe(&Pattern::LogsOfRun(run_id(1))).await.unwrap();
    let stranger = async_nats::connect(server.url()).await.unwrap();
    let subject = format!("visor.v1.logs.{}.junk", run_id(1));
    stranger.publish(subject, "\u{0}junk".into()).await.unwrap();
    let message = tokio::time::timeout(DEADLINE, logs.next()).await.unwrap().unwrap();
    assert_eq!((message.subject, message.payload), (None, Bytes::from("\u{0}junk")));
}

#[tokio::test]
async fn what_waits_for_a_slow_subscriber_is_bounded_in_bytes() {
    let test = test_name!(what_waits_for_a_slow_subscriber_is_bounded_in_bytes);
    let Some(server) = NatsServer::start_or_skip(test).await else { return };
    let (bus, other) = (bus(&server).await, bus(&server).await);
    let run = Subject::Run(run_id(1));
    let mut slow = bus.subscribe(&run.clone().into()).await.unwrap();
    let large = Bytes::from(vec![7; 1_000_000]);
    for _ in 0..150 {
        other.publish(&run, large.clone()).await.unwrap();
    }
    // The server answers in order: what was published before this request has come by then.
    let api = Subject::Api(Shard(0), ApiOperation::Read);
    for bus in [&other, &bus] {
        let nobody = bus.request(&api, Bytes::new(), DEADLINE).await.unwrap_err();
        assert!(matches!(nobody, BusError::NoResponder { .. }), "{nobody}");
    }
    let mut waited = 0;
    while let Ok(message) = tokio::time::timeout(Duration::from_secs(1), slow.next()).await {
        waited += message.unwrap().payload.len();
    }
    assert!((1_000_000..=64 * 1024 * 1024).contains(&waited), "{waited} bytes waited");
    other.publish(&run, "next".into()).await.unwrap();
    let next = tokio::time::timeout(DEADLINE, slow.next()).await.unwrap().unwrap();
    assert_eq!(next.payload, "next");
}

#[tokio::test]
async fn junk_in_a_queue_is_delivered_and_can_be_acknowledged_away() {
    let test = test_name!(junk_in_a_queue_is_delivered_and_can_be_acknowledged_away);
    let Some(server) = NatsServer::start_or_skip(test).await else { return };
    let bus = bus(&server).await;
    let mut consumer = bus.consume(&jobs()).await.unwrap();
    let stranger = async_nats::connect(server.url()).await.unwrap();
    stranger.publish(jobs().subject().to_string(), vec![0xc1; 100].into()).await.unwrap();
    consumer.request(1);
    let delivery = taken(&mut consumer).await;
    assert_eq!(delivery.payload().len(), 100);
    delivery.ack().await.unwrap();
}

#[tokio::test]
async fn a_blob_can_be_read_with_the_tools_for_object_stores() {
    let test = test_name!(a_blob_can_be_read_with_the_tools_for_object_stores);
    let Some(server) = NatsServer::start_or_skip(test).await else { return };
    let bus = bus(&server).await;
    let bytes: Bytes = (0..600_000_u32).map(|n| (n / 7) as u8).collect();
    let hash = bus.put_blob(bytes.clone()).await.unwrap();
    let stranger = async_nats::connect(server.url()).await.unwrap();
    let store = async_nats::jetstream::new(stranger).get_object_store("visor-blobs").await.unwrap();
    let mut object = store.get(hash.to_string()).await.unwrap();
    assert_eq!(object.info().size, bytes.len());
    let mut read = Vec::new();
    object.read_to_end(&mut read).await.unwrap();
    assert!(read == bytes);
}

#[tokio::test]
async fn a_damaged_blob_is_refused() {
    let test = test_name!(a_damaged_blob_is_refused);
    let Some(server) = NatsServer::start_or_skip(test).await else { return };
    let bus = bus(&server).await;
    let hash = bus.put_blob(vec![1; 1_000].into()).await.unwrap();
    let stranger = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let store = stranger.get_object_store("visor-blobs").await.unwrap();
    let forged = vec![2_u8; 1_000];
    store.put(hash.to_string().as_str(), &mut forged.as_slice()).await.unwrap();
    let error = bus.get_blob(hash, 1_000).await.unwrap_err();
    assert!(
        matches!(&error, BusError::Unavailable { why, .. } if why.contains("damaged")),
        "{error}"
    );
}
