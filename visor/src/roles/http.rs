//! The HTTP API of a service: its address, taken early, and its life.

use std::net::SocketAddr;
use std::sync::Arc;

use rand::TryRng as _;
use rand::rngs::SysRng;
use tokio_util::sync::CancellationToken;
use visor_coordinator::ApiService;
use visor_coordinator::http::{HttpError, HttpHandle, HttpOptions, HttpServer, Token, bind};
use visor_protocol::time::SystemClock;

use crate::failure::Failure;
use crate::render::text;

/// Characters of a token that other machines may try. Sixteen of a random text are 64 bits.
const SHORTEST: usize = 16;

/// An address that is taken.
pub(super) struct Address {
    server: HttpServer,
    guarded: bool,
}

/// An API that is served.
pub(super) struct Served {
    handle: HttpHandle,
    stop: CancellationToken,
}

impl Address {
    /// Takes the address: a taken port is found before anybody relies on the rest.
    ///
    /// # Errors
    /// When others could reach it without a token or by guessing it, or it cannot be had.
    pub(super) async fn take(address: SocketAddr, token: Option<&str>) -> Result<Self, Failure> {
        let token = token.filter(|token| !token.is_empty());
        let length = token.map(str::len);
        let token = token.map(Token::new).transpose();
        let token = token.map_err(|error| {
            Failure::usage("visor::start::token", "the token cannot be used").because(&error)
        })?;
        // Loopback is the machine's own affair: there a token only tells its users apart.
        if !address.ip().is_loopback()
            && let Some(length) = length.filter(|length| *length < SHORTEST)
        {
            let what = format!(
                "{address} can be reached from other machines, and a token of {} is quickly \
                 guessed: at least {SHORTEST} are wanted there",
                text::count(length as u64, "character"),
            );
            return Err(Failure::usage("visor::start::short_token", what)
                .help("generate one: `openssl rand -hex 16`"));
        }
        let guarded = token.is_some();
        let options = HttpOptions::new(address, token, Arc::new(random));
        let server = bind(options).await.map_err(|error| refused(&error))?;
        Ok(Self { server, guarded })
    }

    /// The address as people type it.
    pub(super) fn shown(&self) -> String {
        let token = if self.guarded { " with a token" } else { "" };
        format!("http://{}{token}", self.server.local_addr())
    }

    /// Answers from now on.
    pub(super) fn serve(self, api: Arc<dyn ApiService>) -> Served {
        let stop = CancellationToken::new();
        let handle = self.server.serve(api, Arc::new(SystemClock), stop.clone());
        Served { handle, stop }
    }
}

impl Served {
    /// Takes nothing new and finishes what is being answered, within seconds.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.handle.closed().await;
    }
}

/// Random bits for the ids of runs whose submitter made none.
fn random() -> u128 {
    let mut bytes = [0; 16];
    // It gave some when this process started; an id without them would still be unique by its
    // time, and the journal refuses a second run of the same id.
    let _ = SysRng.try_fill_bytes(&mut bytes);
    u128::from_be_bytes(bytes)
}

fn refused(error: &HttpError) -> Failure {
    match error {
        HttpError::NoToken { .. } => Failure::usage("visor::start::no_token", error.to_string())
            .help(
                "set VISOR_TOKEN to a long random text (`openssl rand -hex 32`), or listen on \
                 127.0.0.1",
            ),
        HttpError::Address { .. } => {
            Failure::usage("visor::start::http_address", "the HTTP address cannot be had")
                .because(error)
                .help("another process may be there; name another address with --http")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_short_token_will_do_where_only_this_machine_reaches() {
        let reached_by = async |address: &str, token| {
            Address::take(address.parse().unwrap(), Some(token)).await.map(|_| ()).is_ok()
        };
        assert!(reached_by("127.0.0.1:0", "short").await);
        assert!(!reached_by("0.0.0.0:0", "fifteen-letters").await);
        assert!(reached_by("0.0.0.0:0", "sixteen--letters").await);
    }
}
