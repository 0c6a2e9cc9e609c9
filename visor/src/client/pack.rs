//! The working tree as an archive: what Git would see, and the same bytes for the same files, so
//! that a tree that did not change is not sent again.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use ignore::WalkBuilder;

use super::dotenv;
use crate::failure::Failure;
use crate::render::text;

/// Trees larger than this are not what a check needs.
const MAX_BYTES: u64 = 512 * 1024 * 1024;
const MAX_ENTRIES: usize = 500_000;

/// A packed tree.
#[derive(Debug)]
pub(crate) struct Packed {
    /// The gzipped tar.
    pub(crate) bytes: Bytes,
    /// How many files, directories and links are in it.
    pub(crate) entries: usize,
    /// Paths that are neither, and were left out.
    pub(crate) left_out: Vec<PathBuf>,
    /// There is an `.env` file, and it stays: what it holds is not for others.
    pub(crate) env_file_stays: bool,
}

enum Kind {
    Directory,
    File { bytes: u64, executable: bool },
    Link { to: PathBuf },
}

/// Packs what is under `root` and not ignored. A file that goes away meanwhile, as programs at
/// work in the tree have them, is as if it had never been there. Blocking.
///
/// # Errors
/// When something cannot be read, or there is too much of it.
pub(crate) fn pack(root: &Path) -> Result<Packed, Failure> {
    pack_within(root, MAX_BYTES)
}

fn pack_within(root: &Path, max_bytes: u64) -> Result<Packed, Failure> {
    let mut left_out = Vec::new();
    let mut env_file_stays = false;
    let mut found = collect(root, max_bytes, &mut left_out)?;
    found.retain(|(path, kind)| {
        let is_env_file = path == Path::new(dotenv::NAME) && matches!(kind, Kind::File { .. });
        env_file_stays |= is_env_file;
        !is_env_file
    });
    let (bytes, entries) = archive(root, &found)?;
    Ok(Packed { bytes, entries, left_out, env_file_stays })
}

/// The gzipped tar of these, and how many are in it.
fn archive(root: &Path, found: &[(PathBuf, Kind)]) -> Result<(Bytes, usize), Failure> {
    // No time and no name in the header: the bytes depend on the files alone.
    let gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(3));
    let mut tar = tar::Builder::new(gzip);
    let mut entries = 0;
    for (path, kind) in found {
        match append(&mut tar, root, path, kind) {
            Ok(()) => entries += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let what = format!("cannot pack `{}`", root.join(path).display());
                return Err(Failure::usage("visor::pack::unreadable", what)
                    .because(&error)
                    .help("make it readable, or have .gitignore leave it out"));
            }
        }
    }
    let bytes = tar.into_inner().and_then(|gzip| gzip.finish()).map_err(|error| {
        Failure::usage("visor::pack::failed", "cannot pack the working tree").because(&error)
    })?;
    Ok((bytes.into(), entries))
}

