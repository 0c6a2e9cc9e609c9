//! Runs: submit, list, look at, cancel, read output, ask why.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use visor_protocol::api::{ApiError, Logs, Reason, Request, Submission};
use visor_protocol::ids::{ChannelId, RunId};
use visor_protocol::result::{RunReport, RunState, RunSummary};

use super::fault::Fault;
use super::intake::{PathOf, QueryOf, from_json, from_value, json_body};
use super::router::{App, answer};

/// A list without a limit of its own.
const USUAL_RUNS: u32 = 50;

/// JSON of more bytes is read off the runtime's threads.
const READ_INLINE: usize = 64 * 1024;

/// A report of more checks is written off the runtime's threads.
const WRITE_INLINE: usize = 500;

/// Fields of a submission that the server fills in when they are absent.
pub(super) const FILLED_IN: [&str; 2] = ["run", "channel"];

/// Characters of a reason.
const REASON: usize = 1_000;

/// The run was accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Accepted {
    /// Its id.
    #[schema(value_type = String)]
    run: RunId,
}

/// Accepts a run: it will finish, or be reported as failed.
///
/// `run` and `channel` may be left out: the server makes an id, and the channel is `local`. Whoever
/// may have to submit twice (the answer can be lost) makes the id: the same id is the same run.
#[utoipa::path(
    post, path = "/api/v1/runs",
    operation_id = "submit_run", tag = "runs",
    request_body(content = Submission, content_type = "application/json"),
    responses(
        (status = 202, description = "The run is accepted", body = Accepted,
            headers(("Location" = String, description = "Where the run is"))),
        (status = 429, description = "Too many runs are open; see `Retry-After`", body = ApiError),
        (status = 503, description = "It cannot be accepted now; see `Retry-After`", body = ApiError),
        (status = "default", description = "A refusal", body = ApiError),
    ),
)]
pub(super) async fn submit(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let bytes = json_body(&headers, body, app.options.limits.json_bytes).await?;
    let bytes = bytes.ok_or_else(|| Fault::malformed("the body is empty; send a submission"))?;
    let spare = RunId::new(app.clock.now(), (app.options.random)());
    let submission = off_runtime(bytes.len() > READ_INLINE, move || submission(&bytes, spare));
    let request = Request::Submit(Box::new(submission.await??));
    let run = answer!(app, request, Accepted { run } => run)?;
    let place = [(LOCATION, format!("/api/v1/runs/{run}"))];
    Ok((StatusCode::ACCEPTED, place, Json(Accepted { run })).into_response())
}

fn submission(bytes: &Bytes, spare: RunId) -> Result<Submission, Fault> {
    let mut body: Value = from_json(bytes)?;
    let Some(fields) = body.as_object_mut() else {
        return Err(Fault::malformed("the body is no JSON object; send a submission"));
    };
    for (name, usual) in
        FILLED_IN.into_iter().zip([spare.to_string(), ChannelId::local().to_string()])
    {
        let field = fields.entry(name).or_insert(Value::Null);
        if field.is_null() {
            *field = Value::String(usual);
        }
    }
    from_value(body)
}

async fn off_runtime<T: Send + 'static>(
    is_large: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    if !is_large {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a request fell over");
        Fault::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "visor::api::internal",
            "the coordinator fell over this request",
        )
    })
}

/// Which runs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// How many at most; 50 when absent, never more than 1000.
    limit: Option<u32>,
    /// Only those that stand so.
    state: Option<RunState>,
    /// Only those of this channel.
    #[param(value_type = Option<String>)]
    channel: Option<ChannelId>,
}

/// The latest runs, newest first.
#[utoipa::path(
    get, path = "/api/v1/runs",
    operation_id = "list_runs", tag = "runs",
    params(Wanted),
    responses(
        (status = 200, description = "The runs", body = Vec<RunSummary>),
        (status = "default", description = "A refusal", body = ApiError),
    ),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    QueryOf(wanted): QueryOf<Wanted>,
) -> Result<Json<Vec<RunSummary>>, Fault> {
    let Wanted { limit, state, channel } = wanted;
    let request = Request::Runs { limit: limit.unwrap_or(USUAL_RUNS), state, channel };
    answer!(app, request, Runs(runs) => Json(runs))
}

