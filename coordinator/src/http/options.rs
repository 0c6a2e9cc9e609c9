//! How the HTTP side is set up, and why it does not start.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;

/// Where ids of runs get their random bits from.
pub type RandomSource = Arc<dyn Fn() -> u128 + Send + Sync>;

/// What the HTTP side needs to know.
#[derive(Clone)]
pub struct HttpOptions {
    /// Where it listens; port 0 takes a free one.
    pub addr: SocketAddr,
    /// What callers must show. Without one it listens on loopback addresses only.
    pub token: Option<Token>,
    /// Random bits for the ids of runs whose submitter made none.
    pub random: RandomSource,
    /// What it puts up with.
    pub limits: HttpLimits,
}

impl HttpOptions {
    /// On this address, with the usual limits.
    pub fn new(addr: SocketAddr, token: Option<Token>, random: RandomSource) -> Self {
        Self { addr, token, random, limits: HttpLimits::default() }
    }
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions")
            .field("addr", &self.addr)
            .field("token", &self.token)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What the HTTP side puts up with.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// Connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// Event streams at once; further ones are told to come back.
    pub streams: usize,
    /// Uploads at once, each held in memory; further ones are told to come back.
    pub uploads: usize,
    /// Bytes of a JSON body.
    pub json_bytes: usize,
    /// Bytes of an upload.
    pub blob_bytes: usize,
    /// For the headers of a request, an idle connection included.
    pub headers_within: Duration,
    /// For answering a request that is neither an upload nor an event stream.
    pub answer_within: Duration,
    /// For the next piece of an upload.
    pub piece_within: Duration,
    /// For a whole upload.
    pub upload_within: Duration,
    /// A client that takes nothing of its answer for this long is dropped.
    pub write_within: Duration,
    /// Between two signs of life on a quiet event stream.
    pub keep_alive: Duration,
    /// Requests under way at a stop get this long.
    pub stop_within: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            streams: 256,
            uploads: 4,
            json_bytes: 2 * 1024 * 1024,
            blob_bytes: 512 * 1024 * 1024,
            headers_within: Duration::from_secs(30),
            answer_within: Duration::from_secs(30),
            piece_within: Duration::from_secs(30),
            upload_within: Duration::from_secs(600),
            write_within: Duration::from_secs(60),
            keep_alive: Duration::from_secs(15),
            stop_within: Duration::from_secs(10),
        }
    }
}

/// What callers show as `Authorization: Bearer …`. Never printed.
#[derive(Clone)]
pub struct Token(Arc<str>);

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is 1 to 4096 visible ASCII characters without spaces")]
pub struct TokenError;

impl Token {
    /// Checks the text and takes it as a token.
    ///
    /// # Errors
    /// When it is empty, or could not travel in a header.
    pub fn new(text: impl AsRef<str>) -> Result<Self, TokenError> {
        let text = text.as_ref();
        let valid = (1..=4096).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if valid { Ok(Self(text.into())) } else { Err(TokenError) }
    }

    /// Compares in a time that depends on the lengths alone.
    pub(super) fn is(&self, shown: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(shown).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why the HTTP side does not start.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Other machines could reach it, and nothing would hold them back.
    #[error(
        "{addr} can be reached from other machines and no token is set; set a long random token, \
         or listen on 127.0.0.1"
    )]
    NoToken {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The address cannot be used.
    #[error("cannot listen on {addr}; another process may be there, or the address is not ours")]
    Address {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_printed() {
        let token = Token::new("geheim").unwrap();
        assert!(!format!("{token:?}").contains("geheim"));
        assert!(token.is(b"geheim"));
        assert!(!token.is(b"geheim2") && !token.is(b""));
    }

    #[test]
    fn what_no_header_can_carry_is_no_token() {
        for text in ["", "a b", "é", "a\n"] {
            assert_eq!(Token::new(text).unwrap_err(), TokenError, "{text:?}");
        }
    }
}
