//! Runs, workers and blobs over HTTP, and how bad requests are refused.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Body, Method, StatusCode};
use serde_json::{Value, json};
use visor_coordinator::CoordinatorConfig;
use visor_coordinator::http::HttpLimits;
use visor_protocol::api::{ApiError, FleetStatus, Logs, Reason, WorkerInfo};
use visor_protocol::ids::{ContentHash, RunId};
use visor_protocol::result::{CheckState, RunState, RunSummary};
use visor_testkit::build::noop_config;
use visor_testkit::{FakeWorkerOptions, Scripted, eventually, eventually_some};

use crate::site::{Door, Site, options, refused, submission};
use crate::stub::Stub;

const FAILING: &str = "
version: '1.0'
checks:
  lint: { type: command, exec: 'lint' }
  publish: { type: noop, depends_on: [lint] }
";

#[tokio::test]
async fn a_run_is_submitted_listed_shown_and_explained() {
    let site = Site::open().await;
    let script = |_: &_| Scripted::exit(1, Duration::ZERO).printing("no good\n");
    let _worker = site.worker(FakeWorkerOptions::new("one", 4).script(script)).await;
    let run = site.submit(FAILING).await;
    let report = site.finished(&run).await;
    assert_eq!(report.summary.state, RunState::Failed);
    assert_eq!(report.summary.run.to_string(), run);
    assert_eq!(report.summary.channel.as_str(), "local");

    let short = report.summary.run.short();
    assert_eq!(site.report(&short).await, report);

    let logs = site.get(&format!("/api/v1/runs/{short}/checks/lint/logs")).send().await.unwrap();
    let logs: Logs = logs.json().await.unwrap();
    assert_eq!((logs.stdout.as_str(), logs.complete), ("no good\n", true));

    let why = site.get(&format!("/api/v1/runs/{short}/why?check=publish")).send().await.unwrap();
    let why: Vec<Reason> = why.json().await.unwrap();
    assert!(why[0].summary.contains("lint"), "{why:?}");

    let list = async |query: &str| -> Vec<RunSummary> {
        site.get(&format!("/api/v1/runs{query}")).send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(list("").await, std::slice::from_ref(&report.summary));
    assert_eq!(list("?state=failed&limit=1&channel=local").await.len(), 1);
    assert!(list("?state=passed").await.is_empty());
    assert!(list("?channel=acme/api").await.is_empty());
}

#[tokio::test]
async fn the_same_id_submitted_twice_is_one_run() {
    let site = Site::open().await;
    let mut body = submission(&noop_config(1));
    body["run"] = json!(RunId::from_bytes([7; 16]));
    body["channel"] = json!("acme/api");
    for _ in 0..2 {
        let response = site.post("/api/v1/runs").json(&body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let accepted: Value = response.json().await.unwrap();
        assert_eq!(accepted["run"], body["run"]);
    }
    let runs = site.get("/api/v1/runs").send().await.unwrap();
    let runs: Vec<RunSummary> = runs.json().await.unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].channel.as_str(), "acme/api");
}

