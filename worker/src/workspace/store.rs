//! Fetching packed trees, keeping them unpacked, handing out private copies.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use visor_protocol::ids::ContentHash;
use visor_providers::host::marker;
use visor_transport::{Bus, BusError};

use super::copy::{Owner, copy_tree, remove_tree};
use super::growth::ENTRY_BYTES;
use super::unpack::{Limits, UnpackError, Unpacked, unpack};

/// A packed tree is refused above this.
const ARCHIVE_BYTES: u64 = 512 * 1024 * 1024;

/// Unpacked trees that are kept.
const KEPT_TREES: usize = 32;

/// Bytes of the files in them.
const KEPT_BYTES: u64 = 8 * 1024 * 1024 * 1024;

/// Why a job's files cannot be laid out.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// The packed tree cannot be fetched.
    #[error("the workspace {hash} cannot be fetched: {source}")]
    Fetch {
        /// Which.
        hash: ContentHash,
        /// What the bus says.
        #[source]
        source: BusError,
    },
    /// It is too large to be fetched.
    #[error("the workspace is packed into {bytes} bytes; at most {ARCHIVE_BYTES} are taken")]
    TooLarge {
        /// How large it is.
        bytes: u64,
    },
    /// It was refused.
    #[error("the workspace {hash} cannot be unpacked: {source}")]
    Unpack {
        /// Which.
        hash: ContentHash,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// This machine cannot keep it.
    #[error("the workspace cannot be laid out in {}: {source}", path.display())]
    Disk {
        /// Where.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl WorkspaceError {
    /// Another worker, or this one a little later, may succeed.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Fetch { .. } | Self::Disk { .. } => true,
            Self::TooLarge { .. } => false,
            Self::Unpack { source, .. } => matches!(source, UnpackError::Write { .. }),
        }
    }
}

/// Where files are laid out.
#[derive(Debug)]
pub struct Workspaces {
    root: PathBuf,
    kept: Mutex<HashMap<ContentHash, Kept>>,
    copies: AtomicU64,
    limits: Limits,
}

#[derive(Debug)]
struct Kept {
    tree: Arc<OnceCell<Unpacked>>,
    used: Instant,
}

/// A job's private copy. Removed by [`LaidOut::remove`], or when dropped.
#[derive(Debug)]
pub struct LaidOut {
    path: Option<PathBuf>,
    /// What was unpacked into it.
    content: Unpacked,
}

impl LaidOut {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new("/"))
    }

    /// What the copy may take on the disk when its job may write this much into it.
    pub fn allowance(&self, writes: u64) -> u64 {
        let entries = self.content.entries.saturating_mul(ENTRY_BYTES);
        self.content.bytes.saturating_add(entries).saturating_add(writes)
    }

    /// Takes it away, off the runtime's threads.
    pub async fn remove(mut self) {
        if let Some(path) = self.path.take() {
            let removed = tokio::task::spawn_blocking(move || remove_or_say(&path));
            let _ = removed.await;
        }
    }
}

impl Drop for LaidOut {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            remove_or_say(&path);
        }
    }
}

fn remove_or_say(path: &Path) {
    if let Err(error) = remove_tree(path) {
        tracing::warn!(%error, path = %path.display(), "a workspace was not removed");
    }
}

