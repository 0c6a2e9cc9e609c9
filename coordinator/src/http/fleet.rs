//! The fleet: workers, its state in short, dead letters.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use visor_protocol::api::{ApiError, DeadLetter, FleetStatus, Request, WorkerInfo};
use visor_protocol::ids::WorkerId;

use super::fault::Fault;
use super::intake::PathOf;
use super::router::{App, answer};

/// The workers.
#[utoipa::path(
    get, path = "/api/v1/workers",
    operation_id = "list_workers", tag = "fleet",
    responses(
        (status = 200, description = "The workers", body = Vec<WorkerInfo>),
        (status = "default", description = "A refusal", body = ApiError),
    ),
)]
pub(super) async fn workers(State(app): State<Arc<App>>) -> Result<Json<Vec<WorkerInfo>>, Fault> {
    answer!(app, Request::Workers, Workers(workers) => Json(workers))
}

/// The worker was told.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Draining {
    /// Which.
    #[schema(value_type = String)]
    worker: WorkerId,
    /// Attempts it still holds.
    holds: u32,
}

/// Has a worker finish what it holds and stop.
#[utoipa::path(
    post, path = "/api/v1/workers/{id}/drain",
    operation_id = "drain_worker", tag = "fleet",
    params(("id" = String, Path, description = "The worker's id")),
    responses(
        (status = 200, description = "It was told", body = Draining),
        (status = 404, description = "There is no such worker", body = ApiError),
        (status = "default", description = "A refusal", body = ApiError),
    ),
)]
pub(super) async fn drain(
    State(app): State<Arc<App>>,
    PathOf(id): PathOf<WorkerId>,
) -> Result<Json<Draining>, Fault> {
    let request = Request::Drain { worker: id };
    answer!(app, request, Draining { worker, holds } => Json(Draining { worker, holds }))
}

/// The fleet in short.
#[utoipa::path(
    get, path = "/api/v1/status",
    operation_id = "get_status", tag = "fleet",
    responses(
        (status = 200, description = "The fleet", body = FleetStatus),
        (status = "default", description = "A refusal", body = ApiError),
    ),
)]
pub(super) async fn status(State(app): State<Arc<App>>) -> Json<FleetStatus> {
    Json(app.service.status().await)
}

/// Jobs given up on, with their history.
#[utoipa::path(
    get, path = "/api/v1/deadletters",
    operation_id = "list_dead_letters", tag = "fleet",
    responses(
        (status = 200, description = "The jobs", body = Vec<DeadLetter>),
        (status = "default", description = "A refusal", body = ApiError),
    ),
)]
pub(super) async fn dead_letters(
    State(app): State<Arc<App>>,
) -> Result<Json<Vec<DeadLetter>>, Fault> {
    answer!(app, Request::DeadLetters, DeadLetters(letters) => Json(letters))
}
