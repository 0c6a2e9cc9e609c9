//! Why a coordinator does not start, or stops by itself.

use crate::store::StoreError;

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The transport cannot be prepared.
    #[error("the transport cannot be prepared")]
    Transport(#[from] visor_transport::BusError),
    /// Another coordinator leads the same shard on the same transport.
    #[error(
        "another coordinator (version {version}) already serves this transport; stop it first, or \
         use another NATS account"
    )]
    AlreadyServed {
        /// Its version.
        version: String,
    },
    /// An actor did not start.
    #[error("the coordinator's {what} did not start: {why}")]
    Actor {
        /// Which.
        what: &'static str,
        /// Why.
        why: String,
    },
}

/// Why a coordinator stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// It was told to.
    #[error("the coordinator was stopped")]
    Asked,
    /// A part of it fell over that everything depends on. Starting again rebuilds it from the
    /// journal.
    #[error("the coordinator fell over: {why}")]
    FellOver {
        /// Which part, and why.
        why: String,
    },
}