#[tokio::test]
async fn a_cancelled_run_keeps_the_reason() {
    let site = Site::open().await;
    let worker = FakeWorkerOptions::new("one", 1).script(|_| Scripted::hang());
    let _worker = site.worker(worker).await;
    let run = site.submit(&noop_config(1)).await;
    let cancel = format!("/api/v1/runs/{run}/cancel");
    let response = site.post(&cancel).json(&json!({"reason": "not needed"})).send().await.unwrap();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body, json!({"run": run, "was_running": true}));
    let report = site.finished(&run).await;
    assert_eq!(report.summary.state, RunState::Cancelled);
    assert!(report.summary.note.unwrap_or_default().contains("not needed"));
    // Without a body, and after the end.
    eventually_some("the run is known to be over", async || {
        let body: Value = site.post(&cancel).send().await.unwrap().json().await.unwrap();
        (body["was_running"] == json!(false)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn workers_are_listed_and_drained() {
    let site = Site::open().await;
    let worker = site.worker(FakeWorkerOptions::new("one", 3)).await;
    let workers = async || -> Vec<WorkerInfo> {
        site.get("/api/v1/workers").send().await.unwrap().json().await.unwrap()
    };
    let known = eventually_some("the worker is known", async || workers().await.pop()).await;
    assert_eq!((known.worker.as_str(), known.slots), ("one", 3));
    let status = site.get("/api/v1/status").send().await.unwrap();
    let status: FleetStatus = status.json().await.unwrap();
    assert_eq!(status.transport, "memory");

    let response = site.post("/api/v1/workers/one/drain").send().await.unwrap();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body, json!({"worker": "one", "holds": 0}));
    eventually("the worker has stopped", || worker.is_stopped()).await;

    let letters = site.get("/api/v1/deadletters").send().await.unwrap();
    assert_eq!(letters.json::<Value>().await.unwrap(), json!([]));
}

#[tokio::test]
async fn a_blob_is_kept_under_its_hash() {
    let site = Site::open().await;
    let bytes = vec![7_u8; 3 * 1024 * 1024];
    let hash = ContentHash::of(&bytes);
    let path = format!("/api/v1/blobs/{hash}");
    let there = async || site.request(Method::HEAD, &path).send().await.unwrap().status();
    assert_eq!(there().await, StatusCode::NOT_FOUND);
    let pieces = bytes.chunks(100_000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec()));
    let pieces: Vec<_> = pieces.collect();
    let body = Body::wrap_stream(futures::stream::iter(pieces));
    let response = site.request(Method::PUT, "/api/v1/blobs").body(body).send().await.unwrap();
    let stored: Value = response.json().await.unwrap();
    assert_eq!(stored, json!({"hash": hash, "bytes": bytes.len()}));
    assert_eq!(there().await, StatusCode::OK);
    let wrong = site.request(Method::HEAD, "/api/v1/blobs/nothing").send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn blobs_are_bounded_in_size_and_in_number() {
    let stub = Arc::new(Stub::new(|_| Err(ApiError::new("visor::api::malformed", ""))));
    let limits = HttpLimits { blob_bytes: 1_000, uploads: 1, ..HttpLimits::default() };
    let door = Door::with_limits(limits, Arc::clone(&stub) as _).await;
    let put = |bytes: usize| door.request(Method::PUT, "/api/v1/blobs").body(vec![0; bytes]);
    refused(put(1_001), StatusCode::PAYLOAD_TOO_LARGE, "visor::api::too_large").await;
    // So large that it is still being sent when it is refused.
    refused(put(50_000_000), StatusCode::PAYLOAD_TOO_LARGE, "visor::api::too_large").await;
    // Of a size that was not declared.
    let pieces = [0, 1].map(|_| Ok::<_, std::io::Error>(vec![0_u8; 600]));
    let streamed = Body::wrap_stream(futures::stream::iter(pieces));
    let streamed = door.request(Method::PUT, "/api/v1/blobs").body(streamed);
    refused(streamed, StatusCode::PAYLOAD_TOO_LARGE, "visor::api::too_large").await;

    let first = tokio::spawn(put(1_000).send());
    stub.came.notified().await;
    let code = "visor::api::too_many_uploads";
    refused(put(1), StatusCode::SERVICE_UNAVAILABLE, code).await;
    stub.store.notify_one();
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let site = Site::open().await;
    let get = |path: &str| site.get(path);
    let none = RunId::from_bytes([1; 16]);
    for id in ["zzzzzz", &none.to_string(), "%E2%82%AC"] {
        let path = format!("/api/v1/runs/{id}");
        refused(get(&path), StatusCode::NOT_FOUND, "visor::api::unknown_run").await;
        let events = get(&format!("{path}/events"));
        refused(events, StatusCode::NOT_FOUND, "visor::api::unknown_run").await;
        let cancel = site.post(&format!("{path}/cancel"));
        let cancel = cancel.send().await.unwrap();
        assert!(cancel.status() == StatusCode::NOT_FOUND || id.len() == 26, "{id}");
    }
    let run = site.submit(&noop_config(1)).await;
    for path in [
        format!("/api/v1/runs/{run}/why?check=none"),
        format!("/api/v1/runs/{run}/checks/none/logs"),
    ] {
        refused(get(&path), StatusCode::NOT_FOUND, "visor::api::unknown_check").await;
    }
    let drain = site.post("/api/v1/workers/nobody/drain");
    refused(drain, StatusCode::NOT_FOUND, "visor::api::unknown_worker").await;
    for path in ["/", "/api", "/api/v1/", "/api/v1/runs/", "/api/v2/runs"] {
        refused(get(path), StatusCode::NOT_FOUND, "visor::api::unknown_route").await;
    }
}

#[tokio::test]
async fn an_id_that_fits_several_runs_is_ambiguous() {
    let site = Site::open().await;
    for first in [1, 2] {
        let mut id = [9; 16];
        id[0] = first;
        let mut body = submission(&noop_config(1));
        body["run"] = json!(RunId::from_bytes(id));
        site.post("/api/v1/runs").json(&body).send().await.unwrap();
    }
    let short = RunId::from_bytes([9; 16]).short();
    let get = site.get(&format!("/api/v1/runs/{short}"));
    refused(get, StatusCode::CONFLICT, "visor::api::ambiguous_run").await;
}

#[tokio::test]
async fn a_wrong_method_is_refused_and_the_right_ones_are_named() {
    let site = Site::open().await;
    for (method, path, allowed) in [
        (Method::DELETE, "/api/v1/runs", "GET"),
        (Method::OPTIONS, "/api/v1/runs", "POST"),
        (Method::GET, "/api/v1/blobs", "PUT"),
        (Method::POST, "/healthz", "GET"),
    ] {
        let request = site.request(method.clone(), path);
        let response = request.try_clone().unwrap().send().await.unwrap();
        let allow = response.headers()["allow"].to_str().unwrap().to_owned();
        assert!(allow.contains(allowed), "{method} {path}: {allow}");
        refused(request, StatusCode::METHOD_NOT_ALLOWED, "visor::api::wrong_method").await;
    }
}

#[tokio::test]
async fn malformed_requests_are_told_what_is_wrong() {
    let site = Site::open().await;
    let post = |body: &str| {
        site.post("/api/v1/runs").header("content-type", "application/json").body(body.to_owned())
    };
    let many = "[".repeat(100_000);
    for (body, says) in [
        ("", "empty"),
        ("{", "no JSON"),
        ("{}{}", "trailing"),
        ("[]", "object"),
        ("{}", "config"),
        ("\u{0}\u{1}", "no JSON"),
        (&many, "recursion"),
        (r#"{"config": {"name": "a", "text": 5}}"#, "`config.text`"),
        (r#"{"run": "nonsense", "config": {"name": "a", "text": ""}}"#, "`run`"),
        (r#"{"channel": "a b", "config": {"name": "a", "text": ""}}"#, "`channel`"),
        (r#"{"priority": "urgent", "config": {"name": "a", "text": ""}}"#, "`priority`"),
    ] {
        let code = "visor::api::malformed";
        let text = refused(post(body), StatusCode::BAD_REQUEST, code).await;
        let shown: String = body.chars().take(40).collect();
        assert!(text.contains(says), "{shown}: {text}");
    }
    let code = "visor::api::unsupported_media_type";
    let form = site.post("/api/v1/runs").header("content-type", "text/plain").body("{}");
    refused(form, StatusCode::UNSUPPORTED_MEDIA_TYPE, code).await;
    let untyped = site.post("/api/v1/runs").body("{}");
    refused(untyped, StatusCode::UNSUPPORTED_MEDIA_TYPE, code).await;

    for query in
        ["?limit=x", "?limit=-1", "?state=great", "?channel=a%20b", "?lmit=1", "?limit=1&limit=2"]
    {
        let get = site.get(&format!("/api/v1/runs{query}"));
        refused(get, StatusCode::BAD_REQUEST, "visor::api::malformed").await;
    }
    for path in ["/api/v1/workers/a.b/drain", "/api/v1/runs/%FF/cancel"] {
        refused(site.post(path), StatusCode::BAD_REQUEST, "visor::api::malformed").await;
    }
    let unknown = site.post("/api/v1/runs/abc/cancel").json(&json!({"raeson": "x"}));
    let text = refused(unknown, StatusCode::BAD_REQUEST, "visor::api::malformed").await;
    assert!(text.contains("raeson"), "{text}");
    let long = site.post("/api/v1/runs/abc/cancel").json(&json!({"reason": "x".repeat(1_001)}));
    refused(long, StatusCode::BAD_REQUEST, "visor::api::malformed").await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_with_an_answer_and_not_a_broken_connection() {
    let site = Site::open().await;
    let large = submission(&" ".repeat(6 * 1024 * 1024));
    let post = site.post("/api/v1/runs").json(&large);
    refused(post, StatusCode::PAYLOAD_TOO_LARGE, "visor::api::too_large").await;
    // Small enough to be read, too large for a configuration.
    let large = submission(&" ".repeat(1024 * 1024));
    let post = site.post("/api/v1/runs").json(&large);
    refused(post, StatusCode::PAYLOAD_TOO_LARGE, "visor::config::too_large").await;
}

#[tokio::test]
async fn a_configuration_with_mistakes_is_refused_with_all_of_them() {
    let site = Site::open().await;
    let config = "version: '1.0'\nchecks:\n  a: { type: noop, depends_on: [nothere] }\n  b: { type: command }\n";
    let post = site.post("/api/v1/runs").json(&submission(config));
    let text = refused(post, StatusCode::BAD_REQUEST, "visor::config::invalid").await;
    assert!(text.contains("nothere") && text.contains("exec"), "{text}");
}

#[tokio::test]
async fn too_many_open_runs_are_told_to_come_back() {
    let config = CoordinatorConfig { max_open_runs: 1, ..CoordinatorConfig::default() };
    let site = Site::with(options(None), config).await;
    site.submit(&noop_config(1)).await;
    let second = site.post("/api/v1/runs").json(&submission(&noop_config(1)));
    refused(second, StatusCode::TOO_MANY_REQUESTS, "visor::api::too_many_runs").await;
}

#[tokio::test]
async fn what_may_pass_by_itself_is_503_with_a_time() {
    let stub =
        Stub::refusing(ApiError::new("visor::journal::unwritable", "disk full").retry_after(1_200));
    let door = Door::open(options(None), stub).await;
    let post = door.post("/api/v1/runs").json(&submission("checks: {}"));
    let response = post.try_clone().unwrap().send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "2");
    refused(post, StatusCode::SERVICE_UNAVAILABLE, "visor::journal::unwritable").await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered() {
    let mut stub = Stub::new(|_| Err(ApiError::new("visor::api::malformed", "")));
    stub.slow = Duration::from_secs(3_600);
    let limits = HttpLimits { answer_within: Duration::from_millis(50), ..HttpLimits::default() };
    let door = Door::with_limits(limits, Arc::new(stub)).await;
    let get = door.get("/api/v1/workers");
    refused(get, StatusCode::SERVICE_UNAVAILABLE, "visor::api::timeout").await;
}

#[tokio::test]
async fn a_run_that_waits_shows_how_it_stands() {
    let site = Site::open().await;
    let run = site.submit(&noop_config(2)).await;
    let report = site.report(&run).await;
    assert_eq!(report.summary.state, RunState::Running);
    assert!(report.checks.iter().all(|check| check.state == CheckState::Queued), "{report:?}");
    let why = site.get(&format!("/api/v1/runs/{run}/why")).send().await.unwrap();
    let why: Vec<Reason> = why.json().await.unwrap();
    assert_eq!(why.len(), 2);
}
