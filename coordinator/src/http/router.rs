//! Every route in one table, and what the handlers share.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use visor_protocol::time::Clock;

use super::fault::Fault;
use super::options::HttpOptions;
use super::{access, blobs, document, events, fleet, health, metrics, runs};
use crate::api::ApiService;

/// What the handlers share.
pub(super) struct App {
    pub(super) options: HttpOptions,
    pub(super) service: Arc<dyn ApiService>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) streams: Arc<Semaphore>,
    pub(super) uploads: Arc<Semaphore>,
}

impl App {
    pub(super) fn new(
        options: HttpOptions,
        service: Arc<dyn ApiService>,
        clock: Arc<dyn Clock>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let streams = Arc::new(Semaphore::new(options.limits.streams));
        let uploads = Arc::new(Semaphore::new(options.limits.uploads));
        Self { options, service, clock, tasks, stop, streams, uploads }
    }
}

/// Asks the service, and makes the answer out of the one kind that fits the question.
macro_rules! answer {
    ($app:expr, $request:expr, $kind:ident $fields:tt => $answer:expr) => {
        match $app.service.call($request).await? {
            visor_protocol::api::Response::$kind $fields => Ok($answer),
            _ => Err(Fault::unexpected_answer()),
        }
    };
}
pub(super) use answer;

/// The table is the router and the list of routes in one, so that no route can be missing from
/// what the OpenAPI description is compared with.
macro_rules! routes {
    ($table:ident, $router:ident: $($verb:ident $path:literal => $handler:expr;)*) => {
        const $table: &[(&str, &str)] = &[$((stringify!($verb), $path)),*];

        fn $router() -> Router<Arc<App>> {
            Router::new()$(.route($path, routing::$verb($handler)))*
        }
    };
}

routes! { BRIEF, brief:
    get "/healthz" => health::alive;
    get "/readyz" => health::ready_for_runs;
    get "/metrics" => metrics::metrics;
    post "/api/v1/runs" => runs::submit;
    get "/api/v1/runs" => runs::list;
    get "/api/v1/runs/{id}" => runs::show;
    post "/api/v1/runs/{id}/cancel" => runs::cancel;
    get "/api/v1/runs/{id}/events" => events::follow;
    get "/api/v1/runs/{id}/checks/{check}/logs" => runs::logs;
    get "/api/v1/runs/{id}/why" => runs::why;
    get "/api/v1/workers" => fleet::workers;
    post "/api/v1/workers/{id}/drain" => fleet::drain;
    get "/api/v1/status" => fleet::status;
    get "/api/v1/deadletters" => fleet::dead_letters;
    head "/api/v1/blobs/{hash}" => blobs::has;
    get "/api/v1/openapi.json" => document::show;
}

// Their bodies take as long as they take; their handlers bound what they can.
routes! { LONG, long:
    put "/api/v1/blobs" => blobs::put;
}

/// Method, in lower case, and path of every route.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    BRIEF.iter().chain(LONG).copied()
}

pub(super) fn router(app: Arc<App>) -> Router {
    brief()
        .layer(middleware::from_fn_with_state(Arc::clone(&app), deadline))
        .merge(long())
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), access::guard))
        .with_state(app)
}

async fn deadline(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let within = app.options.limits.answer_within;
    match tokio::time::timeout(within, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "visor::api::timeout",
            format!("no answer within {within:?}; whether anything was changed is not known"),
        )
        .retry_after(1_000)
        .into_response(),
    }
}

fn unknown_route(request: Request) -> std::future::Ready<Fault> {
    let shown: String = request.uri().path().chars().take(200).collect();
    std::future::ready(Fault::new(
        StatusCode::NOT_FOUND,
        "visor::api::unknown_route",
        format!("there is nothing at `{shown}`; /api/v1/openapi.json lists what there is"),
    ))
}

fn wrong_method(request: Request) -> std::future::Ready<Fault> {
    std::future::ready(Fault::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "visor::api::wrong_method",
        format!("{} is not possible here; the `Allow` header says what is", request.method()),
    ))
}
