//! Packed trees from people one need not trust, and the private copies that jobs get of them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, in its helpers too")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use support::{Desk, archive, command, on_host, packed};
use tar::{EntryType, Header};
use visor_protocol::ContentHash;
use visor_protocol::job::Workspace;
use visor_protocol::outcome::End;
use visor_protocol::worker::WorkerState;
use visor_worker::workspace::copy::{Owner, copy_tree, remove_tree};
use visor_worker::workspace::unpack::{Limits, UnpackError, Unpacked, unpack};

/// An archive whose paths are taken as they are, however bad.
struct Raw(tar::Builder<GzEncoder<Vec<u8>>>);

impl Raw {
    fn new() -> Self {
        Self(tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast())))
    }

    fn entry(mut self, kind: EntryType, path: &str, target: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o6777);
        header.set_size(content.len() as u64);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..path.len()].copy_from_slice(path.as_bytes());
        gnu.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, path, "", content.as_bytes())
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, b"")
    }

    fn directory(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", b"")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap().finish().unwrap()
    }
}

/// Unpacks into a directory beside a secret, which must stay what it was and unseen.
fn try_unpack(
    archive: &[u8],
    limits: Limits,
) -> (Result<Unpacked, UnpackError>, tempfile::TempDir) {
    let outer = tempfile::tempdir().unwrap();
    fs::write(outer.path().join("secret"), "secret\n").unwrap();
    let tree = outer.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let unpacked = unpack(archive, &tree, limits);
    assert_eq!(fs::read_to_string(outer.path().join("secret")).unwrap(), "secret\n");
    let beside: Vec<_> = fs::read_dir(outer.path()).unwrap().flatten().collect();
    assert_eq!(beside.len(), 2, "{beside:?}");
    (unpacked, outer)
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let archive = Raw::new()
        .directory("./dir/")
        .file("dir/file", "content")
        .file("made/on/the/way", "x")
        .link("dir/up", "../made/on")
        .link("here", "dir/file")
        .bytes();
    let (unpacked, outer) = try_unpack(&archive, Limits::default());
    assert_eq!(unpacked.unwrap(), Unpacked { bytes: 8, entries: 5 });
    let tree = outer.path().join("tree");
    assert_eq!(fs::read_to_string(tree.join("here")).unwrap(), "content");
    assert_eq!(fs::read_to_string(tree.join("dir/up/the/way")).unwrap(), "x");
    let mode = fs::metadata(tree.join("dir/file")).unwrap().mode() & 0o7777;
    assert_eq!(mode, 0o755, "no set-user-id comes along");
}

#[test]
fn nothing_in_an_archive_leads_out_of_its_tree() {
    for (what, archive) in [
        ("a parent", Raw::new().file("../secret", "overwritten")),
        ("a parent within", Raw::new().file("a/../../secret", "overwritten")),
        ("an absolute path", Raw::new().file("/tmp/visor-test-escape", "x")),
        ("an absolute link", Raw::new().link("a", "/etc/passwd")),
        ("a link to a parent", Raw::new().link("a", "..")),
        ("a link to a parent, deeper", Raw::new().link("d/a", "../../secret")),
        ("a link that goes down and up", Raw::new().link("d/a", "b/../../../secret")),
        ("a file through a link", Raw::new().link("a", "d").file("a/b", "x")),
        ("a file over a link", Raw::new().link("a", "b").file("a", "x")),
        ("a directory over a link", Raw::new().link("a", "b").directory("a").file("a/c", "x")),
        (
            "a link chain that climbs",
            Raw::new().link("x/y/z", "../..").link("w", "x/y/z/../secret"),
        ),
        ("a file twice", Raw::new().file("a", "x").file("a", "y")),
        ("a directory over a file", Raw::new().file("a", "x").directory("a")),
        ("a hard link", Raw::new().entry(EntryType::Link, "a", "../secret", b"")),
        ("a device", Raw::new().entry(EntryType::Char, "a", "", b"")),
        ("a pipe", Raw::new().entry(EntryType::Fifo, "a", "", b"")),
        ("no name", Raw::new().file("./", "x")),
        ("an empty link", Raw::new().link("a", "")),
    ] {
        let (unpacked, _outer) = try_unpack(&archive.bytes(), Limits::default());
        assert!(unpacked.is_err(), "{what}");
    }
    assert!(!Path::new("/tmp/visor-test-escape").exists());
}

#[test]
fn what_unpacks_to_too_much_is_refused_before_it_fills_the_disk() {
    let limits = Limits { bytes: 100_000, entries: 100, depth: 10 };
    let zeros = "\0".repeat(99_000);
    let (unpacked, _outer) =
        try_unpack(&Raw::new().file("a", &zeros).file("b", &zeros).bytes(), limits);
    assert!(matches!(unpacked, Err(UnpackError::TooLarge { .. })), "{unpacked:?}");
    let many = (0..200).fold(Raw::new(), |raw, number| raw.file(&number.to_string(), ""));
    let (unpacked, _outer) = try_unpack(&many.bytes(), limits);
    assert!(matches!(unpacked, Err(UnpackError::TooLarge { .. })), "{unpacked:?}");
    let (unpacked, _outer) =
        try_unpack(&Raw::new().file("a/b/c/d/e/f/g/h/i/j/k", "").bytes(), limits);
    assert!(matches!(unpacked, Err(UnpackError::Unsafe { .. })), "{unpacked:?}");
    // A few kilobytes that claim to be gigabytes.
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    let mut header = Header::new_gnu();
    header.set_path("bomb").unwrap();
    header.set_size(1 << 40);
    header.set_cksum();
    bomb.write_all(header.as_bytes()).unwrap();
    bomb.write_all(&vec![0; 10_000_000]).unwrap();
    let (unpacked, outer) = try_unpack(&bomb.finish().unwrap(), limits);
    assert!(unpacked.is_err(), "{unpacked:?}");
    assert!(fs::metadata(outer.path().join("tree/bomb")).unwrap().len() <= 200_000);
}

