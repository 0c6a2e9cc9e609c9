//! Hashing of blobs.

use bytes::Bytes;
use visor_protocol::ids::ContentHash;

use crate::BusError;

/// Hashing more than this takes over a millisecond and moves off the runtime's threads.
const HASHED_INLINE_BYTES: usize = 512 * 1024;

/// The hash of these bytes, computed where it does not hold up a runtime.
pub(crate) async fn hash(bytes: &Bytes) -> Result<ContentHash, BusError> {
    if bytes.len() <= HASHED_INLINE_BYTES {
        return Ok(ContentHash::of(bytes));
    }
    let shared = bytes.clone();
    // Fails only when the runtime is being shut down.
    tokio::task::spawn_blocking(move || ContentHash::of(&shared))
        .await
        .map_err(|_| BusError::Closed)
}
