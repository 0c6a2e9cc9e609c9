//! Private copies of a tree. Where the file system can share blocks between files it does, so a
//! copy costs little; hard links would let a job write into everybody's tree.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Uid};

/// Whom a copy belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Copies a tree to a directory that does not exist yet.
///
/// # Errors
/// When something cannot be read or written; what was written so far stays.
pub fn copy_tree(from: &Path, to: &Path, owner: Option<Owner>) -> io::Result<()> {
    let mut copier = Copier { owner, share: true };
    copier.directory(from, to)
}

struct Copier {
    owner: Option<Owner>,
    /// Sharing blocks has not failed yet.
    share: bool,
}

impl Copier {
    fn directory(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
            if kind.is_dir() {
                self.directory(&entry.path(), &target)?;
            } else if kind.is_symlink() {
                symlink(fs::read_link(entry.path())?, &target)?;
                self.give(&target)?;
            } else if kind.is_file() {
                self.file(&entry.path(), &target)?;
            }
        }
        fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
        self.give(to)
    }

    fn file(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let source = File::open(from)?;
        let mode = source.metadata()?.mode() & 0o777;
        let mut target = OpenOptions::new().write(true).create_new(true).mode(mode).open(to)?;
        self.share = self.share && rustix::fs::ioctl_ficlone(&target, &source).is_ok();
        if !self.share {
            // Copies within the kernel where it can.
            io::copy(&mut &source, &mut target)?;
        }
        target.set_permissions(fs::Permissions::from_mode(mode))?;
        self.give(to)
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        let Some(owner) = self.owner else { return Ok(()) };
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }
}

/// Removes a tree, also one whose directories were made unreadable.
///
/// # Errors
/// When something of it is still there.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => open_up(path),
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn open_up(path: &Path) {
    // Never follows links: what they point to is not ours to change.
    let is_directory = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    if is_directory {
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.for_each(|entry| open_up(&entry.path()));
    }
}