#[test]
fn junk_is_an_error_and_never_a_panic() {
    let good = archive(&[("a", "content"), ("b/c", "more")]);
    for length in 0..good.len() {
        let _ = try_unpack(&good[..length], Limits::default());
    }
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 0x55;
        let _ = try_unpack(&bad, Limits::default());
    }
    let (unpacked, _outer) = try_unpack(b"not an archive", Limits::default());
    assert!(matches!(unpacked, Err(UnpackError::Damaged(_))));
}

#[test]
fn a_copy_is_its_own_and_belongs_to_whom_it_is_given() {
    let outer = tempfile::tempdir().unwrap();
    let (from, to) = (outer.path().join("from"), outer.path().join("to"));
    fs::create_dir_all(from.join("dir")).unwrap();
    fs::write(from.join("dir/tool"), "content").unwrap();
    fs::set_permissions(from.join("dir/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("dir/tool", from.join("link")).unwrap();
    let root = fs::metadata(outer.path()).unwrap().uid() == 0;
    let owner = root.then_some(Owner { uid: 65_534, gid: 65_534 });
    copy_tree(&from, &to, owner).unwrap();
    fs::write(to.join("dir/tool"), "changed").unwrap();
    assert_eq!(fs::read_to_string(from.join("dir/tool")).unwrap(), "content");
    assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("dir/tool"));
    assert_eq!(fs::metadata(to.join("dir/tool")).unwrap().mode() & 0o777, 0o755);
    if root {
        for path in [".", "dir", "dir/tool", "link"] {
            assert_eq!(fs::symlink_metadata(to.join(path)).unwrap().uid(), 65_534, "{path}");
        }
    }
    assert!(copy_tree(&from, &to, None).is_err(), "never into something that is there");
}

#[test]
fn a_tree_that_was_made_unreadable_is_removed_and_links_are_not_followed() {
    let outer = tempfile::tempdir().unwrap();
    let (tree, kept) = (outer.path().join("tree"), outer.path().join("kept"));
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("file"), "x").unwrap();
    std::os::unix::fs::symlink(&kept, tree.join("a/b/link")).unwrap();
    fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o000)).unwrap();
    remove_tree(&tree).unwrap();
    assert!(!tree.exists() && kept.join("file").exists());
    remove_tree(&tree).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_job_has_its_own_copy_of_the_packed_tree() {
    let data = tempfile::tempdir().unwrap();
    let mut config = on_host(4);
    config.data_dir = Some(data.path().to_owned());
    let mut desk = Desk::open(config).await;
    let workspace = packed(desk.bus.as_ref(), &[("n", "0\n")]).await;
    for seq in 0..20 {
        let mut job = command(seq, "echo $(($(cat n) + 1)) > n; cat n; pwd");
        job.workspace = Some(workspace.clone());
        desk.enqueue(&job).await;
    }
    let mut directories = std::collections::HashSet::new();
    while directories.len() < 20 {
        for outcome in desk.outcomes().await {
            let text = String::from_utf8(outcome.stdout.inline.to_vec()).unwrap();
            assert!(text.starts_with("1\n"), "{text}");
            assert!(directories.insert(text));
        }
    }
    desk.worker.drain().await;
    assert_eq!(fs::read_dir(data.path().join("workspaces")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_laid_out_are_a_fault_with_a_reason() {
    let mut desk = Desk::open(on_host(1)).await;
    let junk = desk.bus.put_blob(bytes::Bytes::from_static(b"junk")).await.unwrap();
    let absent = ContentHash::of(b"nobody has this");
    for (seq, workspace, code, retry, said) in [
        (1, Workspace::Archive { hash: junk, bytes: 4 }, "lay_out", false, "cannot be read"),
        (2, Workspace::Archive { hash: absent, bytes: 4 }, "lay_out", true, "cannot be fetched"),
        (3, Workspace::Archive { hash: absent, bytes: u64::MAX }, "lay_out", false, "at most"),
    ] {
        let mut job = command(seq, "echo must not run");
        job.workspace = Some(workspace);
        let End::Infrastructure(fault) = desk.run(&job).await.end else {
            panic!("{seq}: no fault")
        };
        assert!(fault.code.ends_with(code) && fault.message.contains(said), "{fault:?}");
        assert_eq!(fault.retry, retry, "{fault:?}");
    }
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_room_on_its_disk_takes_nothing_and_says_so() {
    let data = tempfile::tempdir().unwrap();
    let mut config = on_host(1);
    config.data_dir = Some(data.path().to_owned());
    config.min_free = Some(u64::MAX / 2);
    let mut desk = Desk::open(config.clone()).await;
    desk.enqueue(&command(1, "true")).await;
    desk.heartbeat(|heartbeat| match &heartbeat.state {
        WorkerState::NotReady { reason } => {
            assert!(heartbeat.held.is_empty());
            reason.contains("no room") && reason.contains(&data.path().display().to_string())
        }
        WorkerState::Ready | WorkerState::Draining => false,
    })
    .await;
    desk.worker.stop().await;

    // One that has the room takes it.
    config.min_free = Some(0);
    let clock = std::sync::Arc::new(visor_protocol::time::SystemClock);
    let bus = std::sync::Arc::clone(&desk.bus);
    let second = visor_worker::Worker::start(config, bus, clock).await.unwrap();
    assert_eq!(desk.outcome().await.end, End::Exited { code: 0 });
    second.stop().await;
}
