//! What every way to a coordinator can do.

use async_trait::async_trait;
use bytes::Bytes;
use visor_protocol::api::{ApiError, Request, Response};
use visor_protocol::envelope::WireError;
use visor_protocol::event::Notice;
use visor_protocol::ids::{ContentHash, RunId};
use visor_protocol::worker::LogChunk;
use visor_transport::BusError;

use crate::failure::Failure;

/// Why a coordinator gave no answer that helps.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// It answered: no.
    #[error("the coordinator refuses")]
    Refused(#[source] ApiError),
    /// The transport between did not carry it.
    #[error("the coordinator cannot be reached")]
    Bus(#[from] BusError),
    /// A message could not be written or read.
    #[error("the coordinator and this program do not understand each other")]
    Wire(#[from] WireError),
    /// HTTP did not carry it.
    #[error("{url} does not answer: {why}")]
    Http {
        /// Where, without credentials.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// The answer is not one to this question.
    #[error("the answer to `{question}` makes no sense: {why}")]
    Nonsense {
        /// What was asked.
        question: &'static str,
        /// What is wrong with the answer.
        why: String,
    },
}

impl ClientError {
    /// Milliseconds after which asking again may help; none when it will not.
    pub(crate) fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Refused(error) => error.retry_after_ms,
            Self::Bus(
                BusError::Timeout { .. }
                | BusError::Unavailable { .. }
                | BusError::NoResponder { .. },
            )
            | Self::Http { .. } => Some(500),
            Self::Bus(
                BusError::Connect { .. }
                | BusError::NoBlob { .. }
                | BusError::TooLarge { .. }
                | BusError::Closed,
            )
            | Self::Wire(_)
            | Self::Nonsense { .. } => None,
        }
    }

    /// The error as a person is told it.
    pub(crate) fn into_failure(self, place: &str) -> Failure {
        match self {
            Self::Refused(error) if error.retry_after_ms.is_some() => {
                Failure::unavailable(&error.code, error.message)
            }
            Self::Refused(error) if error.code == "visor::api::unauthorized" => {
                let what = format!("the coordinator at {place} wants its token");
                Failure::usage(&error.code, what).help("set VISOR_TOKEN to it, or give --token")
            }
            Self::Refused(error) => Failure::usage(&error.code, error.message),
            Self::Bus(error) => {
                let what = match &error {
                    BusError::NoResponder { .. } => format!("no coordinator answers at {place}"),
                    _ => format!("no answer from the fleet at {place}"),
                };
                let help = match &error {
                    BusError::NoResponder { .. } => {
                        "start one with `visor coordinator --nats URL`, or give another --fleet"
                    }
                    _ => "check that it runs and that --fleet names it",
                };
                let failure = Failure::unavailable("visor::client::unreachable", what).help(help);
                match error {
                    BusError::NoResponder { .. } => failure,
                    error => failure.because(&error),
                }
            }
            Self::Http { why, .. } => {
                let what = format!("no answer from the fleet at {place}: {why}");
                Failure::unavailable("visor::client::unreachable", what).help(
                    "start a server with `visor serve`, or name a fleet with --fleet URL or \
                     VISOR_FLEET",
                )
            }
            error @ (Self::Wire(_) | Self::Nonsense { .. }) => Failure::unavailable(
                "visor::client::protocol",
                error.to_string(),
            )
            .because(&error)
            .help("client and coordinator may be of different versions: compare `visor --version`"),
        }
    }
}

/// Something that was seen of a watched run.
#[derive(Debug)]
pub(crate) enum Seen {
    /// Changes.
    Notices(Vec<Notice>),
    /// Output of a check.
    Log(LogChunk),
    /// The connection was made again: something may have been missed.
    Reconnected,
}

/// The live news of one run.
#[async_trait]
pub(crate) trait Watch: Send {
    /// The next piece of news; `None` when there will be none any more. Cancel-safe.
    async fn next(&mut self) -> Option<Seen>;
}

/// A way to a coordinator. Every call has a deadline of its own.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// Where the coordinator is, without credentials.
    fn place(&self) -> &str;

    /// Asks.
    async fn call(&self, request: Request) -> Result<Response, ClientError>;

    /// Watches a run, from now on; it need not exist yet.
    async fn watch(&self, run: RunId, logs: bool) -> Result<Box<dyn Watch>, ClientError>;

    /// Whether the fleet has these bytes.
    async fn has_blob(&self, hash: ContentHash) -> Result<bool, ClientError>;

    /// Gives the fleet these bytes.
    async fn put_blob(&self, bytes: Bytes) -> Result<ContentHash, ClientError>;

    /// Says goodbye.
    async fn close(&self);
}
