//! For whoever keeps the process alive and sends it traffic.

use std::future::{Ready, ready};
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use visor_protocol::api::ApiError;

use super::fault::Fault;
use super::router::App;

/// Before a balancer asks again.
const COME_BACK_MS: u64 = 1_000;

/// The process is alive.
#[utoipa::path(
    get, path = "/healthz",
    operation_id = "get_health", tag = "operations",
    responses((status = 200, description = "It is", body = String, content_type = "text/plain")),
    security(()),
)]
pub(super) fn alive() -> Ready<&'static str> {
    ready("ok")
}

/// Runs can be accepted.
#[utoipa::path(
    get, path = "/readyz",
    operation_id = "get_readiness", tag = "operations",
    responses(
        (status = 200, description = "They can", body = String, content_type = "text/plain"),
        (status = 503, description = "They cannot, and why", body = ApiError),
    ),
    security(()),
)]
pub(super) async fn ready_for_runs(State(app): State<Arc<App>>) -> Result<&'static str, Fault> {
    let why = if app.stop.is_cancelled() {
        Some("the coordinator is stopping".to_owned())
    } else {
        app.service.trouble().await
    };
    match why {
        None => Ok("ready"),
        Some(why) => Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "visor::api::not_ready", why)
            .retry_after(COME_BACK_MS)),
    }
}
