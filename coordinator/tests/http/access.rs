//! Who is let in.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::{Method, StatusCode};
use tokio_util::sync::CancellationToken;
use visor_coordinator::CoordinatorConfig;
use visor_coordinator::http::{self, HttpError, HttpOptions};
use visor_protocol::api::ApiError;
use visor_protocol::time::SystemClock;
use visor_testkit::build::noop_config;

use crate::site::{Door, Site, TOKEN, options, refused, submission};
use crate::stub::Stub;

#[tokio::test]
async fn an_address_that_others_can_reach_needs_a_token() {
    for addr in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let addr: SocketAddr = addr.parse().unwrap();
        let options = HttpOptions { addr, ..options(None) };
        let stub = Stub::refusing(ApiError::new("x", "x"));
        let stop = CancellationToken::new();
        let error = http::serve(options, stub, Arc::new(SystemClock), stop).await.unwrap_err();
        assert!(matches!(error, HttpError::NoToken { .. }), "{error}");
        assert!(error.to_string().contains("token"), "{error}");
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error() {
    let door = Door::open(options(None), Stub::refusing(ApiError::new("x", "x"))).await;
    let taken = HttpOptions { addr: door.addr(), ..options(None) };
    let error = http::bind(taken).await.unwrap_err();
    assert!(matches!(error, HttpError::Address { addr, .. } if addr == door.addr()), "{error}");
}

#[tokio::test]
async fn with_a_token_every_route_of_the_api_wants_it() {
    let site = Site::with(options(Some(TOKEN)), CoordinatorConfig::default()).await;
    let open = ["/healthz", "/readyz", "/metrics"];
    for (method, path) in http::routes() {
        let method: Method = method.to_uppercase().parse().unwrap();
        let request = || site.request(method.clone(), path);
        if open.contains(&path) {
            assert_eq!(request().send().await.unwrap().status(), StatusCode::OK, "{path}");
            continue;
        }
        for wrong in [None, Some("Bearer"), Some("Bearer "), Some("Bearer nope"), Some(TOKEN)] {
            let request = request();
            let request = match wrong {
                Some(wrong) => request.header("authorization", wrong),
                None => request,
            };
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method} {path} {wrong:?}");
            assert!(response.headers()["www-authenticate"].to_str().unwrap().contains("Bearer"));
        }
        let right = request().bearer_auth(TOKEN).send().await.unwrap();
        assert_ne!(right.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
    }
    // Nor does it say what exists.
    let hidden = site.get("/nothing/here");
    refused(hidden, StatusCode::UNAUTHORIZED, "visor::api::unauthorized").await;
    let submit = site.post("/api/v1/runs").bearer_auth(TOKEN).json(&submission(&noop_config(1)));
    assert_eq!(submit.send().await.unwrap().status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn away_from_loopback_metrics_want_the_token_and_health_does_not() {
    let addr = SocketAddr::from(([0, 0, 0, 0], 0));
    let stub = Stub::refusing(ApiError::new("x", "x"));
    let mut door = Door::open(HttpOptions { addr, ..options(Some(TOKEN)) }, stub).await;
    // A name that is none of this machine's: a balancer's, say.
    let here = SocketAddr::from(([127, 0, 0, 1], door.addr().port()));
    door.client =
        reqwest::Client::builder().no_proxy().resolve("visor.example", here).build().unwrap();
    let get = |path: &str| door.client.get(format!("http://visor.example:{}{path}", here.port()));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(path).send().await.unwrap().status(), StatusCode::OK, "{path}");
    }
    refused(get("/metrics"), StatusCode::UNAUTHORIZED, "visor::api::unauthorized").await;
    let shown = get("/metrics").bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(shown.status(), StatusCode::OK);
}

#[tokio::test]
async fn without_a_token_only_names_of_this_machine_are_answered() {
    let site = Site::open().await;
    let port = site.addr().port();
    for host in ["localhost".to_owned(), format!("localhost:{port}"), format!("[::1]:{port}")] {
        let response = site.get("/api/v1/runs").header("host", &host).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{host}");
    }
    for host in ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.2"] {
        for path in ["/api/v1/runs", "/metrics", "/api/v1/openapi.json"] {
            let get = site.get(path).header("host", host);
            refused(get, StatusCode::FORBIDDEN, "visor::api::foreign_host").await;
        }
    }
}

#[tokio::test]
async fn pages_of_other_sites_can_start_nothing() {
    let site = Site::open().await;
    let own = format!("http://{}", site.addr());
    for origin in ["http://evil.example", "null", "http://localhost:1", "https://evil.example"] {
        let post =
            site.post("/api/v1/runs").header("origin", origin).json(&submission(&noop_config(1)));
        refused(post, StatusCode::FORBIDDEN, "visor::api::foreign_origin").await;
    }
    let ours = site.post("/api/v1/runs").header("origin", own).json(&submission(&noop_config(1)));
    assert_eq!(ours.send().await.unwrap().status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn health_says_ok_and_readiness_says_why_not() {
    let site = Site::open().await;
    let alive = site.get("/healthz").send().await.unwrap();
    assert_eq!((alive.status(), alive.text().await.unwrap().as_str()), (StatusCode::OK, "ok"));
    assert_eq!(site.get("/readyz").send().await.unwrap().status(), StatusCode::OK);

    let mut stub = Stub::new(|_| Err(ApiError::new("x", "x")));
    stub.trouble = Some("the disk is full".into());
    let door = Door::open(options(None), Arc::new(stub)).await;
    let ready = door.get("/readyz");
    let why = refused(ready, StatusCode::SERVICE_UNAVAILABLE, "visor::api::not_ready").await;
    assert_eq!(why, "the disk is full");
    assert_eq!(door.get("/healthz").send().await.unwrap().status(), StatusCode::OK);
}
