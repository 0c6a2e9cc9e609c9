//! Connections that misbehave, and the end of all of them.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use visor_coordinator::http::HttpLimits;
use visor_protocol::api::{self, ApiError};
use visor_testkit::build::noop_config;
use visor_testkit::wait::DEADLINE;

use crate::site::{Door, Site};
use crate::stub::Stub;

async fn raw(door: &Door, text: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(door.addr()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the connection is closed in time");
    answer
}

fn refusing() -> Arc<Stub> {
    Stub::refusing(ApiError::new("visor::api::malformed", "no"))
}

#[tokio::test]
async fn headers_that_never_end_close_the_connection() {
    let limits = HttpLimits { headers_within: Duration::from_millis(50), ..HttpLimits::default() };
    let door = Door::with_limits(limits, refusing()).await;
    raw(&door, "GET /healthz HTTP/1.1\r\nHost: loc").await;
    raw(&door, "").await;
    assert_eq!(door.get("/healthz").send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let door = Door::with_limits(HttpLimits::default(), refusing()).await;
    let answer = raw(&door, "\u{16}\u{3}\u{1} nonsense\r\n\r\n").await;
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    let long =
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let mut stream = TcpStream::connect(door.addr()).await.unwrap();
    // The server stops reading; whether the client can still write is its own affair.
    let _ = stream.write_all(long.as_bytes()).await;
    assert_eq!(door.get("/healthz").send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_never_comes_does_not_hold_the_request_for_ever() {
    let limits = HttpLimits { answer_within: Duration::from_millis(50), ..HttpLimits::default() };
    let door = Door::with_limits(limits, refusing()).await;
    let answer = raw(
        &door,
        "POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\n\r\n{",
    )
    .await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("visor::api::timeout"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_upload_that_stalls_is_given_up() {
    let limits = HttpLimits { piece_within: Duration::from_millis(50), ..HttpLimits::default() };
    let door = Door::with_limits(limits, refusing()).await;
    let answer = raw(
        &door,
        "PUT /api/v1/blobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc",
    )
    .await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("visor::api::timeout"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_its_connection() {
    let logs = api::Logs {
        stdout: "x".repeat(16 * 1024 * 1024),
        stderr: String::new(),
        stdout_total: 0,
        stderr_total: 0,
        complete: true,
    };
    let stub = Arc::new(Stub::new(move |_| Ok(api::Response::Logs(logs.clone()))));
    let limits = HttpLimits {
        write_within: Duration::from_millis(50),
        connections: 1,
        ..HttpLimits::default()
    };
    let door = Door::with_limits(limits, stub).await;
    let mut stuck = TcpStream::connect(door.addr()).await.unwrap();
    let ask = b"GET /api/v1/runs/abc/checks/a/logs HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stuck.write_all(ask).await.unwrap();
    // There is one place, and it is free again although nothing was read and nothing closed.
    let alive = timeout(DEADLINE, door.get("/healthz").send()).await;
    assert_eq!(alive.expect("in time").unwrap().status(), StatusCode::OK);
    drop(stuck);
}

#[tokio::test]
async fn a_stop_ends_streams_and_idle_connections_and_closes_the_door() {
    let site = Site::open().await;
    let run = site.submit(&noop_config(1)).await;
    let mut stream = site.get(&format!("/api/v1/runs/{run}/events")).send().await.unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    site.stop.cancel();
    timeout(DEADLINE, site.http.closed()).await.expect("it closes in time");
    while let Ok(Some(_)) = stream.chunk().await {}
    assert!(site.get("/healthz").send().await.is_err());
}
