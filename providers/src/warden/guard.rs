//! The warden's side: waits for the pipe to close, then cleans up.

use std::collections::HashSet;
use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::{Pid, Signal};

use super::engine;
use crate::host::owners;
use crate::host::sys;

/// The hidden argument that makes this program a warden; the owner's name follows it.
pub const ARGUMENT: &str = "__warden";

/// What the owner has under way.
#[derive(Debug, Default, PartialEq, Eq)]
struct Charges {
    groups: HashSet<i32>,
    containers: HashSet<(String, PathBuf)>,
    directories: HashSet<PathBuf>,
}

impl Charges {
    /// Takes one line of the pipe. A line that it does not know is from another version: ignored.
    fn take(&mut self, line: &str) {
        let Some((sign, rest)) = line.split_once(' ') else { return };
        let Some((kind, rest)) = rest.split_once(' ') else { return };
        match (kind, sign) {
            ("group", "+") => self.groups.extend(rest.parse::<i32>().ok().filter(|&pid| pid > 1)),
            ("group", "-") => {
                if let Ok(pid) = rest.parse::<i32>() {
                    self.groups.remove(&pid);
                }
            }
            ("container", _) => {
                let Some((name, socket)) = rest.split_once(' ') else { return };
                let container = (name.to_owned(), PathBuf::from(socket));
                if sign == "+" {
                    self.containers.insert(container);
                } else {
                    self.containers.remove(&container);
                }
            }
            ("directory", "+") => drop(self.directories.insert(rest.into())),
            ("directory", "-") => drop(self.directories.remove(std::path::Path::new(rest))),
            _ => {}
        }
    }
}

/// Runs as the warden of the owner named by the second argument. Returns when the owner is gone
/// and what it left is cleaned up.
pub fn main() -> ExitCode {
    let Some(owner) = std::env::args().nth(2) else { return ExitCode::from(2) };
    // A session of its own: Ctrl-C and a closed terminal are the owner's business.
    let _ = rustix::process::setsid();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        sys::ignore(signal);
    }
    let mut charges = Charges::default();
    for line in std::io::stdin().lock().split(b'\n') {
        match line {
            Ok(line) => charges.take(&String::from_utf8_lossy(&line)),
            Err(_) => break,
        }
    }
    for group in &charges.groups {
        if let Some(group) = Pid::from_raw(*group) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
    owners::kill_all(&owner);
    for (name, socket) in &charges.containers {
        engine::remove_container(socket, name);
    }
    for directory in &charges.directories {
        let _ = std::fs::remove_dir_all(directory);
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_is_no_charge() {
        let mut charges = Charges::default();
        for line in
            ["+ group 12", "+ group 13", "- group 12", "+ container a /s", "+ container b /s s"]
        {
            charges.take(line);
        }
        charges.take("- container a /s");
        assert_eq!(charges.groups, HashSet::from([13]));
        assert_eq!(charges.containers, HashSet::from([("b".into(), PathBuf::from("/s s"))]));
    }

    #[test]
    fn directories_are_known_by_their_whole_path() {
        let mut charges = Charges::default();
        for line in ["+ directory /tmp/a b", "+ directory /tmp/c", "- directory /tmp/c"] {
            charges.take(line);
        }
        assert_eq!(charges.directories, HashSet::from([PathBuf::from("/tmp/a b")]));
    }

    #[test]
    fn lines_that_make_no_sense_are_ignored() {
        let mut charges = Charges::default();
        for line in ["", "+", "+ group", "+ group x", "+ group 1", "+ group -1", "? ? ?"] {
            charges.take(line);
        }
        assert_eq!(charges, Charges::default());
    }
}
