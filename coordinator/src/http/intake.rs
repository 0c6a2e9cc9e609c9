//! Bodies, paths and queries: bounded before they are read, and refused with what is wrong.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use bytes::BytesMut;
use futures::StreamExt;
use serde::de::DeserializeOwned;

use super::fault::Fault;

/// The rest of a refused body is read for this long.
const DROPPED_WITHIN: Duration = Duration::from_secs(5);

/// The parts of a path.
pub(super) struct PathOf<T>(pub(super) T);

/// The query.
pub(super) struct QueryOf<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathOf<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let parsed: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        parsed.map(|Path(value)| Self(value)).map_err(|error| Fault::malformed(error.body_text()))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let parsed: Result<Query<T>, QueryRejection> =
            Query::from_request_parts(parts, state).await;
        parsed.map(|Query(value)| Self(value)).map_err(|error| Fault::malformed(error.body_text()))
    }
}

/// The declared size of a body, when it is declared.
pub(super) fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The whole body of a request that says it is JSON; `None` when there is none.
pub(super) async fn json_body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Option<Bytes>, Fault> {
    let bytes = read(body, limit).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if is_json(headers) {
        return Ok(Some(bytes));
    }
    Err(Fault::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "visor::api::unsupported_media_type",
        "send JSON, and say so with `Content-Type: application/json`",
    ))
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(kind)) = headers.get(CONTENT_TYPE).map(|kind| kind.to_str()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

async fn read(body: Body, limit: usize) -> Result<Bytes, Fault> {
    let mut pieces = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| broken(&error))?;
        if whole.len() + piece.len() > limit {
            drop(whole);
            drop_rest(pieces).await;
            return Err(Fault::too_large("a JSON body", limit));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// Reads what is left of a refused body and drops it: a client that still sends when the connection
/// is closed sees a broken connection instead of the answer.
pub(super) async fn drop_rest(mut pieces: BodyDataStream) {
    let rest = async { while let Some(Ok(_)) = pieces.next().await {} };
    let _ = tokio::time::timeout(DROPPED_WITHIN, rest).await;
}

/// The body ended before it was complete.
pub(super) fn broken(error: &axum::Error) -> Fault {
    Fault::malformed(format!("the body cannot be read: {error}"))
}

/// Reads JSON; a refusal names the field and, where there is one, line and column.
pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| wrong(&error))?;
    reader.end().map_err(|error| Fault::malformed(format!("the body is no JSON: {error}")))?;
    Ok(value)
}

/// Reads a JSON value that was read before.
pub(super) fn from_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(value).map_err(|error| wrong(&error))
}

fn wrong(error: &serde_path_to_error::Error<serde_json::Error>) -> Fault {
    let (path, cause) = (error.path().to_string(), error.inner());
    Fault::malformed(match path.as_str() {
        "." if cause.is_data() => format!("the body is not what it should be: {cause}"),
        _ if cause.is_data() => format!("`{path}` is not what it should be: {cause}"),
        _ => format!("the body is no JSON: {cause}"),
    })
}
