//! Unpacking: an archive may come from anybody, so nothing in it may lead out of its tree.
//!
//! Every path is plain and relative, every parent is a directory that this unpacking made, no
//! entry comes twice. A symbolic link may climb only at its beginning and only within the tree, so
//! that links through links cannot climb further than each of them does.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use tar::{Archive, EntryType};

/// What a tree may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
    /// Directories within each other.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 4 * 1024 * 1024 * 1024, entries: 500_000, depth: 128 }
    }
}

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It is no archive, or ends early.
    #[error("the archive cannot be read: {0}")]
    Damaged(#[source] io::Error),
    /// A path leads out of the tree.
    #[error("`{path}` in the archive {why}")]
    Unsafe {
        /// The path, shortened.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It is larger than may be.
    #[error("the archive unpacks to more than {limit} {unit}")]
    TooLarge {
        /// What may be.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// The tree cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unpacked {
    /// Bytes of all files.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
}

/// Unpacks a gzip-compressed tar archive into a directory that exists and is empty.
///
/// # Errors
/// When the archive is damaged, unsafe or too large. What was written so far stays.
pub fn unpack(archive: &[u8], into: &Path, limits: Limits) -> Result<Unpacked, UnpackError> {
    // The decoder's own bound: tar headers and padding count too, so a little more than the files.
    let stream_limit = limits.bytes.saturating_add(limits.entries.saturating_mul(2048));
    let mut archive = Archive::new(GzDecoder::new(archive).take(stream_limit));
    let mut tree = Tree {
        root: into,
        made: HashSet::from([PathBuf::new()]),
        limits,
        so_far: Unpacked::default(),
    };
    for entry in archive.entries().map_err(UnpackError::Damaged)? {
        let mut entry = entry.map_err(UnpackError::Damaged)?;
        tree.so_far.entries += 1;
        if tree.so_far.entries > limits.entries {
            return Err(UnpackError::TooLarge { limit: limits.entries, unit: "entries" });
        }
        let raw = entry.path().map_err(UnpackError::Damaged)?.into_owned();
        let path = tree.plain(&raw)?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::Directory => tree.directory(&path)?,
            EntryType::Regular | EntryType::Continuous => {
                let executable = entry.header().mode().unwrap_or(0) & 0o100 != 0;
                tree.file(&path, executable, &mut entry)?;
            }
            EntryType::Symlink => {
                let target = entry.link_name().map_err(UnpackError::Damaged)?;
                let target = target.map(std::borrow::Cow::into_owned).unwrap_or_default();
                tree.link(&path, &target)?;
            }
            // Comments of the archive itself.
            EntryType::XGlobalHeader => {}
            _ => return Err(refuse(&path, "is neither a file, a directory nor a symbolic link")),
        }
    }
    Ok(tree.so_far)
}

fn refuse(path: &Path, why: &'static str) -> UnpackError {
    UnpackError::Unsafe { path: path.to_string_lossy().chars().take(200).collect(), why }
}

struct Tree<'a> {
    root: &'a Path,
    /// Directories made so far, relative to the root. Only these may be parents.
    made: HashSet<PathBuf>,
    limits: Limits,
    so_far: Unpacked,
}

impl Tree<'_> {
    /// The path without `.`; anything else that is not a name is refused.
    fn plain(&self, raw: &Path) -> Result<PathBuf, UnpackError> {
        let mut path = PathBuf::new();
        for component in raw.components() {
            match component {
                Component::Normal(name) => path.push(name),
                Component::CurDir => {}
                Component::ParentDir => return Err(refuse(raw, "has `..` in its path")),
                Component::RootDir | Component::Prefix(_) => {
                    return Err(refuse(raw, "is an absolute path"));
                }
            }
        }
        if path.components().count() > self.limits.depth {
            return Err(refuse(raw, "lies too deep"));
        }
        Ok(path)
    }

    fn directory(&mut self, path: &Path) -> Result<(), UnpackError> {
        if self.made.contains(path) {
            return Ok(());
        }
        self.parent_of(path)?;
        let full = self.root.join(path);
        // Fails when a file or link of that name is there: never followed, never replaced.
        fs::create_dir(&full).map_err(|source| UnpackError::Write { path: full, source })?;
        self.made.insert(path.to_owned());
        Ok(())
    }

    fn parent_of(&mut self, path: &Path) -> Result<(), UnpackError> {
        match path.parent() {
            Some(parent) => self.directory(parent),
            None => Err(refuse(path, "has no name")),
        }
    }

    fn file(
        &mut self,
        path: &Path,
        executable: bool,
        content: &mut impl Read,
    ) -> Result<(), UnpackError> {
        self.parent_of(path)?;
        let full = self.root.join(path);
        let write = |source| UnpackError::Write { path: full.clone(), source };
        let mode = if executable { 0o755 } else { 0o644 };
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(mode).open(&full).map_err(write)?;
        // One byte more than may be, to see that there is more.
        let room = self.limits.bytes - self.so_far.bytes;
        let written = copy_from(&mut content.take(room.saturating_add(1)), &mut file, &full)?;
        if written > room {
            return Err(UnpackError::TooLarge { limit: self.limits.bytes, unit: "bytes" });
        }
        self.so_far.bytes += written;
        // Whatever the process' umask took away.
        file.set_permissions(fs::Permissions::from_mode(mode)).map_err(write)
    }

    fn link(&mut self, path: &Path, target: &Path) -> Result<(), UnpackError> {
        self.parent_of(path)?;
        let mut room = path.components().count().saturating_sub(1);
        let mut descended = false;
        for component in target.components() {
            match component {
                Component::Normal(_) => descended = true,
                Component::CurDir => {}
                Component::ParentDir if descended || room == 0 => {
                    return Err(refuse(path, "is a symbolic link that leads out of the tree"));
                }
                Component::ParentDir => room -= 1,
                Component::RootDir | Component::Prefix(_) => {
                    return Err(refuse(path, "is a symbolic link to an absolute path"));
                }
            }
        }
        if target.as_os_str().is_empty() {
            return Err(refuse(path, "is a symbolic link to nothing"));
        }
        let full = self.root.join(path);
        symlink(target, &full).map_err(|source| UnpackError::Write { path: full, source })
    }
}

/// Copies, telling apart which side failed.
fn copy_from(
    from: &mut impl Read,
    to: &mut impl io::Write,
    path: &Path,
) -> Result<u64, UnpackError> {
    let mut buffer = vec![0; 64 * 1024];
    let mut written = 0;
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(written),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(UnpackError::Damaged(error)),
        };
        to.write_all(&buffer[..length])
            .map_err(|source| UnpackError::Write { path: path.to_owned(), source })?;
        written += length as u64;
    }
}
