//! How large a check has made its private copy of the files.
//!
//! A bind mount has no limit of its own, so it is looked at from time to time: a check can overshoot
//! by what the disk takes within that time, and a file that it deleted and still holds open is not
//! seen. What keeps the worker itself going is the room it insists on before it takes a job.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

/// Between two looks, at least.
const LOOK: Duration = Duration::from_millis(500);

/// Looking takes no more than this part of the time.
const PART: u32 = 20;

/// What a file or directory counts at least, so that many empty ones count too.
pub const ENTRY_BYTES: u64 = 4096;

/// Ends when the tree takes more than this many bytes.
pub async fn outgrown(tree: PathBuf, limit: u64) {
    let mut pause = LOOK;
    loop {
        tokio::time::sleep(pause).await;
        let (started, path) = (Instant::now(), tree.clone());
        let looked = tokio::task::spawn_blocking(move || size(&path, limit)).await;
        if looked.is_ok_and(|size| size > limit) {
            return;
        }
        pause = LOOK.max(started.elapsed() * PART);
    }
}

/// What a tree takes on the disk. Counts no further than just above `enough`, and what cannot be
/// looked at as nothing: it may have been deleted in this moment.
fn size(tree: &Path, enough: u64) -> u64 {
    let mut total = 0_u64;
    let mut linked = HashSet::new();
    let mut open = vec![tree.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if !meta.is_dir() && meta.nlink() > 1 && !linked.insert((meta.dev(), meta.ino())) {
                continue;
            }
            total = total.saturating_add((meta.blocks() * 512).max(ENTRY_BYTES));
            if total > enough {
                return total;
            }
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counts_once_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d/file"), vec![1; 100_000]).unwrap();
        fs::hard_link(at("d/file"), at("again")).unwrap();
        std::os::unix::fs::symlink("/usr", at("link")).unwrap();
        let whole = size(dir.path(), u64::MAX);
        assert!((108_000..150_000).contains(&whole), "{whole}");
        assert!(size(dir.path(), 10) > 10);
        assert_eq!(size(Path::new("/nonexistent"), 1), 0);
    }

    #[test]
    fn many_empty_files_count() {
        let dir = tempfile::tempdir().unwrap();
        (0..100).for_each(|n| fs::write(dir.path().join(n.to_string()), "").unwrap());
        assert_eq!(size(dir.path(), u64::MAX), 100 * ENTRY_BYTES);
    }
}
