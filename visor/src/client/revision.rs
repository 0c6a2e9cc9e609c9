//! What is being checked, in the words of its Git repository: branches and changed files. Read from
//! Git's own files where that is enough; Git itself is only asked when an expression wants to know
//! which files changed.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use visor_protocol::api::Revision;

/// `git status` of a very large tree; longer and the run goes on without.
const GIT_WITHIN: Duration = Duration::from_secs(10);
/// A submission with more is no help to any expression.
const MAX_FILES: usize = 2_000;
/// Files of Git that are read here are a line or a list of names.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Branches that others are merged into, the first that exists counts.
const BASES: [&str; 3] = ["main", "master", "develop"];

/// What is known of the working tree around this directory.
pub(crate) fn of(here: &Path, with_files: bool) -> Revision {
    let Some(git) = git_directory(here) else { return Revision::default() };
    let common = common_directory(&git);
    Revision {
        branch: branch(&git),
        base_branch: base(&common),
        files_changed: if with_files { changed(here) } else { Vec::new() },
    }
}

/// The repository's directory: `.git`, or where the `.git` file of a worktree points.
fn git_directory(here: &Path) -> Option<PathBuf> {
    let dot_git = here.ancestors().map(|dir| dir.join(".git")).find(|path| path.exists())?;
    if dot_git.is_dir() {
        return Some(dot_git);
    }
    let text = read(&dot_git)?;
    let target = text.strip_prefix("gitdir:")?.trim();
    Some(dot_git.parent()?.join(target))
}

/// Where the branches of all worktrees lie.
fn common_directory(git: &Path) -> PathBuf {
    match read(&git.join("commondir")) {
        Some(common) => git.join(common.trim()),
        None => git.to_owned(),
    }
}

fn branch(git: &Path) -> Option<String> {
    let head = read(&git.join("HEAD"))?;
    Some(head.trim().strip_prefix("ref: refs/heads/")?.to_owned())
}

fn base(common: &Path) -> Option<String> {
    let packed = read(&common.join("packed-refs")).unwrap_or_default();
    let exists = |name: &&&str| {
        let reference = format!("refs/remotes/origin/{name}");
        common.join(&reference).is_file()
            || packed.lines().any(|line| line.split(' ').nth(1) == Some(&reference))
    };
    BASES.iter().find(exists).map(|&name| name.to_owned())
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Files that differ from the last commit, new ones included.
fn changed(here: &Path) -> Vec<String> {
    let child = Command::new("git")
        .args(["--no-optional-locks", "status", "--porcelain", "-z", "--untracked-files=all"])
        .current_dir(here)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return Vec::new() };
    let Some(mut out) = child.stdout.take() else { return Vec::new() };
    let (sender, receiver) = mpsc::channel();
    // The thread ends with the pipe, which ends with Git.
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = out.by_ref().take(MAX_BYTES).read_to_end(&mut text);
        let _ = sender.send(text);
    });
    let text = receiver.recv_timeout(GIT_WITHIN).unwrap_or_default();
    let _ = child.kill();
    let _ = child.wait();
    names(&text)
}

/// `XY path`, each ended by NUL; the old name of a renamed file follows as an entry of its own.
fn names(status: &[u8]) -> Vec<String> {
    let mut entries = status.split(|&byte| byte == 0).filter(|entry| entry.len() > 3);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        names.push(String::from_utf8_lossy(&entry[3..]).into_owned());
        if matches!(entry[0], b'R' | b'C') {
            entries.next();
        }
        if names.len() >= MAX_FILES {
            break;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_read_from_git_s_own_files() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(of(dir.path(), false), Revision::default());
        write(".git/HEAD", "ref: refs/heads/feature/x\n");
        write(".git/packed-refs", "# pack-refs\nabc refs/remotes/origin/master\n");
        write("sub/file", "");
        let revision = of(&dir.path().join("sub"), false);
        assert_eq!(revision.branch.as_deref(), Some("feature/x"));
        assert_eq!(revision.base_branch.as_deref(), Some("master"));

        write(".git/worktrees/w/HEAD", "ref: refs/heads/other\n");
        write(".git/worktrees/w/commondir", "../..\n");
        write("w/.git", &format!("gitdir: {}\n", dir.path().join(".git/worktrees/w").display()));
        let revision = of(&dir.path().join("w"), false);
        assert_eq!(revision.branch.as_deref(), Some("other"));
        assert_eq!(revision.base_branch.as_deref(), Some("master"));

        write(".git/HEAD", "0123456789abcdef\n");
        assert_eq!(of(dir.path(), false).branch, None, "no branch is checked out");
    }

    #[test]
    fn changed_files_are_named_once_by_their_new_names() {
        let status = b" M a.rs\0R  new name\0old name\0?? dir/b\0";
        assert_eq!(names(status), ["a.rs", "new name", "dir/b"]);
        assert_eq!(names(b""), Vec::<String>::new());
    }
}