fn collect(
    root: &Path,
    max_bytes: u64,
    left_out: &mut Vec<PathBuf>,
) -> Result<Vec<(PathBuf, Kind)>, Failure> {
    let walk = WalkBuilder::new(root)
        .hidden(false)
        .ignore(false)
        .git_ignore(true)
        .git_exclude(true)
        .git_global(true)
        .parents(true)
        .require_git(false)
        .follow_links(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build();
    let mut entries = Vec::new();
    let mut total: u64 = 0;
    for entry in walk {
        let vanished = |error: &ignore::Error| {
            error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        if entry.as_ref().is_err_and(vanished) {
            continue;
        }
        let entry = entry.map_err(|error| {
            Failure::usage("visor::pack::unreadable", "cannot read the working tree")
                .because(&error)
                .help("make it readable, or have .gitignore leave it out")
        })?;
        let path = match entry.path().strip_prefix(root) {
            Ok(path) if !path.as_os_str().is_empty() => path.to_owned(),
            _ => continue,
        };
        let unreadable = |error: &(dyn std::error::Error + 'static)| {
            let what = format!("cannot read `{}`", entry.path().display());
            Failure::usage("visor::pack::unreadable", what).because(error)
        };
        let metadata = match fs::symlink_metadata(entry.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata.map_err(|error| unreadable(&error))?,
        };
        let kind = if metadata.is_dir() {
            Kind::Directory
        } else if metadata.is_symlink() {
            Kind::Link { to: fs::read_link(entry.path()).map_err(|error| unreadable(&error))? }
        } else if metadata.is_file() {
            total = total.saturating_add(metadata.len());
            let executable = metadata.permissions().mode() & 0o111 != 0;
            Kind::File { bytes: metadata.len(), executable }
        } else {
            left_out.push(path);
            continue;
        };
        entries.push((path, kind));
        if total > max_bytes || entries.len() > MAX_ENTRIES {
            return Err(too_large(root, &entries, max_bytes));
        }
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

/// Names what takes the room: that is what the ignore file lacks.
fn too_large(root: &Path, entries: &[(PathBuf, Kind)], max_bytes: u64) -> Failure {
    let mut by_top: std::collections::BTreeMap<PathBuf, u64> = std::collections::BTreeMap::new();
    for (path, kind) in entries {
        if let (Some(top), Kind::File { bytes, .. }) = (path.components().next(), kind) {
            *by_top.entry(PathBuf::from(top.as_os_str())).or_default() += bytes;
        }
    }
    let mut by_size: Vec<_> = by_top.into_iter().collect();
    by_size.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let largest: Vec<_> = by_size
        .iter()
        .take(3)
        .map(|(path, bytes)| format!("{} ({})", path.display(), text::size(*bytes)))
        .collect();
    let what = format!(
        "the working tree `{}` is too large to send: more than {} or {MAX_ENTRIES} files",
        root.display(),
        text::size(max_bytes),
    );
    Failure::usage("visor::pack::too_large", what).help(format!(
        "the largest so far: {}; have .gitignore leave out what no check needs",
        largest.join(", ")
    ))
}

fn append<W: io::Write>(
    tar: &mut tar::Builder<W>,
    root: &Path,
    path: &Path,
    kind: &Kind,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    match kind {
        Kind::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
            tar.append_data(&mut header, path, io::empty())
        }
        Kind::Link { to } => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            tar.append_link(&mut header, path, to)
        }
        Kind::File { bytes, executable } => {
            // One that grows while it is read is cut at the size it had, one that shrinks is taken
            // as it is then.
            let mut content = Vec::new();
            fs::File::open(root.join(path))?.take(*bytes).read_to_end(&mut content)?;
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(if *executable { 0o755 } else { 0o644 });
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content.as_slice())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(".gitignore", "target/\n*.log\n");
        write(".git/HEAD", "ref: x");
        write("target/big", "no");
        write("a.log", "no");
        write(".hidden", "yes");
        write("src/main.rs", "fn main() {}");
        write("run.sh", "#!/bin/sh");
        fs::set_permissions(dir.path().join("run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
        symlink("src/main.rs", dir.path().join("link")).unwrap();
        symlink("nowhere", dir.path().join("dangling")).unwrap();
        dir
    }

    fn listed(packed: &Packed) -> Vec<String> {
        let gzip = flate2::read::GzDecoder::new(&packed.bytes[..]);
        let mut tar = tar::Archive::new(gzip);
        let entries = tar.entries().unwrap();
        entries
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let mode = header.mode().unwrap();
                assert_eq!(header.mtime().unwrap(), 0);
                format!("{:o} {}", mode, entry.path().unwrap().display())
            })
            .collect()
    }

    #[test]
    fn the_archive_has_what_git_sees_with_links_and_modes() {
        let packed = pack(tree().path()).unwrap();
        let expected = [
            "644 .gitignore",
            "644 .hidden",
            "777 dangling",
            "777 link",
            "755 run.sh",
            "755 src",
            "644 src/main.rs",
        ];
        assert_eq!(listed(&packed), expected);
        assert_eq!(packed.entries, expected.len());
    }

    #[test]
    fn the_same_files_are_the_same_bytes() {
        assert_eq!(pack(tree().path()).unwrap().bytes, pack(tree().path()).unwrap().bytes);
    }

    #[test]
    fn a_tree_that_is_too_large_names_what_is_large() {
        let dir = tree();
        fs::write(dir.path().join("src/huge"), vec![0; 5_000]).unwrap();
        let failure = pack_within(dir.path(), 4_000).unwrap_err();
        let text = failure.render(crate::render::style::Style::plain());
        assert!(text.contains("src (5.0 kB)"), "{text}");
    }

    #[test]
    fn a_file_that_changes_while_the_tree_is_packed_is_taken_as_it_is_then() {
        let dir = tree();
        let found = collect(dir.path(), MAX_BYTES, &mut Vec::new()).unwrap();
        fs::remove_file(dir.path().join("src/main.rs")).unwrap();
        fs::write(dir.path().join("run.sh"), "").unwrap();
        let (bytes, entries) = archive(dir.path(), &found).unwrap();
        let packed = Packed { bytes, entries, left_out: Vec::new(), env_file_stays: false };
        let names = listed(&packed);
        assert_eq!(entries, names.len());
        assert!(names.contains(&"755 run.sh".to_owned()), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("main.rs")), "{names:?}");
    }

    #[test]
    fn what_is_neither_file_nor_link_is_left_out() {
        let dir = tree();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s.sock")).unwrap();
        let packed = pack(dir.path()).unwrap();
        assert_eq!(packed.left_out, [PathBuf::from("s.sock")]);
    }
}
