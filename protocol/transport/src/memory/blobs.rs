//! Bytes by their hash, up to a bounded total.

use std::collections::HashMap;
use std::path::PathBuf;

use bytes::Bytes;
use parking_lot::Mutex;
use visor_protocol::ids::ContentHash;

use super::folder::Folder;
use crate::{BusError, content};

#[derive(Debug)]
pub(super) struct Blobs {
    kept: Mutex<Kept>,
    limit: u64,
    /// Where they lie instead, when they are to outlive the process.
    folder: Option<Folder>,
}

#[derive(Debug, Default)]
struct Kept {
    by_hash: HashMap<ContentHash, Bytes>,
    bytes: u64,
}

impl Blobs {
    pub(super) fn new(limit: u64, folder: Option<PathBuf>) -> Self {
        let folder = folder.map(|path| Folder::new(path, limit));
        Self { kept: Mutex::default(), limit, folder }
    }

    pub(super) async fn put(&self, bytes: Bytes) -> Result<ContentHash, BusError> {
        if let Some(folder) = &self.folder {
            return folder.put(bytes).await;
        }
        let hash = content::hash(&bytes).await?;
        let mut kept = self.kept.lock();
        if kept.by_hash.contains_key(&hash) {
            return Ok(hash);
        }
        let total = kept.bytes + bytes.len() as u64;
        if total > self.limit {
            return Err(BusError::Unavailable {
                what: format!("storing a blob of {} bytes", bytes.len()),
                why: format!(
                    "this process keeps {} of at most {} bytes of blobs",
                    kept.bytes, self.limit
                ),
            });
        }
        kept.bytes = total;
        kept.by_hash.insert(hash, bytes);
        Ok(hash)
    }

    pub(super) async fn get(&self, hash: ContentHash, limit: u64) -> Result<Bytes, BusError> {
        if let Some(folder) = &self.folder {
            return folder.get(hash, limit).await;
        }
        let bytes = self.kept.lock().by_hash.get(&hash).cloned();
        let bytes = bytes.ok_or(BusError::NoBlob { hash })?;
        if bytes.len() as u64 > limit {
            return Err(BusError::TooLarge {
                subject: format!("blob {hash}"),
                len: bytes.len(),
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
            });
        }
        Ok(bytes)
    }

    pub(super) fn contains(&self, hash: ContentHash) -> bool {
        match &self.folder {
            Some(folder) => folder.contains(hash),
            None => self.kept.lock().by_hash.contains_key(&hash),
        }
    }
}
