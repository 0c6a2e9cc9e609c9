//! A coordinator with scripted workers behind its HTTP side, and a client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use visor_coordinator::http::{self, HttpHandle, HttpLimits, HttpOptions, Token};
use visor_coordinator::{ApiService, Coordinator, CoordinatorConfig, CoordinatorHandle};
use visor_protocol::api::ApiError;
use visor_protocol::result::RunReport;
use visor_protocol::time::{Clock, SystemClock};
use visor_testkit::{FakeWorker, FakeWorkerOptions, eventually_some};
use visor_transport::{Bus, MemoryBus};

pub(crate) const TOKEN: &str = "a-long-random-text";

/// The HTTP side of some service.
pub(crate) struct Door {
    pub(crate) http: HttpHandle,
    pub(crate) client: Client,
    pub(crate) stop: CancellationToken,
}

pub(crate) fn options(token: Option<&str>) -> HttpOptions {
    let addr = SocketAddr::from(([127, 0, 0, 1], 0));
    let count = AtomicU64::new(1);
    let random = Arc::new(move || u128::from(count.fetch_add(1, Ordering::Relaxed)));
    HttpOptions::new(addr, token.map(|token| Token::new(token).unwrap()), random)
}

impl Door {
    pub(crate) async fn open(options: HttpOptions, service: Arc<dyn ApiService>) -> Self {
        // Another crate of the workspace may have given the client TLS, which it does not use here.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let stop = CancellationToken::new();
        let http = http::serve(options, service, Arc::new(SystemClock), stop.clone());
        let client = Client::builder().no_proxy().build().unwrap();
        Self { http: http.await.unwrap(), client, stop }
    }

    pub(crate) async fn with_limits(limits: HttpLimits, service: Arc<dyn ApiService>) -> Self {
        Self::open(HttpOptions { limits, ..options(None) }, service).await
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.http.local_addr()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.addr()))
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }
}

/// A whole coordinator.
pub(crate) struct Site {
    pub(crate) door: Door,
    _coordinator: CoordinatorHandle,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
}

impl std::ops::Deref for Site {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

impl Site {
    pub(crate) async fn open() -> Self {
        Self::with(options(None), CoordinatorConfig::default()).await
    }

    pub(crate) async fn with(options: HttpOptions, config: CoordinatorConfig) -> Self {
        let bus = MemoryBus::shared();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let coordinator =
            Coordinator::start(config, Arc::clone(&bus), Arc::clone(&clock)).await.unwrap();
        let door = Door::open(options, coordinator.api()).await;
        Self { door, _coordinator: coordinator, bus, clock }
    }

    pub(crate) async fn worker(&self, options: FakeWorkerOptions) -> FakeWorker {
        FakeWorker::start(options, Arc::clone(&self.bus), Arc::clone(&self.clock)).await.unwrap()
    }

    /// Submits as somebody with nothing but a file would, and gives the run's id.
    pub(crate) async fn submit(&self, config: &str) -> String {
        let response = self.post("/api/v1/runs").json(&submission(config)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let place = response.headers()["location"].to_str().unwrap().to_owned();
        let body: Value = response.json().await.unwrap();
        let run = body["run"].as_str().unwrap().to_owned();
        assert_eq!(place, format!("/api/v1/runs/{run}"));
        run
    }

    pub(crate) async fn report(&self, run: &str) -> RunReport {
        let response = self.get(&format!("/api/v1/runs/{run}")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }

    pub(crate) async fn finished(&self, run: &str) -> RunReport {
        eventually_some("the run is finished", async || {
            let report = self.report(run).await;
            report.summary.state.is_finished().then_some(report)
        })
        .await
    }
}

pub(crate) fn submission(config: &str) -> Value {
    json!({ "config": { "name": "visor.yaml", "text": config } })
}

/// Sends it, expects this refusal, and gives its text.
#[track_caller]
pub(crate) fn refused(
    request: RequestBuilder,
    status: StatusCode,
    code: &str,
) -> impl Future<Output = String> {
    let place = std::panic::Location::caller();
    let code = code.to_owned();
    async move {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{place}");
        assert_eq!(response.headers()["content-type"], "application/json", "{place}");
        let retry_after = response.headers().get("retry-after").cloned();
        let error: ApiError = response.json().await.unwrap();
        assert_eq!(error.code, code, "{place}: {}", error.message);
        assert_eq!(
            retry_after.map(|value| value.to_str().unwrap().parse::<u64>().unwrap()),
            error.retry_after_ms.map(|millis| millis.div_ceil(1_000)),
            "{place}"
        );
        error.message
    }
}
