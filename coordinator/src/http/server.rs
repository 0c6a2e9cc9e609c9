//! Listening, connections, and stopping.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use visor_protocol::time::Clock;

use super::options::{HttpError, HttpLimits, HttpOptions};
use super::patience::Patient;
use super::router::{App, router};
use crate::api::ApiService;

/// After an error that is the listener's own (no file descriptor left), before the next try.
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(500);

/// Bytes of one request's headers.
const HEADER_BYTES: usize = 64 * 1024;

/// An address that is taken and not yet served.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    local_addr: SocketAddr,
    options: HttpOptions,
}

/// A server at work.
#[derive(Debug, Clone)]
pub struct HttpHandle {
    local_addr: SocketAddr,
    tasks: TaskTracker,
}

/// Takes the address.
///
/// # Errors
/// When others could reach it without a token, or it cannot be had.
pub async fn bind(options: HttpOptions) -> Result<HttpServer, HttpError> {
    let addr = options.addr;
    if options.token.is_none() && !addr.ip().is_loopback() {
        return Err(HttpError::NoToken { addr });
    }
    let refused = |source| HttpError::Address { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(refused)?;
    let local_addr = listener.local_addr().map_err(refused)?;
    Ok(HttpServer { listener, local_addr, options })
}

/// Takes the address and serves there until stopped.
///
/// # Errors
/// As for [`bind`].
pub async fn serve(
    options: HttpOptions,
    service: Arc<dyn ApiService>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<HttpHandle, HttpError> {
    Ok(bind(options).await?.serve(service, clock, stop))
}

impl HttpServer {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Answers until stopped. Whoever connected before waits in the listener.
    pub fn serve(
        self,
        service: Arc<dyn ApiService>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> HttpHandle {
        let Self { listener, local_addr, options } = self;
        let (tasks, limits) = (TaskTracker::new(), options.limits.clone());
        let app = Arc::new(App::new(options, service, clock, tasks.clone(), stop.clone()));
        tasks.spawn(accept(listener, router(app), limits, tasks.clone(), stop));
        tasks.close();
        HttpHandle { local_addr, tasks }
    }
}

impl HttpHandle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Waits until it was stopped and every connection is closed. After the stop this takes no
    /// longer than [`HttpLimits::stop_within`].
    pub async fn closed(&self) {
        self.tasks.wait().await;
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    limits: HttpLimits,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        // A place first: who finds none waits in the listener's own queue, which is bounded.
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accepted => accepted,
        };
        let Ok(place) = place else { return };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(converse(stream, place, router.clone(), limits.clone(), stop.clone()));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted; trying again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(AFTER_ACCEPT_ERROR) => {}
                }
            }
        }
    }
}

fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn converse(
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
    router: Router,
    limits: HttpLimits,
    stop: CancellationToken,
) {
    // Answers are written whole and events one at a time: nothing is gained by holding them back.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Patient::new(stream, limits.write_within));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers_within)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(io, TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(limits.stop_within, connection).await
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection broke"),
        Err(_) => tracing::debug!("a connection was dropped at the stop"),
    }
}
