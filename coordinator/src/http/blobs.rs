//! Blobs: the packed files of a run, sent before it is submitted.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::EXPECT;
use axum::http::{HeaderMap, StatusCode};
use bytes::BytesMut;
use futures::StreamExt;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;
use visor_protocol::api::ApiError;
use visor_protocol::ids::ContentHash;

use super::fault::Fault;
use super::intake::{PathOf, broken, declared, drop_rest};
use super::options::HttpLimits;
use super::router::App;

/// The store has its own deadline; this one only keeps a place from being held for ever.
const STORED_WITHIN: Duration = Duration::from_secs(120);

/// Before a refused client asks again.
const COME_BACK_MS: u64 = 2_000;

/// The bytes are kept.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stored {
    /// Their SHA-256 in hexadecimal: the `hash` of a submission's `workspace`.
    #[schema(value_type = String)]
    hash: ContentHash,
    /// Their number.
    bytes: u64,
}

/// Keeps bytes under their hash. Sending them twice is harmless.
#[utoipa::path(
    put, path = "/api/v1/blobs",
    operation_id = "put_blob", tag = "blobs",
    request_body(content = String, description = "The bytes as they are", content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "They are kept", body = Stored),
        (status = 413, description = "They are too many", body = ApiError),
        (status = 503, description = "Not now; see `Retry-After`", body = ApiError),
        (status = "default", description = "A refusal", body = ApiError),
    ),
)]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Stored>, Fault> {
    let limits = &app.options.limits;
    let place = if declared(&headers).is_some_and(|bytes| bytes > limits.blob_bytes as u64) {
        Err(too_large(limits))
    } else {
        Arc::clone(&app.uploads).try_acquire_owned().map_err(|_| too_many(limits))
    };
    let _place = match place {
        Ok(place) => place,
        Err(fault) => {
            // Who asks first has sent nothing yet, and need not.
            if !headers.contains_key(EXPECT) {
                drop_rest(body.into_data_stream()).await;
            }
            return Err(fault);
        }
    };
    let whole = timeout(limits.upload_within, gather(body, limits));
    let whole = whole.await.map_err(|_| too_slow("the upload", limits.upload_within))??;
    let bytes = whole.len() as u64;
    let stored = timeout(STORED_WITHIN, app.service.put_blob(whole));
    let hash = stored.await.map_err(|_| too_slow("the blob store", STORED_WITHIN))??;
    Ok(Json(Stored { hash, bytes }))
}

async fn gather(body: Body, limits: &HttpLimits) -> Result<Bytes, Fault> {
    let mut pieces = body.into_data_stream();
    // Grows with what has come: a declared size alone reserves nothing.
    let mut whole = BytesMut::new();
    loop {
        let piece = timeout(limits.piece_within, pieces.next());
        let piece = piece.await.map_err(|_| too_slow("the next piece", limits.piece_within))?;
        let Some(piece) = piece else { return Ok(whole.freeze()) };
        let piece = piece.map_err(|error| broken(&error))?;
        if whole.len() + piece.len() > limits.blob_bytes {
            drop(whole);
            drop_rest(pieces).await;
            return Err(too_large(limits));
        }
        whole.extend_from_slice(&piece);
    }
}

fn too_large(limits: &HttpLimits) -> Fault {
    Fault::too_large("a blob", limits.blob_bytes)
}

fn too_many(limits: &HttpLimits) -> Fault {
    Fault::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "visor::api::too_many_uploads",
        format!("{} uploads are under way already", limits.uploads),
    )
    .retry_after(COME_BACK_MS)
}

fn too_slow(what: &str, within: Duration) -> Fault {
    Fault::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "visor::api::timeout",
        format!("{what} did not come within {within:?}"),
    )
    .retry_after(COME_BACK_MS)
}

/// Whether a blob is there.
#[utoipa::path(
    head, path = "/api/v1/blobs/{hash}",
    operation_id = "has_blob", tag = "blobs",
    params(("hash" = String, Path, description = "SHA-256 of the bytes, in hexadecimal")),
    responses(
        (status = 200, description = "It is there"),
        (status = 404, description = "It is not"),
        (status = "default", description = "A refusal"),
    ),
)]
pub(super) async fn has(
    State(app): State<Arc<App>>,
    PathOf(hash): PathOf<String>,
) -> Result<StatusCode, Fault> {
    let hash: ContentHash = hash
        .parse()
        .map_err(|error: visor_protocol::ids::IdError| Fault::malformed(error.to_string()))?;
    let there = app.service.has_blob(hash).await?;
    Ok(if there { StatusCode::OK } else { StatusCode::NOT_FOUND })
}
