//! Refusals: always JSON, with the status that fits.

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use visor_protocol::api::ApiError;

/// An [`ApiError`] with its status.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    error: ApiError,
}

impl Fault {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, error: ApiError::new(code, message) }
    }

    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "visor::api::malformed", message)
    }

    pub(super) fn too_large(what: &str, limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "visor::api::too_large",
            format!("{what} may have at most {limit} bytes"),
        )
    }

    /// The service had no answer of the kind that the request calls for.
    pub(super) fn unexpected_answer() -> Self {
        tracing::error!("the service answered with something else than was asked for");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "visor::api::internal",
            "the coordinator answered with something else than was asked for",
        )
    }

    #[must_use]
    pub(super) fn retry_after(mut self, millis: u64) -> Self {
        self.error.retry_after_ms = Some(millis);
        self
    }
}

/// Decided by the code, once: callers read the status or the code, never the text.
fn status_of(error: &ApiError) -> StatusCode {
    let code = error.code.as_str();
    match code.strip_prefix("visor::api::") {
        Some("unknown_run" | "unknown_check" | "unknown_worker") => StatusCode::NOT_FOUND,
        Some("ambiguous_run") => StatusCode::CONFLICT,
        Some("too_many_runs") => StatusCode::TOO_MANY_REQUESTS,
        Some("malformed" | "wrong_subject" | "workspace_not_shared") => StatusCode::BAD_REQUEST,
        Some("unknown_outcome" | "busy") => StatusCode::SERVICE_UNAVAILABLE,
        _ if code == "visor::config::too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        _ if code.starts_with("visor::config::") => StatusCode::BAD_REQUEST,
        // Whatever may pass by itself.
        _ if error.retry_after_ms.is_some() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        Self { status: status_of(&error), error }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let retry_after = self.error.retry_after_ms.map(|millis| millis.div_ceil(1_000));
        let mut response = (self.status, Json(self.error)).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"visor\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_status() {
        let cases = [
            ("visor::api::unknown_run", 404),
            ("visor::api::unknown_check", 404),
            ("visor::api::unknown_worker", 404),
            ("visor::api::ambiguous_run", 409),
            ("visor::api::too_many_runs", 429),
            ("visor::api::malformed", 400),
            ("visor::api::workspace_not_shared", 400),
            ("visor::config::invalid", 400),
            ("visor::config::too_large", 413),
            ("visor::api::unknown_outcome", 503),
            ("visor::api::busy", 503),
            ("visor::something::new", 500),
        ];
        for (code, status) in cases {
            assert_eq!(Fault::from(ApiError::new(code, "")).status, status, "{code}");
        }
    }

    #[test]
    fn what_may_pass_by_itself_says_when_to_come_back_in_whole_seconds() {
        let error = ApiError::new("visor::journal::unwritable", "disk full").retry_after(1_001);
        let response = Fault::from(error).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
    }
}
