//! Which processes of ours used a data directory, so that the next one can clean up after one that
//! was killed together with its warden.
//!
//! Each keeps a file under its owner name locked while it lives. A file that can be locked belongs
//! to a dead one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal};

use super::marker;

/// The file with a directory's own name.
const ID: &str = ".id";

/// Rounds of killing: each finds what the one before had not finished starting.
const ROUNDS: u32 = 50;

/// This process' entry in a data directory. Dropping it ends the entry.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _lock: File,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Enters this process and kills what is left of dead ones. Returns how many processes that were.
///
/// # Errors
/// When the directory cannot be written.
pub fn claim(directory: &Path) -> io::Result<(Option<Claim>, usize)> {
    fs::create_dir_all(directory)?;
    let mut killed = 0;
    for entry in fs::read_dir(directory)?.flatten() {
        let name = entry.file_name();
        let is_other = |name: &&str| *name != marker::owner() && !name.starts_with('.');
        let Some(owner) = name.to_str().filter(is_other) else { continue };
        let Ok(file) = File::open(entry.path()) else { continue };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            killed += kill_all(owner);
            let _ = fs::remove_file(entry.path());
        }
    }
    let path = directory.join(marker::owner());
    if path.exists() {
        // Of another worker of this process, which then also ends the entry.
        return Ok((None, killed));
    }
    // Locked before it has its name, so that nobody takes it for a dead one's.
    let nascent = directory.join(format!(".{}", marker::owner()));
    let file = File::create(&nascent)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    fs::rename(&nascent, &path)?;
    Ok((Some(Claim { path, _lock: file }), killed))
}

/// The name of a data directory itself, the same for whoever uses it: in another container, after
/// the machine was started anew, or over a network.
///
/// # Errors
/// When the directory cannot be read or written.
pub fn id(directory: &Path) -> io::Result<String> {
    let path = directory.join(ID);
    // Written under another name first: nobody reads half of it.
    let own = directory.join(format!("{ID}-{}", marker::owner()));
    fs::write(&own, marker::owner())?;
    let first = fs::hard_link(&own, &path);
    fs::remove_file(&own)?;
    match first {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => fs::read_to_string(&path),
    }
}

/// Whether the process of this name lives, of those that have entered the directory.
pub fn is_alive(directory: &Path, owner: &str) -> bool {
    match File::open(directory.join(owner)) {
        Ok(file) => rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err(),
        // What cannot be read is not taken for dead.
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Kills every process that `owner` started, and what those started. Returns how many there were.
pub(crate) fn kill_all(owner: &str) -> usize {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let mut killed = std::collections::HashSet::new();
    let mut quiet = 0;
    for _ in 0..ROUNDS {
        let mut found = false;
        for pid in marker::all_processes() {
            if pid != own && marker::belongs_to(pid, owner) {
                found = true;
                if let Some(process) = Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(process, Signal::KILL);
                    killed.insert(pid);
                }
            }
        }
        // Once more after a quiet round: a process between fork and exec shows no environment.
        quiet = if found { 0 } else { quiet + 1 };
        if quiet == 2 {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    killed.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_name_and_knows_who_lives() {
        let directory = tempfile::tempdir().unwrap();
        let name = id(directory.path()).unwrap();
        assert_eq!(id(directory.path()).unwrap(), name);
        let dead = File::create(directory.path().join("dead")).unwrap();
        assert!(!is_alive(directory.path(), "dead") && !is_alive(directory.path(), "unknown"));
        rustix::fs::flock(&dead, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(is_alive(directory.path(), "dead"));
    }
}
