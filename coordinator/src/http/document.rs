//! The OpenAPI description, made from the handlers and the wire types themselves.

use std::future::{Ready, ready};
use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::runs::FILLED_IN;
use super::{blobs, events, fleet, health, metrics, runs};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Visor",
        description = "Submit runs of checks to a coordinator, follow them, and see to its fleet.\n\n\
            Every refusal is JSON with a stable `code`; those that may pass by themselves carry \
            `retry_after_ms` and a `Retry-After` header. On a loopback address without a token, \
            only requests to localhost, 127.0.0.1 or [::1] are answered, and none from pages of \
            other sites.",
    ),
    paths(
        health::alive,
        health::ready_for_runs,
        metrics::metrics,
        runs::submit,
        runs::list,
        runs::show,
        runs::cancel,
        events::follow,
        runs::logs,
        runs::why,
        fleet::workers,
        fleet::drain,
        fleet::status,
        fleet::dead_letters,
        blobs::put,
        blobs::has,
        show,
    ),
    tags(
        (name = "runs", description = "Submit, follow and read runs"),
        (name = "fleet", description = "Workers and queues"),
        (name = "blobs", description = "Files of runs"),
        (name = "operations", description = "Health, metrics, this description"),
    ),
    security(("token" = [])),
    modifiers(&Bearer, &Uploads, &Spares),
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("Needed wherever the coordinator was started with a token"))
            .build();
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// An upload is bytes, for which no Rust type stands.
struct Uploads;

impl Modify for Uploads {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let put = openapi.paths.paths.get_mut("/api/v1/blobs").and_then(|path| path.put.as_mut());
        let Some(RefOr::T(body)) = put.and_then(|put| put.request_body.as_mut()) else { return };
        for content in body.content.values_mut() {
            let bytes = ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
            if let RefOr::T(content) = content {
                content.schema = Some(bytes.build().into());
            }
        }
    }
}

/// What the server fills in need not be sent.
struct Spares;

impl Modify for Spares {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let schemas = openapi.components.as_mut().map(|components| &mut components.schemas);
        if let Some(RefOr::T(Schema::Object(submission))) =
            schemas.and_then(|schemas| schemas.get_mut("Submission"))
        {
            submission.required.retain(|field| !FILLED_IN.contains(&field.as_str()));
        }
    }
}

static TEXT: LazyLock<String> = LazyLock::new(|| {
    Document::openapi().to_pretty_json().expect("the description holds nothing but texts and maps")
});

/// The OpenAPI 3.1 description of every route, as JSON.
pub fn openapi() -> String {
    TEXT.clone()
}

/// This description.
#[utoipa::path(
    get, path = "/api/v1/openapi.json",
    operation_id = "get_openapi", tag = "operations",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)),
)]
pub(super) fn show() -> Ready<impl IntoResponse> {
    ready(([(CONTENT_TYPE, "application/json")], TEXT.as_str()))
}
