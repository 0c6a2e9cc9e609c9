//! Connecting: addresses, credentials, versions, waiting.

use std::sync::Arc;
use std::time::Duration;

use visor_protocol::ids::Shard;
use visor_protocol::subject::{ApiOperation, Subject};
use visor_testkit::eventually;
use visor_testkit::nats::NatsServer;
use visor_testkit::wait::DEADLINE;
use visor_transport::BusError;
use visor_transport::nats::{Credentials, NatsOptions, connect};

use crate::{bus, jobs, options, test_name, text};

async fn refusal(options: NatsOptions) -> String {
    match connect(options).await {
        Ok(_) => panic!("the connection is refused"),
        Err(error @ BusError::Connect { .. }) => error.to_string(),
        Err(error) => panic!("not a refusal to connect: {error}"),
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_its_credentials() {
    let error = refusal("nats://user:s3cret@127.0.0.1:9".into()).await;
    assert!(error.contains("nats://127.0.0.1:9") && !error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_listener_that_says_nothing_is_given_up_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let options =
        NatsOptions { connect_timeout: Duration::from_millis(200), ..NatsOptions::new(url) };
    let error = refusal(options).await;
    assert!(error.contains("answer"), "{error}");
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_right_ones_are_not() {
    let test = test_name!(wrong_credentials_are_refused_and_right_ones_are_not);
    let config = "authorization { user: visor, password: \"s3:cret\" }";
    let Some(server) = NatsServer::start_with_or_skip(test, config).await else { return };
    let url = |credentials: &str| server.url().replace("//", &format!("//{credentials}"));
    let error = refusal(options(&server)).await;
    assert!(error.contains("credentials"), "{error}");
    // Waiting for a server is no reason to ask for ever with a wrong password.
    let wrong = NatsOptions { wait_for_server: true, ..NatsOptions::new(url("visor:wr0ng@")) };
    let error = refusal(wrong).await;
    assert!(error.contains("credentials") && !error.contains("wr0ng"), "{error}");
    connect(url("visor:s3%3Acret@")).await.unwrap();
    let credentials =
        Credentials::UserPassword { user: "visor".into(), password: "s3:cret".into() };
    connect(NatsOptions { credentials, ..options(&server) }).await.unwrap();
}

#[tokio::test]
async fn a_token_is_accepted_in_the_address_and_beside_it() {
    let test = test_name!(a_token_is_accepted_in_the_address_and_beside_it);
    let config = "authorization { token: \"t0ken\" }";
    let Some(server) = NatsServer::start_with_or_skip(test, config).await else { return };
    connect(server.url().replace("//", "//t0ken@")).await.unwrap();
    let credentials = Credentials::Token("t0ken".into());
    connect(NatsOptions { credentials, ..options(&server) }).await.unwrap();
}

#[tokio::test]
async fn a_missing_credentials_file_is_an_error_that_says_so() {
    let credentials = Credentials::File("/nonexistent/visor.creds".into());
    let error =
        refusal(NatsOptions { credentials, ..NatsOptions::new("nats://127.0.0.1:9") }).await;
    assert!(error.contains("credentials"), "{error}");
}

#[tokio::test]
async fn a_worker_can_be_started_before_its_server() {
    let test = test_name!(a_worker_can_be_started_before_its_server);
    let Some(mut server) = NatsServer::start_or_skip(test).await else { return };
    server.stop().await;
    let options = NatsOptions { wait_for_server: true, ..options(&server) };
    let waiting = tokio::spawn(connect(options));
    server.restart().await;
    let bus = waiting.await.unwrap().unwrap();
    bus.enqueue(&jobs(), "1", text(1)).await.unwrap();
}

#[tokio::test]
async fn a_smaller_limit_of_the_server_holds() {
    let test = test_name!(a_smaller_limit_of_the_server_holds);
    let Some(server) = NatsServer::start_with_or_skip(test, "max_payload: 65536").await else {
        return;
    };
    let bus = bus(&server).await;
    let error = bus.enqueue(&jobs(), "1", vec![0; 70_000].into()).await.unwrap_err();
    assert!(matches!(error, BusError::TooLarge { len: 70_000, limit: 65_536, .. }), "{error}");
}

#[tokio::test]
async fn what_an_old_server_lacks_is_said_in_sentences() {
    let test = test_name!(what_an_old_server_lacks_is_said_in_sentences);
    let Some(server) = NatsServer::start_or_skip(test).await else { return };
    let info = bus(&server).await.info();
    assert_eq!(info.name, format!("NATS {}", server.version()));
    let is_old = server.version().starts_with("2.9.");
    assert_eq!(info.degraded.iter().any(|lack| lack.contains("sync_interval: always")), is_old);
    assert!(info.degraded.iter().all(|lack| lack.ends_with('.')));
}

#[tokio::test]
async fn a_queue_that_is_full_refuses_more() {
    let test = test_name!(a_queue_that_is_full_refuses_more);
    let Some(server) = NatsServer::start_or_skip(test).await else { return };
    let bus = connect(NatsOptions { queue_bytes: 100_000, ..options(&server) }).await.unwrap();
    let payload = bytes::Bytes::from(vec![0; 60_000]);
    bus.enqueue(&jobs(), "1", payload.clone()).await.unwrap();
    let error = bus.enqueue(&jobs(), "2", payload).await.unwrap_err();
    assert!(matches!(error, BusError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("maximum bytes"), "{error}");
}

#[tokio::test]
async fn a_server_with_little_room_is_used_as_far_as_it_goes() {
    let test = test_name!(a_server_with_little_room_is_used_as_far_as_it_goes);
    let config = "jetstream { max_file_store: 10MB }";
    let Some(server) = NatsServer::start_with_or_skip(test, config).await else { return };
    let bus = bus(&server).await;
    bus.enqueue(&jobs(), "1", text(1)).await.unwrap();
    let hash = bus.put_blob(text(1)).await.unwrap();
    assert!(bus.has_blob(hash).await.unwrap());
    // Beyond that it says what is wrong.
    let error = bus.put_blob(vec![1; 12_000_000].into()).await.unwrap_err();
    assert!(matches!(error, BusError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_request_made_while_the_server_is_away_waits_for_it() {
    let test = test_name!(a_request_made_while_the_server_is_away_waits_for_it);
    let Some(mut server) = NatsServer::start_or_skip(test).await else { return };
    let bus = bus(&server).await;
    server.stop().await;
    eventually("the loss is noticed", || !bus.is_connected()).await;
    let asking = {
        let bus = Arc::clone(&bus);
        let subject = Subject::Api(Shard(0), ApiOperation::Read);
        tokio::spawn(async move { bus.request(&subject, text(1), DEADLINE).await })
    };
    server.restart().await;
    let error = asking.await.unwrap().unwrap_err();
    assert!(matches!(error, BusError::NoResponder { .. }), "the server was asked: {error}");
}
