//! From an address to a way to the coordinator there.

use std::sync::Arc;

use reqwest::Url;

use super::bus::BusBackend;
use super::http::HttpBackend;
use super::{Backend, ClientError};
use crate::failure::Failure;
use crate::roles::nats;

/// Where a server of one machine listens unless told otherwise.
pub(crate) const DEFAULT_FLEET: &str = "http://127.0.0.1:8686";

/// Connects to the fleet at this address: `nats://…` or `http://…`.
///
/// # Errors
/// When the address is none, or nobody answers there.
pub(crate) async fn connect(
    address: &str,
    token: Option<&str>,
) -> Result<Arc<dyn Backend>, Failure> {
    let scheme = address.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("nats" | "tls" | "ws" | "wss") => {
            let bus = nats::connect(address, "visor client").await?;
            Ok(Arc::new(BusBackend::new(bus, nats::without_credentials(address))))
        }
        Some("http" | "https") => {
            let url: Url = address.parse().map_err(|error| {
                bad_address(address).because(&error as &(dyn std::error::Error + 'static))
            })?;
            let backend = HttpBackend::new(url, token.map(str::to_owned));
            Ok(Arc::new(backend.map_err(|error: ClientError| error.into_failure(address))?))
        }
        _ => Err(bad_address(address)),
    }
}

fn bad_address(address: &str) -> Failure {
    Failure::usage("visor::cli::bad_address", format!("`{address}` is not the address of a fleet"))
        .help("nats://HOST:4222 for a fleet, http://HOST:8686 for a server's HTTP API")
}
