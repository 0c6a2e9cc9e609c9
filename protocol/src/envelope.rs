//! The frame around every message: a version, the trace it belongs to, when it was sent.
//!
//! MessagePack with named fields, so a field can be added without breaking readers of the old
//! shape, and readers ignore what they do not know.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The version this build writes, and the newest it reads.
pub const VERSION: u16 = 1;

/// No message is larger: NATS' default is 1 MiB, and larger payloads travel as blobs.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// W3C trace context, so that spans of several processes make one tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// The `traceparent` header.
    pub traceparent: String,
}

/// A message with its frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Version of the body's shape.
    pub v: u16,
    /// The trace that this message continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// When the sender sent it, by the sender's clock.
    pub sent_at: Timestamp,
    /// The message.
    pub body: T,
}

/// Why a message cannot be sent or read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The bytes are no message of the expected type.
    #[error("message cannot be decoded ({len} bytes)")]
    Decode {
        /// How many bytes there were.
        len: usize,
        /// What the decoder found.
        #[source]
        source: rmp_serde::decode::Error,
    },
    /// The sender is newer than this reader.
    #[error("message has version {found}; this build reads up to {VERSION}: upgrade this process")]
    Version {
        /// The version found.
        found: u16,
    },
    /// The message is larger than may travel.
    #[error("message of {len} bytes is larger than {MAX_MESSAGE_BYTES}")]
    TooLarge {
        /// Its size.
        len: usize,
    },
    /// The value cannot be written as MessagePack.
    #[error("message cannot be encoded")]
    Encode(#[source] rmp_serde::encode::Error),
}

impl<T> Envelope<T> {
    /// Frames a body.
    pub fn new(body: T, sent_at: Timestamp) -> Self {
        Self { v: VERSION, trace: None, sent_at, body }
    }

    /// Attaches the trace this message continues.
    #[must_use]
    pub fn traced(mut self, trace: Option<TraceContext>) -> Self {
        self.trace = trace;
        self
    }
}

impl<T: Serialize> Envelope<T> {
    /// The bytes to send.
    ///
    /// # Errors
    /// When the message is larger than [`MAX_MESSAGE_BYTES`].
    pub fn encode(&self) -> Result<Bytes, WireError> {
        let bytes = self.encode_stored()?;
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(WireError::TooLarge { len: bytes.len() });
        }
        Ok(bytes)
    }

    /// The bytes to keep in the blob store, of whatever size.
    ///
    /// # Errors
    /// When the value cannot be written as MessagePack.
    pub fn encode_stored(&self) -> Result<Bytes, WireError> {
        Ok(rmp_serde::to_vec_named(self).map_err(WireError::Encode)?.into())
    }
}

impl<T: DeserializeOwned> Envelope<T> {
    /// Reads a message.
    ///
    /// # Errors
    /// When the bytes are not one, are too large, or come from a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(WireError::TooLarge { len: bytes.len() });
        }
        Self::decode_stored(bytes)
    }

    /// Reads what [`Envelope::encode_stored`] gave. The caller has bounded its size.
    ///
    /// # Errors
    /// When the bytes are no message of this type, or come from a newer version.
    pub fn decode_stored(bytes: &[u8]) -> Result<Self, WireError> {
        match rmp_serde::from_slice::<Self>(bytes) {
            Ok(envelope) if envelope.v > VERSION => Err(WireError::Version { found: envelope.v }),
            Ok(envelope) => Ok(envelope),
            // A newer shape may not decode at all; its version says why.
            Err(source) => match rmp_serde::from_slice::<VersionOnly>(bytes) {
                Ok(VersionOnly { v: found }) if found > VERSION => {
                    Err(WireError::Version { found })
                }
                _ => Err(WireError::Decode { len: bytes.len(), source }),
            },
        }
    }
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u16,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_newer_version_is_named_even_when_its_body_is_unknown() {
        #[derive(Serialize)]
        struct Newer {
            v: u16,
            shape: &'static str,
        }
        let bytes = rmp_serde::to_vec_named(&Newer { v: 2, shape: "other" }).unwrap();
        let error = Envelope::<String>::decode(&bytes).unwrap_err();
        assert!(matches!(error, WireError::Version { found: 2 }), "{error}");
    }

    #[test]
    fn unknown_fields_are_ignored() {
        #[derive(Serialize)]
        struct Wider {
            v: u16,
            sent_at: Timestamp,
            body: u8,
            added_later: &'static str,
        }
        let wider = Wider { v: 1, sent_at: Timestamp::from_micros(3), body: 7, added_later: "x" };
        let bytes = rmp_serde::to_vec_named(&wider).unwrap();
        assert_eq!(Envelope::<u8>::decode(&bytes).unwrap().body, 7);
    }

    proptest! {
        #[test]
        fn junk_is_an_error_and_never_a_panic(bytes: Vec<u8>) {
            let _ = Envelope::<crate::Job>::decode(&bytes);
            let _ = Envelope::<Vec<crate::Outcome>>::decode(&bytes);
            let _ = Envelope::<crate::api::Request>::decode(&bytes);
        }
    }
}
