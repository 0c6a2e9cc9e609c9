//! Connecting to the NATS server of a fleet.

use std::sync::Arc;

use visor_transport::nats::options::redact;
use visor_transport::nats::{NatsOptions, connect as connect_to};
use visor_transport::{Bus, BusError};

use crate::failure::Failure;

/// Where a server listens unless told otherwise.
pub(crate) const DEFAULT_NATS: &str = "nats://127.0.0.1:4222";

/// Connects a client: nobody there is an error at once.
///
/// # Errors
/// When the address or the credentials are wrong, or nobody answers.
pub(crate) async fn connect(url: &str, name: &str) -> Result<Arc<dyn Bus>, Failure> {
    with(NatsOptions { name: name.into(), ..NatsOptions::new(url) }).await
}

/// Connects a service: waits for a server that is not there yet, since services start in any order.
///
/// # Errors
/// When the address or the credentials are wrong.
pub(crate) async fn connect_service(url: &str, name: &str) -> Result<Arc<dyn Bus>, Failure> {
    let options = NatsOptions { name: name.into(), wait_for_server: true, ..NatsOptions::new(url) };
    with(options).await
}

async fn with(options: NatsOptions) -> Result<Arc<dyn Bus>, Failure> {
    let shown = redact(&options.url);
    // Only an address that asks for it pays for TLS.
    if shown.contains("tls://") || shown.contains("wss://") {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    connect_to(options).await.map_err(|error: BusError| {
        Failure::unavailable("visor::nats::connect", format!("no NATS server to use at {shown}"))
            .because(&error)
            .help(
                "start one with `nats-server -js`, or name another: --nats URL, or --fleet URL \
                 for a client",
            )
    })
}

/// An address as it may be shown.
pub(crate) fn without_credentials(url: &str) -> String {
    redact(url)
}