/// One run with its checks.
#[utoipa::path(
    get, path = "/api/v1/runs/{id}",
    operation_id = "get_run", tag = "runs",
    params(("id" = String, Path, description = "The run's id, or the end of it")),
    responses(
        (status = 200, description = "The run", body = RunReport),
        (status = 404, description = "There is no such run", body = ApiError),
        (status = 409, description = "Several runs end so", body = ApiError),
        (status = "default", description = "A refusal", body = ApiError),
    ),
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    PathOf(id): PathOf<String>,
) -> Result<Response, Fault> {
    let report = report(&app, id).await?;
    let is_large = report.checks.len() > WRITE_INLINE;
    off_runtime(is_large, move || Json(report).into_response()).await
}

pub(super) async fn report(app: &App, run: String) -> Result<Box<RunReport>, Fault> {
    answer!(app, Request::Run { run }, Run(report) => report)
}

/// Who wants a run stopped, and why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Stop {
    /// Kept with the run; 1000 characters at most.
    reason: Option<String>,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Cancelled {
    /// Its id.
    #[schema(value_type = String)]
    run: RunId,
    /// It was still running.
    was_running: bool,
}

/// Stops a run. It is finished only when its running checks are; follow its events.
#[utoipa::path(
    post, path = "/api/v1/runs/{id}/cancel",
    operation_id = "cancel_run", tag = "runs",
    params(("id" = String, Path, description = "The run's id, or the end of it")),
    request_body(content = Option<Stop>, content_type = "application/json"),
    responses(
        (status = 200, description = "Stopping it began, or it was over", body = Cancelled),
        (status = 404, description = "There is no such run", body = ApiError),
        (status = "default", description = "A refusal", body = ApiError),
    ),
)]
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Cancelled>, Fault> {
    let bytes = json_body(&headers, body, app.options.limits.json_bytes).await?;
    let stop: Stop = bytes.map(|bytes| from_json(&bytes)).transpose()?.unwrap_or_default();
    let reason = stop.reason.unwrap_or_else(|| "cancelled over HTTP".into());
    if reason.chars().nth(REASON).is_some() {
        return Err(Fault::malformed(format!("`reason` may have at most {REASON} characters")));
    }
    let request = Request::Cancel { run: id, reason };
    answer!(app, request, Cancelled { run, was_running } => Json(Cancelled { run, was_running }))
}

/// The output of a check.
#[utoipa::path(
    get, path = "/api/v1/runs/{id}/checks/{check}/logs",
    operation_id = "get_check_logs", tag = "runs",
    params(
        ("id" = String, Path, description = "The run's id, or the end of it"),
        ("check" = String, Path, description = "The check's name"),
    ),
    responses(
        (status = 200, description = "What it wrote", body = Logs),
        (status = 404, description = "There is no such run or check", body = ApiError),
        (status = "default", description = "A refusal", body = ApiError),
    ),
)]
pub(super) async fn logs(
    State(app): State<Arc<App>>,
    PathOf((run, check)): PathOf<(String, String)>,
) -> Result<Response, Fault> {
    let logs = answer!(app, Request::Logs { run, check }, Logs(logs) => logs)?;
    let is_large = logs.stdout.len() + logs.stderr.len() > READ_INLINE;
    off_runtime(is_large, move || Json(logs).into_response()).await
}

/// Which checks.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct About {
    /// This check; every unsettled or failed one when absent.
    check: Option<String>,
}

/// What checks wait for, or why they ended as they did.
#[utoipa::path(
    get, path = "/api/v1/runs/{id}/why",
    operation_id = "explain_run", tag = "runs",
    params(("id" = String, Path, description = "The run's id, or the end of it"), About),
    responses(
        (status = 200, description = "The reasons", body = Vec<Reason>),
        (status = 404, description = "There is no such run or check", body = ApiError),
        (status = "default", description = "A refusal", body = ApiError),
    ),
)]
pub(super) async fn why(
    State(app): State<Arc<App>>,
    PathOf(run): PathOf<String>,
    QueryOf(about): QueryOf<About>,
) -> Result<Json<Vec<Reason>>, Fault> {
    answer!(app, Request::Why { run, check: about.check }, Why(reasons) => Json(reasons))
}
