//! Bytes by their hash, up to a bounded total: when there is no room, those that were stored longest
//! ago go first. Whoever needs one that is gone is told so, as with any other store.

use std::collections::{BTreeMap, HashMap};
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
    by_hash: HashMap<ContentHash, (Bytes, u64)>,
    /// Whose turn it is to go, by when it was stored last.
    by_age: BTreeMap<u64, ContentHash>,
    stored: u64,
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
        let len = bytes.len() as u64;
        if len > self.limit {
            return Err(BusError::Unavailable {
                what: format!("storing a blob of {len} bytes"),
                why: format!("this process keeps at most {} bytes of blobs", self.limit),
            });
        }
        let hash = content::hash(&bytes).await?;
        self.kept.lock().put(hash, bytes, self.limit);
        Ok(hash)
    }

    pub(super) async fn get(&self, hash: ContentHash, limit: u64) -> Result<Bytes, BusError> {
        if let Some(folder) = &self.folder {
            return folder.get(hash, limit).await;
        }
        let bytes = self.kept.lock().by_hash.get(&hash).map(|(bytes, _)| bytes.clone());
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

impl Kept {
    /// Keeps bytes that fit into the limit; those that are there already count as stored now.
    fn put(&mut self, hash: ContentHash, bytes: Bytes, limit: u64) {
        self.remove(hash);
        while self.bytes + bytes.len() as u64 > limit
            && let Some((_, oldest)) = self.by_age.first_key_value()
        {
            self.remove(*oldest);
        }
        self.stored += 1;
        self.bytes += bytes.len() as u64;
        self.by_age.insert(self.stored, hash);
        self.by_hash.insert(hash, (bytes, self.stored));
    }

    fn remove(&mut self, hash: ContentHash) {
        if let Some((bytes, stored)) = self.by_hash.remove(&hash) {
            self.by_age.remove(&stored);
            self.bytes -= bytes.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_stored_longest_ago_makes_room() {
        let blobs = Blobs::new(10, None);
        let put = async |text: &'static str| blobs.put(Bytes::from_static(text.as_bytes())).await;
        let (first, second) = (put("aaaa").await.unwrap(), put("bbbb").await.unwrap());
        put("aaaa").await.unwrap(); // stored again
        let third = put("cccc").await.unwrap();
        assert!(blobs.contains(first) && !blobs.contains(second) && blobs.contains(third));
        assert!(matches!(blobs.get(second, 10).await, Err(BusError::NoBlob { .. })));
        let error = put("more than ten").await.unwrap_err();
        assert!(error.to_string().contains("at most 10 bytes"), "{error}");
        assert_eq!(blobs.kept.lock().bytes, 8);
    }
}
