//! Requests to JetStream and why they fail.

use std::pin::pin;
use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::link::Link;
use crate::BusError;

/// Codes that JetStream gives its errors.
pub(super) mod code {
    pub(in super::super) const NO_CONSUMER: u64 = 10_014;
    pub(in super::super) const NO_MESSAGE: u64 = 10_037;
    pub(in super::super) const NO_RESOURCES: u64 = 10_023;
    pub(in super::super) const NO_STORAGE: u64 = 10_047;
    pub(in super::super) const FULL: u64 = 10_077;
    pub(in super::super) const STREAM_DIFFERS: u64 = 10_058;
    pub(in super::super) const NO_STREAM: u64 = 10_059;
}

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// No answer in time.
    Silent,
    /// Nobody listens there: no such stream or consumer, or no leader for it.
    Nobody,
    /// The connection broke before an answer came.
    Disconnected,
    /// The answer is a refusal.
    Refused { status: u64, code: u64, why: String },
    /// The answer makes no sense.
    Unreadable { why: String },
}

impl Failure {
    /// Whether trying again is no use.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Silent | Self::Nobody | Self::Disconnected => false,
            // 5xx is said of a server that is not ready, except for storage that is full.
            Self::Refused { status, code, .. } => {
                *status < 500 || matches!(*code, code::NO_STORAGE | code::NO_RESOURCES | code::FULL)
            }
            Self::Unreadable { .. } => true,
        }
    }

    pub(super) fn has_code(&self, wanted: u64) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == wanted)
    }

    pub(super) fn into_bus(self, what: &str, within: Duration) -> BusError {
        let what = what.to_owned();
        let unavailable = |why: &str| BusError::Unavailable { what: what.clone(), why: why.into() };
        match self {
            Self::Silent => BusError::Timeout { what, within },
            Self::Nobody => unavailable(
                "no JetStream answers for it: is it enabled (`nats-server -js`), and has it a leader?",
            ),
            Self::Disconnected => unavailable("the connection broke"),
            Self::Refused { why, code, .. } => unavailable(&format!("{why} ({code})")),
            Self::Unreadable { why } => unavailable(&why),
        }
    }
}

/// What every answer of JetStream may be.
#[derive(Deserialize)]
struct Refusal {
    error: Option<ErrorBody>,
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Reads an answer.
pub(super) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Failure> {
    let unreadable = |error: serde_json::Error| Failure::Unreadable {
        why: format!("the answer cannot be read: {error}"),
    };
    // Twice over a few bytes costs less than once through a buffer of everything.
    match serde_json::from_slice::<Refusal>(payload).map_err(unreadable)?.error {
        Some(ErrorBody { code: status, err_code: code, description: why }) => {
            Err(Failure::Refused { status, code, why })
        }
        None => serde_json::from_slice(payload).map_err(unreadable),
    }
}

/// An answer of which nothing is needed but that it is no error.
#[derive(Deserialize)]
pub(super) struct Done {}

impl Link {
    /// Sends a request and waits for the answer. Without a connection it waits for one first, so
    /// that nothing goes out that nobody waits for any more; it ends at once when the connection
    /// is replaced, because then no answer will come.
    pub(super) async fn ask(
        &self,
        subject: &str,
        request: Request,
        within: Duration,
    ) -> Result<async_nats::Message, Failure> {
        let until = Instant::now() + within;
        self.connected(until).await?;
        let mut connects = self.connects();
        let epoch = self.epoch();
        let request = request.timeout(Some(within));
        // Sending waits for room in the client's buffer, which its own timeout leaves out.
        let asking = self.client.send_request(subject.to_owned(), request);
        let mut asking = pin!(tokio::time::timeout_at(until, asking));
        loop {
            tokio::select! {
                biased;
                answer = &mut asking => {
                    return answer.map_err(|_| Failure::Silent)?.map_err(|error| match error.kind() {
                        RequestErrorKind::TimedOut => Failure::Silent,
                        RequestErrorKind::NoResponders => Failure::Nobody,
                        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                            Failure::Unreadable { why: error.to_string() }
                        }
                        RequestErrorKind::Other => Failure::Disconnected,
                    });
                }
                Ok(()) = connects.changed() => {
                    // The news may be of the connection that stood before we asked.
                    if self.epoch() != epoch {
                        return Err(Failure::Disconnected);
                    }
                }
                () = self.closed.cancelled() => return Err(Failure::Disconnected),
            }
        }
    }

    /// Calls the JetStream API once.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        operation: &str,
        body: &Value,
        within: Duration,
    ) -> Result<T, Failure> {
        let payload = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = Request::new().payload(payload);
        let answer = self.ask(&format!("$JS.API.{operation}"), request, within).await?;
        read(&answer.payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Ack {
        seq: u64,
    }

    #[test]
    fn an_error_in_an_answer_is_a_refusal_with_its_code() {
        let refused =
            br#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
        let failure = read::<Ack>(refused).unwrap_err();
        assert!(failure.has_code(code::NO_STREAM) && failure.is_final());
        let busy = br#"{"error":{"code":503,"err_code":10008,"description":"unavailable"}}"#;
        assert!(!read::<Ack>(busy).unwrap_err().is_final());
        assert_eq!(read::<Ack>(br#"{"stream":"X","seq":7,"new":1}"#).unwrap().seq, 7);
        assert!(matches!(read::<Ack>(b"{}"), Err(Failure::Unreadable { .. })));
        assert!(matches!(read::<Ack>(b"junk"), Err(Failure::Unreadable { .. })));
    }
}
