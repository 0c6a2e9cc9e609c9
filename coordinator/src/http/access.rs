//! Who may ask: whoever shows the token, or, where there is none, programs of this machine.
//!
//! A browser on this machine is no such program: any page it shows can make it send requests. Such
//! a request names the page's own host in `Host` (after a DNS rebinding) or in `Origin` (from
//! another site), and is refused by it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, HOST, HeaderName, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::fault::Fault;
use super::options::Token;
use super::router::App;

/// The middleware around every route.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let token = app.options.token.as_ref();
    let local = app.options.addr.ip().is_loopback();
    let mut response = match may_pass(token, local, request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(fault) => fault.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn may_pass(
    token: Option<&Token>,
    local: bool,
    path: &str,
    headers: &HeaderMap,
) -> Result<(), Fault> {
    match (path, token) {
        // Whoever keeps the process alive asks here, and learns nothing else.
        ("/healthz" | "/readyz", _) => Ok(()),
        ("/metrics", Some(token)) if !local => shows(token, headers),
        ("/metrics", _) | (_, None) => from_here(headers),
        (_, Some(token)) => shows(token, headers),
    }
}

fn shows(token: &Token, headers: &HeaderMap) -> Result<(), Fault> {
    let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).and_then(bearer);
    if shown.is_some_and(|shown| token.is(shown)) {
        return Ok(());
    }
    Err(Fault::new(
        StatusCode::UNAUTHORIZED,
        "visor::api::unauthorized",
        "this coordinator wants its token: send it as `Authorization: Bearer …`",
    ))
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, shown) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| shown.trim_ascii())
}

fn from_here(headers: &HeaderMap) -> Result<(), Fault> {
    let host = only(headers, &HOST).filter(|host| is_local(host));
    let Some(host) = host else {
        return Err(Fault::new(
            StatusCode::FORBIDDEN,
            "visor::api::foreign_host",
            "without a token only requests to localhost, 127.0.0.1 or [::1] are answered",
        ));
    };
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let same = only(headers, &ORIGIN)
        .and_then(|origin| origin.strip_prefix("http://"))
        .is_some_and(|origin| origin.eq_ignore_ascii_case(host));
    if same {
        return Ok(());
    }
    Err(Fault::new(
        StatusCode::FORBIDDEN,
        "visor::api::foreign_origin",
        "requests from pages of other sites are not answered",
    ))
}

/// The header's value when there is exactly one.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn is_local(host: &str) -> bool {
    // `user@localhost` is no host that a browser or a client sends.
    let Some(authority) = host.parse::<Authority>().ok().filter(|_| !host.contains('@')) else {
        return false;
    };
    let name = authority.host();
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]", "[::1]:1"] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil",
            "evil@localhost",
            "::1",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn two_hosts_are_as_bad_as_none() {
        let mut two = headers(&[(HOST, "localhost")]);
        assert!(from_here(&two).is_ok());
        two.append(HOST, HeaderValue::from_static("evil.example"));
        assert!(from_here(&two).is_err());
        assert!(from_here(&HeaderMap::new()).is_err());
    }

    #[test]
    fn only_our_own_pages_may_send_an_origin() {
        let ok = headers(&[(HOST, "localhost:80"), (ORIGIN, "http://localhost:80")]);
        assert!(from_here(&ok).is_ok());
        for origin in ["null", "http://evil.example", "http://localhost:81", "https://localhost:80"]
        {
            let foreign = headers(&[(HOST, "localhost:80"), (ORIGIN, origin)]);
            assert!(from_here(&foreign).is_err(), "{origin}");
        }
    }

    #[test]
    fn with_a_token_only_health_is_open_and_metrics_on_loopback() {
        let token = Token::new("t0k").unwrap();
        let here = headers(&[(HOST, "localhost")]);
        let shown = headers(&[(HOST, "visor.example"), (AUTHORIZATION, "bearer t0k")]);
        let wrong = headers(&[(HOST, "localhost"), (AUTHORIZATION, "Bearer t0")]);
        let pass =
            |local, path, headers: &HeaderMap| may_pass(Some(&token), local, path, headers).is_ok();
        assert!(pass(false, "/healthz", &HeaderMap::new()));
        assert!(pass(false, "/readyz", &HeaderMap::new()));
        assert!(pass(true, "/metrics", &here) && !pass(false, "/metrics", &here));
        assert!(pass(false, "/metrics", &shown));
        for path in ["/api/v1/runs", "/anything", "/healthz/", "//healthz"] {
            assert!(pass(false, path, &shown), "{path}");
            assert!(!pass(true, path, &here) && !pass(true, path, &wrong), "{path}");
        }
    }
}
