//! Blobs in a directory, for a server whose accepted runs outlive its process.
//!
//! A file is whole or not there: it is written beside its place, brought to the disk, and renamed.
//! When there is no room the files that were wanted longest ago go first.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use visor_protocol::ids::ContentHash;

use crate::{BusError, content};

/// A directory of blobs. Used by one process.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
    limit: u64,
}

impl Folder {
    pub(super) fn new(path: PathBuf, limit: u64) -> Self {
        Self { path, limit }
    }

    /// Keeps bytes; those that are there already count as wanted now.
    pub(super) async fn put(&self, bytes: Bytes) -> Result<ContentHash, BusError> {
        let hash = content::hash(&bytes).await?;
        let len = bytes.len();
        let folder = self.clone();
        off_runtime(format!("storing a blob of {len} bytes"), move || folder.write(hash, &bytes))
            .await?;
        Ok(hash)
    }

    /// The bytes with this hash.
    pub(super) async fn get(&self, hash: ContentHash, limit: u64) -> Result<Bytes, BusError> {
        let path = self.place(hash);
        let read = off_runtime(format!("reading blob {hash}"), move || {
            let len = match fs::metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                found => found?.len(),
            };
            Ok(Some(if len > limit { Err(len) } else { Ok(Bytes::from(fs::read(&path)?)) }))
        });
        let bytes = match read.await? {
            None => return Err(BusError::NoBlob { hash }),
            Some(Ok(bytes)) => bytes,
            Some(Err(len)) => {
                return Err(BusError::TooLarge {
                    subject: format!("blob {hash}"),
                    len: usize::try_from(len).unwrap_or(usize::MAX),
                    limit: usize::try_from(limit).unwrap_or(usize::MAX),
                });
            }
        };
        // What a disk has spoiled is as good as gone.
        if content::hash(&bytes).await? == hash {
            Ok(bytes)
        } else {
            Err(BusError::NoBlob { hash })
        }
    }

    pub(super) fn contains(&self, hash: ContentHash) -> bool {
        self.place(hash).is_file()
    }

    fn place(&self, hash: ContentHash) -> PathBuf {
        self.path.join(hash.to_string())
    }

    fn write(&self, hash: ContentHash, bytes: &[u8]) -> io::Result<()> {
        let place = self.place(hash);
        if let Ok(there) = File::options().append(true).open(&place) {
            return there.set_modified(now());
        }
        fs::create_dir_all(&self.path)?;
        self.make_room(bytes.len() as u64)?;
        let beside = self.path.join(format!("{hash}.part"));
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &place)?;
        File::open(&self.path)?.sync_all()
    }

    fn make_room(&self, len: u64) -> io::Result<()> {
        if len > self.limit {
            let why = format!("{len} bytes are more than the {} that are kept in all", self.limit);
            return Err(io::Error::other(why));
        }
        let mut files = Vec::new();
        let mut total = len;
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let known = entry.metadata()?;
            total += known.len();
            files.push((known.modified()?, known.len(), entry.path()));
        }
        files.sort();
        for (_, size, path) in files {
            if total <= self.limit {
                break;
            }
            remove(&path)?;
            total -= size;
        }
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[expect(clippy::disallowed_methods, reason = "compared with the times that the disk gives files")]
fn now() -> SystemTime {
    SystemTime::now()
}

async fn off_runtime<T: Send + 'static>(
    what: String,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, BusError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(BusError::Unavailable { what, why: error.to_string() }),
        Err(_) => Err(BusError::Closed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(limit: u64) -> (tempfile::TempDir, Folder) {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::new(directory.path().join("blobs"), limit);
        (directory, folder)
    }

    #[tokio::test]
    async fn what_was_kept_is_there_for_the_next_process() {
        let (_directory, first) = folder(1_000);
        let hash = first.put(Bytes::from_static(b"tree")).await.unwrap();
        let second = Folder::new(first.path.clone(), 1_000);
        assert!(second.contains(hash));
        assert_eq!(second.get(hash, 4).await.unwrap(), "tree");
        assert!(matches!(second.get(hash, 3).await, Err(BusError::TooLarge { len: 4, .. })));
    }

    #[tokio::test]
    async fn what_was_wanted_longest_ago_makes_room() {
        let (_directory, folder) = folder(10);
        let mut hashes = Vec::new();
        for (age, text) in [(300, "aaaa"), (200, "bbbb")] {
            let hash = folder.put(Bytes::from_static(text.as_bytes())).await.unwrap();
            let file = File::options().append(true).open(folder.place(hash)).unwrap();
            file.set_modified(now() - std::time::Duration::from_secs(age)).unwrap();
            hashes.push(hash);
        }
        folder.put(Bytes::from_static(b"aaaa")).await.unwrap(); // wanted again
        folder.put(Bytes::from_static(b"cccc")).await.unwrap();
        assert!(folder.contains(hashes[0]) && !folder.contains(hashes[1]));
        let error = folder.put(Bytes::from_static(b"more than ten")).await.unwrap_err();
        assert!(matches!(error, BusError::Unavailable { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_spoiled_file_is_no_blob() {
        let (_directory, folder) = folder(1_000);
        let hash = folder.put(Bytes::from_static(b"tree")).await.unwrap();
        fs::write(folder.place(hash), "tres").unwrap();
        assert!(matches!(folder.get(hash, 100).await, Err(BusError::NoBlob { .. })));
    }
}