impl Workspaces {
    /// Uses a directory, and clears it of what dead processes left. `is_alive` tells of a
    /// process, by its [`marker::owner`], whether it still uses the directory.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn open(directory: &Path, is_alive: impl Fn(&str) -> bool) -> io::Result<Self> {
        static INSTANCES: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(directory)?;
        for entry in fs::read_dir(directory)?.flatten() {
            let name = entry.file_name();
            let owner = name.to_str().and_then(|name| name.split('.').next());
            if !owner.is_some_and(|owner| owner == marker::owner() || is_alive(owner)) {
                remove_or_say(&entry.path());
            }
        }
        let instance = INSTANCES.fetch_add(1, Ordering::Relaxed);
        let root = directory.join(format!("{}.{instance}", marker::owner()));
        for name in ["jobs", "unpacking", "trees"] {
            fs::create_dir_all(root.join(name))?;
        }
        Ok(Self {
            root,
            kept: Mutex::new(HashMap::new()),
            copies: AtomicU64::new(0),
            limits: Limits::default(),
        })
    }

    /// Takes everything away. Copies that are still in use go with it.
    pub async fn close(&self) {
        let root = self.root.clone();
        let _ = tokio::task::spawn_blocking(move || remove_or_say(&root)).await;
    }

    fn tree_path(&self, hash: ContentHash) -> PathBuf {
        self.root.join("trees").join(hash.to_string())
    }

    fn fresh(&self, kind: &str) -> PathBuf {
        let number = self.copies.fetch_add(1, Ordering::Relaxed);
        self.root.join(kind).join(number.to_string())
    }

    /// Lays out a private copy of a packed tree.
    ///
    /// # Errors
    /// When it cannot be had, is refused, or there is no room for it.
    pub async fn lay_out(
        &self,
        hash: ContentHash,
        bytes: u64,
        owner: Option<Owner>,
        bus: &dyn Bus,
    ) -> Result<LaidOut, WorkspaceError> {
        if bytes > ARCHIVE_BYTES {
            return Err(WorkspaceError::TooLarge { bytes });
        }
        let tree = self.keep(hash);
        let content = *tree.get_or_try_init(|| self.unpack(hash, bus)).await?;
        let (from, to) = (self.tree_path(hash), self.fresh("jobs"));
        let copy = LaidOut { path: Some(to.clone()), content };
        let target = to.clone();
        let copied = tokio::task::spawn_blocking(move || copy_tree(&from, &target, owner)).await;
        // The tree may be evicted from here on.
        drop(tree);
        match copied.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(()) => Ok(copy),
            Err(source) => Err(WorkspaceError::Disk { path: to, source }),
        }
    }

    /// The place of a tree, made by whoever needs it first. Makes room for it.
    fn keep(&self, hash: ContentHash) -> Arc<OnceCell<Unpacked>> {
        let mut kept = self.kept.lock();
        let entry =
            kept.entry(hash).or_insert_with(|| Kept { tree: Arc::default(), used: Instant::now() });
        entry.used = Instant::now();
        let tree = Arc::clone(&entry.tree);
        let evicted = evict(&mut kept, KEPT_TREES, KEPT_BYTES);
        // Out of the way while nobody can ask for it again; its files go later.
        let moved: Vec<PathBuf> = evicted
            .into_iter()
            .map(|hash| (self.tree_path(hash), self.fresh("unpacking")))
            .filter(|(tree, aside)| fs::rename(tree, aside).is_ok())
            .map(|(_, aside)| aside)
            .collect();
        drop(kept);
        if !moved.is_empty() {
            tokio::task::spawn_blocking(move || moved.iter().for_each(|path| remove_or_say(path)));
        }
        tree
    }

    async fn unpack(&self, hash: ContentHash, bus: &dyn Bus) -> Result<Unpacked, WorkspaceError> {
        let archive = bus.get_blob(hash, ARCHIVE_BYTES).await;
        let archive = archive.map_err(|source| WorkspaceError::Fetch { hash, source })?;
        let (building, path, limits) = (self.fresh("unpacking"), self.tree_path(hash), self.limits);
        let work = move || {
            let disk = |path: &Path| {
                let path = path.to_owned();
                move |source| WorkspaceError::Disk { path, source }
            };
            fs::create_dir(&building).map_err(disk(&building))?;
            let unpacked = unpack(&archive, &building, limits);
            if unpacked.is_err() {
                remove_or_say(&building);
            }
            let unpacked = unpacked.map_err(|source| WorkspaceError::Unpack { hash, source })?;
            // Whole or not there: a tree under its hash is never half unpacked.
            remove_tree(&path).map_err(disk(&path))?;
            fs::rename(&building, &path).map_err(disk(&path))?;
            Ok(unpacked)
        };
        let unpacked = tokio::task::spawn_blocking(work).await;
        unpacked.unwrap_or_else(|panic| {
            let source = io::Error::other(panic);
            Err(WorkspaceError::Disk { path: self.root.clone(), source })
        })
    }
}

/// Takes out the trees that were used least lately and that nobody copies, until few enough are
/// left.
fn evict(kept: &mut HashMap<ContentHash, Kept>, trees: usize, bytes: u64) -> Vec<ContentHash> {
    let size = |kept: &Kept| kept.tree.get().map_or(0, |unpacked| unpacked.bytes);
    let mut total: u64 = kept.values().map(size).sum();
    let mut evicted = Vec::new();
    while kept.len() > trees || total > bytes {
        let idle = kept.iter().filter(|(_, kept)| Arc::strong_count(&kept.tree) == 1);
        let Some(oldest) = idle.min_by_key(|(_, kept)| kept.used).map(|(hash, _)| *hash) else {
            break;
        };
        total -= kept.remove(&oldest).map_or(0, |kept| size(&kept));
        evicted.push(oldest);
    }
    evicted
}
