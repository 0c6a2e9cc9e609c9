//! The route.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use visor_protocol::api::ApiError;
use visor_protocol::event::Notice;

use super::follower::{END, Follower};
use crate::http::fault::Fault;
use crate::http::intake::PathOf;
use crate::http::router::App;
use crate::http::runs::report;

/// Events written ahead of what the follower has taken. When they are used up, notices gather in
/// the service's own bounded queue, and beyond that the follower has fallen behind.
const AHEAD: usize = 64;

/// Before a client asks again for a stream.
const COME_BACK_MS: u64 = 5_000;

/// A run as it goes: server-sent events, each with one notice.
///
/// The stream begins with the present state, so that it is complete however late it is asked for:
/// `run_accepted`, one `check` for each check, and `run_finished` when it is over. Then comes what
/// happens. It ends after `run_finished`. `event:` is the notice's type. A follower that falls too
/// far behind gets an event `lagged` with the number of notices it missed, then the whole present
/// state again. Comments keep a quiet stream alive.
///
/// A client that reconnects after the end (`Last-Event-ID: end`) is answered 204, which tells
/// browsers to stop reconnecting.
#[utoipa::path(
    get, path = "/api/v1/runs/{id}/events",
    operation_id = "follow_run", tag = "runs",
    params(("id" = String, Path, description = "The run's id, or the end of it")),
    responses(
        (status = 200, description = "The events", body = Notice, content_type = "text/event-stream"),
        (status = 204, description = "The end was read already"),
        (status = 404, description = "There is no such run", body = ApiError),
        (status = 503, description = "Too many follow already; see `Retry-After`", body = ApiError),
        (status = "default", description = "A refusal", body = ApiError),
    ),
)]
pub(in crate::http) async fn follow(
    State(app): State<Arc<App>>,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    if headers.get("last-event-id").is_some_and(|last| last == END) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let place = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "visor::api::too_many_streams",
            format!("{} event streams are open already", app.options.limits.streams),
        )
        .retry_after(COME_BACK_MS)
    })?;
    // Listen first, then look: what happens in between is in both.
    let notices = app.service.notices();
    let report = report(&app, id).await?;
    let (events, stream) = mpsc::channel::<Event>(AHEAD);
    let follower = Follower::new(
        report.summary.run,
        Arc::clone(&app.service),
        events,
        app.options.limits.keep_alive,
    );
    let stop = app.stop.clone();
    app.tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            _ = follower.tell(report, notices) => {}
        }
        drop(place);
    });
    let stream = ReceiverStream::new(stream).map(Ok::<_, Infallible>);
    let quiet = KeepAlive::new().interval(app.options.limits.keep_alive);
    Ok(Sse::new(stream).keep_alive(quiet).into_response())
}
