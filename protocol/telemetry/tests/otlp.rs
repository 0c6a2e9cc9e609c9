//! Traces, posted to a collector on this machine.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests, in functions that clippy does not take for such"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use visor_protocol::TraceContext;
use visor_telemetry::{OtlpConfig, TelemetryConfig, trace};

const WITHIN: Duration = Duration::from_secs(60);

struct Post {
    head: String,
    body: Vec<u8>,
}

impl Post {
    fn says(&self, text: &str) -> bool {
        self.body.windows(text.len()).any(|window| window == text.as_bytes())
    }

    fn has(&self, bytes: &[u8]) -> bool {
        self.body.windows(bytes.len()).any(|window| window == bytes)
    }
}

/// Takes posts and answers each with 200.
fn collector() -> (String, mpsc::Receiver<Post>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (posts, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap() <= 2 {
                    break;
                }
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head.push_str(&lower);
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.get_mut().write_all(answer).unwrap();
            if posts.send(Post { head, body }).is_err() {
                return;
            }
        }
    });
    (base, received)
}

#[test]
fn spans_are_posted_when_the_guard_is_dropped() {
    let (base, posts) = collector();
    let config = TelemetryConfig {
        otlp: Some(OtlpConfig::at(&base)),
        filter: "off".into(),
        flush_within: WITHIN,
        ..TelemetryConfig::new("visor-worker")
    };
    let (dispatch, guard) = visor_telemetry::subscriber(&config).unwrap();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let sent_along = tracing::dispatcher::with_default(&dispatch, || {
        let span = tracing::info_span!(target: "visor_worker", "run attempt", job.id = "3k9f-0");
        let carried = TraceContext { traceparent: parent.into() };
        trace::continue_from(&span, Some(&carried));
        let _foreign = tracing::info_span!(target: "hyper", "not ours").entered();
        span.in_scope(trace::current).unwrap()
    });
    drop(guard);
    let post = posts.recv_timeout(WITHIN).unwrap();
    assert!(post.head.starts_with("post /v1/traces "), "{}", post.head);
    assert!(post.head.contains("content-type: application/x-protobuf"), "{}", post.head);
    for text in ["run attempt", "job.id", "3k9f-0", "visor-worker"] {
        assert!(post.says(text), "{text}");
    }
    assert!(!post.says("not ours"));
    // The trace goes on: the same id, the sender's span as parent, a span of its own.
    let trace_id = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    let parent_id = 0xb7ad_6b71_6920_3331_u64.to_be_bytes();
    assert!(post.has(&trace_id) && post.has(&parent_id));
    assert!(sent_along.traceparent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    assert_ne!(sent_along.traceparent, parent);
}

#[test]
fn a_collector_that_is_away_holds_up_the_end_no_longer_than_allowed() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", silent.local_addr().unwrap());
    let config = TelemetryConfig {
        otlp: Some(OtlpConfig::at(&base)),
        filter: "off".into(),
        flush_within: Duration::from_millis(100),
        ..TelemetryConfig::new("visor-worker")
    };
    let (dispatch, guard) = visor_telemetry::subscriber(&config).unwrap();
    tracing::dispatcher::with_default(&dispatch, || {
        tracing::info_span!(target: "visor_worker", "lost").in_scope(|| {});
    });
    // With its deadline broken this would wait for the post's own, and fail by the runner's.
    drop(guard);
}

#[test]
fn an_address_that_is_none_is_refused() {
    let config = TelemetryConfig {
        otlp: Some(OtlpConfig::at("not an address")),
        ..TelemetryConfig::new("visor-worker")
    };
    let error = visor_telemetry::subscriber(&config).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("not an address"), "{error}");
}
